using System.Text.Encodings.Web;
using System.Text.Json.Nodes;
using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>LFM2: a list of calls as Python writes them, <c>&lt;|tool_call_start|&gt;[name(key="value"), ...]&lt;|tool_call_end|&gt;</c>.</summary>
internal sealed class PythonFormat : IToolCallFormat
{
    public const string Start = "<|tool_call_start|>";

    private const string End = "<|tool_call_end|>";

    /// <summary>What only templates of such models have. Those of LFM2.5 show the functions alone, without a marker.</summary>
    public static readonly string[] Signs = [Start, "<|tool_list_start|>", "List of tools: ["];

    private static readonly JsonSerializerOptions AsItIs = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public IReadOnlyList<CallMarks> Marks { get; } = [new(Start, End)];

    public IReadOnlyList<string> Markers => [Start, End];

    public bool CallsShowTheirEnd => true;

    // An end within a text is none.
    public bool IsWhole(string body)
    {
        Find(body, 0, "", out var isInText);
        return !isInText;
    }

    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools)
    {
        var (text, calls) = (body.Trim(), new List<ParsedCall>());
        for (var at = 0; ;)
        {
            while (at < text.Length && (text[at] is '[' or ',' or ']' || char.IsWhiteSpace(text[at])))
            {
                at++;
            }

            if (at == text.Length)
            {
                return calls;
            }

            var (from, open) = (at, text.IndexOf('(', at));
            if (open < 0 || text[at..open].Trim() is not { Length: > 0 } name)
            {
                return [.. calls, new ParsedCall("", null, new FormatException($"The model's function call names no function: {text[at..]}"), text[at..])];
            }

            at = open + 1;
            calls.Add(Arguments(text, ref at) is { } arguments
                ? new ParsedCall(name, arguments)
                : new ParsedCall(name, null, new FormatException($"The arguments of the model's call of '{name}' cannot be read: {text[open..at]}"), text[from..at]));
        }
    }

    public TemplateText Write(IReadOnlyList<ChatToolCall> calls) => new TemplateTextBuilder()
        .Append(TemplateText.Trusted(Start + "["))
        .Append(TemplateText.Data(string.Join(", ", calls.Select(call => $"{call.Name}({Written(call.Arguments)})"))))
        .Append(TemplateText.Trusted("]" + End)).Build();

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) =>
        OutputConstraint.Sequence(OutputConstraint.Marker(Start), AfterStart(tools, most, tool => Form(tool, schemas)));

    public IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text) =>
        [(Start, OutputConstraint.Sequence(OutputConstraint.Space(), AfterStart(tools, int.MaxValue, tool => schemas.Later(tool, () => Form(tool, schemas), Open(schemas))), text))];

    private static OutputConstraint AfterStart(IReadOnlyList<ChatTool> tools, int most, Func<ChatTool, OutputConstraint> arguments) => OutputConstraint.Sequence(
        OutputConstraint.Text("["),
        OutputConstraint.Repeat(OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(OutputConstraint.Text(t.Name + "("), arguments(t)))]), ", ", most),
        OutputConstraint.Text("]"),
        OutputConstraint.Marker(End));

    // The arguments in their schema's order, and what closes them.
    private static OutputConstraint Form(ChatTool tool, SchemaForms schemas)
    {
        var schema = SchemaWays.Schema(tool);
        var (properties, required) = SchemaWays.Parameters(schema);
        if (SchemaWays.Of(schema, schema) is { Count: > 0 } ways && ways.All(w => w["properties"] is null && !(w["additionalProperties"] is JsonValue more && more.TryGetValue(out bool may) && !may)))
        {
            return Open(schemas);
        }

        // From the last one to the first: what may follow if something stands before it, and if nothing does.
        OutputConstraint after = OutputConstraint.Text(")"), first = after;
        foreach (var (name, property) in properties.Reverse())
        {
            var argument = OutputConstraint.Sequence(OutputConstraint.Text(name + "="), Value(property, schema, schemas), after);
            var next = OutputConstraint.Sequence(OutputConstraint.Text(", "), argument);
            (after, first) = required.Contains(name) ? (next, argument) : (OutputConstraint.OneOf(next, after), OutputConstraint.OneOf(argument, first));
        }

        return first;
    }

    // Arguments of any names, and what closes them.
    private static OutputConstraint Open(SchemaForms schemas)
    {
        var value = OutputConstraint.OneOf(OutputConstraint.Text("True"), OutputConstraint.Text("False"), OutputConstraint.Text("None"), schemas.Of(default(JsonElement)));
        return OutputConstraint.Sequence(OutputConstraint.Optional(OutputConstraint.Repeat(OutputConstraint.Sequence(OutputConstraint.Until("="), value), ", ")), OutputConstraint.Text(")"));
    }

    // Within lists and objects, words are JSON's.
    private static OutputConstraint Value(JsonNode? property, JsonNode? whole, SchemaForms schemas) => OutputConstraint.OneOf([.. SchemaWays.Of(property, whole).Select(way => (way["enum"], way["type"]) switch
    {
        (null, JsonValue type) when type.TryGetValue(out string? name) && name == "boolean" => OutputConstraint.OneOf(OutputConstraint.Text("True"), OutputConstraint.Text("False")),
        (null, JsonValue type) when type.TryGetValue(out string? name) && name == "null" => OutputConstraint.Text("None"),
        _ => schemas.Of(JsonSerializer.SerializeToElement(way), JsonSerializer.SerializeToElement(whole)),
    })]);

    // Up to the bracket that closes them; null if they cannot be read.
    private static Dictionary<string, object?>? Arguments(string text, ref int at)
    {
        var (arguments, areRead) = (new Dictionary<string, object?>(StringComparer.Ordinal), true);
        while (true)
        {
            var end = Find(text, at, ",)", out _);
            var part = text[at..end].Trim();
            var equals = Find(part, 0, "=", out _);
            if (equals < part.Length && PythonLiteral.Read(part[(equals + 1)..].Trim()) is { } value)
            {
                arguments[part[..equals].Trim()] = value;
            }
            else
            {
                areRead &= part.Length == 0;
            }

            at = Math.Min(end + 1, text.Length);
            if (end == text.Length || text[end] == ')')
            {
                return areRead && end < text.Length ? arguments : null;
            }
        }
    }

    // The place of the first of some characters that stands neither in a text nor in brackets of its own; the end if there is none.
    private static int Find(string text, int at, string ends, out bool isInText)
    {
        var (depth, quote) = (0, '\0');
        for (; at < text.Length; at++)
        {
            var c = text[at];
            if (quote != 0)
            {
                at += c == '\\' ? 1 : 0;
                quote = c == quote ? '\0' : quote;
                continue;
            }

            if (depth == 0 && ends.Contains(c, StringComparison.Ordinal))
            {
                break;
            }

            quote = c is '"' or '\'' ? c : quote;
            depth += c is '(' or '[' or '{' ? 1 : c is ')' or ']' or '}' ? -1 : 0;
        }

        isInText = quote != 0;
        return Math.Min(at, text.Length);
    }

    private static string Written(string arguments) => PythonLiteral.Json(arguments) is { ValueKind: JsonValueKind.Object } json
        ? string.Join(", ", json.EnumerateObject().Select(p => $"{p.Name}={Written(p.Value)}"))
        : arguments;

    private static string Written(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.True => "True",
        JsonValueKind.False => "False",
        JsonValueKind.Null => "None",
        JsonValueKind.Array => "[" + string.Join(", ", value.EnumerateArray().Select(Written)) + "]",
        JsonValueKind.Object => "{" + string.Join(", ", value.EnumerateObject().Select(p => $"{JsonSerializer.Serialize(p.Name, AsItIs)}: {Written(p.Value)}")) + "}",
        _ => JsonSerializer.Serialize(value, AsItIs),
    };
}
