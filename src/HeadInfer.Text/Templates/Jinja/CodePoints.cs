namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Places in text as Python counts them: a pair of surrogates is one character, a lone one is one too.</summary>
internal static class CodePoints
{
    /// <summary>Whether a place is between the two halves of a character.</summary>
    public static bool IsInside(string text, int place) =>
        place > 0 && place < text.Length && char.IsLowSurrogate(text[place]) && char.IsHighSurrogate(text[place - 1]);

    /// <summary>How many characters there are.</summary>
    public static long Count(TemplateText text, WorkBudget budget) => text.HasSurrogates ? Before(text, text.Length, budget) : text.Length;

    /// <summary>How many characters are before a place; -1 for -1.</summary>
    public static long Before(TemplateText text, int place, WorkBudget budget)
    {
        if (place < 0 || !text.HasSurrogates)
        {
            return place;
        }

        budget.Walk(place);
        var count = 0L;
        for (var i = 0; i < place; i++)
        {
            count += IsInside(text.Text, i) ? 0 : 1;
        }

        return count;
    }

    /// <summary>Where a character begins; the text's end for those beyond it.</summary>
    public static int PlaceOf(TemplateText text, long character, WorkBudget budget)
    {
        if (!text.HasSurrogates)
        {
            return (int)Math.Clamp(character, 0, text.Length);
        }

        var place = 0;
        for (; place < text.Length && character > 0; place++, character--)
        {
            place += IsInside(text.Text, place + 1) ? 1 : 0;
        }

        budget.Walk(place);
        return place;
    }

    /// <summary>A character by its number from the beginning, or from the end if negative; null if there is none.</summary>
    public static TemplateText? At(TemplateText text, long index, WorkBudget budget)
    {
        var character = index < 0 ? index + Count(text, budget) : index;
        var place = PlaceOf(text, character, budget);
        return character >= 0 && place < text.Length ? text.Substring(place, IsInside(text.Text, place + 1) ? 2 : 1) : null;
    }

    /// <summary>Each character's number in Unicode, in order.</summary>
    public static IEnumerable<int> Of(string text)
    {
        for (var i = 0; i < text.Length; i++)
        {
            yield return IsInside(text, i + 1) ? char.ConvertToUtf32(text[i], text[++i]) : text[i];
        }
    }

    /// <summary>Orders texts by their characters' numbers, as Python does; surrogates stand for the largest.</summary>
    public static int Compare(string a, string b, WorkBudget budget)
    {
        var same = a.AsSpan().CommonPrefixLength(b);
        budget.Scan(same);
        if (same == a.Length || same == b.Length)
        {
            return a.Length.CompareTo(b.Length);
        }

        var (x, y) = (a[same], b[same]);
        return char.IsSurrogate(x) != char.IsSurrogate(y) && x >= '\ud800' && y >= '\ud800' ? (char.IsSurrogate(x) ? 1 : -1) : x.CompareTo(y);
    }
}
