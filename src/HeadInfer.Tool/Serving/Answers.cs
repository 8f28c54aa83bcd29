namespace HeadInfer.Tool.Serving;

/// <summary>Answers of the chat client, in the wire's words.</summary>
internal static class Answers
{
    public static Completion Whole(ChatResponse response)
    {
        var calls = response.Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>().Select(c => Call(c, null)).ToList();
        var answer = new Answer("assistant", calls.Count > 0 && response.Text.Length == 0 ? null : response.Text, calls.Count > 0 ? calls : null);
        return Envelope("chat.completion", response.ResponseId, response.CreatedAt, response.ModelId, [new Choice(0, answer, null, response.FinishReason?.Value ?? "stop")], Count(response.Usage));
    }

    public static Completion Chunk(ChatResponseUpdate update, IReadOnlyList<Choice> choices, Usage? usage = null) =>
        Envelope("chat.completion.chunk", update.ResponseId, update.CreatedAt, update.ModelId, choices, usage);

    // What the model wrote and nobody can read is passed on as it is, so that no function is called without its arguments.
    public static ToolCallBody Call(FunctionCallContent call, int? index) =>
        new(call.CallId, "function", new CallBody(call.Name, call.Exception is null ? JsonSerializer.Serialize(call.Arguments ?? new Dictionary<string, object?>(), Wire.Json) : call.RawRepresentation as string ?? ""), index);

    public static Usage? Count(UsageDetails? usage)
    {
        if (usage is null)
        {
            return null;
        }

        long Named(string name) => usage.AdditionalCounts?.GetValueOrDefault(name) ?? 0;
        var (drafted, accepted) = (Named("DraftedTokenCount"), Named("AcceptedTokenCount"));
        return new Usage(
            usage.InputTokenCount ?? 0, usage.OutputTokenCount ?? 0, usage.TotalTokenCount ?? 0,
            new PromptDetails(usage.CachedInputTokenCount ?? 0), new AnswerDetails(accepted, drafted - accepted));
    }

    private static Completion Envelope(string kind, string? id, DateTimeOffset? created, string? model, IReadOnlyList<Choice> choices, Usage? usage) =>
        new("chatcmpl-" + id, kind, (created ?? DateTimeOffset.UtcNow).ToUnixTimeSeconds(), model ?? "", choices, usage);
}
