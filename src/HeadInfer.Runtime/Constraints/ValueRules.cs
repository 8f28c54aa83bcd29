using System.Numerics;
using System.Text.Json.Nodes;

namespace HeadInfer.Runtime.Constraints;

/// <summary>Strings as a schema wants them.</summary>
internal static class StringRules
{
    // Formats of .NET's own types, and others that are regular. Days end at the 28th, which every month has.
    private static readonly Dictionary<string, string> Formats = new(StringComparer.Ordinal)
    {
        ["date"] = @"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])$",
        ["time"] = @"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,7})?(Z|[+-](0\d|1[0-3]):[0-5]\d)?$",
        ["date-time"] = @"^(000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,7})?(Z|[+-](0\d|1[0-3]):[0-5]\d)$",
        ["uuid"] = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        ["ipv4"] = @"^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$",
        ["email"] = @"^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
        ["uri"] = @"^https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:\d{1,4})?(/[A-Za-z0-9._~-]*)*$",
    };

    public static StringNode Compile(JsonObject rules, Action<string> ignored)
    {
        var (least, most) = (SchemaMerge.Count(rules, "minLength") ?? 0, SchemaMerge.Count(rules, "maxLength"));
        var format = (rules["format"] as JsonValue)?.TryGetValue<string>(out var name) == true ? name : null;
        var pattern = (rules["pattern"] as JsonValue)?.TryGetValue<string>(out var text) == true ? text : null;
        if (format is not null && (pattern is not null || !Formats.ContainsKey(format)))
        {
            ignored($"the format '{format}'");
        }

        pattern ??= format is null ? null : Formats.GetValueOrDefault(format);
        if (pattern is not null)
        {
            try
            {
                return new StringNode(CharacterAutomaton.Of(Pattern.Parse(pattern), least, most), least, most ?? JsonStringState.NoLimit);
            }
            catch (NotSupportedException e)
            {
                ignored(e.Message);
            }
        }

        return new StringNode(null, least, most ?? JsonStringState.NoLimit);
    }
}

/// <summary>Numbers as a schema wants them.</summary>
internal static class NumberRules
{
    // Every double has so many digits exactly.
    private const int Digits = 15;
    private const int Places = 6;
    private const int MaxScale = 330;

    public static NumberNode Compile(JsonObject? rules, bool isInteger, Action<string> ignored)
    {
        Scaled? Read(string keyword)
        {
            var value = rules?[keyword];
            var number = value is null ? null : Scaled.Parse(value.ToJsonString());
            if (value is not null && number is null)
            {
                ignored($"{keyword} {value.ToJsonString()}"); // also the boolean form of old schemas
            }

            return number;
        }

        var (least, most, above, below, multiple) = (Read("minimum"), Read("maximum"), Read("exclusiveMinimum"), Read("exclusiveMaximum"), Read("multipleOf"));
        if (multiple is { Value.Sign: <= 0 })
        {
            ignored("a multipleOf that is not positive");
            multiple = null;
        }

        Scaled?[] all = [least, most, above, below, multiple];
        var finest = all.Max(s => s?.Scale ?? 0);
        var places = isInteger ? 0 : Math.Max(Places, finest + 2);
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
        var room = BigInteger.Pow(10, Digits + places) - 1;
        var from = low ?? BigInteger.Min(-room, (high ?? 0) - room);
        var to = high ?? BigInteger.Max(room, (low ?? 0) + room);
        return new NumberNode(places, from, to, step, exponents: !isInteger && all.All(s => s is null));
    }

    /// <summary>A decimal number: <paramref name="Value"/> times ten to minus <paramref name="Scale"/>.</summary>
    private sealed record Scaled(BigInteger Value, int Scale)
    {
        public static Scaled? Parse(string json)
        {
            var exponent = json.IndexOfAny(['e', 'E']);
            var digits = exponent < 0 ? json : json[..exponent];
            var point = digits.IndexOf('.', StringComparison.Ordinal);
            var power = 0;
            if ((exponent >= 0 && !int.TryParse(json.AsSpan(exponent + 1), System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out power))
                || !BigInteger.TryParse(digits.Replace(".", "", StringComparison.Ordinal), System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out var value))
            {
                return null;
            }

            var scale = (point < 0 ? 0 : digits.Length - point - 1) - power;
            return Math.Abs(scale) > MaxScale ? null : new Scaled(value, scale);
        }

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

        private (BigInteger Quotient, BigInteger Remainder) Divide(int places) => places >= Scale
            ? (Value * BigInteger.Pow(10, places - Scale), BigInteger.Zero)
            : BigInteger.DivRem(Value, BigInteger.Pow(10, Scale - places));
    }
}
