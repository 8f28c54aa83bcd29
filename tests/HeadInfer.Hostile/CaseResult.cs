using System.Text.Json;

namespace HeadInfer.Hostile;

/// <summary>What a case did.</summary>
/// <param name="Outcome"><c>ok</c>, <c>refused</c> or <c>FAIL</c></param>
/// <param name="Seconds">from the input to its refusal or to the start of its reading</param>
/// <param name="MiB">most memory in that time, above the process at rest</param>
/// <param name="SecondsPerToken">time that keeping to the form took, a token; 0 if nothing was generated</param>
/// <param name="SecondsToCancel">from a cancellation amid the work to its end; 0 if the work is too short for one</param>
/// <param name="Message">why it was refused, or what it gave</param>
internal sealed record CaseResult(string Outcome, double Seconds, double MiB, double SecondsPerToken, double SecondsToCancel, string Message)
{
    public string ToJson() => JsonSerializer.Serialize(this);

    public static CaseResult FromJson(string text) => JsonSerializer.Deserialize<CaseResult>(text) ?? throw new JsonException("a case printed null");
}
