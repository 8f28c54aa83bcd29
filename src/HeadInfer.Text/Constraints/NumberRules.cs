using System.Numerics;

namespace HeadInfer.Text.Constraints;

/// <summary>Numbers as a schema wants them.</summary>
internal static class NumberRules
{
    // A double has seventeen digits at most, and twenty digits hold every 64-bit integer.
    private const int Places = 17;
    private const int Digits = 20;

    // Digits beyond these are not counted with: no type that anybody reads JSON into has them.
    private const int MostDigits = 40;

    private static readonly BigInteger Far = BigInteger.Pow(10, MostDigits);

    /// <summary>Whether a number is within the bounds and a multiple.</summary>
    public static bool Allow(SchemaPart rules, Scaled number)
    {
        int? Compare(string keyword) => rules[keyword] is { } value && Scaled.Parse(value.Text) is { } bound ? number.CompareTo(bound) : null;
        var multiple = rules["multipleOf"] is { } step && Scaled.Parse(step.Text) is { Value.Sign: > 0 } s ? s : null;
        return Compare("minimum") is null or >= 0 && Compare("maximum") is null or <= 0 && Compare("exclusiveMinimum") is null or > 0 && Compare("exclusiveMaximum") is null or < 0
            && (multiple is null || (number.Ceiling(Math.Max(number.Scale, multiple.Scale)) % multiple.Ceiling(Math.Max(number.Scale, multiple.Scale))).IsZero);
    }

    public static NumberNode Compile(SchemaPart? rules, bool isInteger, Action<string> ignored)
    {
        // A bound that no number reaches asks for nothing; one that leaves none is not followed.
        Scaled? Read(string keyword, int loose)
        {
            var value = rules?[keyword];
            var number = value is null ? null : Scaled.Parse(value.Text);
            var isFar = number is not null && (BigInteger.Abs(number.Floor(0)) >= Far || (loose == 0 && number.Scale > MostDigits));
            if (value is not null && (number is null || (isFar && number.Value.Sign != loose)))
            {
                ignored($"{keyword} {value}"); // also the boolean form of old schemas
            }

            return isFar ? null : number;
        }

        var (least, most, above, below, multiple) = (Read("minimum", -1), Read("maximum", 1), Read("exclusiveMinimum", -1), Read("exclusiveMaximum", 1), Read("multipleOf", 0));
        if (multiple is { Value.Sign: <= 0 })
        {
            ignored("a multipleOf that is not positive");
            multiple = null;
        }

        Scaled?[] all = [least, most, above, below, multiple];
        var places = isInteger ? 0 : Math.Min(MostDigits, Math.Max(Places, all.Max(s => s?.Scale ?? 0) + 2));
        var step = multiple switch
        {
            null => BigInteger.One,
            // An integer that is a multiple of a fraction is one of its numerator, once the fraction is reduced.
            { } m when isInteger => m.Value * BigInteger.Pow(10, Math.Max(0, -m.Scale)) / BigInteger.GreatestCommonDivisor(m.Value, BigInteger.Pow(10, Math.Max(0, m.Scale))),
            { } m => m.Floor(places),
        };
        BigInteger? Largest(BigInteger? a, BigInteger? b) => a is null ? b : b is null ? a : BigInteger.Max(a.Value, b.Value);
        BigInteger? Smallest(BigInteger? a, BigInteger? b) => a is null ? b : b is null ? a : BigInteger.Min(a.Value, b.Value);
        var low = Largest(least?.Ceiling(places), above?.Floor(places) + 1);
        var high = Smallest(most?.Floor(places), below?.Ceiling(places) - 1);
        // Where there is no bound: what a long holds, or as many digits.
        var (down, up) = isInteger ? (long.MinValue, long.MaxValue) : (1 - BigInteger.Pow(10, Digits + places), BigInteger.Pow(10, Digits + places) - 1);
        var from = low ?? BigInteger.Min(down, (high ?? 0) + down);
        var to = high ?? BigInteger.Max(up, (low ?? 0) + up);
        return new NumberNode(places, from, to, step, isInteger || multiple is not null || from.Sign > 0 || to.Sign < 0 ? Exponents.None
            : Array.TrueForAll(all, s => s is null or { Value.IsZero: true }) ? Exponents.Any : Exponents.Negative);
    }
}
