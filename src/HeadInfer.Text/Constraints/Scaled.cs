using System.Numerics;

namespace HeadInfer.Text.Constraints;

/// <summary>A decimal number: <paramref name="Value"/> times ten to minus <paramref name="Scale"/>.</summary>
internal sealed record Scaled(BigInteger Value, int Scale) : IComparable<Scaled>
{
    // Beyond these, arithmetic would cost more than it is worth: a double has 17 digits.
    private const int MaxScale = 400;
    private const int MaxDigits = 400;

    public bool IsInteger => Scale <= 0 || Divide(0).Remainder.IsZero;

    /// <summary>Reads a JSON number; null if it is none, or too far from 1.</summary>
    public static Scaled? Parse(string json)
    {
        var exponent = json.IndexOfAny(['e', 'E']);
        var digits = exponent < 0 ? json : json[..exponent];
        var point = digits.IndexOf('.', StringComparison.Ordinal);
        var power = 0;
        if (digits.Length > MaxDigits || (exponent >= 0 && !int.TryParse(json.AsSpan(exponent + 1), System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out power))
            || !BigInteger.TryParse(digits.Replace(".", "", StringComparison.Ordinal), System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out var value))
        {
            return null;
        }

        var scale = (point < 0 ? 0 : digits.Length - point - 1) - power;
        return Math.Abs(scale) > MaxScale ? null : new Scaled(value, scale);
    }

    public int CompareTo(Scaled? other) => Ceiling(Math.Max(Scale, other!.Scale)).CompareTo(other.Ceiling(Math.Max(Scale, other.Scale)));

    public BigInteger Floor(int places)
    {
        var (quotient, remainder) = Divide(places);
        return remainder.Sign < 0 ? quotient - 1 : quotient;
    }

    public BigInteger Ceiling(int places)
    {
        var (quotient, remainder) = Divide(places);
        return remainder.Sign > 0 ? quotient + 1 : quotient;
    }

    /// <summary>The same number for every way to write it.</summary>
    public string Canonical()
    {
        var (value, scale) = (Value, Scale);
        while (!value.IsZero && BigInteger.Remainder(value, 10).IsZero)
        {
            (value, scale) = (value / 10, scale - 1);
        }

        return value.IsZero ? "0" : string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{value}e{-scale}");
    }

    private (BigInteger Quotient, BigInteger Remainder) Divide(int places) => places >= Scale
        ? (Value * BigInteger.Pow(10, places - Scale), BigInteger.Zero)
        : BigInteger.DivRem(Value, BigInteger.Pow(10, Scale - places));
}
