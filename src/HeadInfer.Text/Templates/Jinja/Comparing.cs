namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Whether values are equal, and which comes first. What is compared is counted, so that nesting and sharing cost what they cost.</summary>
internal static class Comparing
{
    private const int MaxDepth = 1000;

    public static bool AreEqual(object? a, object? b, WorkBudget budget, int depth = 0)
    {
        budget.Spend();
        if (depth > MaxDepth)
        {
            throw new ChatTemplateException($"Values that a chat template compares are nested too deep: more than {MaxDepth} levels, or they hold themselves.");
        }

        if (ReferenceEquals(a, b))
        {
            return a is not double.NaN; // none equals none, and a value that holds itself equals itself
        }

        switch (a, b)
        {
            case (TemplateText x, TemplateText y):
                budget.Scan(x.Length == y.Length ? x.Length : 0);
                return x.Text == y.Text;
            case (JinjaSequence x, JinjaSequence y):
                return x is JinjaTuple == y is JinjaTuple && x is JinjaRange == y is JinjaRange && x.Count == y.Count && AreEqual(x, y, budget, depth + 1);
            case (JinjaDict x, JinjaDict y):
                return x.Items.Count == y.Items.Count && x.Items.All(i => y.TryGet(i.Key, out var other) && AreEqual(i.Value, other, budget, depth + 1));
            case (Undefined, Undefined):
                return true;
            default:
                return Numbers.Is(a) && Numbers.Is(b) && Numbers.Compare(a!, b!) == 0;
        }
    }

    /// <summary>Which of two comes first; null for numbers that are not comparable.</summary>
    public static int? Order(object? a, object? b, Position at, WorkBudget budget, int depth = 0)
    {
        budget.Spend();
        if (depth > MaxDepth)
        {
            throw at.Error($"the values are nested too deep to be compared: more than {MaxDepth} levels.");
        }

        switch (a, b)
        {
            case (TemplateText x, TemplateText y):
                return CodePoints.Compare(x.Text, y.Text, budget);
            case (JinjaSequence x, JinjaSequence y) when (x is JinjaTuple && y is JinjaTuple) || (x is JinjaList && y is JinjaList):
                for (var i = 0; i < Math.Min(x.Count, y.Count); i++)
                {
                    if (!AreEqual(x[i], y[i], budget))
                    {
                        return Order(x[i], y[i], at, budget, depth + 1);
                    }
                }

                return x.Count.CompareTo(y.Count);
            case (Undefined undefined, _):
                throw at.Error($"'{undefined.Name}' is undefined and has no order.");
            case (_, Undefined undefined):
                throw at.Error($"'{undefined.Name}' is undefined and has no order.");
            default:
                return Numbers.Is(a) && Numbers.Is(b) ? Numbers.Compare(a!, b!) : throw at.Error($"{Values.Kind(a)} and {Values.Kind(b)} have no order.");
        }
    }

    /// <summary>Sorts by keys and keeps the order of equal ones, also backwards.</summary>
    public static JinjaList Sort(JinjaSequence items, Func<object?, object?> key, bool backwards, Position at, WorkBudget budget)
    {
        budget.Hold(64 + (40L * items.Count));
        var (from, to) = (new (object? Key, object? Item)[items.Count], new (object? Key, object? Item)[items.Count]);
        for (var i = 0; i < from.Length; i++)
        {
            from[i] = (key(items[i]), items[i]);
        }

        for (var run = 1L; run < from.Length; run *= 2, (from, to) = (to, from))
        {
            for (var start = 0L; start < from.Length; start += 2 * run)
            {
                var (left, middle, end) = (start, Math.Min(start + run, from.Length), Math.Min(start + (2 * run), from.Length));
                var right = middle;
                for (var place = start; place < end; place++)
                {
                    var takeLeft = left < middle && (right >= end || (Order(from[right].Key, from[left].Key, at, budget) ?? 0) is var order && (backwards ? order <= 0 : order >= 0));
                    to[place] = takeLeft ? from[left++] : from[right++];
                }
            }
        }

        return new JinjaList(from.Select(f => f.Item));
    }

    private static bool AreEqual(JinjaSequence x, JinjaSequence y, WorkBudget budget, int depth)
    {
        for (var i = 0; i < x.Count; i++)
        {
            if (!AreEqual(x[i], y[i], budget, depth))
            {
                return false;
            }
        }

        return true;
    }
}
