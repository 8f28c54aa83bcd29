namespace HeadInfer.Text.Constraints;

/// <summary>Makes choices of what a schema asks under conditions: <c>if</c>, <c>not</c>, <c>dependentRequired</c>, and <c>oneOf</c> where choices overlap.</summary>
/// <param name="parts">makes schemas</param>
/// <param name="merge">puts schemas together</param>
/// <param name="budget">counts the work</param>
/// <param name="ignored">told what is not enforced</param>
/// <param name="read">a schema's rules, references followed</param>
internal sealed class SchemaConditions(SchemaParts parts, SchemaMerge merge, WorkBudget budget, Action<string> ignored, Func<SchemaPart, SchemaPart> read)
{
    private const int MostApart = 8;

    private readonly SchemaNegation _negation = new(parts, merge, budget, read);
    private readonly SchemaOverlap _overlap = new(parts, budget);

    /// <summary>What a schema does not allow; <c>false</c> if nothing is known of that. It may be less than all else.</summary>
    public SchemaPart Not(SchemaPart schema) => _negation.Not(schema, out _);

    /// <summary>A schema's rules, references followed.</summary>
    public SchemaPart Read(SchemaPart schema) => read(schema);

    /// <summary>The same without conditions, or less of it.</summary>
    public SchemaPart Without(SchemaPart rules)
    {
        budget.Spend(40);
        if (rules.Has("not") || rules.Has("if"))
        {
            TellOfUnevaluated(rules);
        }

        var result = parts.Without(rules, "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies");
        void Ask(params ReadOnlySpan<SchemaPart> choices) => result = merge.Merge(result, merge.Any(choices.ToArray()));
        if (rules["not"] is { } not)
        {
            var others = _negation.Not(not, out var isExact);
            if (others.IsFalse && !isExact)
            {
                ignored($"the keyword 'not': {not}");
            }
            else
            {
                Ask(others);
            }
        }

        if (rules["if"] is { } condition && (rules.Has("then") || rules.Has("else")))
        {
            var others = _negation.Not(condition, out var isExact);
            if (others.IsFalse && !isExact)
            {
                ignored($"the keyword 'if': {condition}");
            }
            else
            {
                Ask(merge.All(condition, rules["then"] ?? parts.True), merge.All(others, rules["else"] ?? parts.True));
            }
        }

        foreach (var (name, value) in ((string[])["dependentRequired", "dependentSchemas", "dependencies"]).SelectMany(k => rules[k]?.Properties ?? []))
        {
            var required = parts.Object("required", parts.Texts(value.IsArray ? [name, .. SchemaKeywords.Texts(value)] : [name]));
            Ask(parts.Object(SchemaKeywords.Absent, parts.Texts([name])), value.IsArray ? required : merge.All(required, value));
        }

        return result;
    }

    /// <summary>Choices of which a value satisfies one alone, where that can be had; else as they are, which is told.</summary>
    /// <param name="choices">the choices, references followed</param>
    /// <param name="given">the choices as they were given</param>
    /// <param name="others">the rules beside them</param>
    public IReadOnlyList<SchemaPart> Apart(IReadOnlyList<SchemaPart> choices, IReadOnlyList<SchemaPart> given, SchemaPart others)
    {
        if (!_overlap.Any(choices))
        {
            return given;
        }

        var apart = new List<SchemaPart>();
        for (var i = 0; i < choices.Count && choices.Count <= MostApart; i++)
        {
            List<SchemaPart> all = [given[i]];
            for (var j = 0; j < choices.Count; j++)
            {
                if (j != i && _overlap.Between(choices[i], choices[j]))
                {
                    var elsewhere = _negation.Not(choices[j], out var isExact);
                    if (!isExact)
                    {
                        ignored("oneOf is read as anyOf, since values may satisfy more than one of its choices");
                        return given;
                    }

                    all.Add(elsewhere);
                }
            }

            apart.Add(merge.All([.. all]));
        }

        TellOfUnevaluated(others);

        if (choices.Count > MostApart)
        {
            ignored("oneOf is read as anyOf, since values may satisfy more than one of its choices");
            return given;
        }

        return apart;
    }

    // What must not be the case looks at properties without counting as a look, which a choice made of it does.
    private void TellOfUnevaluated(SchemaPart rules)
    {
        foreach (var keyword in ((string[])["unevaluatedProperties", "unevaluatedItems"]).Where(rules.Has))
        {
            ignored($"the keyword '{keyword}', as far as conditions beside it look at the same parts");
        }
    }
}
