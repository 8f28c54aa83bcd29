namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Looks for text in text, in time that grows with the sum of their lengths and not with their product.</summary>
internal static class TextSearch
{
    private const int Short = 32;

    /// <summary>The first place of a part between two places; -1 if there is none.</summary>
    public static int Find(string text, string part, int from, int to, WorkBudget budget)
    {
        if (part.Length > to - from)
        {
            return -1;
        }

        if (part.Length > Short)
        {
            return Matches(text, part, from, to, budget).Select(p => (int?)p).FirstOrDefault() ?? -1;
        }

        var found = text.AsSpan(from, to - from).IndexOf(part);
        budget.Walk(found < 0 ? to - from : found + part.Length);
        return found < 0 ? -1 : from + found;
    }

    /// <summary>The last place of a part between two places; -1 if there is none.</summary>
    public static int FindLast(string text, string part, int from, int to, WorkBudget budget)
    {
        if (part.Length > to - from)
        {
            return -1;
        }

        if (part.Length > Short)
        {
            return Matches(text, part, from, to, budget).Select(p => (int?)p).LastOrDefault() ?? -1;
        }

        var found = text.AsSpan(from, to - from).LastIndexOf(part);
        budget.Walk(found < 0 ? to - from : to - from - found);
        return found < 0 ? -1 : from + found;
    }

    /// <summary>All places of a part that do not overlap, from the beginning; none of an empty part.</summary>
    public static IEnumerable<int> Places(string text, string part, WorkBudget budget)
    {
        if (part.Length > Short)
        {
            var next = 0;
            foreach (var place in Matches(text, part, 0, text.Length, budget))
            {
                if (place >= next)
                {
                    yield return place;
                    next = place + part.Length;
                }
            }
        }
        else if (part.Length > 0)
        {
            for (var at = 0; (at = Find(text, part, at, text.Length, budget)) >= 0; at += part.Length)
            {
                yield return at;
            }
        }
    }

    // Knuth, Morris and Pratt: all places, also those that overlap.
    private static IEnumerable<int> Matches(string text, string part, int from, int to, WorkBudget budget)
    {
        budget.Hold(4L * part.Length);
        budget.Walk(part.Length);
        var borders = new int[part.Length]; // of each beginning of the part: how much of it is also its end
        for (int i = 1, length = 0; i < part.Length; i++)
        {
            while (length > 0 && part[i] != part[length])
            {
                length = borders[length - 1];
            }

            borders[i] = length += part[i] == part[length] ? 1 : 0;
        }

        for (int i = from, length = 0; i < to; i++)
        {
            if ((i & 7) == 0)
            {
                budget.Spend();
            }

            while (length > 0 && text[i] != part[length])
            {
                length = borders[length - 1];
            }

            length += text[i] == part[length] ? 1 : 0;
            if (length == part.Length)
            {
                yield return i - part.Length + 1;
                length = borders[length - 1];
            }
        }

        budget.Release(4L * part.Length);
    }
}
