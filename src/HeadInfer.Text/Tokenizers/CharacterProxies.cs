namespace HeadInfer.Text.Tokenizers;

/// <summary>
/// Text in which each character beyond U+FFFF is one of its category below it. .NET's expressions see halves of such
/// characters, which are no letters and count as two; the tokenizers' own see characters.
/// </summary>
internal static class CharacterProxies
{
    /// <summary>Letters beyond U+FFFF that an expression names (DeepSeek V2's, in a class of letters with case), as it names them.</summary>
    public const string Named = "\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-\U0001E943";

    /// <summary>What stands for them. Other letters with case, such as those of mathematics, are others, which that class does not have.</summary>
    public const string OfNamed = "\u0200\u0201";

    private static readonly Rune[] Ends = [.. Named.EnumerateRunes().Where(rune => rune.Value != '-')];

    /// <summary>The text, and for each of its characters, and its end, where that is in the original.</summary>
    public static (string Text, int[] Offsets) Of(string text)
    {
        var (result, offsets, at) = (new StringBuilder(text.Length), new List<int>(text.Length + 1), 0);
        foreach (var rune in text.EnumerateRunes()) // half a pair is U+FFFD, as in UTF-8
        {
            offsets.Add(at);
            result.Append(rune.IsBmp ? (char)rune.Value : IsNamed(rune) ? OfNamed[Rune.GetUnicodeCategory(rune) == UnicodeCategory.UppercaseLetter ? 0 : 1] : Proxy(Rune.GetUnicodeCategory(rune)));
            at += rune == Rune.ReplacementChar ? 1 : rune.Utf16SequenceLength;
        }

        offsets.Add(at);
        return (result.ToString(), [.. offsets]);
    }

    // The first end of a range that is not before it is that range's.
    private static bool IsNamed(Rune rune) => Array.FindIndex(Ends, end => end >= rune) is >= 0 and var end && (end % 2 == 1 || Ends[end] == rune);

    // Characters that no tokenizer's expression names by themselves.
    private static char Proxy(UnicodeCategory category) => category switch
    {
        UnicodeCategory.UppercaseLetter => '\ua790',
        UnicodeCategory.LowercaseLetter => '\ua791',
        UnicodeCategory.ModifierLetter => '\u02b0',
        UnicodeCategory.OtherLetter => '\u01bb',
        UnicodeCategory.NonSpacingMark => '\u0300',
        UnicodeCategory.SpacingCombiningMark => '\u0903',
        UnicodeCategory.EnclosingMark => '\u0488',
        UnicodeCategory.DecimalDigitNumber => '\u0660',
        UnicodeCategory.LetterNumber => '\u2160',
        UnicodeCategory.OtherNumber => '\u2460',
        UnicodeCategory.DashPunctuation => '\u2012',
        UnicodeCategory.OpenPunctuation => '\u2045',
        UnicodeCategory.ClosePunctuation => '\u2046',
        UnicodeCategory.OtherPunctuation => '\u2020',
        UnicodeCategory.MathSymbol => '\u2200',
        UnicodeCategory.CurrencySymbol => '\u20a0',
        UnicodeCategory.ModifierSymbol => '\u02c2',
        UnicodeCategory.OtherSymbol => '\u2300',
        UnicodeCategory.Format => '\u2060',
        UnicodeCategory.PrivateUse => '\ue000',
        _ => '\u0378', // not assigned
    };
}
