namespace HeadInfer.Text.Constraints;

/// <summary>Makes a grammar of a JSON schema. The grammar allows what the schema allows, or less: never more of what it reads.</summary>
internal sealed class SchemaCompiler
{
    // Worst cases take a second of a slow core, and a hundred megabytes.
    private const long MostSteps = 5_000_000;
    private const long MostBytes = 96L << 20;
    private const int MostReferences = 20;

    private static readonly string[] Types = ["object", "array", "string", "number", "integer", "boolean", "null"];

    private readonly SchemaDocument _document;
    private readonly SchemaParts _parts;
    private readonly Action<string> _ignored;
    private readonly WorkBudget _budget;
    private readonly SchemaMerge _merge;
    private readonly SchemaConditions _conditions;
    private readonly StringRules _strings;
    private readonly ContainerRules _containers;

    // By what they ask, so that a schema that contains itself, however it is combined, is one node.
    private readonly Dictionary<SchemaPart, ReferenceNode> _known = [];
    private readonly Queue<(SchemaPart Rules, ReferenceNode Node)> _open = [];
    private readonly Dictionary<SchemaPart, SchemaPart> _rules = [];
    private Node? _any;

    private SchemaCompiler(JsonElement schema, Action<string> ignored, WorkBudget budget)
    {
        (_ignored, _budget, _parts) = (ignored, budget, new SchemaParts(budget));
        _document = new SchemaDocument(schema, _parts, budget);
        _strings = new StringRules(ignored, budget);
        _merge = new SchemaMerge(_parts, budget, ignored, (pattern, name) => _strings.Pattern(pattern)?.Matches(name) == true);
        _conditions = new SchemaConditions(_parts, _merge, budget, ignored, Followed);
        _containers = new ContainerRules(_parts, _merge, _strings, _conditions, budget, ignored, Compile);
    }

    /// <summary>Any value at all.</summary>
    public static Node Any(bool containersOnly = false)
    {
        var any = new ReferenceNode();
        Node value = new ObjectNode([], [new OtherRule(null, any)], 0, int.MaxValue), list = new ArrayNode([], new ItemRule(any, null), 0, int.MaxValue);
        any.Target = new ChoiceNode([value, list, new StringNode(null, 0, JsonStringState.NoLimit), NumberRules.Compile(null, isInteger: false, _ => { }), Words("true", "false", "null")]);
        return containersOnly ? new ChoiceNode([value, list]) : any;
    }

    /// <summary>A grammar of a schema, measured.</summary>
    /// <param name="schema">the schema that references begin at</param>
    /// <param name="ignored">told what is not enforced</param>
    /// <param name="cancellationToken">ends the work</param>
    /// <exception cref="ArgumentException">The schema is too large.</exception>
    public static Node Compile(JsonElement schema, Action<string> ignored, CancellationToken cancellationToken = default)
    {
        var budget = new WorkBudget(MostSteps, MostBytes, (what, most) => new ArgumentException($"The JSON schema is too large: it takes more than {most} {what} to compile."), cancellationToken);
        var compiler = new SchemaCompiler(schema, ignored, budget);
        var node = compiler.Compile(compiler._document.Root);
        // One after the other, not one within the other: schemas may name each other thousands deep.
        while (compiler._open.TryDequeue(out var next))
        {
            next.Node.Target = compiler.Combine(next.Rules);
        }

        node.Measure(budget);
        return node;
    }

    private Node Compile(SchemaPart schema)
    {
        _budget.Spend(20);
        if (schema.IsTrue || schema.IsFalse)
        {
            return schema.IsFalse ? new ChoiceNode([]) : _any ??= Any();
        }

        if (!schema.IsObject)
        {
            _ignored($"'{schema}' is no schema");
            return _any ??= Any();
        }

        var rules = Rules(schema);
        if (!_known.TryGetValue(rules, out var node))
        {
            _budget.Hold(500);
            _known[rules] = node = new ReferenceNode();
            _open.Enqueue((rules, node));
        }

        return node;
    }

    // What is enforced of a schema.
    private SchemaPart Rules(SchemaPart schema)
    {
        if (!schema.IsObject)
        {
            return schema.IsFalse ? schema : _parts.True;
        }

        if (!_rules.TryGetValue(schema, out var rules))
        {
            var unread = new List<string>();
            foreach (var (name, value) in schema.Properties)
            {
                if (SchemaKeywords.IsAnnotation(name))
                {
                    unread.Add(name);
                }
                else if (!SchemaKeywords.IsKnown(name) || !SchemaKeywords.IsRightKind(name, value))
                {
                    _ignored(SchemaKeywords.IsKnown(name) ? $"the keyword '{name}', which is no value of its kind: {value}" : $"the keyword '{name}'");
                    unread.Add(name);
                }
            }

            _rules[schema] = rules = _parts.Without(schema, [.. unread]);
        }

        return rules;
    }

    // What a reference means: the schema it names, with the rules beside it.
    private SchemaPart Resolve(SchemaPart rules)
    {
        var keyword = rules.Has("$ref") ? "$ref" : "$dynamicRef";
        var name = rules[keyword]!.Text;
        var target = keyword == "$ref" ? _document.Find(name) : _document.FindDynamic(name);
        if (target is null)
        {
            _ignored($"{keyword} '{name}' names nothing in the schema{(keyword == "$ref" ? "" : ", or different places on different ways to it")}");
        }

        var beside = _parts.Without(rules, keyword);
        return SchemaKeywords.HasRules(beside) ? _merge.Merge(Closed(Rules(target ?? _parts.True)), beside) : target ?? _parts.True;
    }

    // Rules with references followed.
    private SchemaPart Followed(SchemaPart schema)
    {
        var rules = Rules(schema);
        for (var i = 0; i < MostReferences && rules.IsObject && (rules.Has("$ref") || rules.Has("$dynamicRef")); i++)
        {
            rules = Rules(Resolve(rules));
        }

        return rules;
    }

    // A part of a combination: without references and conditions at its top.
    private SchemaPart Inline(SchemaPart schema)
    {
        _budget.Spend(20);
        var rules = Followed(schema);
        return Closed(rules.IsObject && SchemaKeywords.HasConditions(rules) ? _conditions.Without(rules) : rules);
    }

    // What a schema says of properties that it does not look at is said within it alone, not of those that others beside it look at.
    private SchemaPart Closed(SchemaPart rules)
    {
        foreach (var (unevaluated, keyword) in ((string, string)[])[("unevaluatedProperties", "additionalProperties"), ("unevaluatedItems", "items")])
        {
            if (rules.IsObject && rules[unevaluated] is { } value)
            {
                if (SchemaKeywords.IsCombined(rules) || SchemaKeywords.HasConditions(rules))
                {
                    _ignored($"the keyword '{unevaluated}' of a part that is combined itself");
                    rules = _parts.Without(rules, unevaluated);
                }
                else
                {
                    rules = _parts.Without(rules.Has(keyword) ? rules : _parts.With(rules, keyword, value), unevaluated);
                }
            }
        }

        return rules;
    }

    private Node Combine(SchemaPart rules)
    {
        _budget.Spend(40 + (5 * rules.Names.Count));
        if (rules.Has("$ref") || rules.Has("$dynamicRef"))
        {
            return Compile(Resolve(rules));
        }

        if (rules["allOf"] is { IsArray: true } all)
        {
            var others = _parts.Without(rules, "allOf");
            return all.Items.Count == 1 && !SchemaKeywords.HasRules(others)
                ? Compile(all.Items[0])
                : Compile(all.Items.Aggregate(others, (merged, part) => _merge.Merge(merged, Inline(part))));
        }

        if (SchemaKeywords.HasConditions(rules))
        {
            return Compile(_conditions.Without(rules));
        }

        foreach (var keyword in (string[])["anyOf", "oneOf"])
        {
            if (rules[keyword] is { IsArray: true } choices)
            {
                var others = _parts.Without(rules, keyword);
                var parts = keyword == "oneOf" ? _conditions.Apart([.. choices.Items.Select(Inline)], choices.Items, others) : choices.Items;
                return Choice(parts.Select(c => SchemaKeywords.HasRules(others) ? _merge.Merge(others, Inline(c)) : c));
            }
        }

        var types = TypesOf(rules);
        return SchemaKeywords.IsConstant(rules) ? _containers.Constants(rules, types)
            : types.Count == 1 ? Typed(rules, types[0])
            : new ChoiceNode([.. types.Select(t => Typed(rules, t))]);
    }

    // Scalar constants are one node, however many there are.
    private Node Choice(IEnumerable<SchemaPart> schemas)
    {
        var (literals, others) = (new List<SchemaPart>(), new List<Node>());
        foreach (var schema in schemas)
        {
            if (_containers.Scalars(Rules(schema)) is { } values)
            {
                literals.AddRange(values);
            }
            else
            {
                others.Add(Compile(schema));
            }
        }

        return literals.Count == 0 ? new ChoiceNode(others) : new ChoiceNode([_containers.Literals(literals), .. others]);
    }

    // Without a type, the keywords tell: those of strings say nothing of objects, but nobody means them so.
    private List<string> TypesOf(SchemaPart rules)
    {
        var named = SchemaKeywords.Texts(rules["type"]);
        foreach (var unknown in named.Where(t => !Types.Contains(t)))
        {
            _ignored($"the type '{(unknown.Length > 0 ? unknown : rules["type"])}'");
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

    private Node Typed(SchemaPart rules, string type) => type switch
    {
        "object" => _containers.Object(rules),
        "array" => _containers.Array(rules),
        "string" => _strings.Compile(rules),
        "number" or "integer" => NumberRules.Compile(rules, type == "integer", _ignored),
        "boolean" => Words("true", "false"),
        _ => Words("null"),
    };

    private static LiteralsNode Words(params string[] words) => new(words.Select(System.Text.Encoding.UTF8.GetBytes));
}
