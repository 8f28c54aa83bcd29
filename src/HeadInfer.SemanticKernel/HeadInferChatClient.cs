using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using HeadInfer.SemanticKernel.ToolCalls;
using Microsoft.Extensions.Logging.Abstractions;

namespace HeadInfer.SemanticKernel;

/// <summary>A chat client over a local model. Safe for concurrent use: callers are served together.</summary>
/// <remarks>
/// Unless its options say otherwise it keeps no conversations. Every call brings all messages, and as much of them as any
/// call began with is not read again. An answer that comes back as a message is read in the tokens in which it was generated.
/// If a conversation that was answered is read again all the same, <c>AdditionalProperties</c> of the last update say why:
/// <c>cache_miss_token</c> is the first token that was not known, <c>cache_miss_text</c> what stands there, <c>cache_miss_cause</c>
/// one of <c>system_prompt</c>, <c>tools</c>, <c>template</c>, <c>message</c> (<c>cache_miss_message</c>, from 0) and <c>forgotten</c>,
/// and <c>cache_miss_reason</c> the same in words. It disposes neither the model nor anything else it was given.
/// </remarks>
/// <example>
/// <code>
/// using HeadInfer.Runtime;
/// using HeadInfer.SemanticKernel;
/// using Microsoft.Extensions.AI;
///
/// await using var model = await HeadInferModel.LoadAsync("path/to/a/model");
/// using var client = new HeadInferChatClient(model);
/// Console.WriteLine(await client.GetResponseAsync(File.ReadAllText("book.txt") + "\n\nWho is the narrator?"));
/// </code>
/// </example>
public sealed class HeadInferChatClient : IChatClient
{
    /// <summary>The name under which telemetry knows the provider.</summary>
    public const string ProviderName = "headinfer";

    private readonly IChatEngine _engine;
    private readonly HeadInferChatClientOptions _options;
    private readonly ChatClientMetadata _metadata;
    private readonly IToolCallFormat _toolCalls;
    private readonly ThoughtTags _thoughts;
    private readonly bool _isFormatSaid;
    private readonly WrittenCalls _writtenCalls;
    private readonly IReadOnlyList<int> _endTokens;
    private readonly OutputForm _forms;
    private readonly ConversationStore _conversations;
    private readonly Continuation _continuation;
    private readonly CacheMisses _misses;
    private readonly ILogger _logger;
    private readonly ConcurrentDictionary<string, bool> _told = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>Makes a client of a loaded model.</summary>
    /// <param name="model">the model; stays the caller's</param>
    /// <param name="modelId">its name in answers and telemetry; default: <see cref="HeadInferModel.Name"/></param>
    /// <exception cref="UnsupportedModelException">The model has no chat template.</exception>
    /// <exception cref="ChatTemplateException">The model's chat template cannot be used.</exception>
    public HeadInferChatClient(HeadInferModel model, string? modelId = null)
        : this(model, new HeadInferChatClientOptions { ModelId = modelId })
    {
    }

    /// <summary>Makes a client of a loaded model.</summary>
    /// <param name="model">the model; stays the caller's</param>
    /// <param name="options">how it is treated</param>
    /// <param name="loggerFactory">told of reading, of failures, and what of a JSON schema is not enforced; null tells nobody</param>
    /// <exception cref="UnsupportedModelException">The model has no chat template.</exception>
    /// <exception cref="ChatTemplateException">The model's chat template cannot be used.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of range.</exception>
    public HeadInferChatClient(HeadInferModel model, HeadInferChatClientOptions options, ILoggerFactory? loggerFactory = null)
        : this(
            new ModelEngine(
                model ?? throw new ArgumentNullException(nameof(model)), (options ?? throw new ArgumentNullException(nameof(options))).ModelId ?? model.Name, Logger(loggerFactory)),
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
        _logger = Logger(loggerFactory);
        _thoughts = ThoughtTags.Of(engine.Template.Source);
        _forms = new OutputForm(_toolCalls, _thoughts, new SchemaForms(_logger));
        var past = new Recollection();
        _misses = new CacheMisses(past, engine.Tokenizer, _logger);
        _isFormatSaid = ToolCallFormats.IsSaid(engine.Template.Source, _options.ToolCallFormat);
        _writtenCalls = new WrittenCalls(engine.Template, _toolCalls, _thoughts, _isFormatSaid);
        _endTokens = EndTokens(engine);
        _continuation = new Continuation(engine, past, _toolCalls, _thoughts, _endTokens, _logger);
        TemplateLog.Limitations(_logger, engine.Template);
        _conversations = new ConversationStore(_options.Conversations);
    }

    /// <inheritdoc/>
    /// <exception cref="ContextLengthException">The conversation is longer than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">The conversation is longer than memory holds.</exception>
    /// <exception cref="NotSupportedException">A message or an option asks for what this client does not do; the message names it.</exception>
    /// <exception cref="ArgumentException">Messages or options contradict themselves; the message says how.</exception>
    /// <exception cref="InvalidOperationException">Another request has continued the conversation of this id since it was read.</exception>
    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    /// <inheritdoc/>
    /// <remarks>Each enumeration of the result is an answer of its own, with an id of its own.</remarks>
    /// <exception cref="ContextLengthException">The conversation is longer than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">The conversation is longer than memory holds.</exception>
    /// <exception cref="NotSupportedException">A message or an option asks for what this client does not do; the message names it.</exception>
    /// <exception cref="ArgumentException">Messages or options contradict themselves; the message says how.</exception>
    /// <exception cref="InvalidOperationException">Another request has continued the conversation of this id since it was read.</exception>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var request = await PrepareAsync(messages, options, cancellationToken).ConfigureAwait(false);
        var answer = AnswerWatch.OverAsync(
            () => new AnswerWatch(_engine.ModelId, request.Prompt.Tokens.Count, request.Progress, _logger), (watch, cancel) => AnswerAsync(request, watch, cancel), cancellationToken);
        await foreach (var update in answer.ConfigureAwait(false))
        {
            yield return update;
        }
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

    /// <summary>Gives up what the client holds; the model stays.</summary>
    public void Dispose() => (_engine as IDisposable)?.Dispose();

    private static ILogger Logger(ILoggerFactory? factory) => (factory ?? NullLoggerFactory.Instance).CreateLogger<HeadInferChatClient>();

    // What ends thoughts does not end the answer, though a folder may say so.
    private List<int> EndTokens(IChatEngine engine) =>
        [.. engine.EndTokens.Concat(_toolCalls.Stops.Select(engine.Tokenizer.AddedToken).OfType<int>()).Distinct().Where(t => t != engine.Tokenizer.AddedToken(_thoughts.End))];

    // To write and to encode a long conversation takes a while, which the caller's thread is not kept for.
    private async Task<Request> PrepareAsync(IEnumerable<ChatMessage> messages, ChatOptions? options, CancellationToken cancellationToken)
    {
        try
        {
            ArgumentNullException.ThrowIfNull(messages);
            IReadOnlyList<ChatMessage> given = [.. messages]; // what the caller does to its list later is not ours
            return await Task.Run(() => Prepare(given, options, cancellationToken), cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            AnswerWatch.Refuse(_engine.ModelId, e, _logger);
            throw;
        }
    }

    private Request Prepare(IReadOnlyList<ChatMessage> messages, ChatOptions? options, CancellationToken cancellationToken)
    {
        var template = _engine.Template;
        var tools = ChatRequest.Tools(options);
        TellOfUnknown(options, tools);
        var (raw, progress) = options.Made(this);
        var generation = ChatRequest.Generation(options, _engine.Defaults, _engine.ModelId, raw);
        var before = options?.ConversationId is { } known ? _conversations.Messages(known) : null;
        IReadOnlyList<ChatMessage> all = [.. before ?? [], .. messages];
        var key = options.CacheKey();
        var begun = BegunAnswer.Of(all, options);
        var conversation = _continuation.WithThoughts(key, ChatRequest.Conversation(begun is null ? all : all.SkipLast(1), options, tools));
        var text = template.RenderTurns(_writtenCalls.In(conversation), tools, ChatRequest.Variables(options, template), cancellationToken);
        text = begun?.After(text, _thoughts) ?? text;
        var prompt = _continuation.Prompt(key, conversation, text, cancellationToken);
        var callsAtMost = tools is null ? 0 : options?.AllowMultipleToolCalls == false ? 1 : int.MaxValue;
        var thinking = _thoughts.IsOpenedBy(text.Text);
        var showThoughts = ChatRequest.ShowsThoughts(options);
        var mayThink = template.Source.Contains(_thoughts.End, StringComparison.Ordinal);
        // The runtime would stop in thoughts and calls too. What is a special token is never said, and stops there as a token.
        string[] stops = thinking || mayThink || tools is not null ? [.. generation.StopSequences.Where(s => _engine.Tokenizer.AddedToken(s.Trim()) is null)] : [];
        generation = generation with
        {
            StopSequences = [.. generation.StopSequences.Except(stops)],
            Constraint = _forms.Of(options, tools, callsAtMost, thinking, mayThink, generation.Constraint, cancellationToken),
            ShownTokens = [.. generation.ShownTokens, .. _thoughts.Markers, .. tools is null ? [] : _toolCalls.Markers],
            StopTokens = generation.StopTokens ?? (_endTokens.SequenceEqual(_engine.EndTokens) ? null : _endTokens),
        };
        return new Request(
            prompt,
            generation,
            new AnswerReader(_toolCalls, tools ?? [], callsAtMost, _thoughts, thinking, showThoughts, stops),
            showThoughts,
            progress ?? _options.Progress,
            options?.ConversationId,
            before,
            all);
    }

    // Once each: a property may be meant for somebody else, and no function may ever be called.
    private void TellOfUnknown(ChatOptions? options, IReadOnlyList<ChatTool>? tools)
    {
        if (tools is not null && !_isFormatSaid && _told.TryAdd("", true))
        {
            HeadInferLog.UnknownFormat(_logger, ToolCallFormat.Hermes);
        }

        foreach (var name in ChatRequest.Unknown(options).Where(n => _told.TryAdd(n, true)))
        {
            HeadInferLog.UnknownProperty(_logger, name);
        }
    }

    private async IAsyncEnumerable<ChatResponseUpdate> AnswerAsync(Request request, AnswerWatch watch, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var (id, created) = (Guid.NewGuid().ToString("N"), DateTimeOffset.UtcNow);
        var (prompt, reader, answer, kept) = (request.Prompt.Tokens, request.Reader, new GivenAnswer(), new List<ChatResponseUpdate>());
        var conversation = _conversations.IsEnabled ? request.ConversationId ?? Guid.NewGuid().ToString("N") : null;
        ChatResponseUpdate Update(params AIContent[] contents)
        {
            contents.ToList().ForEach(answer.Add);
            var update = new ChatResponseUpdate(ChatRole.Assistant, contents) { MessageId = id, ResponseId = id, ModelId = _engine.ModelId, CreatedAt = created, ConversationId = conversation };
            if (conversation is not null)
            {
                kept.Add(update);
            }

            return update;
        }

        AdditionalPropertiesDictionary? missed = null;
        void Reused(int known, bool diverged)
        {
            watch.Cached = known;
            missed = _misses.Tell(request.Prompt, known, diverged);
        }

        bool IsCut() => answer.Reason == Runtime.FinishReason.Length && !reader.IsStopped;

        void Drafted(int tokens, int accepted) => watch.Drafted = (tokens, accepted);

        try
        {
            await foreach (var step in _engine.GenerateAsync(prompt, request.Generation, request.Prompt.Key, Reused, Drafted, watch, cancellationToken).ConfigureAwait(false))
            {
                watch.Step();
                answer.Add(step);
                foreach (var content in reader.Append(step.Text))
                {
                    yield return Update(content);
                }

                if (reader.IsDone)
                {
                    answer.Drop(reader.Dropped);
                    break; // what would follow is not wanted, and so is not generated
                }
            }

            foreach (var content in reader.End(IsCut()))
            {
                yield return Update(content);
            }
        }
        finally
        {
            _continuation.Keep(request.Prompt, answer, request.Generation); // also what came of an answer that is given up
        }

        if (conversation is not null && _conversations.Keep(conversation, request.Before, [.. request.Messages, .. kept.ToChatResponse().Messages]) is { } forgotten)
        {
            HeadInferLog.ForgotConversation(_logger, forgotten);
        }

        watch.IsComplete = true;
        if (reader.IsThinking && !request.ShowsThoughts && IsCut())
        {
            HeadInferLog.CutThoughts(_logger, answer.Tokens.Count);
        }

        // A call that the limit cut off is no call that could be made.
        var finish = reader.Calls > 0 && !(reader.LastCallFailed && IsCut()) ? ChatFinishReason.ToolCalls
            : IsCut() ? ChatFinishReason.Length
            : ChatFinishReason.Stop;
        var last = Update(new UsageContent(watch.Usage));
        last.FinishReason = finish;
        last.AdditionalProperties = new AdditionalPropertiesDictionary(missed ?? [])
        {
            ["finish_reason"] = finish.Value, // Semantic Kernel's adapter drops the property
            ["queue_seconds"] = watch.Queue.TotalSeconds,
            ["prefill_seconds"] = watch.Prefill.TotalSeconds,
            ["decode_seconds"] = watch.Decode.TotalSeconds,
        };
        yield return last;
    }

    /// <summary>A request, made ready to be answered once.</summary>
    private sealed record Request(
        RenderedPrompt Prompt, GenerationOptions Generation, AnswerReader Reader, bool ShowsThoughts, IProgress<PrefillProgress>? Progress, string? ConversationId, IReadOnlyList<ChatMessage>? Before, IReadOnlyList<ChatMessage> Messages);
}
