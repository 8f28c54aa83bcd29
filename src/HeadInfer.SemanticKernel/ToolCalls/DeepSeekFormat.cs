namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>
/// DeepSeek: calls between <c>&lt;｜tool▁calls▁begin｜&gt;</c> and <c>&lt;｜tool▁calls▁end｜&gt;</c>. One of V3 and R1 is
/// <c>&lt;｜tool▁call▁begin｜&gt;function&lt;｜tool▁sep｜&gt;name</c> with the arguments in a block of code, one of V3.1 is
/// <c>&lt;｜tool▁call▁begin｜&gt;name&lt;｜tool▁sep｜&gt;{...}&lt;｜tool▁call▁end｜&gt;</c>.
/// </summary>
/// <param name="names">whether the name stands before the arguments, with nothing else</param>
internal sealed class DeepSeekFormat(bool names) : IToolCallFormat
{
    private const string CallsStart = "<｜tool▁calls▁begin｜>", CallsEnd = "<｜tool▁calls▁end｜>";
    private const string CallStart = "<｜tool▁call▁begin｜>", CallEnd = "<｜tool▁call▁end｜>", Separator = "<｜tool▁sep｜>";
    private const string Fence = "```";

    // R1's template leaves out what begins the calls of a second round, and so does the model.
    public IReadOnlyList<CallMarks> Marks { get; } = [new(CallsStart, CallsEnd), new(CallStart, CallEnd, StartIsPart: true)];

    public IReadOnlyList<string> Markers => [CallsStart, CallsEnd, CallStart, CallEnd, Separator];

    public bool IsWhole(string body) => Read(body).Broken is not { } rest || JsonCalls.IsWhole(rest);

    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools) => Read(body).Calls;

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) =>
        OutputConstraint.Sequence(OutputConstraint.Marker(CallsStart), Calls(tools, most, schemas.Arguments));

    public IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text) =>
    [
        (CallsStart, OutputConstraint.Sequence(OutputConstraint.Space(), Calls(tools, int.MaxValue, schemas.ArgumentsLater), text)),
        (CallStart, OutputConstraint.Sequence(AfterStart(tools, schemas.ArgumentsLater), text)),
    ];

    private OutputConstraint Calls(IReadOnlyList<ChatTool> tools, int most, Func<ChatTool, OutputConstraint> arguments)
    {
        var call = OutputConstraint.Sequence(OutputConstraint.Marker(CallStart), AfterStart(tools, arguments));
        return OutputConstraint.Sequence(names ? Markup.Several(call, most) : OutputConstraint.Repeat(call, "\n", most), OutputConstraint.Marker(CallsEnd));
    }

    private OutputConstraint AfterStart(IReadOnlyList<ChatTool> tools, Func<ChatTool, OutputConstraint> arguments) => OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(
        Markup.Form(names ? t.Name + Separator : $"function{Separator}{t.Name}\n{Fence}json\n"), arguments(t), Markup.Form(names ? CallEnd : $"\n{Fence}{CallEnd}")))]);

    // The calls, and the arguments that are no whole JSON. A marker within a text of an argument is none.
    private static (List<ParsedCall> Calls, string? Broken) Read(string body)
    {
        var (calls, rest) = (new List<ParsedCall>(), Without(CallsEnd, Without(CallStart, body)));
        do
        {
            var at = rest.IndexOf(Separator, StringComparison.Ordinal);
            if (at < 0)
            {
                calls.Add(new ParsedCall("", null, new FormatException($"The model's function call has no {Separator}: {rest.Trim()}"), rest));
                return (calls, null);
            }

            var (name, arguments) = (rest[..at].Trim(), rest[(at + Separator.Length)..].TrimStart());
            if (arguments is not ['{', ..] && arguments.IndexOf('\n', StringComparison.Ordinal) is >= 0 and var line)
            {
                (name, arguments) = (arguments[..line].Trim(), arguments[line..].TrimStart()); // before it stood "function"
                arguments = arguments.StartsWith(Fence, StringComparison.Ordinal) ? Without("json", arguments[Fence.Length..]) : arguments;
            }

            var isEmpty = arguments.Length == 0 || arguments.StartsWith(CallEnd, StringComparison.Ordinal);
            if (!isEmpty && JsonCalls.FirstValue(arguments) is null)
            {
                calls.Add(JsonCalls.Call(name, arguments));
                return (calls, arguments);
            }

            var json = isEmpty ? "" : JsonCalls.FirstValue(arguments)!;
            calls.Add(JsonCalls.Call(name, json));
            rest = Without(CallStart, Without(CallEnd, Without(Fence, arguments[json.Length..])));
        }
        while (!string.IsNullOrWhiteSpace(rest) && rest.Contains(Separator, StringComparison.Ordinal));
        return (calls, null);
    }

    private static string Without(string beginning, string text) =>
        text.AsSpan().TrimStart().StartsWith(beginning) ? text.TrimStart()[beginning.Length..].TrimStart() : text.TrimStart();
}
