using System.Text.Json.Nodes;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Gemma 4: <c>&lt;|tool_call&gt;call:name{key:value,...}&lt;tool_call|&gt;</c>, with values as <see cref="GemmaText"/> has them.</summary>
internal sealed class GemmaFormat : IToolCallFormat
{
    private const string Start = "<|tool_call>", End = "<tool_call|>", Call = "call:";

    public IReadOnlyList<CallMarks> Marks { get; } = [new(Start, End)];

    public IReadOnlyList<string> Markers => [Start, End, GemmaText.Quote];

    // What answers calls begins so, and the model begins it itself.
    public IReadOnlyList<string> Stops => ["<|tool_response>"];

    // An end within a text is none.
    public bool IsWhole(string body) => (body.Split(GemmaText.Quote).Length & 1) == 1;

    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools)
    {
        var text = body.Trim();
        text = text.StartsWith(Call, StringComparison.Ordinal) ? text[Call.Length..] : text;
        var at = text.IndexOf('{', StringComparison.Ordinal);
        var name = (at < 0 ? text : text[..at]).Trim();
        if (name.Length == 0 || (at < 0 && !tools.Any(t => t.Name == name)))
        {
            return [new ParsedCall("", null, new FormatException($"The model's function call names no function: {text}"), body)];
        }

        return [at < 0 ? JsonCalls.Call(name, "")
            : GemmaText.ToJson(text[at..]) is { } json ? JsonCalls.Call(name, json)
            : new ParsedCall(name, null, new FormatException($"The arguments of the model's call of '{name}' cannot be read: {text[at..]}"), body)];
    }

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) => Markup.Several(
        OutputConstraint.Sequence(OutputConstraint.Marker(Start), OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(OutputConstraint.Text(Call + t.Name), Arguments(t, schemas)))])), most);

    public IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text) =>
        [(Start, OutputConstraint.Sequence(
            OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(
                OutputConstraint.Text(Call + t.Name), schemas.Later(t, () => Arguments(t, schemas), OutputConstraint.Until(End))))]), text))];

    private static OutputConstraint Arguments(ChatTool tool, SchemaForms schemas)
    {
        var schema = SchemaWays.Schema(tool);
        var (properties, required) = SchemaWays.Parameters(schema);
        return OutputConstraint.Sequence(new GemmaForms(schema, schemas).Object(properties, required, depth: 0), OutputConstraint.Marker(End));
    }
}

/// <summary>Forms of values of a schema, as Gemma writes them.</summary>
/// <param name="whole">where references look</param>
/// <param name="schemas">makes forms of numbers, and is told what is not held</param>
internal sealed class GemmaForms(JsonNode? whole, SchemaForms schemas)
{
    // Below this a form is made only when an output comes to it, so that a schema may contain itself; the last depth takes anything.
    private const int MadeAtOnce = 3, Deepest = 32;

    private static readonly OutputConstraint Text = OutputConstraint.Sequence(OutputConstraint.Marker(GemmaText.Quote), OutputConstraint.Until(GemmaText.Quote));

    private static readonly OutputConstraint Anything = OutputConstraint.Defer(() => OutputConstraint.OneOf(
        Text,
        OutputConstraint.JsonSchema(System.Text.Json.JsonElement.Parse("""{"type":["number","boolean","null"]}""")),
        List(Anything!, int.MaxValue, mayBeEmpty: true),
        AnyObject!));

    // A key stands without quotes.
    private static readonly OutputConstraint AnyObject = OutputConstraint.Sequence(
        OutputConstraint.Text("{"),
        OutputConstraint.Optional(OutputConstraint.Repeat(OutputConstraint.Sequence(OutputConstraint.Until(":"), Anything), ",")),
        OutputConstraint.Text("}"));

    /// <summary>An object's properties in the order of their names, which is how templates show them.</summary>
    public OutputConstraint Object(IReadOnlyList<KeyValuePair<string, JsonNode?>> properties, IReadOnlySet<string> required, int depth)
    {
        // From the last one to the first: what may follow if something stands before it, and if nothing does.
        OutputConstraint after = OutputConstraint.Text("}"), first = after;
        foreach (var (name, schema) in properties.OrderByDescending(p => p.Key, StringComparer.OrdinalIgnoreCase))
        {
            var property = OutputConstraint.Sequence(OutputConstraint.Text(name + ":"), Of(schema, depth + 1), after);
            var next = OutputConstraint.Sequence(OutputConstraint.Text(","), property);
            (after, first) = required.Contains(name) ? (next, property) : (OutputConstraint.OneOf(next, after), OutputConstraint.OneOf(property, first));
        }

        return OutputConstraint.Sequence(OutputConstraint.Text("{"), first);
    }

    private OutputConstraint Of(JsonNode? schema, int depth) => depth > Deepest ? Anything
        : depth < MadeAtOnce ? Made(schema, depth)
        : OutputConstraint.Defer(() => Made(schema, depth));

    private OutputConstraint Made(JsonNode? schema, int depth) => OutputConstraint.OneOf([.. SchemaWays.Of(schema, whole).Select(way => Way(way, depth))]);

    private OutputConstraint Way(JsonObject way, int depth)
    {
        if (way["enum"] is JsonArray { Count: > 0 } values)
        {
            return OutputConstraint.OneOf([.. values.Select(v => Markup.Form(GemmaText.Write(v)))]);
        }

        switch (way["type"]?.GetValue<string>())
        {
            case "string":
                foreach (var keyword in TaggedValue.NotHeld.Where(way.ContainsKey))
                {
                    schemas.Ignored($"{keyword} of a text in Gemma's quotes");
                }

                return Text;
            case "boolean":
                return OutputConstraint.OneOf(OutputConstraint.Text("true"), OutputConstraint.Text("false"));
            case "null":
                return OutputConstraint.Text("null");
            case "array":
                var (least, most) = (Number(way["minItems"]) ?? 0, Number(way["maxItems"]) ?? int.MaxValue);
                if (least > 1)
                {
                    schemas.Ignored("minItems above 1 of a list in Gemma's form");
                }

                return most < 1 ? OutputConstraint.Text("[]") : List(Of(way["items"], depth + 1), most, least == 0);
            case "object":
                var (properties, required) = SchemaWays.Parameters(way);
                return properties.Count == 0 ? AnyObject : Object(properties, required, depth);
            case null:
                return Anything;
            default:
                return schemas.Of(System.Text.Json.JsonSerializer.SerializeToElement(way), System.Text.Json.JsonSerializer.SerializeToElement(whole));
        }
    }

    private static OutputConstraint List(OutputConstraint item, int most, bool mayBeEmpty)
    {
        var items = OutputConstraint.Repeat(item, ",", most);
        return OutputConstraint.Sequence(OutputConstraint.Text("["), mayBeEmpty ? OutputConstraint.Optional(items) : items, OutputConstraint.Text("]"));
    }

    private static int? Number(JsonNode? node) => node is JsonValue value && value.TryGetValue(out int number) ? number : null;
}
