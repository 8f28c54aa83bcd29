using System.Text.Json;
using System.Text.Json.Nodes;

namespace HeadInfer.Runtime.Constraints;

/// <summary>Questions to the keywords of a schema.</summary>
internal static class SchemaKeywords
{
    // What describes and does not constrain.
    private static readonly HashSet<string> Annotations = new(StringComparer.Ordinal)
    {
        "$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly",
    };

    private static readonly Dictionary<string, string[]> Keywords = new(StringComparer.Ordinal)
    {
        ["object"] = ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
        ["array"] = ["items", "prefixItems", "additionalItems", "minItems", "maxItems"],
        ["string"] = ["minLength", "maxLength", "pattern", "format"],
        ["number"] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
    };

    // What values keywords may have, where that is one kind.
    private static readonly Dictionary<string, JsonValueKind> Kinds = new(StringComparer.Ordinal)
    {
        ["properties"] = JsonValueKind.Object, ["required"] = JsonValueKind.Array, ["minProperties"] = JsonValueKind.Number, ["maxProperties"] = JsonValueKind.Number,
        ["prefixItems"] = JsonValueKind.Array, ["minItems"] = JsonValueKind.Number, ["maxItems"] = JsonValueKind.Number, ["minLength"] = JsonValueKind.Number,
        ["maxLength"] = JsonValueKind.Number, ["pattern"] = JsonValueKind.String, ["format"] = JsonValueKind.String, ["enum"] = JsonValueKind.Array,
        ["anyOf"] = JsonValueKind.Array, ["oneOf"] = JsonValueKind.Array, ["allOf"] = JsonValueKind.Array, ["$ref"] = JsonValueKind.String,
    };

    private static readonly HashSet<string> Combining = new(StringComparer.Ordinal) { "type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref" };

    private static readonly HashSet<string> ValueKeywords = new(Keywords.Values.SelectMany(k => k), StringComparer.Ordinal);

    public static bool IsAnnotation(string keyword) => Annotations.Contains(keyword);

    /// <summary>Whether a keyword is read, or describes.</summary>
    public static bool IsKnown(string keyword) => ValueKeywords.Contains(keyword) || Combining.Contains(keyword) || Annotations.Contains(keyword);

    /// <summary>Whether a keyword's value is of a kind that it may have.</summary>
    public static bool IsRightKind(string keyword, JsonNode? value) => !Kinds.TryGetValue(keyword, out var kind) || value?.GetValueKind() == kind;

    /// <summary>Whether a schema asks anything that is enforced.</summary>
    public static bool HasRules(JsonObject schema) => schema.Any(r => ValueKeywords.Contains(r.Key) || Combining.Contains(r.Key));

    /// <summary>Whether a schema asks anything of its values beside their type.</summary>
    public static bool HasValueRules(JsonObject schema) => schema.Any(r => ValueKeywords.Contains(r.Key));

    /// <summary>Whether a schema without a type speaks of one.</summary>
    public static bool Implies(JsonObject schema, string type) => Keywords.TryGetValue(type, out var keywords) && keywords.Any(schema.ContainsKey);

    public static bool IsFalse(JsonNode? schema) => schema is JsonValue value && value.GetValueKind() == JsonValueKind.False;

    /// <summary>A copy without a keyword.</summary>
    public static JsonObject Without(JsonObject schema, string keyword) => new(schema.Where(r => r.Key != keyword).Select(r => KeyValuePair.Create(r.Key, r.Value?.DeepClone())));

    /// <summary>A copy of what is enforced.</summary>
    public static JsonObject Rules(JsonObject schema) => new(schema.Where(r => !Annotations.Contains(r.Key)).Select(r => KeyValuePair.Create(r.Key, r.Value?.DeepClone())));

    /// <summary>A count of items, characters or properties; null if there is none.</summary>
    public static int? Count(JsonObject schema, string keyword) =>
        schema[keyword] is JsonValue value && value.GetValueKind() == JsonValueKind.Number && double.TryParse(value.ToJsonString(), System.Globalization.CultureInfo.InvariantCulture, out var count) && count >= 0
            ? (int)Math.Min(int.MaxValue, Math.Ceiling(count)) : null;

    /// <summary>The names of a list of texts, or of a text.</summary>
    public static List<string> Types(JsonNode? types) =>
        [.. (types is JsonArray array ? array : [types?.DeepClone()]).Select(t => t is JsonValue v && v.TryGetValue<string>(out var name) ? name : "")];

    /// <summary>The values that <c>enum</c> and <c>const</c> leave.</summary>
    public static List<JsonNode?> Values(JsonObject schema)
    {
        List<JsonNode?> values = schema["enum"] is JsonArray list ? [.. list] : [schema["const"]];
        return schema.ContainsKey("const") ? [.. values.Where(v => JsonNode.DeepEquals(v, schema["const"])).Take(1)] : values;
    }

    public static bool IsConstant(JsonObject schema) => schema["enum"] is JsonArray || schema.ContainsKey("const");

    public static bool HasType(JsonNode? value, string type) => (value?.GetValueKind() ?? JsonValueKind.Null) switch
    {
        JsonValueKind.Object => type == "object",
        JsonValueKind.Array => type == "array",
        JsonValueKind.String => type == "string",
        JsonValueKind.True or JsonValueKind.False => type == "boolean",
        JsonValueKind.Number => type == "number" || (type == "integer" && Scaled.Parse(value!.ToJsonString())?.IsInteger == true),
        _ => type == "null",
    };

    /// <summary>Whether a value may satisfy two of some schemas, as far as can be told.</summary>
    public static bool MayOverlap(IReadOnlyList<JsonNode> schemas)
    {
        for (var i = 0; i < schemas.Count; i++)
        {
            for (var j = 0; j < i; j++)
            {
                if (MayOverlap(schemas[i], schemas[j]))
                {
                    return true;
                }
            }
        }

        return false;
    }

    private static bool MayOverlap(JsonNode first, JsonNode second)
    {
        if (first is not JsonObject a || second is not JsonObject b)
        {
            return !IsFalse(first) && !IsFalse(second);
        }

        if (IsConstant(a) && IsConstant(b))
        {
            return Values(a).Any(v => Values(b).Any(w => JsonNode.DeepEquals(v, w)));
        }

        if (IsConstant(a) || IsConstant(b))
        {
            var (values, types) = IsConstant(a) ? (Values(a), b["type"]) : (Values(b), a["type"]);
            return types is null || values.Any(v => Types(types).Any(t => HasType(v, t)));
        }

        if (a["type"] is { } typesOfA && b["type"] is { } typesOfB && !Types(typesOfA).Intersect(Types(typesOfB)).Any()
            && !(Types(typesOfA).Concat(Types(typesOfB)) is var both && both.Contains("number") && both.Contains("integer")))
        {
            return false;
        }

        // A property that both require tells objects apart if its values do.
        return !(a["properties"] is JsonObject x && b["properties"] is JsonObject y && Required(a).Intersect(Required(b)).Any(
            name => x[name] is JsonObject p && y[name] is JsonObject q && !MayOverlap(p, q)));
    }

    private static IEnumerable<string> Required(JsonObject schema) => schema["required"] is { } required ? Types(required) : [];
}
