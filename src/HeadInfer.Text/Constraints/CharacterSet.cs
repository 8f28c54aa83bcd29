using System.Text.RegularExpressions;

namespace HeadInfer.Text.Constraints;

/// <summary>Code points: ranges in order, apart from each other.</summary>
internal sealed record CharacterSet(IReadOnlyList<(int First, int Last)> Ranges)
{
    public const int Largest = 0x10ffff;

    // What is a digit, a word or white space to both ECMAScript and .NET.
    public static CharacterSet Digits { get; } = Of(('0', '9'));

    public static CharacterSet WordCharacters { get; } = Of(('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z'));

    public static CharacterSet Spaces { get; } = Of(('\t', '\r'), (' ', ' '), (0xa0, 0xa0), (0x1680, 0x1680), (0x2000, 0x200a), (0x2028, 0x2029), (0x202f, 0x202f), (0x205f, 0x205f), (0x3000, 0x3000));

    // What is one to either: only the rest is none to both.
    public static CharacterSet AnyDigits { get; } = Matching(@"\d");

    public static CharacterSet AnyWordCharacters { get; } = Matching(@"\w");

    public static CharacterSet AnySpaces { get; } = Matching(@"\s").Union(Of((0xfeff, 0xfeff)));

    /// <summary>What <c>.</c> stands for.</summary>
    public static CharacterSet AnyOfLine { get; } = Of(('\n', '\n'), ('\r', '\r'), (0x2028, 0x2029)).Complement();

    public static CharacterSet Ascii { get; } = Of((0, 0x7f));

    /// <summary>What a string in JSON has without an escape by number.</summary>
    public static CharacterSet Writable { get; } = Of(('\b', '\n'), ('\f', '\r'), (' ', 0xd7ff), (0xe000, Largest));

    public static CharacterSet WritableOfPlane0 { get; } = Writable.Intersect(Of((0, 0xffff)));

    public static CharacterSet Of(params IEnumerable<(int First, int Last)> ranges)
    {
        var result = new List<(int First, int Last)>();
        foreach (var (first, last) in ranges.Order())
        {
            if (result.Count > 0 && result[^1].Last >= first - 1)
            {
                result[^1] = (result[^1].First, Math.Max(last, result[^1].Last));
            }
            else
            {
                result.Add((first, last));
            }
        }

        return new CharacterSet(result);
    }

    public CharacterSet Union(CharacterSet other) => Of(Ranges.Concat(other.Ranges));

    public CharacterSet Complement()
    {
        var (result, next) = (new List<(int, int)>(), 0);
        foreach (var (first, last) in Ranges)
        {
            if (first > next)
            {
                result.Add((next, first - 1));
            }

            next = last + 1;
        }

        if (next <= Largest)
        {
            result.Add((next, Largest));
        }

        return new CharacterSet(result);
    }

    // The characters of plane 0 that .NET's expression matches. Beyond it none of its classes has any: .NET reads two halves there.
    private static CharacterSet Matching(string expression)
    {
        var pattern = new Regex(expression, RegexOptions.CultureInvariant);
        return Of(Enumerable.Range(0, 0x10000).Where(c => pattern.IsMatch([(char)c])).Select(c => (c, c)));
    }

    public CharacterSet Intersect(CharacterSet other) => Complement().Union(other.Complement()).Complement();
}
