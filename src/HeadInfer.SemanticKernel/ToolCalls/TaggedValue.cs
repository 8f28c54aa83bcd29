using System.Text.Json.Nodes;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>The value of a parameter that stands between tags: text and words as they are, all else as JSON or as Python prints it.</summary>
/// <param name="schema">the parameter's schema</param>
/// <param name="whole">where its references look</param>
internal sealed class TaggedValue(JsonNode? schema, JsonNode? whole)
{
    /// <summary>Keywords that texts are not held to.</summary>
    public static readonly string[] NotHeld = ["pattern", "minLength", "maxLength", "format"];

    private readonly IReadOnlyList<JsonObject> _ways = SchemaWays.Of(schema, whole);

    /// <summary>Reads a value as the first of its types that it can be; text if it can be none, so that the function's own conversion decides.</summary>
    public object? Read(string text)
    {
        var words = Words().ToList();
        if (words.Exists(w => w is JsonValue && w.GetValueKind() == JsonValueKind.String && w.GetValue<string>() == text))
        {
            return text;
        }

        if ((PythonLiteral.Json(text) ?? PythonLiteral.Read(text.Trim())) is not { } value)
        {
            return text;
        }

        var isText = _ways.Any(w => Type(w) == "string");
        return value.ValueKind switch
        {
            JsonValueKind.Null when Takes("null") || words.Contains(null) || !isText => null,
            JsonValueKind.True or JsonValueKind.False when Takes("boolean") => value,
            JsonValueKind.Number when Takes("integer") && !Takes("number") && Whole(value) is { } whole => whole,
            JsonValueKind.Number when Takes("number") || Takes("integer") => value,
            JsonValueKind.Object when Takes("object") => value,
            JsonValueKind.Array when Takes("array") => value,
            JsonValueKind.String when Takes("string") => text, // its quotes are part of it
            _ => isText ? text : value,
        };
    }

    /// <summary>A value and what closes it.</summary>
    /// <param name="close">the closing tag</param>
    /// <param name="schemas">makes forms of JSON schemas, and is told what is not held</param>
    public OutputConstraint Constrain(string close, SchemaForms schemas)
    {
        var choices = new List<OutputConstraint>();
        foreach (var way in _ways)
        {
            var type = Type(way);
            if (way["enum"] is null && type is null or "string")
            {
                foreach (var keyword in NotHeld.Where(way.ContainsKey))
                {
                    schemas.Ignored($"{keyword} of a text between tags");
                }

                return OutputConstraint.Until(close); // other ways are texts, too
            }

            choices.AddRange(type switch
            {
                "boolean" => Texts(close, "true", "false", "True", "False"),
                "null" => Texts(close, "null", "None"),
                null => [],
                _ => [OutputConstraint.Sequence(schemas.Of(JsonSerializer.SerializeToElement(way), JsonSerializer.SerializeToElement(whole)), OutputConstraint.Text(close))],
            });
        }

        choices.AddRange(Words().SelectMany(w => w is null ? Texts(close, "null", "None") : w.GetValueKind() switch
        {
            JsonValueKind.String => Texts(close, w.GetValue<string>()),
            JsonValueKind.True => Texts(close, "true", "True"),
            JsonValueKind.False => Texts(close, "false", "False"),
            _ => Texts(close, w.ToJsonString()),
        }));
        if (choices.Count > 0)
        {
            return OutputConstraint.OneOf([.. choices]);
        }

        schemas.Ignored("an enumeration that has no values");
        return OutputConstraint.Until(close);
    }

    private static IEnumerable<OutputConstraint> Texts(string close, params string[] words) => words.Select(w => OutputConstraint.Text(w + close));

    private IEnumerable<JsonNode?> Words() => _ways.SelectMany(w => w["enum"] as JsonArray ?? []);

    // Whether some way is of a type, or of none.
    private bool Takes(string type) => _ways.Any(w => w["enum"] is null && (Type(w) ?? type) == type);

    private static string? Type(JsonObject way) => way["type"]?.GetValue<string>();

    // 3.0 is a whole number, which .NET's readers do not take for one.
    private static object? Whole(JsonElement number) =>
        number.TryGetInt64(out _) ? number
        : number.TryGetDecimal(out var value) && value == decimal.Truncate(value) && value is >= long.MinValue and <= long.MaxValue ? JsonSerializer.SerializeToElement((long)value)
        : null;
}
