namespace HeadInfer.SemanticKernel;

/// <summary>A loaded model as the chat client's engine. The model is not owned.</summary>
internal sealed class ModelEngine(HeadInferModel model, string modelId, ILogger logger) : IChatEngine, IDisposable
{
    private readonly Answering _answering = new(model, logger);

    public string ModelId => modelId;

    public Tokenizer Tokenizer => model.Tokenizer;

    public ChatTemplate Template { get; } = model.ChatTemplate
        ?? throw new UnsupportedModelException($"The model '{modelId}' has no chat template and no tokens of ChatML, so it cannot hold a conversation. Set HeadInferOptions.ChatTemplate to the template that it was trained with, put that into its folder as chat_template.jinja, or use AddHeadInferTextGeneration.");

    private readonly IDisposable _watch = HeadInferTelemetry.Watch(model, modelId); // nothing is watched for a model that is refused

    public IReadOnlyList<int> EndTokens => model.EndTokens;

    public GenerationOptions Defaults { get; } = model.ConnectorDefaults();

    public object? GetService(Type type) =>
        type.IsInstanceOfType(model) ? model : type == typeof(Tokenizer) ? model.Tokenizer : type == typeof(ChatTemplate) ? Template : null;

    public IAsyncEnumerable<GenerationStep> GenerateAsync(IReadOnlyList<int> prompt, GenerationOptions options, string key, Action<int, bool> reused, Action<int, int> drafted, IProgress<PrefillProgress>? progress, CancellationToken cancellationToken) =>
        _answering.GenerateAsync(prompt, options, key, reused, drafted, progress, cancellationToken);

    public void Dispose() => _watch.Dispose();
}
