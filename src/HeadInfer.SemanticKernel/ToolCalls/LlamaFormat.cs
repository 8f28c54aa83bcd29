namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Llama 3.1 and later: the answer is <c>{"name": ..., "parameters": {...}}</c>, or several of them, and nothing else.</summary>
internal sealed class LlamaFormat : IToolCallFormat
{
    private const string Tag = "<|python_tag|>";

    public IReadOnlyList<CallMarks> Marks { get; } = [new("{", null, StartIsPart: true)];

    public bool OnlyAtBeginning => true;

    public IReadOnlyList<string> Markers => [Tag];

    /// <summary>What may stand before the first call.</summary>
    public string? Prefix => Tag;

    public bool? IsCall(string body, IReadOnlyList<ChatTool> tools) => JsonCalls.MayCall(body, tools);

    // An answer may be JSON, too, such as a caller's schema asks for.
    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools)
    {
        if (IsCall(body, tools) != true)
        {
            return [];
        }

        var calls = JsonCalls.ParseMany(body);
        return calls.All(c => c.Error is not null || tools.Any(t => t.Name == c.Name)) ? calls : [.. calls.Where(c => tools.Any(t => t.Name == c.Name))];
    }

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) => Calls(tools, most, schemas.Arguments);

    // Before a function is named, JSON may be an answer.
    public IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text)
    {
        var calls = Calls(tools, int.MaxValue, schemas.ArgumentsLater);
        var more = OutputConstraint.Optional(OutputConstraint.Sequence(OutputConstraint.Text("; "), calls));
        return [(Tag, calls), .. tools.Select(t => (JsonCalls.Beginning(t, "parameters"), OutputConstraint.Sequence(schemas.ArgumentsLater(t), OutputConstraint.Text("}"), more)))];
    }

    private static OutputConstraint Calls(IReadOnlyList<ChatTool> tools, int most, Func<ChatTool, OutputConstraint> arguments) =>
        OutputConstraint.Repeat(JsonCalls.Constrain(tools, "parameters", arguments), "; ", most);
}
