using HeadInfer.Runtime;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Llama 3.1 and later: the answer is <c>{"name": ..., "parameters": {...}}</c> and nothing else.</summary>
internal sealed class LlamaFormat : IToolCallFormat
{
    public string Start => "{\"name\"";

    public string? End => null;

    public IReadOnlyList<string> Markers => ["<|python_tag|>"];

    // Other JSON may begin so too; it names no function that was offered.
    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools)
    {
        var calls = JsonCalls.Parse(Start + body, "parameters");
        return calls.All(c => c.Error is null) && !calls.Any(c => tools.Any(t => t.Name == c.Name)) ? [] : calls;
    }

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) => JsonCalls.Constrain(tools, "parameters", schemas);
}
