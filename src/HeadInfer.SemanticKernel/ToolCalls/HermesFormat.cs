using HeadInfer.Runtime;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Hermes, Qwen 2.5 and 3: <c>&lt;tool_call&gt;{"name": ..., "arguments": {...}}&lt;/tool_call&gt;</c>, one call each.</summary>
internal sealed class HermesFormat : IToolCallFormat
{
    public string Start => "<tool_call>";

    public string? End => "</tool_call>";

    public IReadOnlyList<string> Markers => [Start, End!];

    public bool IsWhole(string body) => JsonCalls.IsWhole(body);

    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools) => JsonCalls.Parse(body, "arguments");

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) => OutputConstraint.Repeat(
        OutputConstraint.Sequence(OutputConstraint.Marker(Start), OutputConstraint.Text("\n"), JsonCalls.Constrain(tools, "arguments", schemas), OutputConstraint.Text("\n"), OutputConstraint.Marker(End!)),
        "\n",
        most);
}
