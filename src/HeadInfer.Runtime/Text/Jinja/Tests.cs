namespace HeadInfer.Runtime.Text.Jinja;

/// <summary>The tests (<c>x is ...</c>) that chat templates use.</summary>
internal static class Tests
{
    public static bool Apply(string name, object? input, IReadOnlyList<object?> arguments, Position at)
    {
        object? First() => arguments is [var first, ..] ? first : throw at.Error($"the test '{name}' needs something to compare with.");
        return name switch
        {
            "defined" => input is not Undefined,
            "undefined" => input is Undefined,
            "none" => input is null,
            "string" => input is TemplateText,
            "mapping" => input is JinjaDict,
            "iterable" => input is TemplateText or List<object?> or JinjaDict,
            "sequence" => input is TemplateText or List<object?> or JinjaDict,
            "number" => input is long or double or bool,
            "integer" => input is long,
            "float" => input is double,
            "boolean" => input is bool,
            "true" => input is true,
            "false" => input is false,
            "callable" => input is JinjaFunction,
            "odd" => input is long odd && odd % 2 != 0,
            "even" => input is long even && even % 2 == 0,
            "divisibleby" => input is long number && First() is long divisor && divisor != 0 && number % divisor == 0,
            "lower" => input is TemplateText lower && lower.Text.Any(char.IsLetter) && !lower.Text.Any(char.IsUpper),
            "upper" => input is TemplateText upper && upper.Text.Any(char.IsLetter) && !upper.Text.Any(char.IsLower),
            "equalto" or "eq" or "==" or "sameas" => Values.AreEqual(input, First()),
            "ne" or "!=" => !Values.AreEqual(input, First()),
            "gt" or "greaterthan" => Operators.Compare(">", input, First(), at),
            "ge" => Operators.Compare(">=", input, First(), at),
            "lt" or "lessthan" => Operators.Compare("<", input, First(), at),
            "le" => Operators.Compare("<=", input, First(), at),
            "in" => Operators.Compare("in", input, First(), at),
            _ => throw at.Error($"the test '{name}' is not supported."),
        };
    }
}
