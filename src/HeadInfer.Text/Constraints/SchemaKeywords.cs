namespace HeadInfer.Text.Constraints;

/// <summary>Questions to the keywords of a schema.</summary>
internal static class SchemaKeywords
{
    /// <summary>Names that no property may have. Schemas cannot say so themselves: it is what their conditions come to.</summary>
    public const string Absent = "\0absent";

    /// <summary>Texts that a string may not be.</summary>
    public const string NotText = "\0notText";

    /// <summary>Patterns that a string may not match.</summary>
    public const string NotPattern = "\0notPattern";

    // What describes and does not constrain. Semantic Kernel writes `condition`.
    private static readonly HashSet<string> Annotations = new(StringComparer.Ordinal)
    {
        "$schema", "$id", "$anchor", "$dynamicAnchor", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "condition",
    };

    private static readonly Dictionary<string, string[]> Keywords = new(StringComparer.Ordinal)
    {
        ["object"] = ["properties", "required", "additionalProperties", "minProperties", "maxProperties", "patternProperties", "propertyNames", "unevaluatedProperties", Absent],
        ["array"] = ["items", "prefixItems", "additionalItems", "minItems", "maxItems", "contains", "minContains", "maxContains", "uniqueItems", "unevaluatedItems"],
        ["string"] = ["minLength", "maxLength", "pattern", "format", NotText, NotPattern],
        ["number"] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
    };

    // What values keywords may have, where that is one kind.
    private static readonly Dictionary<string, JsonValueKind> Kinds = new(StringComparer.Ordinal)
    {
        ["properties"] = JsonValueKind.Object, ["required"] = JsonValueKind.Array, ["minProperties"] = JsonValueKind.Number, ["maxProperties"] = JsonValueKind.Number,
        ["patternProperties"] = JsonValueKind.Object, ["dependentRequired"] = JsonValueKind.Object, ["dependentSchemas"] = JsonValueKind.Object, ["dependencies"] = JsonValueKind.Object,
        ["prefixItems"] = JsonValueKind.Array, ["minItems"] = JsonValueKind.Number, ["maxItems"] = JsonValueKind.Number, ["minContains"] = JsonValueKind.Number,
        ["maxContains"] = JsonValueKind.Number, ["minLength"] = JsonValueKind.Number, ["maxLength"] = JsonValueKind.Number, ["pattern"] = JsonValueKind.String,
        ["format"] = JsonValueKind.String, ["enum"] = JsonValueKind.Array, ["anyOf"] = JsonValueKind.Array, ["oneOf"] = JsonValueKind.Array, ["allOf"] = JsonValueKind.Array,
        ["$ref"] = JsonValueKind.String, ["$dynamicRef"] = JsonValueKind.String,
    };

    private static readonly HashSet<string> Combining = new(StringComparer.Ordinal) { "type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$dynamicRef" };

    private static readonly HashSet<string> Conditions = new(StringComparer.Ordinal) { "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies" };

    private static readonly HashSet<string> ValueKeywords = new(Keywords.Values.SelectMany(k => k), StringComparer.Ordinal);

    public static bool IsAnnotation(string keyword) => Annotations.Contains(keyword);

    /// <summary>Whether a keyword is read, or describes.</summary>
    public static bool IsKnown(string keyword) => ValueKeywords.Contains(keyword) || Combining.Contains(keyword) || Conditions.Contains(keyword) || Annotations.Contains(keyword);

    /// <summary>Whether a keyword's value is of a kind that it may have.</summary>
    public static bool IsRightKind(string keyword, SchemaPart value) => !Kinds.TryGetValue(keyword, out var kind) || value.Kind == kind || (keyword == "pattern" && value.IsArray);

    /// <summary>Whether a schema asks anything that is enforced.</summary>
    public static bool HasRules(SchemaPart schema) => schema.Names.Any(k => IsKnown(k) && !IsAnnotation(k));

    /// <summary>Whether a schema asks anything of its values beside their type.</summary>
    public static bool HasValueRules(SchemaPart schema) => schema.Names.Any(ValueKeywords.Contains);

    /// <summary>Whether a schema has conditions: what is asked depends on what else is there.</summary>
    public static bool HasConditions(SchemaPart schema) => schema.Names.Any(Conditions.Contains);

    /// <summary>Whether a schema is made of others for the same value.</summary>
    public static bool IsCombined(SchemaPart schema) => schema.Names.Any(k => k is "anyOf" or "oneOf" or "allOf" or "$ref" or "$dynamicRef");

    /// <summary>Whether a schema without a type speaks of one.</summary>
    public static bool Implies(SchemaPart schema, string type) => Keywords.TryGetValue(type, out var keywords) && keywords.Any(schema.Has);

    /// <summary>A count of items, characters or properties; null if there is none.</summary>
    public static int? Count(SchemaPart schema, string keyword) =>
        schema[keyword] is { IsNumber: true } value && double.TryParse(value.Text, System.Globalization.CultureInfo.InvariantCulture, out var count) && count >= 0
            ? (int)Math.Min(int.MaxValue, Math.Ceiling(count)) : null;

    /// <summary>The texts of a list, or a text; what is none of these is empty.</summary>
    public static List<string> Texts(SchemaPart? texts) => texts is null ? [] : [.. (texts.IsArray ? texts.Items : [texts]).Select(t => t.IsString ? t.Text : "")];

    public static bool IsConstant(SchemaPart schema) => schema["enum"] is { IsArray: true } || schema.Has("const");

    public static bool HasType(SchemaPart value, string type) => value.Kind switch
    {
        JsonValueKind.Object => type == "object",
        JsonValueKind.Array => type == "array",
        JsonValueKind.String => type == "string",
        JsonValueKind.True or JsonValueKind.False => type == "boolean",
        JsonValueKind.Number => type == "number" || (type == "integer" && Scaled.Parse(value.Text)?.IsInteger == true),
        _ => type == "null",
    };
}
