using System.Numerics;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Numbers as Python has them: whole ones of any size, floats, and booleans, which are whole numbers.</summary>
internal static class Numbers
{
    /// <summary>Digits that a whole number may have, as in Python.</summary>
    public const int MaxDigits = 4300;

    private const long MaxBits = 1 << 14;

    public static bool Is(object? value) => value is long or double or bool or BigInteger;

    /// <summary>A whole number, as a <c>long</c> where it is one.</summary>
    /// <exception cref="OverflowException">It is larger than templates may make.</exception>
    public static object Whole(BigInteger number) =>
        number >= long.MinValue && number <= long.MaxValue ? (object)(long)number : number.GetBitLength() <= MaxBits ? number : throw new OverflowException();

    /// <summary>A whole number or a boolean; null for everything else.</summary>
    public static BigInteger? AsWhole(object? value) => value switch
    {
        long number => number,
        bool flag => flag ? 1 : 0,
        BigInteger number => number,
        _ => null,
    };

    public static double? AsDouble(object? value) => value switch
    {
        double number => number,
        long number => number,
        bool flag => flag ? 1 : 0,
        BigInteger number => double.Parse(number.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture), // rounded; a cast cuts off
        _ => null,
    };

    /// <summary>Which number is larger, exactly; null where one is no number.</summary>
    public static int? Compare(object a, object b)
    {
        if (a is long i && b is long j)
        {
            return i.CompareTo(j);
        }

        if (AsWhole(a) is { } x && AsWhole(b) is { } y)
        {
            return x.CompareTo(y);
        }

        var (p, q) = (AsDouble(a)!.Value, AsDouble(b)!.Value);
        if (double.IsNaN(p) || double.IsNaN(q))
        {
            return null;
        }

        // A whole number beyond 2^53 may lie between two floats.
        return !double.IsFinite(p) || !double.IsFinite(q) || (a is double && b is double) ? p.CompareTo(q)
            : a is double ? -CompareExactly(AsWhole(b)!.Value, p) : CompareExactly(AsWhole(a)!.Value, q);
    }

    /// <exception cref="OverflowException">It is larger than templates may make.</exception>
    public static object Power(BigInteger number, BigInteger exponent) =>
        number.IsZero || number.IsOne ? Whole(exponent.IsZero ? 1 : number)
        : number == BigInteger.MinusOne ? (exponent.IsEven ? 1L : -1L)
        : exponent * (number.GetBitLength() - 1) <= MaxBits ? Whole(BigInteger.Pow(number, (int)exponent)) : throw new OverflowException();

    /// <summary>The quotient rounded down, and the rest, which has the divisor's sign.</summary>
    public static (BigInteger Quotient, BigInteger Remainder) DivideDown(BigInteger number, BigInteger divisor)
    {
        var quotient = BigInteger.DivRem(number, divisor, out var rest);
        return rest.Sign != 0 && rest.Sign != divisor.Sign ? (quotient - 1, rest + divisor) : (quotient, rest);
    }

    /// <summary>Reads a whole number as Python's <c>int</c> does; null if it is none.</summary>
    public static object? ParseWhole(string text, int radix)
    {
        var digits = text.AsSpan().Trim();
        var negative = digits is ['-', ..];
        digits = digits is ['-' or '+', ..] ? digits[1..] : digits;
        var prefix = digits is ['0', var letter, ..] ? char.ToLowerInvariant(letter) switch { 'x' => 16, 'o' => 8, 'b' => 2, _ => 0 } : 0;
        if (prefix != 0 && radix == prefix)
        {
            digits = digits[2..] is ['_', .. var after] ? after : digits[2..];
        }

        if (digits.Length is 0 or > MaxDigits || radix is < 2 or > 36)
        {
            return null;
        }

        var value = BigInteger.Zero;
        for (var i = 0; i < digits.Length; i++)
        {
            if (digits[i] == '_' && i > 0 && i + 1 < digits.Length && digits[i - 1] != '_')
            {
                continue;
            }

            var digit = char.IsAsciiLetter(digits[i]) ? char.ToLowerInvariant(digits[i]) - 'a' + 10 : (int)CharUnicodeInfo.GetDigitValue(digits[i]);
            if (digit < 0 || digit >= radix)
            {
                return null;
            }

            value = (value * radix) + digit;
        }

        return Whole(negative ? -value : value);
    }

    /// <summary>Reads a float as Python's <c>float</c> does; null if it is none.</summary>
    public static double? ParseFloat(string text)
    {
        var digits = text.AsSpan().Trim();
        var sign = digits is ['-', ..] ? -1 : 1;
        var word = (digits is ['-' or '+', ..] ? digits[1..] : digits).ToString().ToLowerInvariant();
        return word switch
        {
            "inf" or "infinity" => sign * double.PositiveInfinity,
            "nan" => double.NaN,
            [('.' or (>= '0' and <= '9')), ..] when !word.Contains("__", StringComparison.Ordinal) && word[^1] != '_' =>
                double.TryParse(word.Replace("_", "", StringComparison.Ordinal), NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out var value) ? sign * value : null,
            _ => null,
        };
    }

    /// <summary>A float as Python writes it: the fewest digits that are this float.</summary>
    public static string Float(double number)
    {
        if (!double.IsFinite(number))
        {
            return double.IsNaN(number) ? "nan" : number > 0 ? "inf" : "-inf";
        }

        var parts = number.ToString("R", CultureInfo.InvariantCulture).TrimStart('-').Split('E');
        var point = parts[0].IndexOf('.', StringComparison.Ordinal) is >= 0 and var found ? found : parts[0].Length;
        var all = parts[0].Replace(".", "", StringComparison.Ordinal);
        var digits = all.Trim('0') is { Length: > 0 } some ? some : "0";
        var exponent = number == 0 ? 0 : point - 1 - (all.Length - all.TrimStart('0').Length) + (parts.Length > 1 ? int.Parse(parts[1], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture) : 0);
        var text = Shortest(digits, exponent, 16);
        return (double.IsNegative(number) ? "-" : "") + text + (text.AsSpan().ContainsAny('.', 'e') ? "" : ".0");
    }

    /// <summary>A float with an exponent where that is small or large, and else without.</summary>
    /// <param name="digits">the first is not 0, unless all are</param>
    /// <param name="exponent">the power of ten of the first digit</param>
    /// <param name="large">from which exponent on it is written</param>
    public static string Shortest(string digits, int exponent, int large) =>
        exponent < -4 || exponent >= large ? $"{digits[0]}{(digits.Length > 1 ? "." + digits[1..] : "")}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}"
        : exponent < 0 ? "0." + new string('0', -exponent - 1) + digits
        : digits.Length <= exponent + 1 ? digits.PadRight(exponent + 1, '0')
        : digits[..(exponent + 1)] + "." + digits[(exponent + 1)..];

    /// <summary>A finite float times a power of ten, rounded to a whole number; a tie goes to the even one.</summary>
    public static BigInteger Scaled(double number, int power)
    {
        var bits = BitConverter.DoubleToInt64Bits(Math.Abs(number));
        var exponent = (int)(bits >> 52);
        var (top, bottom) = (new BigInteger((bits & ((1L << 52) - 1)) | (exponent > 0 ? 1L << 52 : 0)), BigInteger.One);
        var shift = Math.Max(exponent, 1) - 1075;
        (top, bottom) = shift > 0 ? (top << shift, bottom) : (top, bottom << -shift);
        (top, bottom) = power > 0 ? (top * BigInteger.Pow(10, power), bottom) : (top, bottom * BigInteger.Pow(10, -power));
        var whole = BigInteger.DivRem(top, bottom, out var rest);
        var half = (rest * 2).CompareTo(bottom);
        return half > 0 || (half == 0 && !whole.IsEven) ? whole + 1 : whole;
    }

    private static int CompareExactly(BigInteger whole, double number)
    {
        var down = Math.Floor(number);
        var order = whole.CompareTo(new BigInteger(down));
        return order != 0 ? order : number > down ? -1 : 0;
    }
}
