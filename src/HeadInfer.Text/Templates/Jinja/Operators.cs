using System.Numerics;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Arithmetic, joining and comparing, as Python does them.</summary>
internal static class Operators
{
    public static object Unary(string @operator, object? value, Position at) => (@operator, value) switch
    {
        ("not", _) => !Values.IsTrue(value),
        ("-", double number) => -number,
        ("+", double number) => number,
        ("-", _) when Numbers.AsWhole(value) is { } whole => Numbers.Whole(-whole),
        ("+", _) when Numbers.AsWhole(value) is { } whole => Numbers.Whole(whole),
        _ => throw at.Error($"'{@operator}' cannot be applied to {Values.Kind(value)}."),
    };

    public static object Binary(string @operator, object? left, object? right, Position at, WorkBudget budget) => (@operator, left, right) switch
    {
        ("~", _, _) => budget.Join(Values.Print(left, budget), Values.Print(right, budget)),
        ("%", TemplateText format, _) => Formatting.Percent(format, right, at, budget),
        _ when Numbers.Is(left) && Numbers.Is(right) => Arithmetic(@operator, left!, right!, at, budget),
        ("+", TemplateText a, TemplateText b) => budget.Join(a, b),
        ("+", JinjaList a, JinjaList b) => a.Plus(b, budget),
        ("+", JinjaTuple a, JinjaTuple b) => Tuple(new JinjaList().Plus(a, budget).Plus(b, budget)),
        ("*", TemplateText or JinjaList or JinjaTuple, _) when Numbers.AsWhole(right) is { } times => Repeat(left!, times, budget),
        ("*", _, TemplateText or JinjaList or JinjaTuple) when Numbers.AsWhole(left) is { } times => Repeat(right!, times, budget),
        _ => throw at.Error($"'{@operator}' cannot be applied to {Values.Kind(left)} and {Values.Kind(right)}."),
    };

    public static bool Compare(string @operator, object? left, object? right, Position at, WorkBudget budget)
    {
        switch (@operator)
        {
            case "==":
                return Comparing.AreEqual(left, right, budget);
            case "!=":
                return !Comparing.AreEqual(left, right, budget);
            case "in":
                return Contains(right, left, at, budget);
            case "not in":
                return !Contains(right, left, at, budget);
            default:
                var order = Comparing.Order(left, right, at, budget);
                return @operator switch { "<" => order < 0, "<=" => order <= 0, ">" => order > 0, _ => order >= 0 };
        }
    }

    private static JinjaTuple Tuple(JinjaSequence items) => new([.. items]);

    private static bool Contains(object? container, object? item, Position at, WorkBudget budget) => (container, item) switch
    {
        (TemplateText text, TemplateText part) => TextSearch.Find(text.Text, part.Text, 0, text.Length, budget) >= 0,
        (JinjaRange range, long number) => number >= Math.Min(range.Start, range.Stop) && number <= Math.Max(range.Start, range.Stop) && number != range.Stop && (number - range.Start) % range.Step == 0,
        (JinjaSequence list, _) => list.Any(i => Comparing.AreEqual(i, item, budget)),
        (JinjaDict dict, _) => dict.TryGet(item, out _),
        (Undefined, _) => false,
        _ => throw at.Error($"'in' cannot look for {Values.Kind(item)} in {Values.Kind(container)}."),
    };

    private static object Repeat(object repeated, BigInteger times, WorkBudget budget)
    {
        var unit = repeated is TemplateText text ? text.Length : ((JinjaSequence)repeated).Count;
        var count = unit == 0 || times.Sign <= 0 ? 0 : times > long.MaxValue / 64 / unit ? long.MaxValue / 64 / unit : (long)times;
        if (repeated is TemplateText whole)
        {
            budget.HoldText(count * unit);
            return whole.With(string.Create(checked((int)(count * unit)), whole.Text, (target, source) =>
            {
                for (var at = 0; at < target.Length; at += source.Length)
                {
                    source.CopyTo(target[at..]);
                }
            }));
        }

        budget.HoldItems(count * unit);
        var all = new object?[count * unit];
        for (var i = 0; i < all.Length; i++)
        {
            all[i] = ((JinjaSequence)repeated)[i % unit];
        }

        return repeated is JinjaTuple ? new JinjaTuple(all) : new JinjaList(all);
    }

    private static object Arithmetic(string @operator, object left, object right, Position at, WorkBudget budget)
    {
        if (left is double || right is double || @operator == "/")
        {
            return Float(@operator, Numbers.AsDouble(left)!.Value, Numbers.AsDouble(right)!.Value, at);
        }

        if (left is long a && right is long b)
        {
            // Those that cannot overflow, and those that did not.
            switch (@operator)
            {
                case "+" when a + b is var sum && ((a ^ sum) & (b ^ sum)) >= 0:
                    return sum;
                case "-" when a - b is var rest && ((a ^ b) & (a ^ rest)) >= 0:
                    return rest;
            }
        }

        var (i, j) = (Numbers.AsWhole(left)!.Value, Numbers.AsWhole(right)!.Value);
        budget.Spend((i.GetByteCount() + j.GetByteCount()) >> 3);
        try
        {
            return @operator switch
            {
                "+" => Numbers.Whole(i + j),
                "-" => Numbers.Whole(i - j),
                "*" => Numbers.Whole(i * j),
                "//" or "%" when j.IsZero => throw at.Error("division by zero."),
                "//" => Numbers.Whole(Numbers.DivideDown(i, j).Quotient),
                "%" => Numbers.Whole(Numbers.DivideDown(i, j).Remainder),
                "**" when j.Sign >= 0 => Numbers.Power(i, j),
                "**" => Float("**", Numbers.AsDouble(left)!.Value, Numbers.AsDouble(right)!.Value, at),
                _ => throw at.Error($"the operator '{@operator}' is not supported."),
            };
        }
        catch (OverflowException)
        {
            throw at.Error("a number is too large.");
        }
    }

    private static object Float(string @operator, double a, double b, Position at) => @operator switch
    {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" or "//" or "%" when b == 0 => throw at.Error("division by zero."),
        "/" => a / b,
        "//" => DivideDown(a, b).Quotient,
        "%" => DivideDown(a, b).Remainder,
        "**" when a == 0 && b < 0 => throw at.Error("division by zero."),
        "**" => double.IsFinite(Math.Pow(a, b)) || !double.IsFinite(a) || !double.IsFinite(b) ? Math.Pow(a, b) : throw at.Error("a number is too large, or not a real one."),
        _ => throw at.Error($"the operator '{@operator}' is not supported."),
    };

    // The rest is exact and has the divisor's sign; the quotient goes with it.
    private static (double Quotient, double Remainder) DivideDown(double a, double b)
    {
        var rest = a % b;
        var quotient = (a - rest) / b;
        if (rest == 0)
        {
            rest = double.CopySign(0, b);
        }
        else if (rest < 0 != b < 0)
        {
            (rest, quotient) = (rest + b, quotient - 1);
        }

        return (quotient == 0 ? double.CopySign(0, a / b) : Math.Round(quotient), rest);
    }
}
