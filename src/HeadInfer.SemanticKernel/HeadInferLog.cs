namespace HeadInfer.SemanticKernel;

/// <summary>Everything that is logged, but for what of a JSON schema is not enforced. Ids are kept: filters and alerts rest on them.</summary>
internal static partial class HeadInferLog
{
    [LoggerMessage(1, LogLevel.Information, "Loading a model from {ModelPath}")]
    public static partial void Loading(ILogger logger, string modelPath);

    [LoggerMessage(2, LogLevel.Information, "Loaded the model '{ModelId}' in {Seconds:F1} s; it computes on {Device}")]
    public static partial void Loaded(ILogger logger, string modelId, double seconds, string device);

    [LoggerMessage(3, LogLevel.Information, "The plan of the model '{ModelId}': {Plan}")]
    public static partial void Planned(ILogger logger, string modelId, string plan);

    [LoggerMessage(4, LogLevel.Warning, "{Warning}")]
    public static partial void Warned(ILogger logger, string warning);

    [LoggerMessage(5, LogLevel.Warning, "Models of several folders are registered {Key}; the last one, {ModelPath}, is taken in place of {Others}")]
    public static partial void Replaced(ILogger logger, string key, string modelPath, string others);

    [LoggerMessage(6, LogLevel.Error, "The model '{ServiceId}' could not be loaded at the host's start; the next request tries again")]
    public static partial void NotLoaded(ILogger logger, Exception exception, string serviceId);

    [LoggerMessage(7, LogLevel.Warning, "The model '{ServiceId}' is loaded, but its first pass at the host's start failed; requests are answered all the same")]
    public static partial void NotWarm(ILogger logger, Exception exception, string serviceId);

    [LoggerMessage(10, LogLevel.Debug, "Reading {Tokens} tokens; {Cached} before them are known")]
    public static partial void Reading(ILogger logger, int tokens, int cached);

    [LoggerMessage(11, LogLevel.Information, "Read {Tokens} tokens in {Seconds:F3} s, after {QueueSeconds:F3} s in the queue")]
    public static partial void Read(ILogger logger, int tokens, double seconds, double queueSeconds);

    [LoggerMessage(12, LogLevel.Information, "Forgot {Size} of what earlier requests read, to make room")]
    public static partial void Forgot(ILogger logger, ByteSize size);

    [LoggerMessage(13, LogLevel.Debug, "Answered with {Tokens} tokens in {Seconds:F3} s")]
    public static partial void Answered(ILogger logger, int tokens, double seconds);

    [LoggerMessage(17, LogLevel.Warning, "The request was refused: {Reason}")]
    public static partial void Refused(ILogger logger, string reason);

    [LoggerMessage(14, LogLevel.Warning, "The request failed after {Tokens} tokens of its answer")]
    public static partial void Failed(ILogger logger, Exception exception, int tokens);

    [LoggerMessage(15, LogLevel.Information, "The caller gave the request up after {Tokens} tokens of its answer")]
    public static partial void Cancelled(ILogger logger, int tokens);

    [LoggerMessage(18, LogLevel.Information, "Conversations of this model cannot always go on where an answer ended, so some answers are read again: {Reason}")]
    public static partial void NotContinued(ILogger logger, string reason);

    [LoggerMessage(EventId = 19, Message = "Of {Tokens} tokens those from {Token} on are read again, since {Reason}; there it says: {Words}")]
    public static partial void Missed(ILogger logger, LogLevel level, int token, int tokens, string reason, string words);

    [LoggerMessage(20, LogLevel.Warning, "The answer's {Tokens} tokens ended within hidden thoughts, so nothing was said; ask for more tokens, or for less thinking")]
    public static partial void CutThoughts(ILogger logger, int tokens);

    [LoggerMessage(21, LogLevel.Warning, "Functions are offered, and how this model writes calls is not known; {Format} is assumed. HeadInferChatClientOptions.ToolCallFormat says it")]
    public static partial void UnknownFormat(ILogger logger, ToolCallFormat format);

    [LoggerMessage(22, LogLevel.Information, "ChatOptions.AdditionalProperties has '{Name}', which this client does not know, and leaves alone")]
    public static partial void UnknownProperty(ILogger logger, string name);

    [LoggerMessage(16, LogLevel.Information, "Forgot the conversation '{ConversationId}', which made room")]
    public static partial void ForgotConversation(ILogger logger, string conversationId);
}
