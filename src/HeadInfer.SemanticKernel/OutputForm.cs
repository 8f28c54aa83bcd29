using HeadInfer.SemanticKernel.ToolCalls;

namespace HeadInfer.SemanticKernel;

/// <summary>The form that an answer must have, by what a caller asks for: JSON, calls, either, or text in which calls are right.</summary>
/// <param name="format">how the model writes calls</param>
/// <param name="tags">what it thinks between</param>
/// <param name="schemas">makes forms of JSON schemas</param>
internal sealed class OutputForm(IToolCallFormat format, ThoughtTags tags, SchemaForms schemas)
{
    /// <param name="options">the caller's</param>
    /// <param name="tools">the functions that the model is shown; null if none</param>
    /// <param name="callsAtMost">calls that are wanted</param>
    /// <param name="thinking">whether the prompt ends within the model's thoughts</param>
    /// <param name="mayThink">whether the model thinks of its own accord</param>
    /// <param name="given">a form that the caller made; null if none</param>
    /// <param name="cancellationToken">ends the making of forms</param>
    /// <returns>null if the answer is free</returns>
    /// <exception cref="ArgumentException">Calls are required of functions that are not there, or nothing satisfies a schema.</exception>
    public OutputConstraint? Of(ChatOptions? options, IReadOnlyList<ChatTool>? tools, int callsAtMost, bool thinking, bool mayThink, OutputConstraint? given, CancellationToken cancellationToken = default)
    {
        var now = schemas.Under(cancellationToken);
        OutputConstraint? answer = Format(options) is { } json ? Said(json.Schema is { } schema ? now.Of(schema) : schemas.Any) : null;
        if (options?.ToolMode is RequiredChatToolMode required)
        {
            answer = format.Constrain(Required(required, tools), callsAtMost, now).Unhurried();
        }
        else if (answer is not null && tools is not null)
        {
            answer = OutputConstraint.OneOf(answer, format.Constrain(tools, callsAtMost, now).Unhurried());
        }

        if (answer is null)
        {
            return given ?? (tools is null ? null : Held(tools, thinking));
        }

        var thoughts = tags.Before(answer);
        return thinking ? thoughts
            : mayThink ? OutputConstraint.OneOf(answer, OutputConstraint.Sequence(Markup.Form(tags.Start), thoughts))
            : answer;
    }

    /// <summary>The form that JSON asks for which is a schema, or a schema as OpenAI wraps it; null for text.</summary>
    public static ChatResponseFormatJson? Unwrapped(JsonElement json)
    {
        var inner = json.ValueKind == JsonValueKind.Object && json.TryGetProperty("json_schema", out var named) && named.ValueKind == JsonValueKind.Object && named.TryGetProperty("schema", out var schema) ? schema : json;
        var type = inner.ValueKind == JsonValueKind.Object && inner.TryGetProperty("type", out var kind) ? kind : inner;
        return type.ValueEqualsText("text") ? null : type.ValueEqualsText("json_object") ? ChatResponseFormat.Json : ChatResponseFormat.ForJsonSchema(inner);
    }

    // General settings bring what they have as it stands.
    private static ChatResponseFormatJson? Format(ChatOptions? options) => options?.ResponseFormat is ChatResponseFormatJson json ? json.Schema is { } schema ? Unwrapped(schema) : json : null;

    // Free text, in which a call that has begun is one of these functions. In thoughts no call is made, so a word of one binds nothing.
    private OutputConstraint Held(IReadOnlyList<ChatTool> tools, bool thinking) => schemas.Kept(
        $"held {thinking} {string.Join('\n', tools.Select(t => $"{t.Name} {(t.Parameters.ValueKind == JsonValueKind.Undefined ? "" : t.Parameters.GetRawText())}"))}", () =>
        {
            OutputConstraint? text = null;
            var again = OutputConstraint.Defer(() => text!);
            var thoughts = OutputConstraint.Held([(tags.End, again)]);
            text = OutputConstraint.Held([(tags.Start, thoughts), .. format.Hold(tools, schemas, again).Select(h => (h.Marker, h.Form.Unhurried()))], format.OnlyAtBeginning);
            return thinking ? thoughts : text;
        });

    private OutputConstraint Said(OutputConstraint text) => tags.Said.Length > 0 ? OutputConstraint.Sequence(Markup.Form(tags.Said), text) : text;

    private static IReadOnlyList<ChatTool> Required(RequiredChatToolMode mode, IReadOnlyList<ChatTool>? tools)
    {
        if (tools is null)
        {
            throw new ArgumentException("ChatOptions.ToolMode requires a function call, and ChatOptions.Tools has no function.");
        }

        return mode.RequiredFunctionName is not { } name ? tools
            : tools.Where(t => t.Name == name).ToList() is { Count: > 0 } named ? named
            : throw new ArgumentException($"ChatOptions.ToolMode requires a call of '{name}', and ChatOptions.Tools has {string.Join(", ", tools.Select(t => $"'{t.Name}'"))}.");
    }
}
