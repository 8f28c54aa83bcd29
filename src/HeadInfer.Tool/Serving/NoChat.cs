using HeadInfer.SemanticKernel;

namespace HeadInfer.Tool.Serving;

/// <summary>Answers conversations where the model has no chat template: it refuses them. Texts are continued without one.</summary>
internal sealed partial class NoChat : IChatClient
{
    private readonly HeadInferModel _model;
    private readonly string _reason;
    private readonly IDisposable _watch;

    /// <param name="model">the model; not owned</param>
    /// <param name="reason">why it cannot hold a conversation</param>
    /// <param name="logger">told so at once</param>
    public NoChat(HeadInferModel model, string reason, ILogger<NoChat> logger)
    {
        (_model, _reason, _watch) = (model, reason, HeadInferTelemetry.Watch(model, model.Name));
        LogReason(logger, reason);
    }

    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) => throw new ChatTemplateException(_reason);

    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) => throw new ChatTemplateException(_reason);

    public object? GetService(Type serviceType, object? serviceKey = null) => serviceType.IsInstanceOfType(_model) ? _model
        : serviceType == typeof(ChatClientMetadata) ? new ChatClientMetadata(HeadInferChatClient.ProviderName, defaultModelId: _model.Name) : null;

    public void Dispose() => _watch.Dispose();

    [LoggerMessage(1, LogLevel.Warning, "Texts are continued, and conversations refused. {Reason}")]
    private static partial void LogReason(ILogger logger, string reason);
}
