using System.Diagnostics;
using System.Runtime.CompilerServices;
using HeadInfer.Runtime;
using HeadInfer.SemanticKernel.ToolCalls;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace HeadInfer.SemanticKernel;

/// <summary>A chat client over a local model. Safe for concurrent use: callers are served in turn.</summary>
/// <remarks>
/// Unless its options say otherwise it keeps no conversations. Every call brings all messages, and as much of them as the
/// last call began with is not read again. It disposes neither the model nor anything else it was given.
/// </remarks>
public sealed class HeadInferChatClient : IChatClient
{
    /// <summary>The name under which telemetry knows the provider.</summary>
    public const string ProviderName = "headinfer";

    private readonly IChatEngine _engine;
    private readonly HeadInferChatClientOptions _options;
    private readonly ChatClientMetadata _metadata;
    private readonly IToolCallFormat _toolCalls;
    private readonly ThoughtTags _thoughts;
    private readonly OutputForm _forms;
    private readonly ConversationStore _conversations;

    /// <summary>Makes a client of a loaded model.</summary>
    /// <param name="model">the model; stays the caller's</param>
    /// <param name="modelId">its name in answers and telemetry; default: the name of its architecture</param>
    /// <exception cref="UnsupportedModelException">The model has no chat template.</exception>
    public HeadInferChatClient(HeadInferModel model, string? modelId = null)
        : this(model, new HeadInferChatClientOptions { ModelId = modelId })
    {
    }

    /// <summary>Makes a client of a loaded model.</summary>
    /// <param name="model">the model; stays the caller's</param>
    /// <param name="options">how it is treated</param>
    /// <param name="loggerFactory">told what of a JSON schema is not enforced; null tells nobody</param>
    /// <exception cref="UnsupportedModelException">The model has no chat template.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of range.</exception>
    public HeadInferChatClient(HeadInferModel model, HeadInferChatClientOptions options, ILoggerFactory? loggerFactory = null)
        : this(
            new ModelEngine(model ?? throw new ArgumentNullException(nameof(model)), (options ?? throw new ArgumentNullException(nameof(options))).ModelId ?? model.Config.Architecture),
            options,
            loggerFactory)
    {
    }

    internal HeadInferChatClient(IChatEngine engine, HeadInferChatClientOptions? options = null, ILoggerFactory? loggerFactory = null)
    {
        _engine = engine;
        _options = (options ?? new HeadInferChatClientOptions()) with { }; // what the caller changes later is not ours
        _options.Validate();
        _metadata = new ChatClientMetadata(ProviderName, defaultModelId: engine.ModelId);
        _toolCalls = ToolCallFormats.Of(engine.Template.Source, _options.ToolCallFormat);
        _thoughts = ThoughtTags.Of(engine.Template.Source);
        var logger = (loggerFactory ?? NullLoggerFactory.Instance).CreateLogger<HeadInferChatClient>();
        _forms = new OutputForm(_toolCalls, _thoughts, new SchemaForms(logger));
        TemplateLog.Limitations(logger, engine.Template);
        _conversations = new ConversationStore(_options.Conversations);
    }

    /// <inheritdoc/>
    /// <exception cref="ContextLengthException">The conversation is longer than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">The conversation is longer than memory holds.</exception>
    /// <exception cref="NotSupportedException">A message or an option asks for what this client does not do; the message names it.</exception>
    /// <exception cref="ArgumentException">Messages or options contradict themselves; the message says how.</exception>
    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    /// <inheritdoc/>
    /// <exception cref="ContextLengthException">The conversation is longer than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">The conversation is longer than memory holds.</exception>
    /// <exception cref="NotSupportedException">A message or an option asks for what this client does not do; the message names it.</exception>
    /// <exception cref="ArgumentException">Messages or options contradict themselves; the message says how.</exception>
    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        var template = _engine.Template;
        var tools = ChatRequest.Tools(options);
        var generation = ChatRequest.Generation(options, _engine.Defaults, _engine.ModelId, this);
        IReadOnlyList<ChatMessage> all = [.. options?.ConversationId is { } known ? _conversations.Messages(known) : [], .. messages];
        var prompt = template.Encode(ChatRequest.Turns(all, options), _engine.Tokenizer, tools, ChatRequest.Variables(options, template.Source), cancellationToken);
        var callsAtMost = tools is null ? 0 : options?.AllowMultipleToolCalls == false ? 1 : int.MaxValue;
        var thinking = _engine.Tokenizer.Decode(prompt.TakeLast(8), skipSpecial: false).TrimEnd().EndsWith(_thoughts.Start, StringComparison.Ordinal);
        var mayThink = template.Source.Contains(_thoughts.End, StringComparison.Ordinal);
        generation = generation with
        {
            Constraint = _forms.Of(options, tools, callsAtMost, thinking, mayThink, generation.Constraint),
            ShownTokens = [.. generation.ShownTokens, .. ThoughtTags.All.SelectMany(t => (string[])[t.Start, t.End]), .. tools is null ? [] : _toolCalls.Markers],
        };
        var request = new Request(
            prompt,
            generation,
            new AnswerReader(_toolCalls, tools ?? [], callsAtMost, thinking ? _thoughts : null, options?.Reasoning?.Output == ReasoningOutput.Full),
            options?.AdditionalProperties?.GetValueOrDefault(HeadInferChatOptionsExtensions.ProgressKey) as IProgress<PrefillProgress> ?? _options.Progress,
            _conversations.IsEnabled ? options?.ConversationId ?? Guid.NewGuid().ToString("N") : null,
            all);
        return AnswerAsync(request, cancellationToken);
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

    private async IAsyncEnumerable<ChatResponseUpdate> AnswerAsync(Request request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var (id, created, clock) = (Guid.NewGuid().ToString("N"), DateTimeOffset.UtcNow, Stopwatch.StartNew());
        var (prompt, reader, kept) = (request.Prompt, request.Reader, new List<ChatResponseUpdate>());
        ChatResponseUpdate Update(params AIContent[] contents)
        {
            var update = new ChatResponseUpdate(ChatRole.Assistant, contents) { MessageId = id, ResponseId = id, ModelId = _engine.ModelId, CreatedAt = created, ConversationId = request.ConversationId };
            if (request.ConversationId is not null)
            {
                kept.Add(update);
            }

            return update;
        }

        using var activity = HeadInferTelemetry.Start(_engine.ModelId, prompt.Count);
        var (cached, generated) = (0, 0);
        var (firstToken, reason) = (TimeSpan.Zero, Runtime.FinishReason.Stop);
        await foreach (var step in _engine.GenerateAsync(prompt, request.Generation, known => cached = known, request.Progress, cancellationToken).ConfigureAwait(false))
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
        if (request.ConversationId is not null)
        {
            _conversations.Keep(request.ConversationId, [.. request.Messages, .. kept.ToChatResponse().Messages]);
        }

        // A call that the limit cut off is no call that could be made.
        var finish = reader.Calls > 0 && !(reader.LastCallFailed && reason == Runtime.FinishReason.Length) ? ChatFinishReason.ToolCalls
            : reason == Runtime.FinishReason.Length ? ChatFinishReason.Length
            : ChatFinishReason.Stop;
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

    /// <summary>A request, made ready.</summary>
    private sealed record Request(
        IReadOnlyList<int> Prompt, GenerationOptions Generation, AnswerReader Reader, IProgress<PrefillProgress>? Progress, string? ConversationId, IReadOnlyList<ChatMessage> Messages);
}
