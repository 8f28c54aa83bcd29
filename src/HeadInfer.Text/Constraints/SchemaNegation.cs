namespace HeadInfer.Text.Constraints;

/// <summary>Schemas of what a schema does not allow.</summary>
/// <param name="parts">makes schemas</param>
/// <param name="merge">puts schemas together</param>
/// <param name="budget">counts the work</param>
/// <param name="read">a schema's rules, references followed</param>
internal sealed class SchemaNegation(SchemaParts parts, SchemaMerge merge, WorkBudget budget, Func<SchemaPart, SchemaPart> read)
{
    private const int MaxDepth = 12;

    private static readonly string[] Types = ["object", "array", "string", "number", "boolean", "null"];

    /// <summary>What a schema does not allow: nothing that it allows, and maybe not all else.</summary>
    /// <param name="isExact">whether it is all else</param>
    public SchemaPart Not(SchemaPart schema, out bool isExact)
    {
        var exact = true;
        var result = Not(schema, 0, ref exact);
        isExact = exact;
        return result;
    }

    private SchemaPart Not(SchemaPart schema, int depth, ref bool exact)
    {
        budget.Spend(50);
        if (!schema.IsObject)
        {
            return schema.IsFalse ? parts.True : parts.False;
        }

        if (depth > MaxDepth)
        {
            exact = false;
            return parts.False;
        }

        // Either the one keyword is not followed, or the other.
        var rules = read(schema);
        if (!rules.IsObject)
        {
            return Not(rules, depth + 1, ref exact);
        }

        var choices = new List<SchemaPart>();
        foreach (var (keyword, value) in rules.Properties)
        {
            foreach (var choice in NotKeyword(rules, keyword, value, depth + 1, ref exact))
            {
                choices.Add(choice);
            }
        }

        return merge.Any(choices);
    }

    private List<SchemaPart> NotKeyword(SchemaPart rules, string keyword, SchemaPart value, int depth, ref bool exact)
    {
        var count = SchemaKeywords.Count(rules, keyword) ?? 0;
        switch (keyword)
        {
            case "type":
                var types = SchemaKeywords.Texts(value);
                exact &= !types.Contains("integer") || types.Contains("number");
                return [OfTypes(Types.Where(t => !types.Contains(t) && !(t == "number" && types.Contains("integer"))))];
            case "enum" when value.IsArray:
                return NotValues(value.Items, ref exact);
            case "const":
                return NotValues([value], ref exact);
            case "required":
                return [.. SchemaKeywords.Texts(value).Select(name => Of("object", SchemaKeywords.Absent, parts.Texts([name])))];
            case "properties":
                return [.. Each(value.Properties, depth, ref exact).Select(p => parts.Object([("type", parts.Text("object")), ("required", parts.Texts([p.Name])), ("properties", parts.Object(p.Name, p.Value))]))];
            case "prefixItems" when value.IsArray:
                var places = new List<SchemaPart>();
                for (var i = 0; i < value.Items.Count; i++)
                {
                    var item = Not(value.Items[i], depth, ref exact);
                    places.Add(item.IsFalse ? item : parts.Object(
                        [("type", parts.Text("array")), ("prefixItems", parts.Array(Enumerable.Repeat(parts.True, i).Append(item))), ("items", parts.True), ("minItems", parts.Number(i + 1L))]));
                }

                return places;
            case "items" when !value.IsArray && !rules.Has("prefixItems"):
                return Not(value, depth, ref exact) is { IsFalse: false } other ? [Of("array", "contains", other)] : [];
            case "contains" when !rules.Has("minContains") && !rules.Has("maxContains"):
                return [Of("array", "items", Not(value, depth, ref exact))];
            case "additionalProperties" when value.IsFalse && !rules.Has("properties") && !rules.Has("patternProperties"):
                return [Of("object", "minProperties", parts.Number(1))];
            case "pattern":
                return [.. SchemaKeywords.Texts(value).Select(p => Of("string", SchemaKeywords.NotPattern, parts.Texts([p])))];
            case "minLength":
                return Fewer("string", "maxLength", count);
            case "minItems":
                return Fewer("array", "maxItems", count);
            case "minProperties":
                return Fewer("object", "maxProperties", count);
            case "maxLength":
                return [Of("string", "minLength", parts.Number(count + 1L))];
            case "maxItems":
                return [Of("array", "minItems", parts.Number(count + 1L))];
            case "maxProperties":
                return [Of("object", "minProperties", parts.Number(count + 1L))];
            case "minimum":
                return [Of("number", "exclusiveMaximum", value)];
            case "maximum":
                return [Of("number", "exclusiveMinimum", value)];
            case "exclusiveMinimum":
                return [Of("number", "maximum", value)];
            case "exclusiveMaximum":
                return [Of("number", "minimum", value)];
            case "not":
                return [value];
            case "anyOf" when value.IsArray:
                var all = new List<SchemaPart>();
                foreach (var choice in value.Items)
                {
                    all.Add(Not(choice, depth, ref exact));
                }

                return [merge.All([.. all])];
            case "allOf" when value.IsArray:
                var any = new List<SchemaPart>();
                foreach (var choice in value.Items)
                {
                    any.Add(Not(choice, depth, ref exact));
                }

                return any;
            case "minContains" or "maxContains" when !rules.Has("contains"):
                return [];
            default:
                exact &= SchemaKeywords.IsAnnotation(keyword);
                return [];
        }
    }

    private List<SchemaPart> Fewer(string type, string most, int count) => count > 0 ? [Of(type, most, parts.Number(count - 1L))] : [];

    private List<(string Name, SchemaPart Value)> Each(IEnumerable<(string Name, SchemaPart Value)> schemas, int depth, ref bool exact)
    {
        var result = new List<(string, SchemaPart)>();
        foreach (var (name, schema) in schemas)
        {
            if (Not(schema, depth, ref exact) is { IsFalse: false } not)
            {
                result.Add((name, not));
            }
        }

        return result;
    }

    private List<SchemaPart> NotValues(IReadOnlyList<SchemaPart> values, ref bool exact)
    {
        var result = new List<SchemaPart> { OfTypes(Types.Where(t => !values.Any(v => SchemaKeywords.HasType(v, t)))) };
        if (values.Where(v => v.IsString).ToList() is { Count: > 0 } texts)
        {
            result.Add(Of("string", SchemaKeywords.NotText, parts.Array(texts)));
        }

        if (values.Where(v => v.IsTrue || v.IsFalse).Distinct().ToList() is { Count: 1 } one)
        {
            result.Add(parts.Object("const", one[0].IsTrue ? parts.False : parts.True));
        }

        // Numbers below, between and above.
        var numbers = values.Where(v => v.IsNumber).Select(v => (Value: v, Number: Scaled.Parse(v.Text))).ToList();
        exact &= numbers.TrueForAll(n => n.Number is not null);
        numbers = [.. numbers.Where(n => n.Number is not null).OrderBy(n => n.Number!)];
        for (var i = 0; i <= numbers.Count && numbers.Count > 0; i++)
        {
            List<(string, SchemaPart)> between = [("type", parts.Text("number"))];
            between.AddRange(i > 0 ? [("exclusiveMinimum", numbers[i - 1].Value)] : []);
            between.AddRange(i < numbers.Count ? [("exclusiveMaximum", numbers[i].Value)] : []);
            result.Add(parts.Object(between));
        }

        foreach (var (type, least) in ((string, string)[])[("array", "minItems"), ("object", "minProperties")])
        {
            if (values.Where(v => SchemaKeywords.HasType(v, type)).ToList() is { Count: > 0 } containers)
            {
                exact &= containers.TrueForAll(c => c.Items.Count == 0);
                result.Add(Of(type, least, parts.Number(containers.Max(c => c.Items.Count) + 1L)));
            }
        }

        return result;
    }

    private SchemaPart OfTypes(IEnumerable<string> types) => types.ToList() is { Count: > 0 } some ? parts.Object("type", parts.Texts(some)) : parts.False;

    private SchemaPart Of(string type, string keyword, SchemaPart value) => parts.Object([("type", parts.Text(type)), (keyword, value)]);
}
