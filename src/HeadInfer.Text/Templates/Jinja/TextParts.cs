namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Cuts strings into parts.</summary>
internal static class TextParts
{
    public static JinjaList Split(TemplateText text, CallArguments call)
    {
        var most = call.Int(1, "maxsplit", -1);
        if (call.Get(0, "sep") is not null)
        {
            return At(text, Separator(call), TextSearch.Places(text.Text, Separator(call), call.Budget).Take(most < 0 ? int.MaxValue : (int)Math.Min(most, int.MaxValue)), call.Budget);
        }

        // Runs of white space; none of the parts is empty, and the rest after the last cut keeps its end.
        var (parts, at) = (new JinjaList(), 0);
        call.Budget.Walk(text.Length);
        while (true)
        {
            while (at < text.Length && Characters.IsSpace(text.Text[at]))
            {
                at++;
            }

            if (at == text.Length)
            {
                return parts;
            }

            var end = at;
            while (end < text.Length && ((most >= 0 && parts.Count >= most) || !Characters.IsSpace(text.Text[end])))
            {
                end++;
            }

            Add(parts, text, at, end, call.Budget);
            at = end;
        }
    }

    public static JinjaList RightSplit(TemplateText text, CallArguments call)
    {
        var most = call.Int(1, "maxsplit", -1);
        if (call.Get(0, "sep") is not null)
        {
            var places = FromTheRight(text.Text, Separator(call), most < 0 ? int.MaxValue : (int)Math.Min(most, int.MaxValue), call.Budget);
            places.Reverse();
            return At(text, Separator(call), places, call.Budget);
        }

        var (cuts, end) = (new List<(int, int)>(), text.Length);
        call.Budget.Walk(text.Length);
        while (true)
        {
            while (end > 0 && Characters.IsSpace(text.Text[end - 1]))
            {
                end--;
            }

            var start = end;
            while (start > 0 && ((most >= 0 && cuts.Count >= most) || !Characters.IsSpace(text.Text[start - 1])))
            {
                start--;
            }

            if (end == 0)
            {
                break;
            }

            call.Budget.Hold(8);
            cuts.Add((start, end));
            end = start;
        }

        var parts = new JinjaList();
        for (var i = cuts.Count - 1; i >= 0; i--)
        {
            Add(parts, text, cuts[i].Item1, cuts[i].Item2, call.Budget);
        }

        return parts;
    }

    public static JinjaList Lines(TemplateText text, bool keepEnds, WorkBudget budget)
    {
        var parts = new JinjaList();
        budget.Walk(text.Length);
        foreach (var (start, length, withEnd) in Characters.Lines(text.Text))
        {
            Add(parts, text, start, start + (keepEnds ? withEnd : length), budget);
        }

        return parts;
    }

    /// <summary>What is before the first or the last separator, the separator, and what is behind it.</summary>
    public static JinjaTuple Partition(TemplateText text, CallArguments call, bool last)
    {
        var separator = Separator(call);
        var place = last ? TextSearch.FindLast(text.Text, separator, 0, text.Length, call.Budget) : TextSearch.Find(text.Text, separator, 0, text.Length, call.Budget);
        if (place < 0)
        {
            return last ? new JinjaTuple(TemplateText.Empty, TemplateText.Empty, text) : new JinjaTuple(text, TemplateText.Empty, TemplateText.Empty);
        }

        var end = place + separator.Length;
        return new JinjaTuple(call.Budget.Part(text, 0, place), call.Budget.Part(text, place, separator.Length), call.Budget.Part(text, end, text.Length - end));
    }

    private static string Separator(CallArguments call) => call.Text(0, "sep") is { Length: > 0 } separator ? separator : throw call.At.Error("the separator must not be empty.");

    private static JinjaList At(TemplateText text, string separator, IEnumerable<int> places, WorkBudget budget)
    {
        var (parts, at) = (new JinjaList(), 0);
        foreach (var place in places)
        {
            Add(parts, text, at, place, budget);
            at = place + separator.Length;
        }

        Add(parts, text, at, text.Length, budget);
        return parts;
    }

    // Cuts counted from the end: "aaa" falls apart at its last "aa".
    private static List<int> FromTheRight(string text, string separator, int most, WorkBudget budget)
    {
        var places = new List<int>();
        for (var end = text.Length; places.Count < most;)
        {
            var place = TextSearch.FindLast(text, separator, 0, end, budget);
            if (place < 0)
            {
                break;
            }

            budget.Hold(8);
            places.Add(place);
            end = place;
        }

        return places;
    }

    private static void Add(JinjaList parts, TemplateText text, int from, int to, WorkBudget budget) =>
        parts.AddRange(new JinjaTuple(budget.Part(text, from, to - from)), budget);
}
