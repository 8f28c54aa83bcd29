namespace HeadInfer.Text.Constraints;

/// <summary>A regular expression as <c>pattern</c> has it, read into a tree. What is not regular is refused.</summary>
internal abstract record Pattern
{
    private const int LongestName = 80;

    /// <summary>One character of a set.</summary>
    public sealed record One(CharacterSet Set) : Pattern;

    public sealed record Sequence(IReadOnlyList<Pattern> Parts) : Pattern;

    public sealed record Choice(IReadOnlyList<Pattern> Parts) : Pattern;

    /// <param name="Item">what is repeated</param>
    /// <param name="Least">times at least</param>
    /// <param name="Most">times at most; null for any number</param>
    public sealed record Repeat(Pattern Item, int Least, int? Most) : Pattern;

    public sealed record Begin : Pattern;

    public sealed record End : Pattern;

    /// <exception cref="NotSupportedException">It has a part that is not supported; the message names it.</exception>
    public static Pattern Parse(string text) => new PatternParser(text).Whole();

    /// <summary>A pattern as messages name it.</summary>
    public static string Name(string text) => $"the pattern '{(text.Length > LongestName ? $"{text[..LongestName]}..." : text)}'";
}

/// <summary>Reads a pattern by recursive descent.</summary>
internal sealed class PatternParser(string text)
{
    private const int MaxRepeat = 1000;
    private const int LongestTimes = 40;
    private const int Longest = 20_000;

    private int _at;

    public Pattern Whole()
    {
        if (text.Length > Longest)
        {
            throw new NotSupportedException($"{Pattern.Name(text)} has more than {Longest} characters");
        }

        var pattern = Choice(0);
        return _at == text.Length ? pattern : throw Unsupported("an unmatched ')'");
    }

    private Pattern Choice(int depth)
    {
        if (depth > 50)
        {
            throw Unsupported("so many groups within each other");
        }

        var parts = new List<Pattern> { Sequence(depth) };
        while (Take('|'))
        {
            parts.Add(Sequence(depth));
        }

        return parts.Count == 1 ? parts[0] : new Pattern.Choice(parts);
    }

    private Pattern.Sequence Sequence(int depth)
    {
        var parts = new List<Pattern>();
        while (_at < text.Length && text[_at] is not ('|' or ')'))
        {
            parts.Add(Quantified(Atom(depth)));
        }

        return new Pattern.Sequence(parts);
    }

    private Pattern Atom(int depth)
    {
        switch (text[_at])
        {
            case '^':
                _at++;
                return new Pattern.Begin();
            case '$':
                _at++;
                return new Pattern.End();
            case '(':
                _at++;
                if (Take('?') && !Take(':'))
                {
                    if (!Take('<') || _at == text.Length || text[_at] is '=' or '!')
                    {
                        throw Unsupported("a look-around or an option in a group");
                    }

                    _at = text.IndexOf('>', _at) is >= 0 and var end ? end + 1 : throw Unsupported("an unfinished group name");
                }

                var inner = Choice(depth + 1);
                return Take(')') ? inner : throw Unsupported("an unmatched '('");
            case '[':
                _at++;
                return new Pattern.One(Class());
            case '.':
                _at++;
                return new Pattern.One(CharacterSet.AnyOfLine);
            case '\\':
                _at++;
                return new Pattern.One(Escape().Set);
            case '*' or '+' or '?':
                throw Unsupported($"'{text[_at]}' after nothing");
            default:
                return new Pattern.One(Single(Character()));
        }
    }

    private Pattern Quantified(Pattern atom)
    {
        if (_at == text.Length)
        {
            return atom;
        }

        (int Least, int? Most)? times = text[_at] switch
        {
            '*' => (0, null),
            '+' => (1, null),
            '?' => (0, 1),
            _ => null,
        };
        if (times is not null)
        {
            _at++;
        }
        else if (Times() is var (least, most, end))
        {
            (times, _at) = ((least, most), end);
        }
        else
        {
            return atom;
        }

        if (atom is Pattern.Begin or Pattern.End)
        {
            throw Unsupported("a repeated anchor");
        }

        Take('?'); // as few as possible: the same texts
        if (_at < text.Length && (text[_at] is '+' or '*' or '?' || Times() is not null))
        {
            throw Unsupported("a quantifier after a quantifier");
        }

        return new Pattern.Repeat(atom, times.Value.Least, times.Value.Most);
    }

    // A repetition by numbers, and where it ends; null if none stands here.
    private (int Least, int? Most, int End)? Times()
    {
        var close = text[_at] == '{' ? text.IndexOf('}', _at, Math.Min(LongestTimes, text.Length - _at)) : -1;
        var parts = close < 0 ? [] : text[(_at + 1)..close].Split(',');
        if (parts.Length is 0 or > 2 || parts[0].Length == 0 || !parts.All(part => part.All(char.IsAsciiDigit)))
        {
            return null;
        }

        int Count(string digits) => int.TryParse(digits, System.Globalization.CultureInfo.InvariantCulture, out var count) && count <= MaxRepeat ? count : throw Unsupported($"a repetition of more than {MaxRepeat}");
        var least = Count(parts[0]);
        int? most = parts.Length == 1 ? least : parts[1].Length == 0 ? null : Count(parts[1]);
        return most < least ? throw Unsupported("a repetition whose limits are the wrong way round") : (least, most, close + 1);
    }

    private CharacterSet Class()
    {
        var negated = Take('^');
        var ranges = new List<(int, int)>();
        while (true)
        {
            if (_at == text.Length)
            {
                throw Unsupported("an unfinished class");
            }

            if (Take(']'))
            {
                break;
            }

            var (first, isShorthand) = ClassItem(negated);
            if (!isShorthand && _at + 1 < text.Length && text[_at] == '-' && text[_at + 1] != ']')
            {
                _at++;
                var (last, lastIsShorthand) = ClassItem(negated);
                if (lastIsShorthand || last.Ranges[0].First < first.Ranges[0].First)
                {
                    throw Unsupported("a range in a class that is none");
                }

                first = CharacterSet.Of((first.Ranges[0].First, last.Ranges[0].First));
            }

            ranges.AddRange(first.Ranges);
        }

        var set = CharacterSet.Of(ranges);
        return negated ? set.Complement() : set;
    }

    private (CharacterSet Set, bool IsShorthand) ClassItem(bool negated) => Take('\\') ? Escape(inClass: true, negated) : (Single(Character()), false);

    // A shorthand is what every reader takes it for, so in a negated class it is what any of them does.
    private (CharacterSet Set, bool IsShorthand) Escape(bool inClass = false, bool negated = false)
    {
        if (_at == text.Length)
        {
            throw Unsupported("an unfinished escape");
        }

        var letter = text[_at];
        var shorthand = letter switch
        {
            'd' => negated ? CharacterSet.AnyDigits : CharacterSet.Digits,
            's' => negated ? CharacterSet.AnySpaces : CharacterSet.Spaces,
            'w' => negated ? CharacterSet.AnyWordCharacters : CharacterSet.WordCharacters,
            'D' => (negated ? CharacterSet.Digits : CharacterSet.AnyDigits).Complement(),
            'S' => (negated ? CharacterSet.Spaces : CharacterSet.AnySpaces).Complement(),
            'W' => (negated ? CharacterSet.WordCharacters : CharacterSet.AnyWordCharacters).Complement(),
            _ => null,
        };
        if (shorthand is not null)
        {
            _at++;
            return (shorthand, true);
        }

        if (letter is 'x' or 'u')
        {
            var digits = letter == 'x' ? 2 : 4;
            if (_at + digits < text.Length && int.TryParse(text.AsSpan(_at + 1, digits), System.Globalization.NumberStyles.AllowHexSpecifier, null, out var code))
            {
                _at += digits + 1;
                return (Single(code), false);
            }

            throw Unsupported($"an unfinished '\\{letter}'");
        }

        var control = letter switch { 'n' => '\n', 'r' => '\r', 't' => '\t', 'f' => '\f', 'v' => '\v', 'b' when inClass => '\b', _ => '\0' };
        if (control != 0)
        {
            _at++;
            return (Single(control), false);
        }

        return char.IsAsciiLetterOrDigit(letter) ? throw Unsupported($"'\\{letter}'") : (Single(Character()), false);
    }

    private int Character()
    {
        if (!System.Text.Rune.TryGetRuneAt(text, _at, out var rune))
        {
            throw Unsupported("half a surrogate pair");
        }

        _at += rune.Utf16SequenceLength;
        return rune.Value;
    }

    private static CharacterSet Single(int character) => CharacterSet.Of((character, character));

    private bool Take(char c)
    {
        if (_at < text.Length && text[_at] == c)
        {
            _at++;
            return true;
        }

        return false;
    }

    private NotSupportedException Unsupported(string what) => new($"{Pattern.Name(text)} has {what} at {_at}");
}
