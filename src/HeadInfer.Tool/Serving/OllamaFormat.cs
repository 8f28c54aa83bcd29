namespace HeadInfer.Tool.Serving;

/// <summary>An answer as Ollama's chat or generate: lines of JSON, of which the last says how it ended and what it cost.</summary>
/// <param name="isChat">whether it is a message; else it is a text</param>
/// <param name="model">the model's name</param>
internal sealed class OllamaFormat(bool isChat, string model) : IAnswerFormat
{
    private readonly DateTimeOffset _start = DateTimeOffset.UtcNow;

    public string ContentType => "application/x-ndjson";

    // A line that says nothing: lines have no comments.
    public string Waiting(Reading reading) => Line(Part("", null, null));

    public IEnumerable<string> Of(ChatResponseUpdate update)
    {
        foreach (var content in update.Contents)
        {
            if (content is TextContent { Text.Length: > 0 } text)
            {
                yield return Line(Part(text.Text, null, null));
            }
            else if (content is TextReasoningContent thought)
            {
                yield return Line(Part("", thought.Text, null));
            }
            else if (content is FunctionCallContent call)
            {
                yield return Line(Part("", null, [call]));
            }
        }

        if (update.FinishReason is { } reason)
        {
            yield return Line(Last(Part("", null, null), reason, update.Contents.OfType<UsageContent>().FirstOrDefault()?.Details, update.AdditionalProperties));
        }
    }

    public string Failed(Refusal refusal) => Line(new { error = refusal.Failure.Error.Message });

    public object Whole(ChatResponse response)
    {
        var contents = response.Messages.SelectMany(m => m.Contents).ToList();
        var calls = contents.OfType<FunctionCallContent>().ToList();
        var thoughts = string.Concat(contents.OfType<TextReasoningContent>().Select(t => t.Text));
        var part = Part(response.Text, thoughts.Length > 0 ? thoughts : null, calls.Count > 0 ? calls : null);
        return response.Messages.Count == 0 ? part with { Done = true, DoneReason = "load" } : Last(part, response.FinishReason ?? ChatFinishReason.Stop, response.Usage, response.AdditionalProperties ?? response.Messages[^1].AdditionalProperties);
    }

    private OllamaAnswer Part(string text, string? thoughts, IReadOnlyList<FunctionCallContent>? calls) => isChat
        ? new OllamaAnswer(model, Now, new OllamaMessage("assistant", text, thoughts, calls?.Select(Call).ToList()), null, null)
        : new OllamaAnswer(model, Now, null, text, thoughts);

    private OllamaAnswer Last(OllamaAnswer part, ChatFinishReason reason, UsageDetails? usage, AdditionalPropertiesDictionary? times)
    {
        // Durations in nanoseconds. What the model did not tell is left out.
        long? Nanoseconds(string name) => times?.GetValueOrDefault(name) is double seconds ? (long)(seconds * 1e9) : null;
        return part with
        {
            Done = true,
            DoneReason = reason == ChatFinishReason.Length ? "length" : "stop",
            TotalDuration = (long)(DateTimeOffset.UtcNow - _start).TotalNanoseconds,
            LoadDuration = 0, // it was loaded when the server started
            PromptEvalCount = usage?.InputTokenCount,
            PromptEvalDuration = Nanoseconds("prefill_seconds"),
            EvalCount = usage?.OutputTokenCount,
            EvalDuration = Nanoseconds("decode_seconds"),
        };
    }

    private static string Now => DateTimeOffset.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'", CultureInfo.InvariantCulture);

    // Its arguments are an object. What nobody can read is given under a name of its own, so that nothing is lost.
    private static OllamaCall Call(FunctionCallContent call) => new(call.CallId, new OllamaCallBody(
        call.Name, call.Exception is null ? call.Arguments ?? new Dictionary<string, object?>() : new Dictionary<string, object?> { ["unreadable_arguments"] = call.RawRepresentation as string ?? "" }));

    private static string Line<T>(T body) => JsonSerializer.Serialize(body, Wire.Json) + "\n";
}

internal sealed record OllamaAnswer(string Model, string CreatedAt, OllamaMessage? Message, string? Response, string? Thinking)
{
    public bool Done { get; init; }

    public string? DoneReason { get; init; }

    public long? TotalDuration { get; init; }

    public long? LoadDuration { get; init; }

    public long? PromptEvalCount { get; init; }

    public long? PromptEvalDuration { get; init; }

    public long? EvalCount { get; init; }

    public long? EvalDuration { get; init; }
}

internal sealed record OllamaMessage(string Role, string Content, string? Thinking, IReadOnlyList<OllamaCall>? ToolCalls);

internal sealed record OllamaCall(string Id, OllamaCallBody Function);

internal sealed record OllamaCallBody(string Name, IDictionary<string, object?> Arguments);
