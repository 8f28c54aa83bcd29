using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Hermes, Qwen 2.5 and 3: <c>&lt;tool_call&gt;{"name": ..., "arguments": {...}}&lt;/tool_call&gt;</c>, one call each.</summary>
internal sealed class HermesFormat : IToolCallFormat
{
    private const string Start = "<tool_call>", End = "</tool_call>";

    public IReadOnlyList<CallMarks> Marks { get; } = [new(Start, End)];

    public IReadOnlyList<string> Markers => [Start, End];

    public bool IsWhole(string body) => JsonCalls.IsWhole(body);

    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools) => JsonCalls.Parse(body);

    public TemplateText Write(IReadOnlyList<ChatToolCall> calls)
    {
        var text = new TemplateTextBuilder();
        foreach (var call in calls)
        {
            text.Append(TemplateText.Trusted((text.Length > 0 ? "\n" : "") + Start + "\n"));
            JsonCalls.Write(call, text);
            text.Append(TemplateText.Trusted("\n" + End));
        }

        return text.Build();
    }

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) =>
        OutputConstraint.Repeat(OutputConstraint.Sequence(OutputConstraint.Marker(Start), AfterStart(tools, schemas.Arguments)), "\n", most);

    public IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text) =>
        [(Start, OutputConstraint.Sequence(AfterStart(tools, schemas.ArgumentsLater), text))];

    private static OutputConstraint AfterStart(IReadOnlyList<ChatTool> tools, Func<ChatTool, OutputConstraint> arguments) =>
        OutputConstraint.Sequence(OutputConstraint.Text("\n"), JsonCalls.Constrain(tools, "arguments", arguments), OutputConstraint.Text("\n"), OutputConstraint.Marker(End));
}
