using System.Text.Json;
using System.Text.Json.Nodes;

namespace HeadInfer.Runtime.Constraints;

/// <summary>Makes a grammar of a JSON schema. The grammar allows what the schema allows, or less: never more of what it reads.</summary>
/// <param name="root">the schema that references begin at</param>
/// <param name="ignored">told what is not enforced</param>
internal sealed class SchemaCompiler(JsonNode? root, Action<string> ignored)
{
    private const int MaxDepth = 200;

    private static readonly string[] Types = ["object", "array", "string", "number", "integer", "boolean", "null"];

    private readonly Dictionary<string, ReferenceNode> _references = new(StringComparer.Ordinal);
    private readonly SchemaMerge _merge = new(ignored);
    private Node? _any;
    private int _depth;

    /// <summary>Any value at all.</summary>
    public static Node Any(bool containersOnly = false)
    {
        var any = new ReferenceNode();
        Node value = new ObjectNode([], any, 0, int.MaxValue), list = new ArrayNode([], any, 0, int.MaxValue);
        any.Target = new ChoiceNode([value, list, new StringNode(null, 0, JsonStringState.NoLimit), NumberRules.Compile(null, isInteger: false, _ => { }), .. Words("true", "false", "null")]);
        return containersOnly ? new ChoiceNode([value, list]) : any;
    }

    /// <summary>A grammar of the root.</summary>
    public Node Compile() => Compile(root);

    private Node Compile(JsonNode? schema)
    {
        if (schema is JsonValue value && value.TryGetValue<bool>(out var allows))
        {
            return allows ? _any ??= Any() : new ChoiceNode([]);
        }

        if (schema is not JsonObject rules)
        {
            ignored($"'{schema?.ToJsonString() ?? "null"}' is no schema");
            return _any ??= Any();
        }

        if (++_depth > MaxDepth)
        {
            throw new ArgumentException($"The JSON schema is nested more than {MaxDepth} levels deep.");
        }

        try
        {
            return rules.ContainsKey("$ref") ? Refer(rules) : Combine(rules);
        }
        finally
        {
            _depth--;
        }
    }

    private Node Refer(JsonObject rules)
    {
        var key = rules.ToJsonString();
        if (_references.TryGetValue(key, out var known))
        {
            return known;
        }

        var reference = _references[key] = new ReferenceNode();
        reference.Target = Compile(Resolve(rules));
        return reference;
    }

    // What a reference means: the schema it names, with the rules beside it.
    private JsonNode Resolve(JsonObject rules)
    {
        var name = rules["$ref"] is JsonValue value && value.TryGetValue<string>(out var text) ? text : "";
        var target = Find(name);
        if (target is null)
        {
            ignored($"$ref '{name}' names nothing in the schema");
        }

        var beside = SchemaMerge.Without(rules, "$ref");
        return SchemaMerge.HasRules(beside) ? _merge.Merge(target ?? true, beside) : target?.DeepClone() ?? true;
    }

    private JsonNode? Find(string name)
    {
        if (name != "#" && !name.StartsWith("#/", StringComparison.Ordinal))
        {
            return null;
        }

        var at = root;
        foreach (var step in Uri.UnescapeDataString(name).Split('/').Skip(1).Select(s => s.Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal)))
        {
            at = at switch
            {
                JsonObject o => o[step],
                JsonArray a when int.TryParse(step, out var i) && i >= 0 && i < a.Count => a[i],
                _ => null,
            };
        }

        return at;
    }

    private Node Combine(JsonObject rules)
    {
        if (rules["allOf"] is JsonArray all)
        {
            return Compile(all.Aggregate((JsonNode)SchemaMerge.Without(rules, "allOf"), (merged, part) => _merge.Merge(merged, Inline(part))));
        }

        foreach (var keyword in (string[])["anyOf", "oneOf"])
        {
            if (rules[keyword] is JsonArray choices)
            {
                if (keyword == "oneOf" && SchemaMerge.MayOverlap([.. choices.Select(Inline)]))
                {
                    ignored("oneOf is read as anyOf, since values may satisfy more than one of its choices");
                }

                var others = SchemaMerge.Without(rules, keyword);
                return new ChoiceNode([.. choices.Select(c => Compile(SchemaMerge.HasRules(others) ? _merge.Merge(others, Inline(c)) : c))]);
            }
        }

        foreach (var (name, _) in rules.Where(r => !SchemaMerge.IsKnown(r.Key)))
        {
            ignored($"the keyword '{name}'");
        }

        var types = TypesOf(rules);
        if (rules["enum"] is JsonArray || rules.ContainsKey("const"))
        {
            return new ChoiceNode([.. SchemaMerge.Values(rules).Where(v => types.Any(t => SchemaMerge.HasType(v, t))).Select(Constant)]);
        }

        return types.Count == 1 ? Typed(rules, types[0]) : new ChoiceNode([.. types.Select(t => Typed(rules, t))]);
    }

    // A reference within a combination is what it names.
    private JsonNode Inline(JsonNode? schema)
    {
        var result = schema;
        for (var i = 0; i < 20 && result is JsonObject rules && rules.ContainsKey("$ref"); i++)
        {
            result = Resolve(rules);
        }

        return result ?? true;
    }

    // Without a type, the keywords tell: those of strings say nothing of objects, but nobody means them so.
    private List<string> TypesOf(JsonObject rules)
    {
        var named = rules["type"] switch
        {
            JsonValue value when value.TryGetValue<string>(out var one) => [one],
            JsonArray list => list.Select(t => t is JsonValue v && v.TryGetValue<string>(out var name) ? name : "").ToList(),
            _ => new List<string>(),
        };
        foreach (var unknown in named.Where(t => !Types.Contains(t)))
        {
            ignored($"the type '{unknown}'");
        }

        named = [.. named.Where(Types.Contains).Distinct()];
        if (named.Contains("number"))
        {
            named.Remove("integer");
        }

        if (named.Count > 0)
        {
            return named;
        }

        var implied = Types.Where(t => SchemaMerge.Implies(rules, t)).ToList();
        return implied.Count > 0 ? implied : [.. Types.Where(t => t != "integer")];
    }

    private Node Typed(JsonObject rules, string type) => type switch
    {
        "object" => Object(rules),
        "array" => Array(rules),
        "string" => StringRules.Compile(rules, ignored),
        "number" or "integer" => NumberRules.Compile(rules, type == "integer", ignored),
        "boolean" => new ChoiceNode(Words("true", "false")),
        _ => new LiteralNode("null"u8.ToArray()),
    };

    private ObjectNode Object(JsonObject rules)
    {
        var named = (rules["properties"] as JsonObject)?.ToDictionary(p => p.Key, p => p.Value, StringComparer.Ordinal) ?? [];
        var required = (rules["required"] as JsonArray)?.Select(r => r is JsonValue v && v.TryGetValue<string>(out var name) ? name : null).OfType<string>().Distinct().ToList() ?? [];
        var (least, most) = (SchemaMerge.Count(rules, "minProperties") ?? 0, SchemaMerge.Count(rules, "maxProperties") ?? int.MaxValue);
        var more = rules["additionalProperties"];
        // Others are written where the schema says so or names none. What their names may be is not enforced, so then there are none.
        var fixedNames = rules.ContainsKey("patternProperties") || rules.ContainsKey("propertyNames");
        var open = !fixedNames && (rules.ContainsKey("additionalProperties") || !rules.ContainsKey("properties") || least > named.Count);
        var others = open ? more is null ? _any ??= Any() : Compile(more) : null;
        var properties = named.Select(p => new PropertyRule(p.Key, Compile(p.Value), required.Contains(p.Key))).ToList();
        properties.AddRange(required.Where(r => !named.ContainsKey(r)).Select(r => new PropertyRule(r, more is null ? _any ??= Any() : others ?? Compile(more), true)));
        return new ObjectNode(properties, others, least, most);
    }

    private ArrayNode Array(JsonObject rules)
    {
        var places = rules["prefixItems"] as JsonArray ?? rules["items"] as JsonArray;
        var rest = rules["items"] is JsonArray ? rules["additionalItems"] : rules["items"];
        return new ArrayNode(
            [.. places?.Select(Compile) ?? []],
            rest is null ? places is null ? _any ??= Any() : null : Compile(rest),
            SchemaMerge.Count(rules, "minItems") ?? 0,
            SchemaMerge.Count(rules, "maxItems") ?? int.MaxValue);
    }

    private static Node Constant(JsonNode? value) => value switch
    {
        JsonObject o => new ObjectNode([.. o.Select(p => new PropertyRule(p.Key, Constant(p.Value), true))], null, 0, int.MaxValue),
        JsonArray a => new ArrayNode([.. a.Select(Constant)], null, a.Count, a.Count),
        null => new LiteralNode("null"u8.ToArray()),
        _ => new LiteralNode(JsonText.Scalar(value.Deserialize<JsonElement>())),
    };

    private static List<Node> Words(params string[] words) => [.. words.Select(w => (Node)new LiteralNode(System.Text.Encoding.UTF8.GetBytes(w)))];
}
