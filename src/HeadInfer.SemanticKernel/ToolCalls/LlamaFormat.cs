using HeadInfer.Runtime;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Llama 3.1 and later: the answer is <c>{"name": ..., "parameters": {...}}</c>, or several of them, and nothing else.</summary>
internal sealed class LlamaFormat : IToolCallFormat
{
    private const string Tag = "<|python_tag|>";

    public string Start => "{";

    public string? End => null;

    public bool OnlyAtBeginning => true;

    public IReadOnlyList<string> Markers => [Tag];

    /// <summary>What may stand before the first call.</summary>
    public string? Prefix => Tag;

    // Other JSON may be an answer too; it names no function that was offered.
    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools)
    {
        var calls = JsonCalls.ParseMany(Start + body, "parameters");
        return calls.Any(c => c.Error is null) && !calls.Any(c => tools.Any(t => t.Name == c.Name)) ? [] : calls;
    }

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) =>
        OutputConstraint.Repeat(JsonCalls.Constrain(tools, "parameters", schemas), "; ", most);
}
