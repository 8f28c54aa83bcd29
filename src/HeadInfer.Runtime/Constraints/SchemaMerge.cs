using System.Text.Json;
using System.Text.Json.Nodes;

namespace HeadInfer.Runtime.Constraints;

/// <summary>Two schemas made one, which asks what both ask.</summary>
/// <param name="ignored">told what cannot be asked together</param>
internal sealed class SchemaMerge(Action<string> ignored)
{
    private const int MostChoices = 256;

    /// <summary>A schema that asks what both ask; <c>false</c> if that is known to be too much.</summary>
    public JsonNode Merge(JsonNode first, JsonNode second)
    {
        if (first is not JsonObject a || second is not JsonObject b)
        {
            return SchemaKeywords.IsFalse(first) || SchemaKeywords.IsFalse(second) ? JsonValue.Create(false) : (first is JsonObject ? first : second).DeepClone();
        }

        // What one of them says of all other properties, or items, is said of those that only the other names.
        (a, b) = (WithOthers(a, b), WithOthers(b, a));
        var merged = SchemaKeywords.Without(a, "");
        foreach (var (keyword, value) in b)
        {
            if (!merged.ContainsKey(keyword))
            {
                merged[keyword] = value?.DeepClone();
            }
            else if (!TryMerge(keyword, merged[keyword], value, out var both))
            {
                return JsonValue.Create(false);
            }
            else
            {
                merged[keyword] = both;
            }
        }

        return merged;
    }

    private static JsonObject WithOthers(JsonObject schema, JsonObject other)
    {
        var result = schema;
        if (other["additionalProperties"] is { } more && schema["properties"] is JsonObject named)
        {
            var known = other["properties"] as JsonObject;
            result = SchemaKeywords.Without(result, "properties");
            result["properties"] = new JsonObject(named.Select(p => KeyValuePair.Create(p.Key, known?.ContainsKey(p.Key) == true ? p.Value?.DeepClone() : Both(p.Value, more))));
        }

        if (other["items"] is JsonNode items and not JsonArray && schema["prefixItems"] is JsonArray places)
        {
            var taken = (other["prefixItems"] as JsonArray)?.Count ?? 0;
            result = SchemaKeywords.Without(result, "prefixItems");
            result["prefixItems"] = new JsonArray([.. places.Select((p, i) => i < taken ? p?.DeepClone() : Both(p, items))]);
        }

        return result;
    }

    private bool TryMerge(string keyword, JsonNode? a, JsonNode? b, out JsonNode? both)
    {
        both = null;
        switch (keyword)
        {
            case "properties" when a is JsonObject x && b is JsonObject y:
                var all = SchemaKeywords.Without(x, "");
                foreach (var (name, schema) in y)
                {
                    all[name] = all.ContainsKey(name) ? Both(all[name], schema) : schema?.DeepClone();
                }

                both = all;
                return true;
            case "prefixItems" when a is JsonArray x && b is JsonArray y:
                both = new JsonArray([.. Enumerable.Range(0, Math.Max(x.Count, y.Count)).Select(i => i >= x.Count ? y[i]?.DeepClone() : i >= y.Count ? x[i]?.DeepClone() : Both(x[i], y[i]))]);
                return true;
            case "required" or "allOf" when a is JsonArray x && b is JsonArray y:
                both = new JsonArray([.. x.Concat(y).Select(n => n?.DeepClone()).DistinctBy(n => n?.ToJsonString())]);
                return true;
            case "items" or "additionalProperties":
                both = Both(a, b);
                return true;
            case "type":
                var types = SchemaKeywords.Types(a).Intersect(SchemaKeywords.Types(b)).ToList();
                if (SchemaKeywords.Types(a).Concat(SchemaKeywords.Types(b)) is var named && named.Contains("number") && named.Contains("integer"))
                {
                    types.Add("integer");
                }

                both = new JsonArray([.. types.Distinct().Select(t => (JsonNode)t)]);
                return types.Count > 0;
            case "enum" when a is JsonArray x && b is JsonArray y:
                var values = x.Where(v => y.Any(w => JsonNode.DeepEquals(v, w))).Select(v => v?.DeepClone()).ToArray();
                both = new JsonArray(values);
                return values.Length > 0;
            case "const":
                both = a?.DeepClone();
                return JsonNode.DeepEquals(a, b);
            case "minimum" or "exclusiveMinimum" or "minLength" or "minItems" or "minProperties":
                both = (Number(a) >= Number(b) ? a : b)?.DeepClone();
                return true;
            case "maximum" or "exclusiveMaximum" or "maxLength" or "maxItems" or "maxProperties":
                both = (Number(a) <= Number(b) ? a : b)?.DeepClone();
                return true;
            case "anyOf" or "oneOf" when a is JsonArray x && b is JsonArray y && x.Count * y.Count <= MostChoices:
                both = new JsonArray([.. x.SelectMany(i => y.Select(j => Both(i, j)))]);
                return true;
            default:
                if (!SchemaKeywords.IsAnnotation(keyword) && !JsonNode.DeepEquals(a, b))
                {
                    ignored($"one of two '{keyword}' at one place");
                }

                both = b?.DeepClone();
                return true;
        }
    }

    // Equal parts are one, so that schemas that contain themselves come round to what they were.
    private static JsonNode? Both(JsonNode? a, JsonNode? b)
    {
        if (JsonNode.DeepEquals(a, b))
        {
            return a?.DeepClone();
        }

        IEnumerable<JsonNode?> Parts(JsonNode? schema) => schema is JsonObject { Count: 1 } only && only["allOf"] is JsonArray parts ? parts.AsEnumerable() : new[] { schema };
        return new JsonObject { ["allOf"] = new JsonArray([.. Parts(a).Concat(Parts(b)).Select(p => p?.DeepClone()).DistinctBy(p => p?.ToJsonString())]) };
    }

    private static double Number(JsonNode? value) => value is JsonValue v && v.GetValueKind() == JsonValueKind.Number && double.TryParse(v.ToJsonString(), System.Globalization.CultureInfo.InvariantCulture, out var number) ? number : 0;
}
