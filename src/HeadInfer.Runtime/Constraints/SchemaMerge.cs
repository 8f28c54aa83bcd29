using System.Text.Json;
using System.Text.Json.Nodes;

namespace HeadInfer.Runtime.Constraints;

/// <summary>Questions to the keywords of a schema, and two schemas made one.</summary>
internal sealed class SchemaMerge(Action<string> ignored)
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

    private static readonly HashSet<string> Known = new(Keywords.Values.SelectMany(k => k).Concat(Annotations).Concat(["type", "enum", "const"]), StringComparer.Ordinal);

    public static bool IsKnown(string keyword) => Known.Contains(keyword);

    public static bool HasRules(JsonObject schema) => schema.Any(r => !Annotations.Contains(r.Key));

    /// <summary>Whether a schema without a type speaks of one.</summary>
    public static bool Implies(JsonObject schema, string type) => Keywords.TryGetValue(type, out var keywords) && keywords.Any(schema.ContainsKey);

    public static JsonObject Without(JsonObject schema, string keyword) => new(schema.Where(r => r.Key != keyword).Select(r => KeyValuePair.Create(r.Key, r.Value?.DeepClone())));

    /// <summary>A count of items, characters or properties; null if there is none.</summary>
    public static int? Count(JsonObject schema, string keyword) =>
        schema[keyword] is JsonValue value && value.TryGetValue<double>(out var count) && count >= 0 ? (int)Math.Min(int.MaxValue, Math.Ceiling(count)) : null;

    /// <summary>The values that <c>enum</c> and <c>const</c> leave.</summary>
    public static List<JsonNode?> Values(JsonObject schema)
    {
        List<JsonNode?> values = schema["enum"] is JsonArray list ? [.. list] : [schema["const"]];
        return schema.ContainsKey("const") ? [.. values.Where(v => JsonNode.DeepEquals(v, schema["const"])).Take(1)] : values;
    }

    public static bool HasType(JsonNode? value, string type) => (value?.GetValueKind() ?? JsonValueKind.Null) switch
    {
        JsonValueKind.Object => type == "object",
        JsonValueKind.Array => type == "array",
        JsonValueKind.String => type == "string",
        JsonValueKind.True or JsonValueKind.False => type == "boolean",
        JsonValueKind.Number => type == "number" || (type == "integer" && value!.ToJsonString().All(c => c == '-' || char.IsAsciiDigit(c))),
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

    /// <summary>A schema that asks what both ask.</summary>
    public JsonNode Merge(JsonNode first, JsonNode second)
    {
        if (first is not JsonObject a || second is not JsonObject b)
        {
            // One of them is true, which asks nothing, or false, which nothing satisfies.
            return (first is JsonValue v && v.TryGetValue<bool>(out var allows) && allows ? second : first).DeepClone();
        }

        var merged = Without(a, "");
        foreach (var (keyword, value) in b)
        {
            merged[keyword] = merged.ContainsKey(keyword) ? Merge(keyword, merged[keyword], value) : value?.DeepClone();
        }

        return merged;
    }

    private JsonNode? Merge(string keyword, JsonNode? a, JsonNode? b)
    {
        switch (keyword)
        {
            case "properties" when a is JsonObject x && b is JsonObject y:
                var all = Without(x, "");
                foreach (var (name, schema) in y)
                {
                    all[name] = all.ContainsKey(name) ? Both(all[name], schema) : schema?.DeepClone();
                }

                return all;
            case "required" when a is JsonArray x && b is JsonArray y:
                return new JsonArray([.. x.Concat(y).Select(n => n?.DeepClone()).DistinctBy(n => n?.ToJsonString())]);
            case "items" or "additionalProperties":
                return Both(a, b);
            case "type":
                var types = List(a).Intersect(List(b)).ToList();
                types.AddRange(List(a).Contains("number") && List(b).Contains("integer") || List(b).Contains("number") && List(a).Contains("integer") ? ["integer"] : []);
                return new JsonArray([.. types.Distinct().DefaultIfEmpty("nothing").Select(t => (JsonNode)t)]);
            case "enum" when a is JsonArray x && b is JsonArray y:
                return new JsonArray([.. x.Where(v => y.Any(w => JsonNode.DeepEquals(v, w))).Select(v => v?.DeepClone())]);
            case "const":
                return JsonNode.DeepEquals(a, b) ? a?.DeepClone() : throw new ArgumentException("The JSON schema asks for two different constants at one place; nothing satisfies it.");
            case "minimum" or "exclusiveMinimum" or "minLength" or "minItems" or "minProperties":
                return (Number(a) >= Number(b) ? a : b)?.DeepClone();
            case "maximum" or "exclusiveMaximum" or "maxLength" or "maxItems" or "maxProperties":
                return (Number(a) <= Number(b) ? a : b)?.DeepClone();
            case "anyOf" or "oneOf" when a is JsonArray x && b is JsonArray y:
                return new JsonArray([.. x.SelectMany(i => y.Select(j => Both(i, j)))]);
            default:
                if (!Annotations.Contains(keyword) && !JsonNode.DeepEquals(a, b))
                {
                    ignored($"one of two '{keyword}' at one place");
                }

                return b?.DeepClone();
        }
    }

    private static JsonObject Both(JsonNode? a, JsonNode? b) => new() { ["allOf"] = new JsonArray(a?.DeepClone(), b?.DeepClone()) };

    private static List<string> List(JsonNode? types) =>
        [.. (types is JsonArray array ? array : [types?.DeepClone()]).Select(t => t is JsonValue v && v.TryGetValue<string>(out var name) ? name : "")];

    private static double Number(JsonNode? value) => value is JsonValue v && v.TryGetValue<double>(out var number) ? number : 0;

    private static bool MayOverlap(JsonNode first, JsonNode second)
    {
        if (first is not JsonObject a || second is not JsonObject b)
        {
            return true;
        }

        if (IsConstant(a) && IsConstant(b))
        {
            return Values(a).Any(v => Values(b).Any(w => JsonNode.DeepEquals(v, w)));
        }

        if (IsConstant(a) || IsConstant(b))
        {
            var (values, types) = IsConstant(a) ? (Values(a), b["type"]) : (Values(b), a["type"]);
            return types is null || values.Any(v => List(types).Any(t => HasType(v, t)));
        }

        if (a["type"] is { } typesOfA && b["type"] is { } typesOfB && !List(typesOfA).Intersect(List(typesOfB)).Any()
            && !(List(typesOfA).Concat(List(typesOfB)) is var both && both.Contains("number") && both.Contains("integer")))
        {
            return false;
        }

        // A property that both require tells objects apart if its values do.
        return !(a["properties"] is JsonObject x && b["properties"] is JsonObject y && Required(a).Intersect(Required(b)).Any(
            name => x[name] is JsonObject p && y[name] is JsonObject q && !MayOverlap(p, q)));
    }

    private static bool IsConstant(JsonObject schema) => schema["enum"] is JsonArray || schema.ContainsKey("const");

    private static IEnumerable<string> Required(JsonObject schema) => schema["required"] is { } required ? List(required) : [];
}
