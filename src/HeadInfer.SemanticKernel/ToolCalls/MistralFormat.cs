namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Mistral: <c>[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]</c>, to the end of the answer.</summary>
internal sealed class MistralFormat : IToolCallFormat
{
    public string Start => "[TOOL_CALLS]";

    public string? End => null;

    public IReadOnlyList<ParsedCall> Parse(string body) => JsonCalls.Parse(body, "arguments");
}
