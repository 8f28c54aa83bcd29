namespace HeadInfer.Text.Constraints;

/// <summary>Objects, arrays and given values as a schema wants them.</summary>
/// <param name="parts">makes schemas</param>
/// <param name="merge">puts schemas together</param>
/// <param name="strings">reads patterns</param>
/// <param name="conditions">finds what a schema does not allow</param>
/// <param name="budget">counts the work</param>
/// <param name="ignored">told what is not enforced</param>
/// <param name="compile">makes a schema's node</param>
internal sealed class ContainerRules(SchemaParts parts, SchemaMerge merge, StringRules strings, SchemaConditions conditions, WorkBudget budget, Action<string> ignored, Func<SchemaPart, Node> compile)
{
    // Of so many patterns of names, any number may match a name; of more, names that several match are not written.
    private const int Combined = 3;

    private readonly ConstantRules _constants = new(strings);

    public ObjectNode Object(SchemaPart rules)
    {
        var named = rules["properties"] ?? parts.Empty;
        budget.Hold(800 + (300L * named.Names.Count));
        budget.Spend(60 + (20 * named.Names.Count));
        var absent = SchemaKeywords.Texts(rules[SchemaKeywords.Absent]);
        var required = SchemaKeywords.Texts(rules["required"]).Where(n => n.Length > 0 || rules["required"]!.Items.Contains(parts.Text(""))).Distinct().ToList();
        var (least, most) = (SchemaKeywords.Count(rules, "minProperties") ?? 0, SchemaKeywords.Count(rules, "maxProperties") ?? int.MaxValue);
        var more = rules["additionalProperties"] ?? rules["unevaluatedProperties"];
        // Others are written where the schema says so or names none.
        var isOpen = more is not null || !rules.Has("properties") || least > named.Names.Count;
        var patterns = Patterns(rules);
        var names = Names(rules);
        SchemaPart Value(string name, SchemaPart? own)
        {
            var matched = patterns.Where(p => p.Names.Matches(name)).Select(p => p.Value).ToList();
            return absent.Contains(name) || names?.Matches(name) == false ? parts.False
                : own is null && matched.Count == 0 ? more ?? parts.True
                : merge.All([.. own is null ? [] : (SchemaPart[])[own], .. matched]);
        }

        var isRequired = required.ToHashSet(StringComparer.Ordinal);
        var properties = named.Properties.Select(p => new PropertyRule(p.Name, compile(Value(p.Name, p.Value)), isRequired.Contains(p.Name))).ToList();
        properties.AddRange(required.Where(r => !named.Has(r)).Select(r => new PropertyRule(r, compile(Value(r, null)), true)));
        return new ObjectNode(properties, Others(patterns, names, isOpen ? more ?? parts.True : null), least, most, absent);
    }

    public ArrayNode Array(SchemaPart rules)
    {
        var places = rules["prefixItems"] is { IsArray: true } prefix ? prefix : rules["items"] is { IsArray: true } list ? list : null;
        var rest = (rules["items"] is { IsArray: true } ? rules["additionalItems"] : rules["items"]) ?? rules["unevaluatedItems"];
        var items = rest ?? (places is null ? parts.True : null);
        var (least, most) = (SchemaKeywords.Count(rules, "minItems") ?? 0, SchemaKeywords.Count(rules, "maxItems") ?? int.MaxValue);
        LiteralsNode? distinct = null;
        if (rules["uniqueItems"] is { IsTrue: true } && most > 1)
        {
            distinct = places is null && !rules.Has("contains") && items is not null && Scalars(items) is { } values ? Literals(values) : null;
            if (distinct is null)
            {
                ignored("the keyword 'uniqueItems' of items that are not some values");
            }
        }

        var (found, leastFound, mostFound) = (rules["contains"], SchemaKeywords.Count(rules, "minContains") ?? 1, SchemaKeywords.Count(rules, "maxContains"));
        var notFound = found is null || mostFound is null ? parts.True : conditions.Not(found);
        if (notFound.IsFalse && found is { IsTrue: false } && found != parts.Empty)
        {
            ignored("the keyword 'maxContains'");
            (mostFound, notFound) = (null, parts.True);
        }

        ItemRule Item(SchemaPart item) => found is null || (leastFound == 0 && mostFound is null)
            ? new ItemRule(compile(item), null)
            : new ItemRule(compile(merge.All(item, notFound)), compile(merge.All(item, found)));
        return new ArrayNode(
            [.. places?.Items.Select(Item) ?? []],
            items is null ? null : Item(items),
            least,
            most,
            found is null ? 0 : leastFound,
            found is null ? int.MaxValue : mostFound ?? int.MaxValue,
            distinct);
    }

    public ChoiceNode Constants(SchemaPart rules, List<string> types)
    {
        var values = Values(rules, types);
        if (SchemaKeywords.HasValueRules(rules) && values.Exists(v => v.IsObject || v.IsArray))
        {
            ignored("what is asked of the parts of an object or array that is given whole");
        }

        return new ChoiceNode([
            Literals(values.Where(v => v is { IsObject: false, IsArray: false })),
            .. values.Where(v => v.IsObject || v.IsArray).Select(Constant)]);
    }

    /// <summary>Values as they stand, none of them an object or array.</summary>
    public LiteralsNode Literals(IEnumerable<SchemaPart> values) => new(values.Select(value =>
    {
        budget.Hold(40 + value.Text.Length);
        budget.Spend(8);
        return value.Json();
    }));

    /// <summary>The values of a schema, if it is a list of some, none of them an object or array; null if it is not.</summary>
    public List<SchemaPart>? Scalars(SchemaPart rules)
    {
        if (!rules.IsObject || SchemaKeywords.IsCombined(rules) || SchemaKeywords.HasConditions(rules))
        {
            return null;
        }

        var types = SchemaKeywords.Texts(rules["type"]);
        if (SchemaKeywords.IsConstant(rules))
        {
            return Values(rules, types.Count > 0 ? types : ["object", "array", "string", "number", "boolean", "null"]) is var values && values.Exists(v => v.IsObject || v.IsArray) ? null : values;
        }

        return types.Count > 0 && types.TrueForAll(t => t is "boolean" or "null")
            ? [.. types.Contains("boolean") ? (SchemaPart[])[parts.True, parts.False] : [], .. types.Contains("null") ? (SchemaPart[])[parts.Null] : []] : null;
    }

    // The values that are left of a list, each once.
    private List<SchemaPart> Values(SchemaPart rules, List<string> types)
    {
        var values = rules["enum"] is { IsArray: true } list ? list.Items : [rules["const"]!];
        var rest = SchemaKeywords.HasValueRules(rules) ? parts.Without(rules, "enum", "const") : null;
        budget.Spend(values.Count * (rest is null ? 8L : 100));
        return [.. values.Where(v => (rules["const"] is not { } only || parts.Value(only) == parts.Value(v)) && types.Exists(t => SchemaKeywords.HasType(v, t)) && (rest is null || _constants.Allow(rest, v))).DistinctBy(parts.Value)];
    }

    private static Node Constant(SchemaPart value) => value.Kind switch
    {
        JsonValueKind.Object => new ObjectNode([.. value.Properties.Select(p => new PropertyRule(p.Name, Constant(p.Value), true))], [], 0, int.MaxValue),
        JsonValueKind.Array => new ArrayNode([.. value.Items.Select(v => new ItemRule(Constant(v), null))], null, value.Items.Count, value.Items.Count),
        _ => new LiteralNode(value.Json()),
    };

    private List<(string Text, CharacterAutomaton Names, SchemaPart Value)> Patterns(SchemaPart rules)
    {
        var result = new List<(string Text, CharacterAutomaton Names, SchemaPart Value)>();
        foreach (var (pattern, value) in rules["patternProperties"]?.Properties ?? [])
        {
            if (strings.Pattern(pattern) is { } names) // else that was told
            {
                result.Add((pattern, names, value));
            }
        }

        return result;
    }

    // What `propertyNames` allows; null for any name.
    private CharacterAutomaton? Names(SchemaPart rules)
    {
        if (rules["propertyNames"] is not { } schema || schema.IsTrue)
        {
            return null;
        }

        var names = conditions.Read(schema);
        if (names.IsFalse)
        {
            return strings.Try(work => CharacterAutomaton.Of([], work), "propertyNames");
        }

        if (!names.IsObject || SchemaKeywords.IsCombined(names) || SchemaKeywords.HasConditions(names))
        {
            ignored("the keyword 'propertyNames'");
            return null;
        }

        if (names["type"] is { } type && !SchemaKeywords.Texts(type).Contains("string"))
        {
            return strings.Try(work => CharacterAutomaton.Of([], work), "propertyNames");
        }

        return SchemaKeywords.IsConstant(names)
            ? strings.Try(work => CharacterAutomaton.Of(Values(names, ["string"]).Select(v => v.Text), work), "propertyNames")
            : strings.Automaton(names) ?? (names.Has("minLength") || names.Has("maxLength")
                ? strings.Try(work => CharacterAutomaton.Plain(work).OfLength(SchemaKeywords.Count(names, "minLength") ?? 0, SchemaKeywords.Count(names, "maxLength"), work), "propertyNames") : null);
    }

    // Names that no pattern matches have one value, and those that some match have the values of all these.
    private List<OtherRule> Others(List<(string Text, CharacterAutomaton Names, SchemaPart Value)> patterns, CharacterAutomaton? names, SchemaPart? unmatched)
    {
        if (patterns.Count == 0 && names is null)
        {
            return unmatched is null ? [] : [new OtherRule(null, compile(unmatched))];
        }

        var result = new List<OtherRule>();
        var classes = patterns.Count <= Combined ? Enumerable.Range(0, 1 << patterns.Count).Select(bits => Enumerable.Range(0, patterns.Count).Where(i => (bits >> i & 1) != 0).ToHashSet())
            : Enumerable.Range(-1, patterns.Count + 1).Select(only => only < 0 ? [] : new HashSet<int> { only });
        foreach (var matching in classes)
        {
            var value = matching.Count == 0 ? unmatched : merge.All([.. matching.Select(i => patterns[i].Value)]);
            var isKnown = Enumerable.Range(0, patterns.Count).All(i => matching.Contains(i) || strings.NotPattern(patterns[i].Text) is not null);
            var allowed = value is null or { IsFalse: true } || !isKnown ? null : strings.Try(
                work => patterns.Select((p, i) => matching.Contains(i) ? p.Names : strings.NotPattern(p.Text)).Prepend(names).OfType<CharacterAutomaton>().Aggregate(CharacterAutomaton.Plain(work), (a, b) => a.And(b, work)),
                "the names of patternProperties");
            if (allowed is not null && allowed.ShortestBytes(0) < Node.Never)
            {
                result.Add(new OtherRule(allowed, compile(value!)));
            }
        }

        return result;
    }
}
