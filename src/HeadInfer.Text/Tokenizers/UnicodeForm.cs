namespace HeadInfer.Text.Tokenizers;

/// <summary>Unicode's normalization forms, as the system's library makes them, in time that grows with the text.</summary>
/// <remarks>
/// The library sorts the marks after a character by insertion, so a run of them takes the square of its length. Long runs
/// are put in order by <see cref="RunNormalizer"/>; the text between them, which is nearly all text, is the library's.
/// </remarks>
internal static class UnicodeForm
{
    private const int LongRun = 256; // characters up to which insertion does no harm
    private const int Share = 1 << 16; // characters between two looks at the work
    private const char NoCharacter = '\ufffe'; // the library refuses it; no form changes it

    // Without ICU, .NET returns text unchanged. "e" and an acute accent tell which it is.
    private static readonly bool SystemNormalizes = "e\u0301".Normalize(NormalizationForm.FormC).Length == 1;

    /// <summary>A text in a form; the text itself where it has that form already. Half a surrogate pair becomes U+FFFD.</summary>
    /// <exception cref="TokenizerException">The text may need to be changed and this system has no ICU library; or the form is too long.</exception>
    public static string Of(string text, NormalizationForm form, TextWork work) => Of(text, form, work, SystemNormalizes);

    internal static string Of(string text, NormalizationForm form, TextWork work, bool systemNormalizes)
    {
        // Below these no form has anything to change.
        if (!text.AsSpan().ContainsAnyExceptInRange('\0', form == NormalizationForm.FormC ? '\u02ff' : '\u009f'))
        {
            return text;
        }

        if (!systemNormalizes)
        {
            RequireUnchanged(text, form);
            return text;
        }

        text = WellFormed(text);
        var result = new StringBuilder(text.Length);
        var from = 0; // where the text begins that is the library's next
        void Flush(int to)
        {
            result.Append(text[from..to].Normalize(form));
            work.RequireLength(result.Length);
            work.Look();
            from = to;
        }

        for (var at = 0; at < text.Length;)
        {
            // Of characters that no form changes the last may begin a run.
            var plain = text.AsSpan(at).IndexOfAnyExceptInRange('\0', '\u02ff');
            at = plain < 0 ? text.Length - 1 : at + Math.Max(0, plain - 1);
            if (text[at] == NoCharacter)
            {
                Flush(at);
                result.Append(NoCharacter);
                from = ++at;
                continue;
            }

            if (at - from > Share && Begins(text, at, out _))
            {
                Flush(at);
            }

            // A run is a character and all that may join it.
            var end = at;
            do
            {
                Begins(text, end, out var length);
                end += length;
            }
            while (end < text.Length && !Begins(text, end, out _));

            if (end - at > LongRun)
            {
                Flush(at);
                RunNormalizer.Append(text.AsSpan(at, end - at), form, result, work);
                from = end;
            }

            at = end;
        }

        Flush(text.Length);
        return result.ToString();
    }

    /// <summary>The text, half a surrogate pair being U+FFFD as it would be in UTF-8.</summary>
    public static string WellFormed(string text)
    {
        for (var at = text.AsSpan().IndexOfAnyInRange('\ud800', '\udfff'); at < text.Length && at >= 0; at++)
        {
            if (char.IsSurrogate(text[at]) && (at + 1 == text.Length || !char.IsSurrogatePair(text[at], text[++at])))
            {
                return Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
            }
        }

        return text;
    }

    /// <summary>Whether a character joins nothing before it in any form. Letters of rarer scripts, and what is not assigned yet, count as joining.</summary>
    public static bool Begins(Rune rune) =>
        rune.Value is < 0x0300 or (>= 0x3041 and <= 0x3096) or (>= 0x30a1 and <= 0x30fa) or (>= 0x3400 and <= 0x9fff) or (>= 0xac00 and <= 0xd7a3) or NoCharacter or (>= 0x20000 and <= 0x3ffff)
        || Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
            or UnicodeCategory.OtherLetter or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherNotAssigned);

    private static bool Begins(string text, int at, out int length)
    {
        length = 1;
        if (text[at] < 0x0300)
        {
            return true;
        }

        Rune.DecodeFromUtf16(text.AsSpan(at), out var rune, out length);
        return Begins(rune);
    }

    private static void RequireUnchanged(string text, NormalizationForm form)
    {
        foreach (var rune in text.EnumerateRunes())
        {
            if (form == NormalizationForm.FormC ? MayCompose(rune) : rune.Value > 0x9f)
            {
                var name = form switch { NormalizationForm.FormC => "NFC", NormalizationForm.FormD => "NFD", NormalizationForm.FormKC => "NFKC", _ => "NFKD" };
                throw new TokenizerException(
                    $"The text has U+{rune.Value:X4}, which this model's tokenizer wants in Unicode's form {name}, and this system has no ICU library to normalize it. Install libicu (on Debian 12: apt-get install libicu72) and unset DOTNET_SYSTEM_GLOBALIZATION_INVARIANT.");
            }
        }
    }

    // More than those that do change: marks, conjoining Hangul, and the blocks with singleton decompositions.
    private static bool MayCompose(Rune rune) =>
        Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark
        || rune.Value is (>= 0x0958 and <= 0x095f) or (>= 0x09dc and <= 0x09df) or (>= 0x0a33 and <= 0x0a5e) or 0x0b5c or 0x0b5d
            or (>= 0x0f43 and <= 0x0f69) or (>= 0xfb1d and <= 0xfb4e) or (>= 0x1100 and <= 0x11ff) or 0x0374 or 0x037e or 0x0387 or (>= 0x1f71 and <= 0x1fff)
            or 0x2000 or 0x2001 or 0x2126 or 0x212a or 0x212b or 0x2329 or 0x232a or (>= 0xf900 and <= 0xfaff) or 0x2adc or (>= 0x1d15e and <= 0x1d1c0) or (>= 0x2f800 and <= 0x2fa1f);
}
