using System.Text.Json;
using System.Text.Json.Serialization;

namespace ChatServer;

/// <summary>The wire format: names in snake case, and what is null is left out.</summary>
internal static class Wire
{
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web)
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };
}

// What comes in. Whatever else a client sends is about its own business, such as "user" and "store".
internal sealed record ChatRequestBody(
    string? Model, IReadOnlyList<MessageBody>? Messages, bool? Stream, StreamOptionsBody? StreamOptions, float? Temperature, float? TopP, int? MaxTokens, int? MaxCompletionTokens,
    JsonElement? Stop, long? Seed, float? FrequencyPenalty, float? PresencePenalty, JsonElement? ResponseFormat, IReadOnlyList<ToolBody>? Tools, JsonElement? ToolChoice,
    bool? ParallelToolCalls, string? ReasoningEffort, int? N, bool? Logprobs);

internal sealed record StreamOptionsBody(bool? IncludeUsage);

internal sealed record MessageBody(string? Role, JsonElement? Content, string? Name, string? ToolCallId, IReadOnlyList<ToolCallBody>? ToolCalls);

internal sealed record ToolBody(string? Type, FunctionBody? Function);

internal sealed record FunctionBody(string? Name, string? Description, JsonElement? Parameters);

internal sealed record ToolCallBody(string? Id, string? Type, CallBody? Function, int? Index = null);

internal sealed record CallBody(string? Name, string? Arguments);

// What goes out: whole, or in chunks.
internal sealed record Completion(string Id, string Object, long Created, string Model, IReadOnlyList<Choice> Choices, Usage? Usage);

internal sealed record Choice(int Index, Answer? Message, Answer? Delta, string? FinishReason);

internal sealed record Answer(string? Role, string? Content, IReadOnlyList<ToolCallBody>? ToolCalls);

internal sealed record Usage(long PromptTokens, long CompletionTokens, long TotalTokens, PromptDetails PromptTokensDetails);

internal sealed record PromptDetails(long CachedTokens);

internal sealed record Failure(FailureBody Error);

internal sealed record FailureBody(string Message, string Type, string? Code);
