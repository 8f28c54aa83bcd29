using System.Numerics;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HeadInfer.Runtime.Constraints;

/// <summary>Whether a value that is given whole is what the rules beside it ask; of containers, what they ask of the whole.</summary>
internal static class ValueRules
{
    public static bool Allow(JsonObject rules, JsonNode? value) => value switch
    {
        JsonObject o => Within(rules, "minProperties", "maxProperties", o.Count)
            && (!rules.ContainsKey("required") || SchemaKeywords.Types(rules["required"]).TrueForAll(o.ContainsKey))
            && (!SchemaKeywords.IsFalse(rules["additionalProperties"]) || o.All(p => (rules["properties"] as JsonObject)?.ContainsKey(p.Key) == true)),
        JsonArray a => Within(rules, "minItems", "maxItems", a.Count),
        JsonValue v when v.GetValueKind() == JsonValueKind.String => Accepts(StringRules.Compile(rules, _ => { }), JsonText.Quote(v.GetValue<string>())),
        JsonValue v when v.GetValueKind() == JsonValueKind.Number => Scaled.Parse(v.ToJsonString()) is not { } number || NumberRules.Allow(rules, number),
        _ => true,
    };

    private static bool Within(JsonObject rules, string least, string most, int count) => count >= (SchemaKeywords.Count(rules, least) ?? 0) && count <= (SchemaKeywords.Count(rules, most) ?? int.MaxValue);

    private static bool Accepts(Node node, byte[] text)
    {
        node.Measure();
        var frames = new FrameSet();
        node.Enter(new EndFrame(), frames);
        foreach (var value in text)
        {
            var next = new FrameSet();
            frames.Step(value, next);
            frames = next;
        }

        return frames.CanEnd;
    }
}

/// <summary>Strings as a schema wants them.</summary>
internal static class StringRules
{
    // Formats that .NET's own types read, whose ranges are narrower than the standard's: days that every month has, years
    // that stay years in any time zone, times of day without one.
    private static readonly Dictionary<string, string> Formats = new(StringComparer.Ordinal)
    {
        ["date"] = @"^[1-9]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])$",
        ["time"] = @"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,7})?$",
        ["date-time"] = @"^([1-8]\d{3}|9[0-8]\d\d)-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,7})?(Z|[+-](0\d|1[0-3]):[0-5]\d)$",
        ["uuid"] = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        ["ipv4"] = @"^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$",
        ["email"] = @"^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
        ["uri"] = @"^https?://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:\d{1,4})?(/[A-Za-z0-9._~-]*)*$",
    };

    public static StringNode Compile(JsonObject rules, Action<string> ignored)
    {
        var (least, most) = (SchemaKeywords.Count(rules, "minLength") ?? 0, SchemaKeywords.Count(rules, "maxLength"));
        var format = rules["format"]?.GetValue<string>();
        var pattern = rules["pattern"]?.GetValue<string>();
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

    /// <summary>Whether a number is within the bounds and a multiple.</summary>
    public static bool Allow(JsonObject rules, Scaled number)
    {
        int? Compare(string keyword) => rules[keyword] is { } value && Scaled.Parse(value.ToJsonString()) is { } bound
            ? (number.Ceiling(Math.Max(number.Scale, bound.Scale)) - bound.Ceiling(Math.Max(number.Scale, bound.Scale))).Sign : null;
        var multiple = rules["multipleOf"] is { } step && Scaled.Parse(step.ToJsonString()) is { Value.Sign: > 0 } s ? s : null;
        return Compare("minimum") is null or >= 0 && Compare("maximum") is null or <= 0 && Compare("exclusiveMinimum") is null or > 0 && Compare("exclusiveMaximum") is null or < 0
            && (multiple is null || (number.Ceiling(Math.Max(number.Scale, multiple.Scale)) % multiple.Ceiling(Math.Max(number.Scale, multiple.Scale))).IsZero);
    }

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
}
