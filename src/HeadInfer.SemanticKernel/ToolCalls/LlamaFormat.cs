namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Llama 3.1 and later: the answer is <c>{"name": ..., "parameters": {...}}</c> and nothing else.</summary>
internal sealed class LlamaFormat : IToolCallFormat
{
    public string Start => "{\"name\"";

    public string? End => null;

    public IReadOnlyList<ParsedCall> Parse(string body) => JsonCalls.Parse(Start + body, "parameters");
}
