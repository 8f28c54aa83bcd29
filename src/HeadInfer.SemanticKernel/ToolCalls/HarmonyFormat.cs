namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>
/// gpt-oss: a message to a function, <c>&lt;|channel|&gt;commentary to=functions.name &lt;|constrain|&gt;json&lt;|message|&gt;{...}&lt;|call|&gt;</c>,
/// which ends the answer. <see cref="HarmonyScanner"/> finds these messages, and gives them on without what else a header may say.
/// </summary>
internal sealed class HarmonyFormat : IToolCallFormat
{
    public const string Start = Channel + "commentary to=functions.", End = "<|call|>";

    private const string Channel = "<|channel|>", Constrain = "<|constrain|>", Message = "<|message|>";

    public IReadOnlyList<CallMarks> Marks { get; } = [new(Start, End)];

    public IReadOnlyList<string> Markers => [Channel, Constrain, Message, End];

    public IReadOnlyList<string> Stops => [End, "<|return|>"];

    public bool IsWhole(string body) => body.IndexOf(Message, StringComparison.Ordinal) is >= 0 and var at && body[(at + Message.Length)..] is var arguments
        && (string.IsNullOrWhiteSpace(arguments) || JsonCalls.IsWhole(arguments));

    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools)
    {
        var at = body.IndexOf(Message, StringComparison.Ordinal);
        var name = (at < 0 ? body : body[..at]).Split(' ', '<')[0].Trim();
        return [at < 0 || name.Length == 0
            ? new ParsedCall(name, null, new FormatException($"The model's function call has no {(at < 0 ? Message : "name")}: {body.Trim()}"), body)
            : JsonCalls.Call(name, body[(at + Message.Length)..])];
    }

    // The model ends its answer after a call, so there is never a second one.
    OutputConstraint IToolCallFormat.Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) =>
        OutputConstraint.Sequence(Markup.Form(Start), Calls("", tools, schemas.Arguments));

    public IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text)
    {
        OutputConstraint Held(string channel) =>
            OutputConstraint.Sequence(Calls(channel, tools, schemas.ArgumentsLater), OutputConstraint.Optional(OutputConstraint.Sequence(OutputConstraint.Marker(End), text)));
        return [(Start, Held("")), (Channel + "analysis to=functions.", Held("")), ("<|start|>assistant to=functions.", Held(Channel + "commentary"))];
    }

    // The type of the arguments as the model writes it, and as templates do.
    private static OutputConstraint Calls(string channel, IReadOnlyList<ChatTool> tools, Func<ChatTool, OutputConstraint> arguments)
    {
        var head = OutputConstraint.OneOf(Markup.Form(channel + " " + Constrain + "json" + Message), Markup.Form(channel + " json" + Message));
        return OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(OutputConstraint.Text(t.Name), head, arguments(t)))]);
    }
}
