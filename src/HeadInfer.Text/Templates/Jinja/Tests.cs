namespace HeadInfer.Text.Templates.Jinja;

/// <summary>The tests (<c>x is ...</c>) of Jinja2.</summary>
internal static class Tests
{
    private static readonly HashSet<string> Names = new(StringComparer.Ordinal)
    {
        "defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float", "boolean", "true", "false", "callable", "filter", "test",
        "odd", "even", "divisibleby", "lower", "upper", "escaped", "sameas", "equalto", "eq", "==", "ne", "!=", "gt", "greaterthan", ">", "ge", ">=", "lt", "lessthan", "<", "le", "<=", "in",
    };

    public static bool Apply(string name, object? input, CallArguments call)
    {
        object? First() => call.Count > 0 ? call.Positional[0] : throw call.At.Error($"the test '{name}' needs something to compare with.");
        bool Compare(string @operator) => Operators.Compare(@operator, input, First(), call.At, call.Budget);
        return name switch
        {
            "defined" => input is not Undefined,
            "undefined" => input is Undefined,
            "none" => input is null,
            "string" => input is TemplateText,
            "mapping" => input is JinjaDict,
            "iterable" => input is TemplateText or JinjaSequence or JinjaDict or Undefined,
            "sequence" => input is TemplateText or (JinjaSequence and not JinjaView) or JinjaDict or Undefined,
            "number" => Numbers.Is(input),
            "integer" => input is long or System.Numerics.BigInteger,
            "float" => input is double,
            "boolean" => input is bool,
            "true" => input is true,
            "false" => input is false,
            "callable" => input is JinjaObject { IsCallable: true },
            "filter" => input is TemplateText filter && Filters.Has(filter.Text),
            "test" => input is TemplateText test && Names.Contains(test.Text),
            "odd" => Comparing.AreEqual(Remainder(input, 2L, call), 1L, call.Budget),
            "even" => Comparing.AreEqual(Remainder(input, 2L, call), 0L, call.Budget),
            "divisibleby" => Comparing.AreEqual(Remainder(input, First(), call), 0L, call.Budget),
            "lower" => (bool)TextMethods.Of(Values.Print(input, call.Budget), "islower")!(call)!,
            "upper" => (bool)TextMethods.Of(Values.Print(input, call.Budget), "isupper")!(call)!,
            "escaped" => false,
            "sameas" => IsSame(input, First(), call.Budget),
            "equalto" or "eq" or "==" => Compare("=="),
            "ne" or "!=" => Compare("!="),
            "gt" or "greaterthan" or ">" => Compare(">"),
            "ge" or ">=" => Compare(">="),
            "lt" or "lessthan" or "<" => Compare("<"),
            "le" or "<=" => Compare("<="),
            "in" => Compare("in"),
            _ => throw call.At.Error($"the test '{name}' is not supported."),
        };
    }

    private static object Remainder(object? number, object? divisor, CallArguments call) =>
        Numbers.Is(number) ? Operators.Binary("%", number, divisor, call.At, call.Budget) : throw call.At.Error($"{Values.Kind(number)} is not a number.");

    // The same object; for values that are not objects here, of the same kind and equal.
    private static bool IsSame(object? a, object? b, WorkBudget budget) => a switch
    {
        JinjaSequence or JinjaDict or JinjaObject => ReferenceEquals(a, b),
        _ => a?.GetType() == b?.GetType() && Comparing.AreEqual(a, b, budget),
    };
}
