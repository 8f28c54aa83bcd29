using System.Numerics;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>How a value is written: what follows the colon in <c>{:>10.2f}</c>, or the percent sign in <c>%05d</c>.</summary>
/// <param name="Fill">what it is filled up with</param>
/// <param name="Align">'&lt;', '&gt;', '^' or '=' (after the sign); '\0' for the kind's own</param>
/// <param name="Sign">'+', ' ' or '-'</param>
/// <param name="Alternate"><c>#</c>: with a prefix</param>
/// <param name="Width">characters at least</param>
/// <param name="Group">',' or '_' between groups of digits; '\0' for none</param>
/// <param name="Precision">digits, or characters of a text at most; null for the kind's own</param>
/// <param name="Type">the letter; '\0' for none</param>
internal sealed record FormatSpec(string Fill, char Align, char Sign, bool Alternate, long Width, char Group, long? Precision, char Type)
{
    // No float has more digits behind its point than this.
    private const int MostDecimals = 1100;

    /// <summary>Reads what follows the colon.</summary>
    public static FormatSpec Parse(string spec, Position at)
    {
        var (i, fill, align) = (0, " ", '\0');
        var first = spec.Length > 1 && CodePoints.IsInside(spec, 1) ? 2 : 1;
        if (spec.Length > first && spec[first] is '<' or '>' or '^' or '=')
        {
            (fill, align, i) = (spec[..first], spec[first], first + 1);
        }
        else if (spec is ['<' or '>' or '^' or '=', ..])
        {
            (align, i) = (spec[0], 1);
        }

        char Take(string any) => i < spec.Length && any.Contains(spec[i]) ? spec[i++] : '\0';
        var sign = Take("+- ");
        var alternate = Take("#") != '\0';
        if (align == '\0' && i < spec.Length && spec[i] == '0')
        {
            (fill, align) = ("0", '=');
        }

        var width = Number(spec, ref i) ?? 0;
        var group = Take(",_");
        var precision = Take(".") == '\0' ? (long?)null : Number(spec, ref i) ?? throw at.Error($"the format '{spec}' lacks a precision.");
        var type = Take("bcdeEfFgGnosxX%");
        return i == spec.Length ? new FormatSpec(fill, align, sign, alternate, width, group, precision, type) : throw at.Error($"the format '{spec}' is not understood.");
    }

    public static long? Number(string text, ref int i)
    {
        var start = i;
        while (i < text.Length && char.IsAsciiDigit(text[i]))
        {
            i++;
        }

        return i == start ? null : long.TryParse(text.AsSpan(start, i - start), CultureInfo.InvariantCulture, out var number) ? Math.Min(number, int.MaxValue) : int.MaxValue;
    }

    /// <param name="trusted">whether the template wrote what it is filled up with</param>
    /// <param name="at">where the template asks for it</param>
    /// <param name="budget">counts what it costs</param>
    public TemplateText Write(object? value, bool trusted, Position at, WorkBudget budget)
    {
        if (value is TemplateText text)
        {
            if (Type is not ('\0' or 's') || Sign != '\0' || Group != '\0' || Align == '=' && Fill != "0")
            {
                throw at.Error("a string cannot be formatted like a number.");
            }

            var shown = Precision < text.Length ? budget.Part(text, 0, CodePoints.PlaceOf(text, Precision.Value, budget)) : text;
            return Pad(shown, Align is '\0' or '=' ? '<' : Align, 0, trusted, budget);
        }

        if (!Numbers.Is(value))
        {
            throw at.Error($"{Values.Kind(value)} cannot be formatted so.");
        }

        var (negative, digits) = value is double || Type is 'e' or 'E' or 'f' or 'F' or 'g' or 'G' or '%'
            ? FloatDigits(Numbers.AsDouble(value)!.Value, at, budget)
            : WholeDigits(Numbers.AsWhole(value)!.Value, at, budget);
        var sign = negative ? "-" : Sign is '+' or ' ' ? Sign.ToString() : "";
        var prefix = Alternate ? Type switch { 'x' => "0x", 'X' => "0X", 'o' => "0o", 'b' => "0b", _ => "" } : "";
        return Pad(TemplateText.Trusted(sign + prefix + digits), Align == '\0' ? '>' : Align, sign.Length + prefix.Length, trusted, budget);
    }

    private TemplateText Pad(TemplateText text, char align, int head, bool trusted, WorkBudget budget)
    {
        var missing = (int)Math.Max(0, Width - CodePoints.Count(text, budget));
        if (missing == 0)
        {
            return text;
        }

        TemplateText Fills(int count)
        {
            budget.HoldText((long)Fill.Length * count);
            var fill = Fill.Length == 1 ? new string(Fill[0], count) : string.Concat(Enumerable.Repeat(Fill, count));
            return trusted ? TemplateText.Trusted(fill) : TemplateText.Data(fill);
        }

        return align switch
        {
            '<' => budget.Join(text, Fills(missing)),
            '^' => budget.Join(Fills(missing / 2), text, Fills(missing - (missing / 2))),
            '=' => budget.Join(text.Substring(0, head), Fills(missing), text.Substring(head, text.Length - head)),
            _ => budget.Join(Fills(missing), text),
        };
    }

    private (bool Negative, string Digits) WholeDigits(BigInteger number, Position at, WorkBudget budget)
    {
        if (Precision is not null)
        {
            throw at.Error("a whole number is not formatted with a precision.");
        }

        budget.Walk(number.GetByteCount() * 4L);
        var size = BigInteger.Abs(number);
        var digits = Type switch
        {
            '\0' or 'd' or 'n' => size.ToString(CultureInfo.InvariantCulture),
            'x' or 'X' => size.ToString(Type.ToString(), CultureInfo.InvariantCulture).TrimStart('0') is { Length: > 0 } hex ? hex : "0",
            'b' => size.ToString("b", CultureInfo.InvariantCulture).TrimStart('0') is { Length: > 0 } bits ? bits : "0",
            'o' => Octal(size),
            'c' => size <= 0x10ffff ? Characters.Write((int)size) : throw at.Error("there is no such character."),
            _ => throw at.Error($"a whole number cannot be formatted with '{Type}'."),
        };
        budget.HoldText(Group == '\0' ? 0 : 2 * Width);
        return (number.Sign < 0, Grouped(digits, Type is 'x' or 'X' or 'b' or 'o' ? 4 : 3, number.Sign < 0 || Sign is '+' or ' ' ? 1 : 0));
    }

    private static string Octal(BigInteger number)
    {
        var digits = new Stack<char>();
        do
        {
            digits.Push((char)('0' + (int)(number & 7)));
            number >>= 3;
        }
        while (!number.IsZero);
        return new string([.. digits]);
    }

    private (bool Negative, string Digits) FloatDigits(double number, Position at, WorkBudget budget)
    {
        var negative = double.IsNegative(number) && !double.IsNaN(number);
        if (!double.IsFinite(number))
        {
            var word = (double.IsNaN(number) ? "nan" : "inf") + (Type == '%' ? "%" : "");
            return (negative, Type is 'E' or 'F' or 'G' ? word.ToUpperInvariant() : word);
        }

        budget.Spend(200);
        budget.HoldText((Precision ?? 0) + (Group == '\0' ? 0 : 2 * Width));
        var precision = (int)(Precision ?? 6);
        var digits = Type switch
        {
            'f' or 'F' => Fixed(number, precision),
            '%' => Fixed(number * 100, precision) + "%",
            'e' or 'E' => Exponential(number, precision),
            'g' or 'G' => General(number, Math.Max(precision, 1), Alternate),
            'n' => General(number, Math.Max(precision, 1), false),
            '\0' when Precision is null => Numbers.Float(Math.Abs(number)),
            '\0' => General(number, Math.Max(precision, 1), false) is var general && general.All(char.IsAsciiDigit) && general.Length < precision ? general + ".0" : general,
            _ => throw at.Error($"a float cannot be formatted with '{Type}'."),
        };
        var end = digits.AsSpan().IndexOfAnyExceptInRange('0', '9') is >= 0 and var other ? other : digits.Length;
        digits = Grouped(digits[..end], 3, digits.Length - end + (negative || Sign is '+' or ' ' ? 1 : 0)) + digits[end..];
        return (negative, Type is 'E' or 'G' or 'F' ? digits.ToUpperInvariant() : digits);
    }

    // With separators, which also stand between the zeros that a number is filled up with.
    private string Grouped(string digits, int size, int beside)
    {
        if (Group == '\0')
        {
            return digits;
        }

        var count = digits.Length;
        while (Align == '=' && Fill == "0" && count + ((count - 1) / size) + beside < Width)
        {
            count++;
        }

        var parts = digits.PadLeft(count, '0').Reverse().Chunk(size).Select(part => new string([.. part.Reverse()])).Reverse();
        return string.Join(Group, parts);
    }

    private static string Fixed(double number, int precision)
    {
        var digits = Numbers.Scaled(number, Math.Min(precision, MostDecimals)).ToString(CultureInfo.InvariantCulture);
        digits = digits.PadLeft(Math.Min(precision, MostDecimals) + 1, '0') + new string('0', Math.Max(0, precision - MostDecimals));
        return precision == 0 ? digits : digits[..^precision] + "." + digits[^precision..];
    }

    private static string Exponential(double number, int precision)
    {
        var (digits, exponent) = Significant(number, Math.Min(precision, MostDecimals) + 1);
        digits += new string('0', Math.Max(0, precision - MostDecimals));
        return $"{digits[0]}{(precision > 0 ? "." + digits[1..] : "")}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}";
    }

    private static string General(double number, int precision, bool keepZeros)
    {
        var (digits, exponent) = Significant(number, Math.Min(precision, MostDecimals));
        return Numbers.Shortest(keepZeros ? digits : digits.TrimEnd('0').PadRight(1, '0'), exponent, precision);
    }

    // So many digits of a float, rounded, and the power of ten of the first.
    private static (string Digits, int Exponent) Significant(double number, int count)
    {
        if (number == 0)
        {
            return (new string('0', count), 0);
        }

        var exponent = (int)Math.Floor(Math.Log10(Math.Abs(number)));
        for (exponent -= 1; ; exponent++)
        {
            // The logarithm may be one off, and rounding may add a digit.
            var digits = Numbers.Scaled(number, count - 1 - exponent).ToString(CultureInfo.InvariantCulture);
            if (digits.Length == count)
            {
                return (digits, exponent);
            }
        }
    }
}
