namespace HeadInfer.Text.Constraints;

/// <summary>Whether a value may satisfy two of some schemas, as far as can be told.</summary>
/// <param name="parts">makes schemas</param>
/// <param name="budget">counts the work</param>
internal sealed class SchemaOverlap(SchemaParts parts, WorkBudget budget)
{
    // Of more, none is compared with every other.
    private const int MostPairs = 200_000;

    /// <summary>Whether two of the schemas may overlap; true where there are too many to tell.</summary>
    public bool Any(IReadOnlyList<SchemaPart> schemas)
    {
        if (schemas.All(s => s.IsObject && SchemaKeywords.IsConstant(s)))
        {
            var known = new HashSet<SchemaPart>();
            return !schemas.SelectMany(s => Values(s).Distinct()).All(known.Add);
        }

        if ((long)schemas.Count * schemas.Count / 2 > MostPairs)
        {
            return true;
        }

        for (var i = 0; i < schemas.Count; i++)
        {
            for (var j = 0; j < i; j++)
            {
                if (Between(schemas[i], schemas[j]))
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <summary>Whether a value may satisfy both.</summary>
    public bool Between(SchemaPart a, SchemaPart b)
    {
        budget.Spend(15);
        if (!a.IsObject || !b.IsObject)
        {
            return !a.IsFalse && !b.IsFalse;
        }

        var (valuesOfA, valuesOfB) = (SchemaKeywords.IsConstant(a), SchemaKeywords.IsConstant(b));
        if (valuesOfA && valuesOfB)
        {
            return Values(a).Intersect(Values(b)).Any();
        }

        if (valuesOfA || valuesOfB)
        {
            var (values, types) = valuesOfA ? (Values(a), b["type"]) : (Values(b), a["type"]);
            return types is null || values.Any(v => SchemaKeywords.Texts(types).Exists(t => SchemaKeywords.HasType(v, t)));
        }

        if (a["type"] is { } typesOfA && b["type"] is { } typesOfB)
        {
            var (x, y) = (SchemaKeywords.Texts(typesOfA), SchemaKeywords.Texts(typesOfB));
            if (!x.Intersect(y).Any() && !(x.Concat(y) is var both && both.Contains("number") && both.Contains("integer")))
            {
                return false;
            }
        }

        // A property that both require tells objects apart if its values do.
        return !(a["properties"] is { IsObject: true } p && b["properties"] is { IsObject: true } q && Required(a).Intersect(Required(b)).Any(
            name => p[name] is { IsObject: true } first && q[name] is { IsObject: true } second && !Between(first, second))
            && IsObject(a) && IsObject(b));
    }

    private static bool IsObject(SchemaPart schema) => schema["type"] is null || SchemaKeywords.Texts(schema["type"]).TrueForAll(t => t == "object");

    // The values that `enum` and `const` leave.
    private IEnumerable<SchemaPart> Values(SchemaPart schema)
    {
        var values = (schema["enum"] is { IsArray: true } list ? list.Items : [schema["const"]!]).Select(parts.Value);
        budget.Spend(schema["enum"]?.Items.Count ?? 1);
        return schema["const"] is { } only ? values.Where(v => v == parts.Value(only)) : values;
    }

    private static IEnumerable<string> Required(SchemaPart schema) => SchemaKeywords.Texts(schema["required"]);
}
