namespace HeadInfer.Text.Templates.Jinja;

internal static class SequenceFilters
{
    private static readonly string[] GroupNames = ["grouper", "list"];

    public static object? Apply(string name, object? input, CallArguments call)
    {
        JinjaSequence Items() => Values.Items(input, call.At, call.Budget);
        switch (name)
        {
            case "join":
                return TextFilters.Join(Attributes(Items(), call.Get(1, "attribute"), call), call.Has(0, "d") ? call.TextOf(0, "d") : TemplateText.Empty, strict: false, call);
            case "first":
                return Items() is { Count: > 0 } some ? some[0] : new Undefined("the first item");
            case "last":
                return Items() is { Count: > 0 } any ? any[^1] : new Undefined("the last item");
            case "list":
                return List(Items(), i => i, call);
            case "reverse":
                return input is TemplateText text ? Members.Slice(text, null, null, -1L, call.At, call.Budget) : Members.Slice(List(Items(), i => i, call), null, null, -1L, call.At, call.Budget);
            case "unique":
                return Unique(Items(), call);
            case "sort":
                return Comparing.Sort(Items(), SortKey(call.Get(2, "attribute"), call.IsTrue(1, "case_sensitive"), call, alwaysSeveral: true), call.IsTrue(0, "reverse"), call.At, call.Budget);
            case "items":
                return input is Undefined ? new JinjaList() : Methods.Pairs(Dict(input, "items", call), call.Budget);
            case "dictsort":
                return SortedPairs(Dict(input, name, call), call);
            case "map":
                return Map(Items(), call);
            case "select" or "reject":
                return Where(Items(), i => Passes(i, call) == (name == "select"), call);
            case "selectattr" or "rejectattr":
                var (attribute, test) = (call.Get(0, "attribute"), call.Rest());
                return Where(Items(), i => Passes(Attribute(i, attribute, call), test) == (name == "selectattr"), call);
            case "min" or "max":
                return Extreme(Items(), name == "max", call);
            case "sum":
                var sum = call.Get(1, "start", 0L)!;
                foreach (var item in Items())
                {
                    call.Budget.Spend();
                    sum = Operators.Binary("+", sum, call.Get(0, "attribute") is { } by ? Attribute(item, by, call) : item, call.At, call.Budget);
                }

                return sum;
            case "groupby":
                return GroupBy(Items(), call);
            case "batch":
                return Batch(Items(), call.Int(0, "linecount", 0), call);
            case "slice":
                return Slices(Items(), call.Int(0, "slices", 0), call);
            case "pprint":
                return TemplateText.Data(Values.Represent(Sorted(input, 0, call), call.Budget));
            default:
                throw call.At.Error($"the filter '{name}' is not supported.");
        }
    }

    // A list that is counted as it is made.
    private static JinjaList List(JinjaSequence items, Func<object?, object?> make, CallArguments call)
    {
        call.Budget.HoldItems(items.Count);
        var made = new object?[items.Count];
        for (var i = 0; i < made.Length; i++)
        {
            made[i] = make(items[i]);
            if (items is JinjaCharacters or JinjaRange)
            {
                call.Budget.Hold(72);
            }
        }

        return new JinjaList(made);
    }

    private static JinjaList Where(JinjaSequence items, Func<object?, bool> passes, CallArguments call)
    {
        var kept = new JinjaList();
        for (var i = 0; i < items.Count; i++)
        {
            call.Budget.Spend();
            if (passes(items[i]))
            {
                kept.AddRange(new JinjaTuple(items[i]), call.Budget);
            }
        }

        return kept;
    }

    private static JinjaSequence Attributes(JinjaSequence items, object? attribute, CallArguments call) =>
        attribute is null ? items : List(items, i => Attribute(i, attribute, call), call);

    private static object? Attribute(object? item, object? path, CallArguments call)
    {
        var names = path is TemplateText text ? text.Text.Split('.') : [Values.Represent(path, call.Budget)];
        call.Budget.Spend(names.Length);
        return names.Aggregate(item, (value, name) =>
            Members.Item(value, long.TryParse(name, System.Globalization.CultureInfo.InvariantCulture, out var index) ? index : TemplateText.Data(name), call.At, call.Budget));
    }

    // What items are compared by: an attribute or several, without regard to case.
    private static Func<object?, object?> SortKey(object? attribute, bool sensitive, CallArguments call, bool alwaysSeveral = false)
    {
        object? Plain(object? value) => value is TemplateText text && !sensitive ? TextMethods.Cased(text, Characters.Lower, call.Budget) : value;
        if (attribute is TemplateText several && (alwaysSeveral || several.Text.Contains(',')))
        {
            var paths = several.Text.Split(',');
            return item => new JinjaTuple([.. paths.Select(p => Plain(Attribute(item, TemplateText.Data(p), call)))]);
        }

        return item => Plain(attribute is null ? item : Attribute(item, attribute, call));
    }

    private static JinjaDict Dict(object? input, string filter, CallArguments call) =>
        input as JinjaDict ?? throw call.At.Error($"'{filter}' needs a dictionary, not {Values.Kind(input)}.");

    private static JinjaList SortedPairs(JinjaDict dict, CallArguments call)
    {
        var place = call.Text(1, "by", "key") switch { "key" => 0, "value" => 1, var by => throw call.At.Error($"'dictsort' cannot sort by '{by}'.") };
        var key = SortKey(null, call.IsTrue(0, "case_sensitive"), call);
        return Comparing.Sort(Methods.Pairs(dict, call.Budget), pair => key(((JinjaTuple)pair!)[place]), call.IsTrue(2, "reverse"), call.At, call.Budget);
    }

    private static JinjaList Unique(JinjaSequence items, CallArguments call)
    {
        var seen = new HashSet<object?>(new ByValue(call.Budget));
        var key = SortKey(call.Get(1, "attribute"), call.IsTrue(0, "case_sensitive"), call);
        call.Budget.Hold(32L * items.Count);
        return Where(items, i => seen.Add(key(i)), call);
    }

    private static JinjaList Map(JinjaSequence items, CallArguments call)
    {
        if (call.Count == 0 && call.Named.TryGetValue("attribute", out var attribute))
        {
            var hasDefault = call.Named.TryGetValue("default", out var fallback);
            return List(items, i => Attribute(i, attribute, call) is var value && value is Undefined && hasDefault ? fallback : value, call);
        }

        var (filter, rest) = (call.Text(0, "filter"), call.Rest());
        return List(items, i => Filters.Apply(filter, i, rest), call);
    }

    // Without a test a value must be true; with one, the first argument names it.
    private static bool Passes(object? item, CallArguments call) =>
        call.Count == 0 ? Values.IsTrue(item) : Tests.Apply(call.Text(0, "test"), item, call.Rest());

    private static object? Extreme(JinjaSequence items, bool largest, CallArguments call)
    {
        if (items.Count == 0)
        {
            return new Undefined("the extreme of nothing");
        }

        var key = SortKey(call.Get(1, "attribute"), call.IsTrue(0, "case_sensitive"), call);
        var (best, bestKey) = (items[0], key(items[0]));
        for (var i = 1; i < items.Count; i++)
        {
            var itemKey = key(items[i]);
            var order = Comparing.Order(itemKey, bestKey, call.At, call.Budget);
            (best, bestKey) = (largest ? order > 0 : order < 0) ? (items[i], itemKey) : (best, bestKey);
        }

        return best;
    }

    private static JinjaList GroupBy(JinjaSequence items, CallArguments call)
    {
        var (attribute, sensitive) = (call.Get(0, "attribute"), call.IsTrue(2, "case_sensitive"));
        object? Value(object? item) => Attribute(item, attribute, call) is var value && value is Undefined && call.Has(1, "default") ? call.Get(1, "default") : value;
        object? Key(object? item) => Value(item) is var value && value is TemplateText text && !sensitive ? TextMethods.Cased(text, Characters.Lower, call.Budget) : value;
        var (groups, last) = (new JinjaList(), (object?)null);
        foreach (var item in Comparing.Sort(items, Key, backwards: false, call.At, call.Budget))
        {
            var key = Key(item);
            if (groups.Count == 0 || !Comparing.AreEqual(key, last, call.Budget))
            {
                call.Budget.Hold(200);
                groups.AddRange(new JinjaTuple(new JinjaTuple(Value(item), new JinjaList()) { Names = GroupNames }), call.Budget);
                last = key;
            }

            ((JinjaList)((JinjaTuple)groups[^1]!)[1]!).AddRange(new JinjaTuple(item), call.Budget);
        }

        return groups;
    }

    private static JinjaList Batch(JinjaSequence items, long size, CallArguments call)
    {
        var batches = new JinjaList();
        size = Math.Max(size, 1);
        for (var start = 0L; start < items.Count; start += size)
        {
            var batch = Copy(items, start, Math.Min(size, items.Count - start), call);
            batches.AddRange(new JinjaTuple(Filled(batch, size, call)), call.Budget);
        }

        return batches;
    }

    private static JinjaList Slices(JinjaSequence items, long count, CallArguments call)
    {
        var (slices, start) = (new JinjaList(), 0L);
        if (count <= 0)
        {
            throw call.At.Error("'slice' needs a number of slices.");
        }

        var (each, more) = (items.Count / count, items.Count % count);
        for (var i = 0L; i < count; i++)
        {
            var size = each + (i < more ? 1 : 0);
            var slice = Copy(items, start, size, call);
            slices.AddRange(new JinjaTuple(more > 0 && i >= more ? Filled(slice, each + 1, call) : slice), call.Budget);
            start += size;
        }

        return slices;
    }

    private static JinjaList Copy(JinjaSequence items, long start, long count, CallArguments call)
    {
        call.Budget.HoldItems(count);
        return new JinjaList(Enumerable.Range((int)start, (int)count).Select(i => items[i]));
    }

    private static JinjaList Filled(JinjaList list, long size, CallArguments call)
    {
        var fill = call.Get(1, "fill_with");
        for (var i = list.Count; fill is not null && i < size; i++)
        {
            list.AddRange(new JinjaTuple(fill), call.Budget);
        }

        return list;
    }

    // As pprint shows it: keys in order. Lines are not broken.
    private static object? Sorted(object? value, int depth, CallArguments call)
    {
        call.Budget.Spend();
        if (depth > 100)
        {
            throw call.At.Error("the value is nested too deep for 'pprint'.");
        }

        switch (value)
        {
            case JinjaDict dict:
                var sorted = new JinjaDict();
                foreach (var pair in Comparing.Sort(Methods.Pairs(dict, call.Budget), p => ((JinjaTuple)p!)[0], backwards: false, call.At, call.Budget))
                {
                    Methods.Set(sorted, ((JinjaTuple)pair!)[0], Sorted(((JinjaTuple)pair)[1], depth + 1, call), call.At, call.Budget);
                }

                return sorted;
            case JinjaList list:
                return List(list, i => Sorted(i, depth + 1, call), call);
            default:
                return value;
        }
    }

    private sealed class ByValue(WorkBudget budget) : IEqualityComparer<object?>
    {
        public new bool Equals(object? x, object? y) => Comparing.AreEqual(x, y, budget);

        public int GetHashCode(object? value)
        {
            budget.Scan(value is TemplateText text ? text.Length : 0);
            return JinjaDict.Identity(value)?.GetHashCode() ?? (value is JinjaSequence list ? list.Count : 0);
        }
    }
}
