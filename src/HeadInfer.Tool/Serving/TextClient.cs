using System.Runtime.CompilerServices;
using HeadInfer.SemanticKernel;

namespace HeadInfer.Tool.Serving;

/// <summary>Continues a text as it stands, without a chat template: the one message that it is given. Special tokens written in it are text.</summary>
/// <param name="model">the model; not owned</param>
/// <param name="logger">told of reading, end and failure</param>
internal sealed class TextClient(HeadInferModel model, ILogger<TextClient> logger) : IChatClient
{
    private const string ProgressName = "progress";

    private readonly HeadInfer.SemanticKernel.Answering _answering = new(model, logger);

    /// <summary>Has somebody told how far the reading for a request is, by whichever client answers it.</summary>
    public static void Watch(IChatClient client, ChatOptions options, Reading reading)
    {
        if (client is TextClient)
        {
            (options.AdditionalProperties ??= [])[ProgressName] = reading;
        }
        else
        {
            options.WithPrefillProgress(reading);
        }
    }

    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        var tokens = model.Tokenizer.Encode(messages.Single().Text, addSpecial: true, cancellationToken: cancellationToken);
        var generation = ChatRequest.Generation(options, model.ConnectorDefaults(), model.Name, options?.RawRepresentationFactory?.Invoke(this));
        var progress = options?.AdditionalProperties?.GetValueOrDefault(ProgressName) as IProgress<PrefillProgress>;
        return AnswerWatch.OverAsync(() => new AnswerWatch(model.Name, tokens.Count, progress, logger), (watch, cancel) => ContinueAsync(tokens, generation, options.CacheKey(), watch, cancel), cancellationToken);
    }

    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    public object? GetService(Type serviceType, object? serviceKey = null) => serviceKey is null && serviceType.IsInstanceOfType(model) ? model : null;

    public void Dispose()
    {
    }

    private async IAsyncEnumerable<ChatResponseUpdate> ContinueAsync(IReadOnlyList<int> prompt, GenerationOptions options, string key, AnswerWatch watch, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var (id, created, reason) = (Guid.NewGuid().ToString("N"), DateTimeOffset.UtcNow, ChatFinishReason.Stop);
        ChatResponseUpdate Update(AIContent content) => new(ChatRole.Assistant, [content]) { MessageId = id, ResponseId = id, ModelId = model.Name, CreatedAt = created };
        await foreach (var step in _answering.GenerateAsync(prompt, options, key, (known, _) => watch.Cached = known, (drafted, accepted) => watch.Drafted = (drafted, accepted), watch, cancellationToken))
        {
            watch.Step();
            reason = step.FinishReason == FinishReason.Length ? ChatFinishReason.Length : reason;
            if (step.Text.Length > 0)
            {
                yield return Update(new TextContent(step.Text));
            }
        }

        watch.IsComplete = true;
        var last = Update(new UsageContent(watch.Usage));
        last.FinishReason = reason;
        last.AdditionalProperties = new() { ["queue_seconds"] = watch.Queue.TotalSeconds, ["prefill_seconds"] = watch.Prefill.TotalSeconds, ["decode_seconds"] = watch.Decode.TotalSeconds };
        yield return last;
    }
}
