using System.Buffers;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>What Python knows of characters: which are blank, printable, lower or upper, and how they change case.</summary>
internal static class Characters
{
    // Characters whose upper case is several, outside of polytonic Greek.
    private const string ManyUppers = "\u00dfSS \u0149\u02bcN \u01f0J\u030c \u0587\u0535\u0552 \u1e96H\u0331 \u1e97T\u0308 \u1e98W\u030a \u1e99Y\u030a \u1e9aA\u02be \ufb00FF \ufb01FI \ufb02FL \ufb03FFI \ufb04FFL \ufb05ST \ufb06ST \ufb13\u0544\u0546 \ufb14\u0544\u0535 \ufb15\u0544\u053b \ufb16\u054e\u0546 \ufb17\u0544\u053d";

    private static readonly Dictionary<char, string> Uppers = ManyUppers.Split(' ').ToDictionary(u => u[0], u => u[1..]);
    private static readonly SearchValues<char> HasManyUppers = SearchValues.Create([.. Uppers.Keys]);

    public static bool IsSpace(int c) => c <= char.MaxValue && (char.IsWhiteSpace((char)c) || c is >= 0x1c and <= 0x1f);

    public static bool IsLetter(int c) => Category(c) <= UnicodeCategory.OtherLetter;

    public static bool IsDecimal(int c) => Category(c) == UnicodeCategory.DecimalDigitNumber;

    public static bool IsDigit(int c) => CharUnicodeInfo.GetDigitValue(Write(c), 0) >= 0;

    public static bool IsNumeric(int c) => CharUnicodeInfo.GetNumericValue(Write(c), 0) >= 0;

    public static bool IsLower(int c) => Category(c) == UnicodeCategory.LowercaseLetter;

    public static bool IsUpper(int c) => Category(c) is UnicodeCategory.UppercaseLetter;

    public static bool IsCased(int c) => Category(c) <= UnicodeCategory.TitlecaseLetter;

    public static bool IsWord(int c) => c == '_' || IsLetter(c) || IsNumeric(c);

    public static bool IsPrintable(int c) => c == ' ' || Category(c) is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate
        or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.SpaceSeparator);

    public static string Write(int c) => c > char.MaxValue ? char.ConvertFromUtf32(c) : ((char)c).ToString();

    public static string Upper(string text)
    {
        if (text.AsSpan().ContainsAny(HasManyUppers))
        {
            text = string.Concat(text.Select(c => Uppers.GetValueOrDefault(c) ?? c.ToString()));
        }

        return text.ToUpperInvariant();
    }

    public static string Lower(string text)
    {
        var lower = text.Replace("\u0130", "i\u0307", StringComparison.Ordinal).ToLowerInvariant();
        return text.Contains('\u03a3') ? FinalSigmas(text.Replace("\u0130", "i\u0307", StringComparison.Ordinal), lower) : lower;
    }

    public static string SwapCase(string text) => Map(text, (c, _) => IsUpper(c) ? Lower(Write(c)) : IsLower(c) ? Upper(Write(c)) : Write(c));

    /// <summary>The first letter of every run of letters large, the others small.</summary>
    public static string Title(string text) => Map(text, (c, before) => IsCased(before) ? Lower(Write(c)) : Large(c));

    /// <summary>The first character large, the others small.</summary>
    public static string Capitalize(string text)
    {
        var first = text.Length == 0 ? 0 : CodePoints.IsInside(text, 1) ? 2 : 1;
        return first == 0 ? text : Large(CodePoints.Of(text[..first]).First()) + Lower(text)[Lower(text[..first]).Length..];
    }

    /// <summary>Whether all cased characters satisfy a test, and there are some.</summary>
    public static bool AllCased(string text, Func<int, bool> test) => CodePoints.Of(text).Any(test) && CodePoints.Of(text).All(c => !IsCased(c) || test(c));

    /// <summary>Where lines are and how long, without and with their ends.</summary>
    public static IEnumerable<(int Start, int Length, int WithEnd)> Lines(string text)
    {
        for (var start = 0; start < text.Length;)
        {
            var end = start;
            while (end < text.Length && text[end] is not ('\n' or '\r' or '\v' or '\f' or (>= '\x1c' and <= '\x1e') or '\u0085' or '\u2028' or '\u2029'))
            {
                end++;
            }

            var next = end == text.Length ? end : text[end] == '\r' && end + 1 < text.Length && text[end + 1] == '\n' ? end + 2 : end + 1;
            yield return (start, end - start, next - start);
            start = next;
        }
    }

    private static UnicodeCategory Category(int c) => CharUnicodeInfo.GetUnicodeCategory(c);

    private static string Large(int c) => Upper(Write(c)) is { Length: > 1 } several && c <= char.MaxValue ? several[..1] + Lower(several[1..]) : Upper(Write(c));

    private static string Map(string text, Func<int, int, string> change)
    {
        var (result, before) = (new StringBuilder(text.Length), 0);
        foreach (var c in CodePoints.Of(text))
        {
            result.Append(change(c, before));
            before = c;
        }

        return result.ToString();
    }

    // A sigma that ends a word has a form of its own.
    private static string FinalSigmas(string text, string lower)
    {
        var result = new StringBuilder(lower);
        for (var i = 1; i < text.Length; i++)
        {
            if (text[i] == '\u03a3' && char.IsLetter(text[i - 1]) && (i + 1 == text.Length || !char.IsLetter(text[i + 1])))
            {
                result[i] = '\u03c2';
            }
        }

        return result.ToString();
    }
}
