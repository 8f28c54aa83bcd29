using System.Text.Json.Nodes;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>A schema as the plain ways that it allows: each an enumeration, one type, or anything.</summary>
internal static class SchemaWays
{
    // Of a schema that refers to itself, or has thousands of choices, the rest is read as anything.
    private const int MaxDepth = 16, MaxWays = 256;

    private static readonly string[] Combinations = ["$ref", "anyOf", "oneOf", "allOf"];

    private static readonly (string Keyword, string Type)[] Implied =
    [
        ("properties", "object"), ("required", "object"), ("additionalProperties", "object"), ("items", "array"), ("prefixItems", "array"), ("minItems", "array"), ("maxItems", "array"),
        ("pattern", "string"), ("format", "string"), ("minLength", "string"), ("maxLength", "string"), ("minimum", "number"), ("maximum", "number"), ("multipleOf", "number"),
    ];

    /// <param name="schema">the schema, or a part of one</param>
    /// <param name="whole">where references look</param>
    public static IReadOnlyList<JsonObject> Of(JsonNode? schema, JsonNode? whole)
    {
        var ways = new List<JsonObject>();
        Add(schema, whole, 0, ways);
        return ways;
    }

    /// <summary>The parameters of a function by name, and the names of those that must be there.</summary>
    public static (IReadOnlyList<KeyValuePair<string, JsonNode?>> Properties, IReadOnlySet<string> Required) Parameters(JsonNode? schema)
    {
        var way = Of(schema, schema).FirstOrDefault(w => w["properties"] is JsonObject);
        return (
            way is null ? [] : [.. (JsonObject)way["properties"]!],
            (way?["required"] as JsonArray)?.Select(n => Word(n) ?? "").ToHashSet(StringComparer.Ordinal) ?? []);
    }

    /// <summary>What a function's parameters must be; null if anything.</summary>
    public static JsonNode? Schema(ChatTool tool) => tool.Parameters.ValueKind == JsonValueKind.Object ? JsonNode.Parse(tool.Parameters.GetRawText()) : null;

    private static void Add(JsonNode? schema, JsonNode? whole, int depth, List<JsonObject> ways)
    {
        if (ways.Count >= MaxWays)
        {
            return;
        }

        if (schema is not JsonObject rules || depth > MaxDepth || ways.Count == MaxWays - 1)
        {
            ways.Add([]);
            return;
        }

        if (Word(rules["nullable"]) is null && rules["nullable"] is JsonValue nullable && nullable.GetValueKind() == JsonValueKind.True)
        {
            ways.Add(new JsonObject { ["type"] = "null" });
        }

        if (Word(rules["$ref"]) is { } name)
        {
            Add(Merged(Find(name, whole), Without(rules, "$ref")), whole, depth + 1, ways);
        }
        else if (rules["allOf"] is JsonArray all)
        {
            Add(all.Aggregate((JsonNode?)Without(rules, "allOf"), (merged, part) => Merged(Named(part, whole, depth), merged as JsonObject ?? [])), whole, depth + 1, ways);
        }
        else if ((rules["anyOf"] ?? rules["oneOf"]) is JsonArray choices)
        {
            var beside = Without(Without(rules, "anyOf"), "oneOf");
            foreach (var choice in choices)
            {
                Add(Merged(choice, beside), whole, depth + 1, ways);
            }
        }
        else
        {
            AddPlain(rules, ways);
        }
    }

    private static void AddPlain(JsonObject rules, List<JsonObject> ways)
    {
        if (rules.ContainsKey("const"))
        {
            ways.Add(new JsonObject { ["enum"] = new JsonArray(rules["const"]?.DeepClone()) });
            return;
        }

        if (rules["enum"] is JsonArray)
        {
            ways.Add(new JsonObject { ["enum"] = rules["enum"]!.DeepClone() });
            return;
        }

        string?[] types = rules["type"] is JsonArray list ? [.. list.Select(Word)] : [Word(rules["type"]) ?? Implied.FirstOrDefault(i => rules.ContainsKey(i.Keyword)).Type];
        foreach (var type in types)
        {
            var way = Without(rules, "type");
            if (type is not null)
            {
                way["type"] = type;
            }

            ways.Add(way);
        }
    }

    // A part of allOf is merged, so a reference is followed first.
    private static JsonNode? Named(JsonNode? part, JsonNode? whole, int depth)
    {
        for (; part is JsonObject rules && Word(rules["$ref"]) is { } name && depth < MaxDepth; depth++)
        {
            part = Merged(Find(name, whole), Without(rules, "$ref"));
        }

        return part;
    }

    // Both sets of rules; where both say something, the first does, and properties are those of both.
    private static JsonNode? Merged(JsonNode? schema, JsonObject beside)
    {
        if (schema is not JsonObject rules)
        {
            return beside.Count > 0 ? beside : schema;
        }

        var result = (JsonObject)rules.DeepClone();
        foreach (var (keyword, value) in beside.ToList())
        {
            if (!result.ContainsKey(keyword) && !(Combinations.Contains(keyword) && Combinations.Any(result.ContainsKey)))
            {
                result[keyword] = value?.DeepClone();
            }
            else if (keyword == "properties" && result[keyword] is JsonObject own && value is JsonObject others)
            {
                foreach (var other in others.Where(o => !own.ContainsKey(o.Key)).ToList())
                {
                    own[other.Key] = other.Value?.DeepClone();
                }
            }
            else if (keyword == "required" && result[keyword] is JsonArray names && value is JsonArray more)
            {
                result[keyword] = new JsonArray([.. names.Concat(more).Select(n => n?.DeepClone())]);
            }
        }

        return result;
    }

    private static JsonNode? Find(string name, JsonNode? whole)
    {
        if (name is not (['#'] or ['#', '/', ..]))
        {
            return null;
        }

        foreach (var step in Uri.UnescapeDataString(name).Split('/').Skip(1).Select(s => s.Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal)))
        {
            whole = whole switch
            {
                JsonObject o => o[step],
                JsonArray a when int.TryParse(step, out var i) && i >= 0 && i < a.Count => a[i],
                _ => null,
            };
        }

        return whole;
    }

    private static JsonObject Without(JsonObject rules, string keyword) => new(rules.Where(r => r.Key != keyword).Select(r => KeyValuePair.Create(r.Key, r.Value?.DeepClone())));

    private static string? Word(JsonNode? node) => node is JsonValue value && value.GetValueKind() == JsonValueKind.String ? value.GetValue<string>() : null;
}
