namespace HeadInfer.Text.Constraints;

/// <summary>What a byte does to a text.</summary>
internal enum TextStep
{
    Refused,

    /// <summary>The text goes on.</summary>
    Inside,

    /// <summary>The text has ended with it.</summary>
    Ended,
}

/// <summary>A place within a text whose further course depends on nothing around it, so that which tokens stay inside is found once and kept.</summary>
/// <remarks>Implemented by structures: hundreds of thousands of steps find the tokens that stay inside.</remarks>
internal interface ITextState<TSelf>
    where TSelf : struct, ITextState<TSelf>
{
    /// <summary>Fewest bytes to the text's end.</summary>
    int MinBytes { get; }

    /// <summary>What <see cref="MinBytes"/> may at most become inside the text: a token may begin a character, an escape, a long way round.</summary>
    int MaxMinBytes { get; }

    TextStep Step(byte value, out TSelf next);

    /// <summary>The same place as far as tokens of a length can tell: what masks are kept by.</summary>
    TSelf ForTokensUpTo(int length);
}

/// <summary>A place within a JSON string, after its opening quote.</summary>
/// <param name="Pattern">what the string's characters must match; null for any</param>
/// <param name="At">the pattern's state</param>
/// <param name="Least">characters that must still come</param>
/// <param name="Most">characters that may still come</param>
/// <param name="Part">the character, or escape, that is on its way</param>
/// <param name="Character">its code points so far</param>
/// <param name="Escapes">whether characters may be escaped; keys that must differ from others are written in one way only</param>
internal readonly record struct JsonStringState(CharacterAutomaton? Pattern, int At, int Least, int Most, StringPart Part, Utf8Step Character, bool Escapes) : ITextState<JsonStringState>
{
    public const int NoLimit = int.MaxValue;

    public static JsonStringState Start(CharacterAutomaton? pattern, int least, int most, bool escapes = true) => new(pattern, 0, least, most, StringPart.None, default, escapes);

    /// <inheritdoc/>
    public int MinBytes => Part switch
    {
        StringPart.None => 1 + Rest(At, Least),
        StringPart.Utf8 => Character.Bytes + 1 + (Pattern is null ? Rest(0, Math.Max(0, Least - 1)) : Pattern.Via(At, Character.First, Character.Last)),
        StringPart.Escape => 1 + 1 + (Pattern is null ? Rest(0, Math.Max(0, Least - 1)) : Pattern.ViaEscape(At)),
        _ => (Part switch { StringPart.Hex0 => 5, StringPart.Hex2 => 3, StringPart.Hex3 => 2, _ => 4 }) + Math.Max(0, Least - 1), // only where there is no pattern
    };

    /// <inheritdoc/>
    public int MaxMinBytes => 7 + (Pattern?.LongestOfShortest ?? Least);

    /// <inheritdoc/>
    public JsonStringState ForTokensUpTo(int length) => this with { Least = Math.Min(Least, length), Most = Most >= length ? NoLimit : Most };

    /// <inheritdoc/>
    public TextStep Step(byte value, out JsonStringState next)
    {
        var (step, state) = Part switch
        {
            StringPart.None => Begin(value),
            StringPart.Utf8 => Character.Next(value) is { } character ? Continue(character) : (TextStep.Refused, this),
            StringPart.Escape => Escaped(value),
            _ => Hex(value),
        };
        next = state;
        return step;
    }

    private int Rest(int at, int least) => Pattern?.ShortestBytes(at) ?? least;

    private (TextStep Step, JsonStringState State) Begin(byte value)
    {
        switch (value)
        {
            case (byte)'"':
                return Least == 0 && (Pattern is null || Pattern.Accepts(At)) ? (TextStep.Ended, this) : (TextStep.Refused, this);
            case < 0x20:
                return (TextStep.Refused, this);
            case (byte)'\\':
                return Escapes && Most > 0 && (Pattern is null || Pattern.ViaEscape(At) < Node.Never) ? (TextStep.Inside, this with { Part = StringPart.Escape }) : (TextStep.Refused, this);
            default:
                return Most > 0 && Utf8Step.Begin(value) is { } character ? Continue(character) : (TextStep.Refused, this);
        }
    }

    private (TextStep Step, JsonStringState State) Continue(Utf8Step character)
    {
        if (Pattern is not null && Pattern.Via(At, character.First, character.Last) >= Node.Never)
        {
            return (TextStep.Refused, this);
        }

        return character.Bytes > 0 ? (TextStep.Inside, this with { Part = StringPart.Utf8, Character = character }) : Whole(character.First);
    }


    private (TextStep Step, JsonStringState State) Whole(int character)
    {
        var at = Pattern?.Next(At, character) ?? 0;
        return at < 0
            ? (TextStep.Refused, this)
            : (TextStep.Inside, this with { At = at, Least = Math.Max(0, Least - 1), Most = Most == NoLimit ? NoLimit : Most - 1, Part = StringPart.None, Character = default });
    }

    private (TextStep Step, JsonStringState State) Escaped(byte value) => value switch
    {
        (byte)'"' or (byte)'\\' => Whole(value),
        (byte)'/' when Pattern is null => Whole(value), // needs no escape, and has one way only where a pattern counts bytes
        (byte)'b' => Whole('\b'),
        (byte)'f' => Whole('\f'),
        (byte)'n' => Whole('\n'),
        (byte)'r' => Whole('\r'),
        (byte)'t' => Whole('\t'),
        (byte)'u' when Pattern is null => (TextStep.Inside, this with { Part = StringPart.Hex0 }),
        _ => (TextStep.Refused, this),
    };

    // Four digits, but none of the surrogates U+D800 to U+DFFF: half a pair is read by no parser.
    private (TextStep Step, JsonStringState State) Hex(byte value)
    {
        if (!char.IsAsciiHexDigit((char)value))
        {
            return (TextStep.Refused, this);
        }

        return Part switch
        {
            StringPart.Hex0 when (value | 0x20) == 'd' => (TextStep.Inside, this with { Part = StringPart.Hex1OfD }),
            StringPart.Hex0 => (TextStep.Inside, this with { Part = StringPart.Hex1 }),
            StringPart.Hex1OfD when value is < (byte)'0' or > (byte)'7' => (TextStep.Refused, this),
            StringPart.Hex1OfD or StringPart.Hex1 => (TextStep.Inside, this with { Part = StringPart.Hex2 }),
            StringPart.Hex2 => (TextStep.Inside, this with { Part = StringPart.Hex3 }),
            _ => Whole('?'),
        };
    }
}

/// <summary>What of a character in a JSON string is still on its way.</summary>
internal enum StringPart
{
    None,
    Utf8,
    Escape,

    /// <summary>Before the first of four hexadecimal digits.</summary>
    Hex0,

    /// <summary>After a first digit D: what follows must not make a surrogate.</summary>
    Hex1OfD,
    Hex1,
    Hex2,
    Hex3,
}

/// <summary>A place within free text that a marker ends, or the special token of that name.</summary>
/// <param name="Marker">the marker; its bytes are part of the text</param>
/// <param name="Matched">how many of its bytes the text ends with</param>
/// <param name="InToken">whether these are of a special token, which is the marker or nothing</param>
internal readonly record struct FreeTextState(string Marker, int Matched, bool InToken = false) : ITextState<FreeTextState>
{
    /// <inheritdoc/>
    public int MinBytes => Marker.Length - Matched;

    /// <inheritdoc/>
    public int MaxMinBytes => Marker.Length;

    /// <inheritdoc/>
    public FreeTextState ForTokensUpTo(int length) => this;

    /// <inheritdoc/>
    public TextStep Step(byte value, out FreeTextState next)
    {
        next = this;
        if (value == TokenTrie.SpecialMark && !InToken)
        {
            next = new FreeTextState(Marker, 0, InToken: true);
            return TextStep.Inside;
        }

        if (value >= 0xf8 || (InToken && Marker[Matched] != value))
        {
            return TextStep.Refused; // no byte of UTF-8, or another special token
        }

        var matched = Matched;
        while (matched > 0 && Marker[matched] != value)
        {
            matched = Border(matched);
        }

        matched = Marker[matched] == value ? matched + 1 : 0;
        if (matched == Marker.Length)
        {
            return TextStep.Ended;
        }

        next = new FreeTextState(Marker, matched, InToken);
        return TextStep.Inside;
    }

    // The longest beginning of the marker that the first bytes of it end with.
    private int Border(int length)
    {
        var border = length - 1;
        while (border > 0 && !Marker.AsSpan(0, length).EndsWith(Marker.AsSpan(0, border), StringComparison.Ordinal))
        {
            border--;
        }

        return border;
    }
}
