using System.Text.Json;
using Microsoft.Extensions.AI;

namespace ChatServer;

/// <summary>Answers of the chat client, in the wire's words.</summary>
internal static class Answers
{
    public static Completion Whole(ChatResponse response)
    {
        var contents = response.Messages.SelectMany(m => m.Contents).ToList();
        var calls = contents.OfType<FunctionCallContent>().Select((c, i) => Call(c, null)).ToList();
        var answer = new Answer("assistant", response.Text, calls.Count > 0 ? calls : null);
        return Envelope("chat.completion", response.ResponseId, response.CreatedAt, response.ModelId, [new Choice(0, answer, null, response.FinishReason?.Value ?? "stop")], Count(response.Usage));
    }

    /// <summary>An update as chunks: what is said, how it ended, and what it cost if that is wanted.</summary>
    /// <param name="update">the update</param>
    /// <param name="calls">calls before this update</param>
    /// <param name="usage">whether to tell what it cost</param>
    public static IEnumerable<Completion> Chunks(ChatResponseUpdate update, int calls, bool usage)
    {
        Completion Chunk(IReadOnlyList<Choice> choices, Usage? count = null) => Envelope("chat.completion.chunk", update.ResponseId, update.CreatedAt, update.ModelId, choices, count);
        foreach (var content in update.Contents)
        {
            if (content is TextContent text)
            {
                yield return Chunk([new Choice(0, null, new Answer("assistant", text.Text, null), null)]);
            }
            else if (content is FunctionCallContent call)
            {
                yield return Chunk([new Choice(0, null, new Answer("assistant", null, [Call(call, calls++)]), null)]);
            }
        }

        if (update.FinishReason is { } reason)
        {
            yield return Chunk([new Choice(0, null, new Answer(null, null, null), reason.Value)]);
            if (usage && update.Contents.OfType<UsageContent>().FirstOrDefault() is { } cost)
            {
                yield return Chunk([], Count(cost.Details));
            }
        }
    }

    private static Completion Envelope(string kind, string? id, DateTimeOffset? created, string? model, IReadOnlyList<Choice> choices, Usage? usage) =>
        new("chatcmpl-" + id, kind, (created ?? DateTimeOffset.UtcNow).ToUnixTimeSeconds(), model ?? "", choices, usage);

    // What the model wrote and nobody can read is passed on as it is, so that no function is called without its arguments.
    private static ToolCallBody Call(FunctionCallContent call, int? index) =>
        new(call.CallId, "function", new CallBody(call.Name, call.Exception is null ? JsonSerializer.Serialize(call.Arguments ?? new Dictionary<string, object?>(), Wire.Json) : call.RawRepresentation as string ?? ""), index);

    private static Usage? Count(UsageDetails? usage) => usage is null ? null
        : new Usage(usage.InputTokenCount ?? 0, usage.OutputTokenCount ?? 0, usage.TotalTokenCount ?? 0, new PromptDetails(usage.CachedInputTokenCount ?? 0));
}
