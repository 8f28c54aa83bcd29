namespace HeadInfer.Tool.Serving;

/// <summary>Events of a stream, as OpenAI's clients read them.</summary>
internal static class Events
{
    public const string ContentType = "text/event-stream", Done = "data: [DONE]\n\n";

    public static string Data<T>(T body) => $"data: {JsonSerializer.Serialize(body, Wire.Json)}\n\n";

    public static string Named<T>(string name, T body) => $"event: {name}\n{Data(body)}";
}

/// <summary>An answer as OpenAI's chat completion: who speaks, what is said, how it ended, and what it cost if that is wanted.</summary>
/// <param name="usage">whether a stream is to tell what it cost</param>
/// <param name="progress">whether events tell of the reading, in place of comments; they are not OpenAI's</param>
internal sealed class ChatFormat(bool usage, bool progress) : IAnswerFormat
{
    private bool _begun;
    private int _calls;

    public string ContentType => Events.ContentType;

    public TimeSpan? Interval => progress ? TimeSpan.FromSeconds(0.5) : null;

    public string Waiting(Reading reading) => progress ? Events.Named("progress", reading.Body) : reading.Comment;

    public IEnumerable<string> Of(ChatResponseUpdate update)
    {
        string Chunk(Delta delta, string? reason = null) => Events.Data(Answers.Chunk(update, [new Choice(0, null, delta, reason)]));
        if (!_begun)
        {
            _begun = true;
            yield return Chunk(new Delta("assistant", "", null));
        }

        foreach (var content in update.Contents)
        {
            if (content is TextContent text)
            {
                yield return Chunk(new Delta(null, text.Text, null));
            }
            else if (content is FunctionCallContent call)
            {
                yield return Chunk(new Delta(null, null, [Answers.Call(call, _calls++)]));
            }
        }

        if (update.FinishReason is { } reason)
        {
            yield return Chunk(new Delta(null, null, null), reason.Value);
            if (usage && update.Contents.OfType<UsageContent>().FirstOrDefault() is { } cost)
            {
                yield return Events.Data(Answers.Chunk(update, [], Answers.Count(cost.Details)));
            }
        }
    }

    public IEnumerable<string> End() => [Events.Done];

    public string Failed(Refusal refusal) => Events.Data(refusal.Failure);

    public object Whole(ChatResponse response) => Answers.Whole(response);
}

/// <summary>A text that goes on, as OpenAI's completion.</summary>
/// <param name="usage">whether a stream is to tell what it cost</param>
/// <param name="progress">whether events tell of the reading, in place of comments; they are not OpenAI's</param>
internal sealed class TextFormat(bool usage, bool progress) : IAnswerFormat
{
    public string ContentType => Events.ContentType;

    public TimeSpan? Interval => progress ? TimeSpan.FromSeconds(0.5) : null;

    public string Waiting(Reading reading) => progress ? Events.Named("progress", reading.Body) : reading.Comment;

    public IEnumerable<string> Of(ChatResponseUpdate update)
    {
        if (update.Text.Length > 0 || update.FinishReason is not null)
        {
            yield return Events.Data(Body(update.ResponseId, update.CreatedAt, update.ModelId, [new TextChoice(0, update.Text, update.FinishReason?.Value)], null));
        }

        if (usage && update.Contents.OfType<UsageContent>().FirstOrDefault() is { } cost)
        {
            yield return Events.Data(Body(update.ResponseId, update.CreatedAt, update.ModelId, [], Answers.Count(cost.Details)));
        }
    }

    public IEnumerable<string> End() => [Events.Done];

    public string Failed(Refusal refusal) => Events.Data(refusal.Failure);

    public object Whole(ChatResponse response) =>
        Body(response.ResponseId, response.CreatedAt, response.ModelId, [new TextChoice(0, response.Text, response.FinishReason?.Value ?? "stop")], Answers.Count(response.Usage));

    private static TextBody Body(string? id, DateTimeOffset? created, string? model, IReadOnlyList<TextChoice> choices, Usage? usage) =>
        new("cmpl-" + id, "text_completion", (created ?? DateTimeOffset.UtcNow).ToUnixTimeSeconds(), model ?? "", choices, usage);
}
