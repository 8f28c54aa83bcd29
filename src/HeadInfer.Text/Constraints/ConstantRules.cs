namespace HeadInfer.Text.Constraints;

/// <summary>Whether a value that is given whole is what the rules beside it ask; of containers, what they ask of the whole.</summary>
/// <param name="strings">reads what is asked of strings</param>
internal sealed class ConstantRules(StringRules strings)
{
    public bool Allow(SchemaPart rules, SchemaPart value) => value.Kind switch
    {
        JsonValueKind.Object => Within(rules, "minProperties", "maxProperties", value.Items.Count)
            && SchemaKeywords.Texts(rules["required"]).TrueForAll(value.Has)
            && !SchemaKeywords.Texts(rules[SchemaKeywords.Absent]).Exists(value.Has)
            && (rules["additionalProperties"]?.IsFalse != true || value.Names.All(n => rules["properties"]?.Has(n) == true)),
        JsonValueKind.Array => Within(rules, "minItems", "maxItems", value.Items.Count),
        JsonValueKind.String => Within(rules, "minLength", "maxLength", value.Text.EnumerateRunes().Count()) && strings.Automaton(rules)?.Matches(value.Text) != false,
        JsonValueKind.Number => Scaled.Parse(value.Text) is not { } number || NumberRules.Allow(rules, number),
        _ => true,
    };

    private static bool Within(SchemaPart rules, string least, string most, int count) => count >= (SchemaKeywords.Count(rules, least) ?? 0) && count <= (SchemaKeywords.Count(rules, most) ?? int.MaxValue);
}
