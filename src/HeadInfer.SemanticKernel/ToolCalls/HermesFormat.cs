namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Hermes, Qwen 2.5 and 3: <c>&lt;tool_call&gt;{"name": ..., "arguments": {...}}&lt;/tool_call&gt;</c>, one call each.</summary>
internal sealed class HermesFormat : IToolCallFormat
{
    public string Start => "<tool_call>";

    public string End => "</tool_call>";

    public IReadOnlyList<ParsedCall> Parse(string body) => JsonCalls.Parse(body, "arguments");
}
