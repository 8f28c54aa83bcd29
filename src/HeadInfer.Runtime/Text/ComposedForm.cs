using System.Globalization;
using System.Text;

namespace HeadInfer.Runtime.Text;

/// <summary>Unicode's composed form (NFC).</summary>
internal static class ComposedForm
{
    // Without ICU, .NET returns text unchanged. "e" and an acute accent tell which it is.
    private static readonly bool SystemComposes = "e\u0301".Normalize(NormalizationForm.FormC).Length == 1;

    /// <summary>The composed form of a text; the text itself where it is composed already.</summary>
    /// <exception cref="TokenizerException">The text is not composed and this system has no ICU library.</exception>
    public static ReadOnlySpan<char> Of(ReadOnlySpan<char> text)
    {
        if (!text.ContainsAnyExceptInRange('\0', '\u02ff'))
        {
            return text; // nothing below U+0300 changes
        }

        if (SystemComposes)
        {
            // Lone surrogates, which Normalize refuses, become U+FFFD as they would in UTF-8.
            var valid = Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text.ToArray()));
            return valid.Normalize(NormalizationForm.FormC);
        }

        foreach (var rune in text.EnumerateRunes())
        {
            if (MayChange(rune))
            {
                throw new TokenizerException(
                    $"The text has U+{rune.Value:X4}, which this model's tokenizer wants in composed form (NFC), and this system has no ICU library to compose it. Install libicu (on Debian 12: apt-get install libicu72) and unset DOTNET_SYSTEM_GLOBALIZATION_INVARIANT.");
            }
        }

        return text;
    }

    // More than those that do change: marks, conjoining Hangul, and the blocks with singleton decompositions.
    private static bool MayChange(Rune rune) =>
        Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark
        || rune.Value is (>= 0x0958 and <= 0x095f) or (>= 0x09dc and <= 0x09df) or (>= 0x0a33 and <= 0x0a5e) or 0x0b5c or 0x0b5d
            or (>= 0x0f43 and <= 0x0f69) or (>= 0xfb1d and <= 0xfb4e) or (>= 0x1100 and <= 0x11ff) or 0x0374 or 0x037e or 0x0387 or (>= 0x1f71 and <= 0x1fff)
            or 0x2000 or 0x2001 or 0x2126 or 0x212a or 0x212b or 0x2329 or 0x232a or (>= 0xf900 and <= 0xfaff) or 0x2adc or (>= 0x1d15e and <= 0x1d1c0) or (>= 0x2f800 and <= 0x2fa1f);
}
