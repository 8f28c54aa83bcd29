using HeadInfer.Runtime;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>
/// Mistral: <c>[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]</c>, to the end of the answer; since 2025
/// <c>[TOOL_CALLS]name[ARGS]{...}</c>, once for each call.
/// </summary>
/// <param name="names">whether the name stands before the arguments</param>
internal sealed class MistralFormat(bool names) : IToolCallFormat
{
    private const string Arguments = "[ARGS]", Id = "[CALL_ID]";

    public string Start => "[TOOL_CALLS]";

    public string? End => null;

    public IReadOnlyList<string> Markers => [Start, Arguments, Id];

    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools) =>
        body.TrimStart() is ['[' or '{', ..] ? JsonCalls.ParseMany(body, "arguments") : [.. Calls(body).Select(One)];

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) => names
        ? OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(
            OutputConstraint.Marker(Start), OutputConstraint.Text(t.Name), OutputConstraint.Marker(Arguments), schemas.Of(t.Parameters)))])
        : OutputConstraint.Sequence(
            OutputConstraint.Marker(Start), OutputConstraint.Text("["), OutputConstraint.Repeat(JsonCalls.Constrain(tools, "arguments", schemas), ", ", most), OutputConstraint.Text("]"));

    // The marker may be within an argument's text, too.
    private List<string> Calls(string body)
    {
        var calls = new List<string>();
        foreach (var part in body.Split(Start))
        {
            if (calls.Count > 0 && calls[^1].IndexOf(Arguments, StringComparison.Ordinal) is >= 0 and var at && !JsonCalls.IsWhole(calls[^1][(at + Arguments.Length)..]))
            {
                calls[^1] += Start + part;
            }
            else
            {
                calls.Add(part);
            }
        }

        return calls;
    }

    private static ParsedCall One(string text)
    {
        var at = text.IndexOf(Arguments, StringComparison.Ordinal);
        return at < 0
            ? new ParsedCall("", null, new FormatException($"The model's function call has no {Arguments}: {text.Trim()}"), text)
            : JsonCalls.Call(text[..at].Split(Id)[0].Trim(), text[(at + Arguments.Length)..]);
    }
}
