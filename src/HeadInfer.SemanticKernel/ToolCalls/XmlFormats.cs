using System.Text.RegularExpressions;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Qwen3-Coder: <c>&lt;tool_call&gt;&lt;function=name&gt;&lt;parameter=key&gt;value&lt;/parameter&gt;&lt;/function&gt;&lt;/tool_call&gt;</c>, each on a line. The model often leaves out the outer tag.</summary>
/// <param name="seed">whether the calls are Seed-OSS's: the outer tag is <c>&lt;seed:tool_call&gt;</c>, and a value is not on a line of its own</param>
internal sealed partial class QwenCoderFormat(bool seed = false) : XmlFormat(seed ? "seed:tool_call" : "tool_call")
{
    private const string Function = "<function=", FunctionEnd = "</function>", ParameterEnd = "</parameter>";

    public override IReadOnlyList<CallMarks> Marks => [new(Start, End), new(Function, FunctionEnd, StartIsPart: true)];

    public override bool IsWhole(string body) =>
        body.AsSpan().TrimEnd() is var text && (text.EndsWith(FunctionEnd) || text.EndsWith(ParameterEnd) || !body.Contains("<parameter=", StringComparison.Ordinal));

    // A function that nobody offered is spoken of, not called.
    public override bool? IsCall(string body, IReadOnlyList<ChatTool> tools) =>
        !body.StartsWith(Function, StringComparison.Ordinal) ? true
        : body.IndexOfAny(['>', '\n'], Function.Length) is >= 0 and var end ? tools.Any(t => t.Name == body[Function.Length..end].Trim())
        : null;

    public override IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools) => IsCall(body, tools) == false ? [] : base.Parse(body, tools);

    public override IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text) =>
    [
        .. base.Hold(tools, schemas, text),
        .. tools.Select(t => ($"{Function}{t.Name}>\n", OutputConstraint.Sequence(
            schemas.Later(t, () => OutputConstraint.Sequence([.. Parameters(t, schemas), OutputConstraint.Text(FunctionEnd)]), OutputConstraint.Until(FunctionEnd)), text))),
    ];

    protected override OutputConstraint Name(ChatTool tool) => OutputConstraint.Text($"\n{Function}{tool.Name}>\n");

    protected override OutputConstraint? Last { get; } = OutputConstraint.Text(FunctionEnd + "\n");

    protected override OutputConstraint Before(string parameter) => OutputConstraint.Text($"<parameter={parameter}>{(seed ? "" : "\n")}");

    protected override OutputConstraint Between { get; } = OutputConstraint.Text("\n");

    protected override string After => seed ? ParameterEnd : "\n" + ParameterEnd;

    protected override string Close => ParameterEnd;

    protected override Regex Head { get; } = HeadShape();

    protected override Regex Parameter { get; } = seed ? SeedParameterShape() : ParameterShape();

    protected override Regex Follows { get; } = FollowsShape();

    protected override Regex Tail { get; } = TailShape();

    [GeneratedRegex(@"\G\s*<function=(?<name>[^>\n]+)>", RegexOptions.CultureInvariant)]
    private static partial Regex HeadShape();

    [GeneratedRegex(@"\G\s*<parameter=(?<key>[^>\n]+)>\n?", RegexOptions.CultureInvariant)]
    private static partial Regex ParameterShape();

    [GeneratedRegex(@"\G\s*<parameter=(?<key>[^>\n]+)>", RegexOptions.CultureInvariant)]
    private static partial Regex SeedParameterShape();

    [GeneratedRegex(@"\G\s*(<parameter=|</function>|$)", RegexOptions.CultureInvariant)]
    private static partial Regex FollowsShape();

    [GeneratedRegex(@"\G\s*</function>\s*", RegexOptions.CultureInvariant)]
    private static partial Regex TailShape();
}

/// <summary>GLM 4.5 and later: <c>&lt;tool_call&gt;name&lt;arg_key&gt;key&lt;/arg_key&gt;&lt;arg_value&gt;value&lt;/arg_value&gt;&lt;/tool_call&gt;</c>, at first each on a line.</summary>
internal sealed partial class GlmFormat() : XmlFormat("tool_call")
{
    private const string ValueEnd = "</arg_value>";

    public override IReadOnlyList<CallMarks> Marks => [new(Start, End)];

    // What answers calls begins so, and models begin it themselves.
    public override IReadOnlyList<string> Stops => ["<|observation|>"];

    public override bool IsWhole(string body) => body.AsSpan().TrimEnd().EndsWith(ValueEnd) || !body.Contains("<arg_key>", StringComparison.Ordinal);

    protected override OutputConstraint Name(ChatTool tool) => OutputConstraint.Sequence(OutputConstraint.Text(tool.Name), Between);

    protected override OutputConstraint? Last => null;

    protected override OutputConstraint Before(string parameter) =>
        OutputConstraint.Sequence(OutputConstraint.Text($"<arg_key>{parameter}</arg_key>"), Between, OutputConstraint.Text("<arg_value>"));

    protected override OutputConstraint Between { get; } = OutputConstraint.Optional(OutputConstraint.Text("\n"));

    protected override string After => ValueEnd;

    protected override string Close => ValueEnd;

    protected override Regex Head { get; } = HeadShape();

    protected override Regex Parameter { get; } = ParameterShape();

    protected override Regex Follows { get; } = FollowsShape();

    protected override Regex? Tail => null;

    [GeneratedRegex(@"\G\s*(?<name>[^\s<]+)", RegexOptions.CultureInvariant)]
    private static partial Regex HeadShape();

    [GeneratedRegex(@"\G\s*<arg_key>(?<key>[^<]*)</arg_key>\s*<arg_value>", RegexOptions.CultureInvariant)]
    private static partial Regex ParameterShape();

    [GeneratedRegex(@"\G\s*(<arg_key>|$)", RegexOptions.CultureInvariant)]
    private static partial Regex FollowsShape();
}

/// <summary>Calls written with tags.</summary>
/// <param name="tag">the outer one</param>
internal abstract class XmlFormat(string tag) : IToolCallFormat
{
    protected string Start { get; } = $"<{tag}>";

    protected string End { get; } = $"</{tag}>";

    public abstract IReadOnlyList<CallMarks> Marks { get; }

    public IReadOnlyList<string> Markers => [Start, End];

    public virtual IReadOnlyList<string> Stops => [];

    public abstract bool IsWhole(string body);

    public virtual bool? IsCall(string body, IReadOnlyList<ChatTool> tools) => true;

    /// <summary>What stands before the parameters.</summary>
    protected abstract OutputConstraint Name(ChatTool tool);

    /// <summary>What stands after them; null if nothing does.</summary>
    protected abstract OutputConstraint? Last { get; }

    protected abstract OutputConstraint Before(string parameter);

    /// <summary>What stands after a parameter.</summary>
    protected abstract OutputConstraint Between { get; }

    protected abstract string After { get; }

    /// <summary>What closes a value, whatever white space is before it.</summary>
    protected abstract string Close { get; }

    /// <summary>Reads a function's <c>name</c>.</summary>
    protected abstract Regex Head { get; }

    /// <summary>Reads a parameter's <c>key</c>; its value follows.</summary>
    protected abstract Regex Parameter { get; }

    /// <summary>What follows a value: a closing tag with something else behind it is part of the value.</summary>
    protected abstract Regex Follows { get; }

    /// <summary>Reads a function's end; null if it has none.</summary>
    protected abstract Regex? Tail { get; }

    public virtual IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools)
    {
        var (calls, at) = (new List<ParsedCall>(), 0);
        do
        {
            if (Head.Match(body, at) is not { Success: true } head)
            {
                return [.. calls, new ParsedCall("", null, new FormatException($"The model's function call names no function: {body[at..].Trim()}"), body[at..])];
            }

            var from = at;
            var (name, arguments) = (head.Groups["name"].Value.Trim(), new Dictionary<string, object?>(StringComparer.Ordinal));
            at = head.Index + head.Length;
            var schema = tools.FirstOrDefault(t => t.Name == name) is { } tool ? SchemaWays.Schema(tool) : null;
            var parameters = SchemaWays.Parameters(schema).Properties.ToDictionary(p => p.Key, p => p.Value, StringComparer.Ordinal);
            for (var match = Parameter.Match(body, at); match.Success; match = Parameter.Match(body, at))
            {
                var (start, key) = (match.Index + match.Length, match.Groups["key"].Value);
                if (EndOfValue(body, start) is not (>= 0 and var end))
                {
                    break;
                }

                var text = body[start..(end > start && After.StartsWith('\n') && body[end - 1] == '\n' ? end - 1 : end)];
                arguments[key] = parameters.TryGetValue(key, out var property) ? new TaggedValue(property, schema).Read(text) : text;
                at = end + Close.Length;
            }

            at += Tail?.Match(body, at).Length ?? 0;
            calls.Add(string.IsNullOrWhiteSpace(body[at..]) || (Tail is not null && Head.IsMatch(body, at))
                ? new ParsedCall(name, arguments)
                : new ParsedCall(name, null, new FormatException($"The arguments of the model's call of '{name}' cannot be read: {body[at..].Trim()}"), body[from..]));
        }
        while (calls[^1].Error is null && !string.IsNullOrWhiteSpace(body[at..]));
        return calls;
    }

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) =>
        OutputConstraint.Repeat(OutputConstraint.Sequence(OutputConstraint.Marker(Start), OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(Name(t), AfterName(t, schemas)))])), "\n", most);

    public virtual IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text) =>
        [(Start, OutputConstraint.Sequence(
            OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(Name(t), schemas.Later(t, () => AfterName(t, schemas), OutputConstraint.Until(End))))]), text))];

    /// <summary>The parameters of a function, in its schema's order.</summary>
    protected IEnumerable<OutputConstraint> Parameters(ChatTool tool, SchemaForms schemas)
    {
        var schema = SchemaWays.Schema(tool);
        var (properties, required) = SchemaWays.Parameters(schema);
        foreach (var (name, property) in properties)
        {
            var parameter = OutputConstraint.Sequence(Before(name), new TaggedValue(property, schema).Constrain(After, schemas), Between);
            yield return required.Contains(name) ? parameter : OutputConstraint.Optional(parameter);
        }
    }

    private OutputConstraint AfterName(ChatTool tool, SchemaForms schemas) =>
        OutputConstraint.Sequence([.. Parameters(tool, schemas), .. Last is null ? (OutputConstraint[])[] : [Last], OutputConstraint.Marker(End)]);

    private int EndOfValue(string body, int from)
    {
        var end = body.IndexOf(Close, from, StringComparison.Ordinal);
        while (end >= 0 && !Follows.IsMatch(body, end + Close.Length))
        {
            end = body.IndexOf(Close, end + Close.Length, StringComparison.Ordinal);
        }

        return end;
    }
}
