using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.TextGeneration;
using TextContent = Microsoft.SemanticKernel.TextContent;

namespace HeadInfer.SemanticKernel;

/// <summary>Continues a text as it stands, without a chat template. Safe for concurrent use: callers are served together.</summary>
/// <remarks>Special tokens written in the prompt are text here too: a document cannot forge them.</remarks>
public sealed class HeadInferTextGenerationService : ITextGenerationService
{
    private readonly HeadInferModel _model;
    private readonly SchemaForms _schemas;
    private readonly Answering _answering;
    private readonly ILogger _logger;

    /// <summary>Makes a service of a loaded model.</summary>
    /// <param name="model">the model; stays the caller's</param>
    /// <param name="modelId">its name in answers; default: <see cref="HeadInferModel.Name"/></param>
    /// <param name="loggerFactory">told of reading, of failures, and what of a JSON schema is not enforced; null tells nobody</param>
    public HeadInferTextGenerationService(HeadInferModel model, string? modelId = null, ILoggerFactory? loggerFactory = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        _model = model;
        _logger = (loggerFactory ?? NullLoggerFactory.Instance).CreateLogger<HeadInferTextGenerationService>();
        _schemas = new SchemaForms(_logger);
        _answering = new Answering(model, _logger);
        Attributes = new Dictionary<string, object?> { ["ModelId"] = modelId ?? model.Name };
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, object?> Attributes { get; }

    private string ModelId => (string)Attributes["ModelId"]!;

    /// <inheritdoc/>
    /// <exception cref="ContextLengthException">The prompt is longer than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">The prompt is longer than memory holds.</exception>
    public async Task<IReadOnlyList<TextContent>> GetTextContentsAsync(
        string prompt, PromptExecutionSettings? executionSettings = null, Kernel? kernel = null, CancellationToken cancellationToken = default)
    {
        var text = new StringBuilder();
        IReadOnlyDictionary<string, object?>? metadata = null;
        await foreach (var part in GetStreamingTextContentsAsync(prompt, executionSettings, kernel, cancellationToken).ConfigureAwait(false))
        {
            text.Append(part.Text);
            metadata = part.Metadata ?? metadata;
        }

        return [new TextContent(text.ToString(), ModelId, metadata: metadata)];
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<StreamingTextContent> GetStreamingTextContentsAsync(
        string prompt, PromptExecutionSettings? executionSettings = null, Kernel? kernel = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var (tokens, options, key, progress) = await PrepareAsync(prompt, executionSettings, cancellationToken).ConfigureAwait(false);
        var answer = AnswerWatch.OverAsync(() => new AnswerWatch(ModelId, tokens.Count, progress, _logger), (watch, cancel) => ContinueAsync(tokens, options, key, watch, cancel), cancellationToken);
        await foreach (var content in answer.ConfigureAwait(false))
        {
            yield return content;
        }
    }

    // To encode a long prompt takes a while, which the caller's thread is not kept for.
    private async Task<Request> PrepareAsync(string prompt, PromptExecutionSettings? settings, CancellationToken cancellationToken)
    {
        try
        {
            return await Task.Run(() => Prepare(prompt, HeadInferPromptExecutionSettings.FromExecutionSettings(settings), cancellationToken), cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            AnswerWatch.Refuse(ModelId, e, _logger);
            throw;
        }
    }

    private Request Prepare(string prompt, HeadInferPromptExecutionSettings settings, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(prompt);
        if (settings.ReasoningEffort is not null || settings.ShowReasoning == true)
        {
            throw new NotSupportedException("ReasoningEffort and ShowReasoning cannot be honoured: text generation knows no thoughts. Use chat completion.");
        }

        if (settings.FunctionChoiceBehavior is not (null or NoneFunctionChoiceBehavior))
        {
            throw new NotSupportedException("FunctionChoiceBehavior cannot be honoured: text generation calls no functions. Use chat completion.");
        }

        var chat = settings.ToChatOptions();
        var options = ChatRequest.Generation(chat, _model.ConnectorDefaults(), ModelId);
        options = options with { Constraint = chat.ResponseFormat is not ChatResponseFormatJson json ? options.Constraint : json.Schema is { } schema ? _schemas.Under(cancellationToken).Of(schema) : _schemas.Any };
        return new Request(_model.Tokenizer.Encode(prompt, addSpecial: true, cancellationToken: cancellationToken), options, chat.CacheKey(), settings.PrefillProgress);
    }

    private async IAsyncEnumerable<StreamingTextContent> ContinueAsync(IReadOnlyList<int> prompt, GenerationOptions options, string key, AnswerWatch watch, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var step in _answering.GenerateAsync(prompt, options, key, (known, _) => watch.Cached = known, (drafted, accepted) => watch.Drafted = (drafted, accepted), watch, cancellationToken).ConfigureAwait(false))
        {
            watch.Step();
            watch.IsComplete = step.FinishReason is not null;
            if (step.Text.Length > 0 || step.FinishReason is not null)
            {
                var metadata = step.FinishReason is null ? null : new Dictionary<string, object?>
                {
                    ["FinishReason"] = step.FinishReason.ToString(),
                    ["Usage"] = watch.Usage,
                };
                yield return new StreamingTextContent(step.Text, modelId: ModelId, metadata: metadata);
            }
        }
    }

    private sealed record Request(IReadOnlyList<int> Tokens, GenerationOptions Options, string Key, IProgress<PrefillProgress>? Progress);
}
