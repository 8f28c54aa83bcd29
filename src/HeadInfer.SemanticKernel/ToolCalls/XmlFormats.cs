using System.Text.Json;
using System.Text.RegularExpressions;
using HeadInfer.Runtime;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Qwen3-Coder: <c>&lt;tool_call&gt;&lt;function=name&gt;&lt;parameter=key&gt;value&lt;/parameter&gt;&lt;/function&gt;&lt;/tool_call&gt;</c>, each on a line.</summary>
internal sealed class QwenCoderFormat : XmlFormat
{
    protected override string Head(string function) => $"\n<function={function}>\n";

    protected override string Tail => "</function>\n";

    protected override string Before(string parameter) => $"<parameter={parameter}>\n";

    protected override string After => "\n</parameter>";

    protected override Regex Function { get; } = new(@"^\s*<function=(?<name>[^>]+)>(?<rest>.*?)(</function>\s*)?$", RegexOptions.Singleline | RegexOptions.CultureInvariant);

    protected override Regex Parameter { get; } = new(@"\G\s*<parameter=(?<key>[^>]+)>\n?(?<value>.*?)\n?</parameter>", RegexOptions.Singleline | RegexOptions.CultureInvariant);
}

/// <summary>GLM 4.5 and later: <c>&lt;tool_call&gt;name&lt;arg_key&gt;key&lt;/arg_key&gt;&lt;arg_value&gt;value&lt;/arg_value&gt;&lt;/tool_call&gt;</c>, each on a line.</summary>
internal sealed class GlmFormat : XmlFormat
{
    protected override string Head(string function) => $"{function}\n";

    protected override string Tail => "";

    protected override string Before(string parameter) => $"<arg_key>{parameter}</arg_key>\n<arg_value>";

    protected override string After => "</arg_value>";

    protected override Regex Function { get; } = new(@"^\s*(?<name>[^\s<]+)(?<rest>.*)$", RegexOptions.Singleline | RegexOptions.CultureInvariant);

    protected override Regex Parameter { get; } = new(@"\G\s*<arg_key>(?<key>.*?)</arg_key>\s*<arg_value>(?<value>.*?)</arg_value>", RegexOptions.Singleline | RegexOptions.CultureInvariant);
}

/// <summary>Calls written with tags. A value is text where its schema says string, and JSON elsewhere.</summary>
internal abstract class XmlFormat : IToolCallFormat
{
    public string Start => "<tool_call>";

    public string? End => "</tool_call>";

    public IReadOnlyList<string> Markers => [Start, End!];

    /// <summary>What stands before the parameters.</summary>
    protected abstract string Head(string function);

    /// <summary>What stands after them.</summary>
    protected abstract string Tail { get; }

    protected abstract string Before(string parameter);

    protected abstract string After { get; }

    /// <summary>Reads a call: its <c>name</c>, and the <c>rest</c>.</summary>
    protected abstract Regex Function { get; }

    /// <summary>Reads a parameter: its <c>key</c> and its <c>value</c>.</summary>
    protected abstract Regex Parameter { get; }

    public IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools)
    {
        if (Function.Match(body) is not { Success: true } call)
        {
            return [new ParsedCall("", null, new FormatException($"The model's function call names no function: {body.Trim()}"), body)];
        }

        var (name, rest, at) = (call.Groups["name"].Value.Trim(), call.Groups["rest"].Value, 0);
        var schema = tools.FirstOrDefault(t => t.Name == name)?.Parameters;
        var arguments = new Dictionary<string, object?>(StringComparer.Ordinal);
        for (var match = Parameter.Match(rest); match.Success; match = match.NextMatch())
        {
            arguments[match.Groups["key"].Value] = Value(Property(schema, match.Groups["key"].Value), match.Groups["value"].Value);
            at = match.Index + match.Length;
        }

        return string.IsNullOrWhiteSpace(rest[at..])
            ? [new ParsedCall(name, arguments)]
            : [new ParsedCall(name, null, new FormatException($"The arguments of the model's call of '{name}' cannot be read: {rest[at..].Trim()}"), body)];
    }

    public OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas) => OutputConstraint.Repeat(
        OutputConstraint.Sequence(OutputConstraint.Marker(Start), OutputConstraint.OneOf([.. tools.Select(t => Call(t, schemas))]), OutputConstraint.Marker(End!)), "\n", most);

    private OutputConstraint Call(ChatTool tool, SchemaForms schemas)
    {
        var required = tool.Parameters.ValueKind == JsonValueKind.Object && tool.Parameters.TryGetProperty("required", out var names) && names.ValueKind == JsonValueKind.Array
            ? names.EnumerateArray().Select(n => n.ToString()).ToHashSet(StringComparer.Ordinal) : [];
        var parts = new List<OutputConstraint> { OutputConstraint.Text(Head(tool.Name)) };
        if (tool.Parameters.ValueKind == JsonValueKind.Object && tool.Parameters.TryGetProperty("properties", out var properties) && properties.ValueKind == JsonValueKind.Object)
        {
            foreach (var property in properties.EnumerateObject())
            {
                var value = IsText(property.Value)
                    ? OutputConstraint.Until(After)
                    : OutputConstraint.Sequence(schemas.Of(property.Value, tool.Parameters), OutputConstraint.Text(After));
                var parameter = OutputConstraint.Sequence(OutputConstraint.Text(Before(property.Name)), value, OutputConstraint.Text("\n"));
                parts.Add(required.Contains(property.Name) ? parameter : OutputConstraint.Optional(parameter));
            }
        }

        return OutputConstraint.Sequence([.. parts, .. Tail.Length > 0 ? [OutputConstraint.Text(Tail)] : (OutputConstraint[])[]]);
    }

    private static JsonElement? Property(JsonElement? schema, string name) =>
        schema is { ValueKind: JsonValueKind.Object } s && s.TryGetProperty("properties", out var properties) && properties.ValueKind == JsonValueKind.Object && properties.TryGetProperty(name, out var property) ? property : null;

    // Text may be said to be null as well; then only that word is no text.
    private static bool IsText(JsonElement? schema) => schema is not { ValueKind: JsonValueKind.Object } s || (Types(s).Contains("string") && Types(s).All(t => t is "string" or "null") && !s.TryGetProperty("enum", out _));

    private static List<string> Types(JsonElement schema) => !schema.TryGetProperty("type", out var type) ? []
        : type.ValueKind == JsonValueKind.Array ? [.. type.EnumerateArray().Select(t => t.ToString())]
        : [type.ToString()];

    private static object? Value(JsonElement? schema, string text)
    {
        if (IsText(schema))
        {
            return text == "null" && schema is { } s && Types(s).Contains("null") ? null : text;
        }

        try
        {
            using var json = JsonDocument.Parse(text);
            return json.RootElement.Clone();
        }
        catch (JsonException)
        {
            return text; // an enumeration's word, say; the function's own conversion decides
        }
    }
}

internal static class JsonElementExtensions
{
    public static bool ValueEqualsText(this JsonElement element, string text) => element.ValueKind == JsonValueKind.String && element.ValueEquals(text);
}
