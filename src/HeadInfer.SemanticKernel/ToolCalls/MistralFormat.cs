namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>
/// Mistral: <c>[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]</c>, to the end of the answer; since 2025
/// <c>[TOOL_CALLS]name[ARGS]{...}</c>, once for each call.
/// </summary>
/// <param name="names">whether the name stands before the arguments</param>
/// <param name="ids">whether an id may stand between them: <c>[TOOL_CALLS]name[CALL_ID]id[ARGS]{...}</c></param>
internal sealed class MistralFormat(bool names, bool ids = false) : IToolCallFormat
{
    /// <summary>What an id stands behind.</summary>
    public const string Id = "[CALL_ID]";

    private const string Start = "[TOOL_CALLS]", Arguments = "[ARGS]";
    private const int IdLength = 9;

    private static readonly OutputConstraint LetterOrDigit = OutputConstraint.OneOf(
        [.. "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".Select(c => OutputConstraint.Text(c.ToString()))]);

    private readonly OutputConstraint[] _id = ids
        ? [OutputConstraint.Optional(OutputConstraint.Sequence([OutputConstraint.Marker(Id), .. Enumerable.Repeat(LetterOrDigit, IdLength)]))]
        : [];

    public IReadOnlyList<CallMarks> Marks { get; } = [new(Start, null)];

    public IReadOnlyList<string> Markers => [Start, Arguments, Id];

    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools) =>
        body.TrimStart() is ['[' or '{', ..] and var json && !json.StartsWith(Arguments, StringComparison.Ordinal) ? JsonCalls.ParseMany(json) : [.. Calls(body).Select(c => One(c, tools))];

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) => names
        ? Markup.Several(OutputConstraint.Sequence(OutputConstraint.Marker(Start), NamedCall(tools, schemas.Arguments)), most)
        : OutputConstraint.Sequence(OutputConstraint.Marker(Start), JsonCalls.ConstrainList(tools, most, schemas.Arguments));

    public IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text)
    {
        if (!names)
        {
            return [(Start, OutputConstraint.Sequence(OutputConstraint.Optional(OutputConstraint.Text(" ")), JsonCalls.ConstrainList(tools, int.MaxValue, schemas.ArgumentsLater)))];
        }

        OutputConstraint? calls = null;
        var more = OutputConstraint.Optional(OutputConstraint.Sequence(OutputConstraint.Marker(Start), OutputConstraint.Defer(() => calls!)));
        return [(Start, calls = OutputConstraint.Sequence(NamedCall(tools, schemas.ArgumentsLater), more))];
    }

    private OutputConstraint NamedCall(IReadOnlyList<ChatTool> tools, Func<ChatTool, OutputConstraint> arguments) => OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(
        [OutputConstraint.Text(t.Name), .. _id, OutputConstraint.Marker(Arguments), arguments(t)]))]);

    // The marker may be within an argument's text, too.
    private static List<string> Calls(string body)
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

    // Without arguments there may be the name alone.
    private static ParsedCall One(string text, IReadOnlyList<ChatTool> tools)
    {
        var at = text.IndexOf(Arguments, StringComparison.Ordinal);
        var name = (at < 0 ? text : text[..at]).Split(Id)[0].Trim();
        return at >= 0 ? JsonCalls.Call(name, text[(at + Arguments.Length)..])
            : tools.Any(t => t.Name == name) ? JsonCalls.Call(name, "")
            : new ParsedCall("", null, new FormatException($"The model's function call has no {Arguments}: {text.Trim()}"), text);
    }
}
