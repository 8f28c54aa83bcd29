using HeadInfer.Text.Templates;
using HeadInfer.Text.Templates.Jinja;

namespace HeadInfer.Text;

/// <summary>A message of a conversation.</summary>
/// <param name="Role">Who speaks: <c>system</c>, <c>user</c>, <c>assistant</c>, <c>tool</c>.</param>
/// <param name="Content">What is said.</param>
public sealed record ChatTurn(string Role, string Content)
{
    /// <summary>Functions that an assistant's message calls, after what it says.</summary>
    public IReadOnlyList<ChatToolCall> ToolCalls { get; init; } = [];

    /// <summary>What an assistant thought before this message, or null. It is shown only after the last message of the user, and only by templates that show thoughts.</summary>
    public string? Reasoning { get; init; }

    /// <summary>The call that a tool's message answers, or null.</summary>
    public string? ToolCallId { get; init; }

    /// <summary>The function that a tool's message comes from, or null.</summary>
    public string? Name { get; init; }

    /// <summary>What is written in place of the content, with markers in it that may be tokens; null if the content is.</summary>
    internal TemplateText? Written { get; init; }
}

/// <summary>A call of a function by a model.</summary>
/// <param name="Id">Names the call, so that an answer can name it too.</param>
/// <param name="Name">The function.</param>
/// <param name="Arguments">A JSON object; other text is shown to the model as it is.</param>
public sealed record ChatToolCall(string Id, string Name, string Arguments);

/// <summary>A function that a model may call.</summary>
/// <param name="Name">The function.</param>
/// <param name="Description">What it does.</param>
/// <param name="Parameters">JSON schema of its arguments.</param>
public sealed record ChatTool(string Name, string Description, JsonElement Parameters);

/// <summary>A conversation as templates expect it, which is as Hugging Face's transformers hands it to them.</summary>
internal static class ChatData
{
    /// <param name="turns">the messages</param>
    /// <param name="tools">functions that the model may call</param>
    /// <param name="variables">what else the template knows</param>
    /// <param name="shape">how messages are given to this template; null gives them as they stand</param>
    /// <param name="answer">whether the model is to answer</param>
    public static Dictionary<string, object?> Of(
        IEnumerable<ChatTurn> turns, IReadOnlyCollection<ChatTool>? tools, IReadOnlyDictionary<string, object?>? variables, ConversationShape? shape = null, bool answer = true)
    {
        var data = new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach (var (name, value) in variables ?? new Dictionary<string, object?>())
        {
            using var json = JsonSerializer.SerializeToDocument(value);
            data[name] = Values.From(json.RootElement);
        }

        data["messages"] = (shape ?? ConversationShape.Plain).Messages([.. turns]);
        data["add_generation_prompt"] = answer;
        if (tools is { Count: > 0 })
        {
            shape?.AddTools((List<object?>)data["messages"]!, tools);
            data["tools"] = tools.Select(t => (object?)Function(("name", TemplateText.Data(t.Name)), ("description", TemplateText.Data(t.Description)), ("parameters", Parameters(t)))).ToList();
        }

        return data;
    }

    // Arguments are an object, and templates go through its properties, so both are said where the schema does not.
    public static JinjaDict Parameters(ChatTool tool)
    {
        var schema = Values.From(tool.Parameters) as JinjaDict ?? Values.Dict([]);
        foreach (var (key, value) in ((string, object?)[])[("type", TemplateText.Data("object")), ("properties", Values.Dict([]))])
        {
            if (!schema.TryGet(key, out _))
            {
                schema.Set(key, value);
            }
        }

        return schema;
    }

    /// <summary>A function, or a call of one.</summary>
    public static JinjaDict Function(params (string, object?)[] parts) => Values.Dict([("type", TemplateText.Trusted("function")), ("function", Values.Dict(parts))]);
}
