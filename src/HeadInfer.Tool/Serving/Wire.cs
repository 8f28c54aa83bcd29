using System.Text.Json.Serialization;

namespace HeadInfer.Tool.Serving;

/// <summary>The wire format of answers: names in snake case, and what is null is left out, unless clients look for it.</summary>
internal static class Wire
{
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web)
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };
}

internal sealed record Models(string Object, IReadOnlyList<ModelBody> Data);

internal sealed record ModelBody(string Id, string Object, long Created, string OwnedBy);

internal sealed record Completion(string Id, string Object, long Created, string Model, IReadOnlyList<Choice> Choices, Usage? Usage);

internal sealed record Choice(int Index, Answer? Message, Delta? Delta, [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? FinishReason);

internal sealed record Answer(string Role, [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Content, IReadOnlyList<ToolCallBody>? ToolCalls);

internal sealed record Delta(string? Role, string? Content, IReadOnlyList<ToolCallBody>? ToolCalls);

internal sealed record ToolCallBody(string Id, string Type, CallBody Function, int? Index);

internal sealed record CallBody(string Name, string Arguments);

internal sealed record Usage(long PromptTokens, long CompletionTokens, long TotalTokens, PromptDetails PromptTokensDetails, AnswerDetails CompletionTokensDetails);

internal sealed record PromptDetails(long CachedTokens);

internal sealed record AnswerDetails(long AcceptedPredictionTokens, long RejectedPredictionTokens);

internal sealed record TextBody(string Id, string Object, long Created, string Model, IReadOnlyList<TextChoice> Choices, Usage? Usage);

internal sealed record TextChoice(int Index, string Text, [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? FinishReason);

internal sealed record Failure(FailureBody Error);

internal sealed record FailureBody(string Message, string Type, [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Param, [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? Code);
