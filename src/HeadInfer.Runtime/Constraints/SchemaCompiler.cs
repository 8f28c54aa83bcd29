using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HeadInfer.Runtime.Constraints;

/// <summary>Makes a grammar of a JSON schema. The grammar allows what the schema allows, or less: never more of what it reads.</summary>
/// <param name="root">the schema that references begin at</param>
/// <param name="ignored">told what is not enforced</param>
internal sealed class SchemaCompiler(JsonNode? root, Action<string> ignored)
{
    private const int MostSchemas = 20_000;

    private static readonly string[] Types = ["object", "array", "string", "number", "integer", "boolean", "null"];

    // By what they ask, so that a schema that contains itself, however it is combined, is one node.
    private readonly Dictionary<string, ReferenceNode> _known = new(StringComparer.Ordinal);
    private readonly SchemaMerge _merge = new(ignored);
    private Node? _any;

    /// <summary>Any value at all.</summary>
    public static Node Any(bool containersOnly = false)
    {
        var any = new ReferenceNode();
        Node value = new ObjectNode([], any, 0, int.MaxValue), list = new ArrayNode([], any, 0, int.MaxValue);
        any.Target = new ChoiceNode([value, list, new StringNode(null, 0, JsonStringState.NoLimit), NumberRules.Compile(null, isInteger: false, _ => { }), Words("true", "false", "null")]);
        return containersOnly ? new ChoiceNode([value, list]) : any;
    }

    /// <summary>A grammar of the root.</summary>
    /// <exception cref="ArgumentException">The schema is too large.</exception>
    public Node Compile() => Compile(root);

    private Node Compile(JsonNode? schema)
    {
        if (schema is JsonValue value && value.GetValueKind() is JsonValueKind.True or JsonValueKind.False)
        {
            return SchemaKeywords.IsFalse(schema) ? new ChoiceNode([]) : AnyValue();
        }

        if (schema is not JsonObject given)
        {
            ignored($"'{schema?.ToJsonString() ?? "null"}' is no schema");
            return AnyValue();
        }

        var rules = SchemaKeywords.Rules(given);
        var key = rules.ToJsonString();
        if (_known.TryGetValue(key, out var known))
        {
            return known;
        }

        if (_known.Count >= MostSchemas || !RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            throw new ArgumentException($"The JSON schema is too large: it has more than {MostSchemas} parts, or is nested too deep.");
        }

        var node = _known[key] = new ReferenceNode();
        foreach (var name in rules.Select(r => r.Key).ToList())
        {
            if (!SchemaKeywords.IsKnown(name) || !SchemaKeywords.IsRightKind(name, rules[name]))
            {
                ignored(SchemaKeywords.IsKnown(name) ? $"the keyword '{name}', which is no value of its kind: {rules[name]?.ToJsonString() ?? "null"}" : $"the keyword '{name}'");
                rules.Remove(name);
            }
        }

        node.Target = rules.ContainsKey("$ref") ? Compile(Resolve(rules)) : Combine(rules);
        return node;
    }

    private Node AnyValue() => _any ??= Any();

    // What a reference means: the schema it names, with the rules beside it.
    private JsonNode Resolve(JsonObject rules)
    {
        var name = rules["$ref"]!.GetValue<string>();
        var target = Find(name);
        if (target is null)
        {
            ignored($"$ref '{name}' names nothing in the schema");
        }

        var beside = SchemaKeywords.Without(rules, "$ref");
        return SchemaKeywords.HasRules(beside) ? _merge.Merge(Rules(target), beside) : target ?? true;
    }

    private static JsonNode Rules(JsonNode? schema) => schema is JsonObject rules ? SchemaKeywords.Rules(rules) : schema?.DeepClone() ?? true;

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
            var others = SchemaKeywords.Without(rules, "allOf");
            return all.Count == 1 && !SchemaKeywords.HasRules(others)
                ? Compile(all[0])
                : Compile(all.Aggregate((JsonNode)others, (merged, part) => _merge.Merge(merged, Inline(part))));
        }

        foreach (var keyword in (string[])["anyOf", "oneOf"])
        {
            if (rules[keyword] is JsonArray choices)
            {
                if (keyword == "oneOf" && SchemaKeywords.MayOverlap([.. choices.Select(Inline)]))
                {
                    ignored("oneOf is read as anyOf, since values may satisfy more than one of its choices");
                }

                var others = SchemaKeywords.Without(rules, keyword);
                return new ChoiceNode([.. choices.Select(c => Compile(SchemaKeywords.HasRules(others) ? _merge.Merge(others, Inline(c)) : c))]);
            }
        }

        var types = TypesOf(rules);
        return SchemaKeywords.IsConstant(rules) ? Constants(rules, types)
            : types.Count == 1 ? Typed(rules, types[0])
            : new ChoiceNode([.. types.Select(t => Typed(rules, t))]);
    }

    // A reference within a combination is what it names.
    private JsonNode Inline(JsonNode? schema)
    {
        var result = Rules(schema);
        for (var i = 0; i < 20 && result is JsonObject rules && SchemaKeywords.IsRightKind("$ref", rules["$ref"]) && rules.ContainsKey("$ref"); i++)
        {
            result = Rules(Resolve(rules));
        }

        return result;
    }

    private ChoiceNode Constants(JsonObject rules, List<string> types)
    {
        var rest = SchemaKeywords.Without(SchemaKeywords.Without(rules, "enum"), "const");
        var values = SchemaKeywords.Values(rules).Where(v => types.Any(t => SchemaKeywords.HasType(v, t)) && (!SchemaKeywords.HasValueRules(rest) || ValueRules.Allow(rest, v))).ToList();
        if (SchemaKeywords.HasValueRules(rest) && values.Exists(v => v is JsonObject or JsonArray))
        {
            ignored("what is asked of the parts of an object or array that is given whole");
        }

        return new ChoiceNode([
            new LiteralsNode(values.Where(v => v is not (JsonObject or JsonArray)).Select(Scalar)),
            .. values.Where(v => v is JsonObject or JsonArray).Select(Constant)]);
    }

    // Without a type, the keywords tell: those of strings say nothing of objects, but nobody means them so.
    private List<string> TypesOf(JsonObject rules)
    {
        var named = rules.ContainsKey("type") ? SchemaKeywords.Types(rules["type"]) : [];
        foreach (var unknown in named.Where(t => !Types.Contains(t)))
        {
            ignored($"the type '{(unknown.Length > 0 ? unknown : rules["type"]?.ToJsonString())}'");
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

        var implied = SchemaKeywords.IsConstant(rules) ? [] : Types.Where(t => SchemaKeywords.Implies(rules, t)).ToList();
        return implied.Count > 0 ? implied : [.. Types.Where(t => t != "integer")];
    }

    private Node Typed(JsonObject rules, string type) => type switch
    {
        "object" => Object(rules),
        "array" => Array(rules),
        "string" => StringRules.Compile(rules, ignored),
        "number" or "integer" => NumberRules.Compile(rules, type == "integer", ignored),
        "boolean" => Words("true", "false"),
        _ => Words("null"),
    };

    private ObjectNode Object(JsonObject rules)
    {
        var named = (rules["properties"] as JsonObject)?.ToDictionary(p => p.Key, p => p.Value, StringComparer.Ordinal) ?? [];
        var required = rules.ContainsKey("required") ? SchemaKeywords.Types(rules["required"]).Where(n => n.Length > 0).Distinct().ToList() : [];
        var (least, most) = (SchemaKeywords.Count(rules, "minProperties") ?? 0, SchemaKeywords.Count(rules, "maxProperties") ?? int.MaxValue);
        var more = rules["additionalProperties"];
        // Others are written where the schema says so or names none. What their names may be is not enforced, so then there are none.
        var fixedNames = rules.ContainsKey("patternProperties") || rules.ContainsKey("propertyNames");
        var open = !fixedNames && (rules.ContainsKey("additionalProperties") || !rules.ContainsKey("properties") || least > named.Count);
        var others = open ? more is null ? AnyValue() : Compile(more) : null;
        var properties = named.Select(p => new PropertyRule(p.Key, Compile(p.Value), required.Contains(p.Key))).ToList();
        properties.AddRange(required.Where(r => !named.ContainsKey(r)).Select(r => new PropertyRule(r, more is null ? AnyValue() : others ?? Compile(more), true)));
        return new ObjectNode(properties, others, least, most);
    }

    private ArrayNode Array(JsonObject rules)
    {
        var places = rules["prefixItems"] as JsonArray ?? rules["items"] as JsonArray;
        var rest = rules["items"] is JsonArray ? rules["additionalItems"] : rules["items"];
        return new ArrayNode(
            [.. places?.Select(Compile) ?? []],
            rest is null ? places is null ? AnyValue() : null : Compile(rest),
            SchemaKeywords.Count(rules, "minItems") ?? 0,
            SchemaKeywords.Count(rules, "maxItems") ?? int.MaxValue);
    }

    private static Node Constant(JsonNode? value) => value switch
    {
        JsonObject o => new ObjectNode([.. o.Select(p => new PropertyRule(p.Key, Constant(p.Value), true))], null, 0, int.MaxValue),
        JsonArray a => new ArrayNode([.. a.Select(Constant)], null, a.Count, a.Count),
        _ => new LiteralNode(Scalar(value)),
    };

    private static byte[] Scalar(JsonNode? value) => value is null ? "null"u8.ToArray() : JsonText.Scalar(value.Deserialize<JsonElement>());

    private static LiteralsNode Words(params string[] words) => new(words.Select(System.Text.Encoding.UTF8.GetBytes));
}
