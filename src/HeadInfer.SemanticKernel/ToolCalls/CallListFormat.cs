using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>A JSON list of calls behind a marker: <c>&lt;|tool_call|&gt;[{"name": ..., "arguments": {...}}, ...]</c> of Granite 3, with <c>&lt;|/tool_call|&gt;</c> behind it of Phi-4-mini, and in <c>&lt;TOOLCALL&gt;</c> of Nemotron Nano 2.</summary>
/// <param name="start">what stands before the list</param>
/// <param name="end">what stands behind the list; null if nothing does</param>
internal sealed class CallListFormat(string start, string? end) : IToolCallFormat
{
    public const string NemotronStart = "<TOOLCALL>";

    private const string Mark = "<|tool_call|>";

    public static CallListFormat Granite => new(Mark, null);

    public static CallListFormat Phi => new(Mark, "<|/tool_call|>");

    public static CallListFormat Nemotron => new(NemotronStart, "</TOOLCALL>");

    public IReadOnlyList<CallMarks> Marks { get; } = [new(start, end)];

    public IReadOnlyList<string> Markers => end is null ? [start] : [start, end];

    public bool IsWhole(string body) => JsonCalls.IsWhole(body);

    // A call may stand without the list.
    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools) => JsonCalls.ParseMany(body.Trim());

    public TemplateText Write(IReadOnlyList<ChatToolCall> calls)
    {
        var text = new TemplateTextBuilder().Append(TemplateText.Trusted(start + "["));
        foreach (var (call, at) in calls.Select((c, i) => (c, i)))
        {
            text.Append(TemplateText.Trusted(at > 0 ? ", " : ""));
            JsonCalls.Write(call, text);
        }

        return text.Append(TemplateText.Trusted("]" + end)).Build();
    }

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) =>
        OutputConstraint.Sequence(OutputConstraint.Marker(start), AfterStart(tools, most, schemas.Arguments));

    public IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text)
    {
        var calls = OutputConstraint.Sequence(OutputConstraint.Space(), AfterStart(tools, int.MaxValue, schemas.ArgumentsLater));
        return [(start, end is null ? calls : OutputConstraint.Sequence(calls, text))];
    }

    private OutputConstraint AfterStart(IReadOnlyList<ChatTool> tools, int most, Func<ChatTool, OutputConstraint> arguments)
    {
        var list = JsonCalls.ConstrainList(tools, most, arguments);
        return end is null ? list : OutputConstraint.Sequence(list, OutputConstraint.Marker(end));
    }
}
