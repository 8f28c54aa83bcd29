using System.Diagnostics;
using System.Runtime.CompilerServices;
using HeadInfer.Runtime;
using HeadInfer.SemanticKernel.ToolCalls;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel;

/// <summary>A chat client over a local model. Safe for concurrent use: callers are served in turn.</summary>
/// <remarks>
/// It keeps no conversations. Every call brings all messages, and as much of them as the last call began with is not read
/// again. It disposes neither the model nor anything else it was given.
/// </remarks>
public sealed class HeadInferChatClient : IChatClient
{
    /// <summary>The name under which telemetry knows the provider.</summary>
    public const string ProviderName = "headinfer";

    private readonly IChatEngine _engine;
    private readonly ChatClientMetadata _metadata;
    private readonly IToolCallFormat _toolCalls;

    /// <summary>Makes a client of a loaded model.</summary>
    /// <param name="model">the model; stays the caller's</param>
    /// <param name="modelId">its name in answers and telemetry; default: the name of its architecture</param>
    /// <exception cref="UnsupportedModelException">The model has no chat template.</exception>
    public HeadInferChatClient(HeadInferModel model, string? modelId = null)
        : this(new ModelEngine(model ?? throw new ArgumentNullException(nameof(model)), modelId ?? model.Config.Architecture))
    {
    }

    internal HeadInferChatClient(IChatEngine engine)
    {
        _engine = engine;
        _metadata = new ChatClientMetadata(ProviderName, defaultModelId: engine.ModelId);
        _toolCalls = ToolCallFormats.Of(engine.Template.Source);
    }

    /// <inheritdoc/>
    /// <exception cref="ContextLengthException">The conversation is longer than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">The conversation is longer than memory holds.</exception>
    /// <exception cref="NotSupportedException">A message or an option asks for what this client does not do; the message names it.</exception>
    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    /// <inheritdoc/>
    /// <exception cref="ContextLengthException">The conversation is longer than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">The conversation is longer than memory holds.</exception>
    /// <exception cref="NotSupportedException">A message or an option asks for what this client does not do; the message names it.</exception>
    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        var tools = ChatRequest.Tools(options);
        var generation = ChatRequest.Generation(options, _engine.Defaults, _engine.ModelId);
        var prompt = _engine.Template.Encode(ChatRequest.Turns(messages, options), _engine.Tokenizer, tools);
        var callsAtMost = tools is null ? 0 : options?.AllowMultipleToolCalls == false ? 1 : int.MaxValue;
        var thinking = _engine.Tokenizer.Decode(prompt.TakeLast(8), skipSpecial: false).TrimEnd().EndsWith(ReasoningScanner.Start, StringComparison.Ordinal);
        var reader = new AnswerReader(_toolCalls, callsAtMost, thinking, options?.Reasoning?.Output == ReasoningOutput.Full);
        return AnswerAsync(prompt, generation, reader, cancellationToken);
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null
            : serviceType == typeof(ChatClientMetadata) ? _metadata
            : serviceType.IsInstanceOfType(this) ? this
            : _engine.GetService(serviceType);
    }

    /// <summary>Frees the client's sequence; the model stays.</summary>
    public void Dispose() => (_engine as IDisposable)?.Dispose();

    private async IAsyncEnumerable<ChatResponseUpdate> AnswerAsync(
        IReadOnlyList<int> prompt, GenerationOptions options, AnswerReader reader, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var (id, created, clock) = (Guid.NewGuid().ToString("N"), DateTimeOffset.UtcNow, Stopwatch.StartNew());
        ChatResponseUpdate Update(params AIContent[] contents) => new(ChatRole.Assistant, contents) { MessageId = id, ResponseId = id, ModelId = _engine.ModelId, CreatedAt = created };

        using var activity = HeadInferTelemetry.Start(_engine.ModelId, prompt.Count);
        var (cached, generated) = (0, 0);
        var (firstToken, reason) = (TimeSpan.Zero, Runtime.FinishReason.Stop);
        await foreach (var step in _engine.GenerateAsync(prompt, options, known => cached = known, cancellationToken).ConfigureAwait(false))
        {
            firstToken = generated++ == 0 ? clock.Elapsed : firstToken;
            reason = step.FinishReason ?? reason;
            foreach (var content in reader.Append(step.Text))
            {
                yield return Update(content);
            }

            if (reader.IsDone)
            {
                break; // what would follow is not wanted, and so is not generated
            }
        }

        foreach (var content in reader.End())
        {
            yield return Update(content);
        }

        HeadInferTelemetry.Record(activity, _engine.ModelId, prompt.Count, cached, generated, firstToken, clock.Elapsed - firstToken);
        var finish = reader.Calls > 0 ? ChatFinishReason.ToolCalls : reason == Runtime.FinishReason.Length ? ChatFinishReason.Length : ChatFinishReason.Stop;
        var last = Update(new UsageContent(new UsageDetails
        {
            InputTokenCount = prompt.Count,
            OutputTokenCount = generated,
            TotalTokenCount = prompt.Count + generated,
            CachedInputTokenCount = cached,
        }));
        last.FinishReason = finish;
        last.AdditionalProperties = new AdditionalPropertiesDictionary
        {
            ["finish_reason"] = finish.Value, // Semantic Kernel's adapter drops the property
            ["prefill_seconds"] = firstToken.TotalSeconds,
            ["decode_seconds"] = (clock.Elapsed - firstToken).TotalSeconds,
        };
        yield return last;
    }
}
