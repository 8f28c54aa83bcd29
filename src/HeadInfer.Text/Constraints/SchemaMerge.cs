namespace HeadInfer.Text.Constraints;

/// <summary>Two schemas made one, which asks what both ask.</summary>
/// <param name="parts">makes schemas</param>
/// <param name="budget">counts the work</param>
/// <param name="ignored">told what cannot be asked together</param>
/// <param name="matches">whether a pattern of names is known, and matches a name</param>
internal sealed class SchemaMerge(SchemaParts parts, WorkBudget budget, Action<string> ignored, Func<string, string, bool> matches)
{
    private const int MostChoices = 256;

    private readonly Dictionary<(SchemaPart, SchemaPart), SchemaPart> _merged = [];

    /// <summary>A schema that asks what both ask; <c>false</c> if that is known to be too much.</summary>
    public SchemaPart Merge(SchemaPart first, SchemaPart second)
    {
        if (!first.IsObject || !second.IsObject)
        {
            return first.IsFalse || second.IsFalse ? parts.False : first.IsObject ? first : second;
        }

        if (!_merged.TryGetValue((first, second), out var merged))
        {
            _merged[(first, second)] = merged = MergeRules(first, second);
        }

        return merged;
    }

    /// <summary>What all of some schemas ask. Equal ones are one, so that schemas that contain themselves come round to what they were.</summary>
    public SchemaPart All(params ReadOnlySpan<SchemaPart> schemas)
    {
        var all = new List<SchemaPart>();
        foreach (var schema in schemas)
        {
            budget.Spend(20);
            all.AddRange(schema is { IsObject: true, Names: ["allOf"] } && schema.Items[0].IsArray ? schema.Items[0].Items : [schema]);
        }

        all = [.. all.Where(s => !s.IsTrue && s != parts.Empty).Distinct()];
        return all.Exists(s => s.IsFalse) ? parts.False : all.Count == 0 ? parts.True : all.Count == 1 ? all[0] : parts.Object("allOf", parts.Array(all));
    }

    /// <summary>What one of some schemas asks.</summary>
    public SchemaPart Any(IEnumerable<SchemaPart> schemas)
    {
        budget.Spend(20);
        List<SchemaPart> any = [.. schemas.Where(s => !s.IsFalse).Distinct()];
        return any.Exists(s => s.IsTrue || s == parts.Empty) ? parts.True : any.Count == 0 ? parts.False : any.Count == 1 ? any[0] : parts.Object("anyOf", parts.Array(any));
    }

    private SchemaPart MergeRules(SchemaPart first, SchemaPart second)
    {
        budget.Spend(60 + (10 * (first.Names.Count + second.Names.Count)));
        // What one of them says of all other properties, or items, is said of those that only the other names.
        var (a, b) = (WithOthers(first, second), WithOthers(second, first));
        var merged = new Dictionary<string, SchemaPart>(StringComparer.Ordinal);
        var order = new List<string>(a.Names);
        foreach (var (keyword, value) in a.Properties)
        {
            merged[keyword] = value;
        }

        foreach (var (keyword, value) in b.Properties)
        {
            if (merged.TryAdd(keyword, value))
            {
                order.Add(keyword);
            }
            else if (Both(keyword, merged[keyword], value) is { } both)
            {
                merged[keyword] = both;
            }
            else
            {
                return parts.False;
            }
        }

        return parts.Object([.. order.Select(k => (k, merged[k]))]);
    }

    private SchemaPart WithOthers(SchemaPart schema, SchemaPart other)
    {
        var result = schema;
        if (other["additionalProperties"] is { } more)
        {
            var (known, patterns) = (other["properties"], other["patternProperties"]);
            bool IsKnown(string name) => known?.Has(name) == true || patterns?.Names.Any(p => matches(p, name)) == true;
            if (schema["properties"] is { IsObject: true } named)
            {
                result = parts.With(result, "properties", parts.Object([.. named.Properties.Select(p => (p.Name, IsKnown(p.Name) ? p.Value : All(p.Value, more)))]));
            }

            if (schema["patternProperties"] is { IsObject: true } own && own != patterns)
            {
                result = parts.With(result, "patternProperties", parts.Object([.. own.Properties.Select(p => (p.Name, patterns?.Has(p.Name) == true ? p.Value : All(p.Value, more)))]));
            }
        }

        if (other["items"] is { IsArray: false } items && schema["prefixItems"] is { IsArray: true } places)
        {
            var taken = other["prefixItems"] is { IsArray: true } p ? p.Items.Count : 0;
            result = parts.With(result, "prefixItems", parts.Array(places.Items.Select((place, i) => i < taken ? place : All(place, items))));
        }

        return result;
    }

    // What both values of a keyword ask; null if nothing can be both.
    private SchemaPart? Both(string keyword, SchemaPart a, SchemaPart b)
    {
        if (a == b)
        {
            return a;
        }

        switch (keyword)
        {
            case "properties" or "patternProperties" when a.IsObject && b.IsObject:
                return parts.Object([.. a.Properties.Select(p => (p.Name, b[p.Name] is { } other ? All(p.Value, other) : p.Value)), .. b.Properties.Where(p => !a.Has(p.Name))]);
            case "prefixItems" when a.IsArray && b.IsArray:
                return parts.Array(Enumerable.Range(0, Math.Max(a.Items.Count, b.Items.Count)).Select(i => i >= a.Items.Count ? b.Items[i] : i >= b.Items.Count ? a.Items[i] : All(a.Items[i], b.Items[i])));
            case "required" or "allOf" or SchemaKeywords.Absent or SchemaKeywords.NotText or SchemaKeywords.NotPattern when a.IsArray && b.IsArray:
                return parts.Array(a.Items.Concat(b.Items).Distinct());
            case "pattern":
                return parts.Array((a.IsArray ? a.Items : [a]).Concat(b.IsArray ? b.Items : [b]).Distinct());
            case "items" or "additionalProperties" or "propertyNames" or "unevaluatedProperties" or "unevaluatedItems":
                return All(a, b);
            case "uniqueItems":
                return a.IsTrue ? a : b;
            case "not":
                return Any([a, b]);
            case "type":
                var (x, y) = (SchemaKeywords.Texts(a), SchemaKeywords.Texts(b));
                var types = x.Intersect(y).Concat(x.Concat(y) is var named && named.Contains("number") && named.Contains("integer") ? ["integer"] : []).Distinct().ToList();
                return types.Count > 0 ? parts.Texts(types) : null;
            case "enum" when a.IsArray && b.IsArray:
                var other = b.Items.Select(parts.Value).ToHashSet();
                SchemaPart[] values = [.. a.Items.Where(v => other.Contains(parts.Value(v)))];
                return values.Length > 0 ? parts.Array(values) : null;
            case "const":
                return parts.Value(a) == parts.Value(b) ? a : null;
            case "minimum" or "exclusiveMinimum" or "minLength" or "minItems" or "minProperties" or "minContains":
                return Number(a) >= Number(b) ? a : b;
            case "maximum" or "exclusiveMaximum" or "maxLength" or "maxItems" or "maxProperties" or "maxContains":
                return Number(a) <= Number(b) ? a : b;
            case "anyOf" or "oneOf" when a.IsArray && b.IsArray && (long)a.Items.Count * b.Items.Count <= MostChoices:
                return parts.Array(a.Items.SelectMany(i => b.Items.Select(j => All(i, j))).Where(s => !s.IsFalse).Distinct());
            default:
                if (!SchemaKeywords.IsAnnotation(keyword))
                {
                    ignored($"one of two '{keyword}' at one place");
                }

                return b;
        }
    }

    private static double Number(SchemaPart value) => value.IsNumber && double.TryParse(value.Text, System.Globalization.CultureInfo.InvariantCulture, out var number) ? number : 0;
}
