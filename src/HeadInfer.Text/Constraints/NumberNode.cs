using System.Collections.Concurrent;
using System.Numerics;

namespace HeadInfer.Text.Constraints;

/// <summary>A JSON number. Values are whole numbers of units of ten to a negative power, so that bounds are exact.</summary>
/// <param name="places">digits after the point at most; 0 for an integer</param>
/// <param name="least">the least value, in units of ten to minus <paramref name="places"/></param>
/// <param name="most">the largest</param>
/// <param name="step">values are multiples of this many units</param>
/// <param name="exponents">which exponents may follow without leaving the bounds</param>
internal sealed class NumberNode(int places, BigInteger least, BigInteger most, BigInteger step, Exponents exponents) : Node
{
    private const int MostKnown = 2_000;

    private readonly BigInteger _unit = BigInteger.Pow(10, places);
    private readonly int _digits = BigInteger.Max(BigInteger.Abs(least), BigInteger.Abs(most)).ToString(System.Globalization.CultureInfo.InvariantCulture).Length;
    private readonly ConcurrentDictionary<NumberText, (bool CanBecome, int Missing)> _known = []; // as found: each token tries hundreds, and most again

    // Without bounds only the digits are counted, which costs nothing.
    private readonly bool _isFree = exponents == Exponents.Any && step.IsOne && -least == most;

    public bool IsFree => _isFree;

    public int Places => places;

    public Exponents Exponents => exponents;

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
        var (low, high) = negative ? (BigInteger.Max(exponents == Exponents.Any ? 0 : 1, -most), -least) : (BigInteger.Max(0, least), most);
        (low, high) = (BigInteger.Max(low, from), BigInteger.Min(high, to));
        var multiple = step.IsOne ? grain : grain.IsOne ? step : step / BigInteger.GreatestCommonDivisor(step, grain) * grain;
        return low <= high && (multiple.IsOne || (low + multiple - 1) / multiple * multiple <= high);
    }

    /// <summary>What a number's digits so far stand for, in units, if they are all.</summary>
    public BigInteger Units(in NumberText text) => text.Digits * BigInteger.Pow(10, places - Math.Max(0, text.Fraction));

    /// <summary>Whether more digits can make a value of it, and how many characters do; <see cref="Node.Never"/> if none do.</summary>
    public (bool CanBecome, int Missing) Outlook(in NumberText text)
    {
        if (_isFree)
        {
            return (text.Count - Math.Max(0, text.Fraction) <= _digits - places, text.Exponent != ExponentPart.None || text.Count == 0 || text.Fraction == 0 ? Missing(text) : 0);
        }

        if (!_known.TryGetValue(text, out var known))
        {
            if (_known.Count >= MostKnown)
            {
                _known.Clear();
            }

            known = CanBecome(text) ? (true, Missing(text)) : (false, Never);
            _known[text] = known;
        }

        return known;
    }

    /// <summary>Whether it is a value as it stands.</summary>
    public bool IsValue(in NumberText text) => text.Exponent switch
    {
        ExponentPart.None => text.Count > 0 && text.Fraction != 0 && Outlook(text).Missing == 0,
        ExponentPart.Letter or ExponentPart.Minus or ExponentPart.Plus => false,
        _ => true,
    };

    private bool CanBecome(in NumberText text)
    {
        if (text.Exponent != ExponentPart.None)
        {
            return true;
        }

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

    private int Missing(in NumberText text)
    {
        if (text.Exponent != ExponentPart.None)
        {
            return text.Exponent == ExponentPart.Letter && exponents == Exponents.Negative ? 2 : text.Exponent is ExponentPart.Letter or ExponentPart.Minus or ExponentPart.Plus ? 1 : 0;
        }

        if (_isFree)
        {
            return 1; // a digit
        }

        if (text.Count > 0 && text.Fraction != 0 && HasValue(text.Negative, Units(text), Units(text), 1))
        {
            return 0;
        }

        // So many digits before the point, and so many after it.
        for (var characters = 1; characters <= _digits + 2; characters++)
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

    protected override long ShortestBytes()
    {
        var shortest = Outlook(default).Missing;
        return Math.Min(shortest, 1L + Outlook(new NumberText { Negative = true }).Missing);
    }

    protected override long LeastDepth() => 0;

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

/// <summary>Exponents that leave a number within its bounds.</summary>
internal enum Exponents
{
    None,

    /// <summary>Zero is within the bounds, and so is all that is nearer to it.</summary>
    Negative,
    Any,
}

/// <summary>What of an exponent is there.</summary>
internal enum ExponentPart
{
    None,
    Letter,
    Minus,
    Plus,

    /// <summary>After a first digit, after which two more may come if they are not too large for a double.</summary>
    One,
    Two,
    Other,

    /// <summary>After two digits that one more may follow.</summary>
    Tens,
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
            if (next.Exponent != ExponentPart.None || node.Outlook(next).CanBecome)
            {
                into.Add(new NumberFrame(node, next, After!));
            }
        }
        else if (node.IsValue(_text))
        {
            After!.Step(value, into);
        }
    }

    public override int Weight => node.IsFree ? 4 : 64; // whole numbers of any size are reckoned with

    protected override int Rest() => _text == default ? node.MinBytes : node.Outlook(_text).Missing;

    protected override bool IsSamePlace(Frame other) => other is NumberFrame n && ReferenceEquals(n.Node, node) && n._text == _text;

    protected override int PlaceHash() => HashCode.Combine(node, _text);

    private NumberNode Node => node;

    private NumberText? Next(byte value)
    {
        if (_text.Exponent != ExponentPart.None)
        {
            return Exponent((char)value) is { } exponent ? _text with { Exponent = exponent } : null;
        }

        return (char)value switch
        {
            '-' when _text.Count == 0 && !_text.Negative => _text with { Negative = true },
            '.' when _text.Count > 0 && _text.Fraction < 0 && node.Places > 0 => _text with { Fraction = 0 },
            'e' or 'E' when node.Exponents != Exponents.None && node.IsValue(_text) => _text with { Exponent = ExponentPart.Letter },
            >= '0' and <= '9' when !(_text.Fraction < 0 && _text.Count > 0 && _text.Digits.IsZero) && _text.Fraction < node.Places => _text with
            {
                Digits = node.IsFree ? _text.Digits | (value - '0') : (_text.Digits * 10) + (value - '0'),
                Count = _text.Count + 1,
                Fraction = _text.Fraction < 0 ? -1 : _text.Fraction + 1,
            },
            _ => null,
        };
    }

    // Up to 279: with twenty digits before it, that is a double.
    private ExponentPart? Exponent(char value) => (_text.Exponent, value) switch
    {
        (ExponentPart.Letter, '-') => ExponentPart.Minus,
        (ExponentPart.Letter, '+') when node.Exponents == Exponents.Any => ExponentPart.Plus,
        (ExponentPart.Letter, _) when node.Exponents != Exponents.Any => null,
        (ExponentPart.Letter or ExponentPart.Minus or ExponentPart.Plus, >= '0' and <= '9') => value == '1' ? ExponentPart.One : value == '2' ? ExponentPart.Two : ExponentPart.Other,
        (ExponentPart.One, >= '0' and <= '9') or (ExponentPart.Two, >= '0' and <= '7') => ExponentPart.Tens,
        (ExponentPart.Two, '8' or '9') or (ExponentPart.Other or ExponentPart.Tens, >= '0' and <= '9') => ExponentPart.Full,
        _ => null,
    };
}
