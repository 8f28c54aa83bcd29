using System.Numerics;

namespace HeadInfer.Runtime.Constraints;

/// <summary>A JSON number. Values are whole numbers of units of ten to a negative power, so that bounds are exact.</summary>
/// <param name="places">digits after the point at most; 0 for an integer</param>
/// <param name="least">the least value, in units of ten to minus <paramref name="places"/></param>
/// <param name="most">the largest</param>
/// <param name="step">values are multiples of this many units</param>
/// <param name="exponents">whether an exponent may follow, which leaves all bounds behind</param>
internal sealed class NumberNode(int places, BigInteger least, BigInteger most, BigInteger step, bool exponents) : Node
{
    private readonly BigInteger _unit = BigInteger.Pow(10, places);

    public int Places => places;

    public bool Exponents => exponents;

    public override IEnumerable<Node> Parts => [];

    public override void Enter(Frame after, FrameSet into)
    {
        if (IsPossible)
        {
            into.Add(new NumberFrame(this, default, after));
        }
    }

    /// <summary>Whether a value lies between two magnitudes, in units, of a sign.</summary>
    /// <param name="negative">the sign</param>
    /// <param name="from">the least magnitude</param>
    /// <param name="to">the largest</param>
    /// <param name="grain">values are multiples of this too</param>
    public bool HasValue(bool negative, BigInteger from, BigInteger to, BigInteger grain)
    {
        var (low, high) = negative ? (BigInteger.Max(1, -most), -least) : (BigInteger.Max(0, least), most);
        (low, high) = (BigInteger.Max(low, from), BigInteger.Min(high, to));
        var multiple = step / BigInteger.GreatestCommonDivisor(step, grain) * grain;
        return low <= high && (low + multiple - 1) / multiple * multiple <= high;
    }

    /// <summary>What a number's digits so far stand for, in units, if they are all.</summary>
    public BigInteger Units(in NumberText text) => text.Digits * BigInteger.Pow(10, places - Math.Max(0, text.Fraction));

    /// <summary>Whether more digits can make a value of it.</summary>
    public bool CanBecome(in NumberText text)
    {
        if (text.Count == 0)
        {
            return HasValue(text.Negative, 0, BigInteger.Max(BigInteger.Abs(least), BigInteger.Abs(most)), 1);
        }

        if (text.Fraction >= 0)
        {
            return Fits(text, places - text.Fraction);
        }

        for (var more = 0; more == 0 || (!text.Digits.IsZero && Ten(more) * text.Digits * _unit <= BigInteger.Max(BigInteger.Abs(least), BigInteger.Abs(most))); more++)
        {
            var first = text.Digits * Ten(more);
            if (HasValue(text.Negative, first * _unit, ((first + Ten(more)) * _unit) - 1, 1))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Fewest characters that make a value of it; <see cref="Node.Never"/> if none do.</summary>
    public int Missing(in NumberText text)
    {
        if (text.Exponent != ExponentPart.None)
        {
            return text.Exponent is ExponentPart.Letter or ExponentPart.Sign ? 1 : 0;
        }

        if (IsValue(text))
        {
            return 0;
        }

        // So many digits before the point, and so many after it.
        for (var characters = 1; characters <= Limit; characters++)
        {
            for (var whole = text.Fraction >= 0 ? 0 : characters; whole >= 0; whole--)
            {
                if (whole == characters - 1 && text.Fraction < 0)
                {
                    continue; // a point alone
                }

                if (Completes(text, whole, text.Fraction >= 0 ? characters : characters - whole - 1))
                {
                    return characters;
                }
            }
        }

        return Never;
    }

    /// <summary>Whether it is a value as it stands.</summary>
    public bool IsValue(in NumberText text) => text.Exponent switch
    {
        ExponentPart.None => text.Count > 0 && text.Fraction != 0 && HasValue(text.Negative, Units(text), Units(text), 1),
        ExponentPart.Letter or ExponentPart.Sign => false,
        _ => true,
    };

    protected override long ShortestBytes()
    {
        var shortest = Missing(default);
        return Math.Min(shortest, 1L + Missing(new NumberText { Negative = true }));
    }

    protected override long LeastDepth() => 0;

    private int Limit => BigInteger.Max(BigInteger.Abs(least), BigInteger.Abs(most)).ToString(System.Globalization.CultureInfo.InvariantCulture).Length + 2;

    private static BigInteger Ten(int power) => BigInteger.Pow(10, power);

    private bool Fits(in NumberText text, int more) => more >= 0 && HasValue(text.Negative, Units(text), Units(text) + Ten(more) - 1, 1);

    private bool Completes(in NumberText text, int whole, int fraction)
    {
        if (text.Fraction >= 0)
        {
            var left = places - text.Fraction - fraction;
            return left >= 0 && text.Fraction + fraction > 0 && HasValue(text.Negative, Units(text), Units(text) + ((Ten(fraction) - 1) * Ten(left)), Ten(left));
        }

        if (fraction > places || (text.Count == 0 ? whole == 0 : text.Digits.IsZero && whole > 0))
        {
            return false;
        }

        var digits = Math.Max(0, fraction);
        var (first, last) = text.Count == 0 ? (whole == 1 ? 0 : Ten(whole - 1), Ten(whole) - 1) : (text.Digits * Ten(whole), (text.Digits * Ten(whole)) + Ten(whole) - 1);
        return HasValue(text.Negative, first * _unit, ((last + 1) * _unit) - 1, _unit / Ten(digits));
    }
}

/// <summary>What of an exponent is there.</summary>
internal enum ExponentPart
{
    None,
    Letter,
    Sign,
    Digit,
    Full,
}

/// <summary>The characters of a number so far.</summary>
internal readonly record struct NumberText
{
    private readonly int _pointAndAfter;

    public bool Negative { get; init; }

    /// <summary>The digits as a whole number.</summary>
    public BigInteger Digits { get; init; }

    /// <summary>How many digits there are.</summary>
    public int Count { get; init; }

    /// <summary>How many of them are after the point; -1 if there is no point.</summary>
    public int Fraction
    {
        get => _pointAndAfter - 1;
        init => _pointAndAfter = value + 1;
    }

    public ExponentPart Exponent { get; init; }
}

/// <summary>Within a number, which ends where something else begins.</summary>
internal sealed class NumberFrame(NumberNode node, NumberText text, Frame after) : Frame(after)
{
    private readonly NumberText _text = text;

    public override bool CanEnd => After!.CanEnd && node.IsValue(_text);

    public override void Step(byte value, FrameSet into)
    {
        if (Next(value) is { } next)
        {
            if (next.Exponent != ExponentPart.None || node.CanBecome(next))
            {
                into.Add(new NumberFrame(node, next, After!));
            }
        }
        else if (node.IsValue(_text))
        {
            After!.Step(value, into);
        }
    }

    public override bool SameAs(Frame other) => other is NumberFrame n && ReferenceEquals(n.After, After) && n.Node == node && n._text == _text;

    protected override int Rest() => _text == default ? node.MinBytes : node.Missing(_text);

    private NumberNode Node => node;

    private NumberText? Next(byte value)
    {
        if (_text.Exponent != ExponentPart.None)
        {
            return (char)value switch
            {
                '+' or '-' when _text.Exponent == ExponentPart.Letter => _text with { Exponent = ExponentPart.Sign },
                >= '0' and <= '9' when _text.Exponent is ExponentPart.Letter or ExponentPart.Sign => _text with { Exponent = ExponentPart.Digit },
                >= '0' and <= '9' when _text.Exponent == ExponentPart.Digit => _text with { Exponent = ExponentPart.Full },
                _ => null,
            };
        }

        return (char)value switch
        {
            '-' when _text.Count == 0 && !_text.Negative => _text with { Negative = true },
            '.' when _text.Count > 0 && _text.Fraction < 0 && node.Places > 0 => _text with { Fraction = 0 },
            'e' or 'E' when node.Exponents && node.IsValue(_text) => _text with { Exponent = ExponentPart.Letter },
            >= '0' and <= '9' when !(_text.Fraction < 0 && _text.Count > 0 && _text.Digits.IsZero) && _text.Fraction < node.Places => _text with
            {
                Digits = (_text.Digits * 10) + (value - '0'),
                Count = _text.Count + 1,
                Fraction = _text.Fraction < 0 ? -1 : _text.Fraction + 1,
            },
            _ => null,
        };
    }
}
