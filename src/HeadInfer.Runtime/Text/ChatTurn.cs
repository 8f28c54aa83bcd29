using System.Text.Json;
using HeadInfer.Runtime.Text;
using HeadInfer.Runtime.Text.Jinja;

namespace HeadInfer.Runtime;

/// <summary>A message of a conversation.</summary>
/// <param name="Role">Who speaks: <c>system</c>, <c>user</c>, <c>assistant</c>, <c>tool</c>.</param>
/// <param name="Content">What is said.</param>
public sealed record ChatTurn(string Role, string Content)
{
    /// <summary>Functions that an assistant's message calls, after what it says.</summary>
    public IReadOnlyList<ChatToolCall> ToolCalls { get; init; } = [];

    /// <summary>The call that a tool's message answers, or null.</summary>
    public string? ToolCallId { get; init; }

    /// <summary>The function that a tool's message comes from, or null.</summary>
    public string? Name { get; init; }
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
    public static Dictionary<string, object?> Of(IEnumerable<ChatTurn> turns, IReadOnlyCollection<ChatTool>? tools, IReadOnlyDictionary<string, object?>? variables, bool answer = true)
    {
        var data = new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach (var (name, value) in variables ?? new Dictionary<string, object?>())
        {
            using var json = JsonSerializer.SerializeToDocument(value);
            data[name] = Values.From(json.RootElement);
        }

        data["messages"] = turns.Select(t => (object?)Message(t)).ToList();
        data["add_generation_prompt"] = answer;
        if (tools is { Count: > 0 })
        {
            data["tools"] = tools.Select(t => (object?)Function("parameters", t.Name, Values.From(t.Parameters), ("description", TemplateText.Data(t.Description)))).ToList();
        }

        return data;
    }

    private static JinjaDict Message(ChatTurn turn)
    {
        var message = Values.Dict([("role", Role(turn.Role)), ("content", TemplateText.Data(turn.Content))]);
        if (turn.ToolCalls.Count > 0)
        {
            message.Set("tool_calls", turn.ToolCalls.Select(c =>
            {
                var call = Function("arguments", c.Name, Arguments(c.Arguments));
                call.Set("id", TemplateText.Data(c.Id));
                return (object?)call;
            }).ToList());
        }

        if (turn.ToolCallId is { } id)
        {
            message.Set("tool_call_id", TemplateText.Data(id));
        }

        if (turn.Name is { } name)
        {
            message.Set("name", TemplateText.Data(name));
        }

        return message;
    }

    private static JinjaDict Function(string what, string name, object? value, params (string, object?)[] more) => Values.Dict(
        [("type", TemplateText.Trusted("function")), ("function", Values.Dict([("name", TemplateText.Data(name)), .. more, (what, value)]))]);

    private static object? Arguments(string json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return Values.From(document.RootElement);
        }
        catch (JsonException)
        {
            return TemplateText.Data(json);
        }
    }

    // Templates build special tokens of roles, such as "<|" + role + "|>". A word cannot forge one by itself.
    private static TemplateText Role(string role) =>
        role.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-') ? TemplateText.Trusted(role) : TemplateText.Data(role);
}
