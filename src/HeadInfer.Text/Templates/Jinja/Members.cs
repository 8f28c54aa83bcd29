namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Attributes, items and slices of values.</summary>
internal static class Members
{
    /// <summary>An attribute: a method, else a key of a dictionary; undefined where there is neither.</summary>
    public static object? Get(object? target, string name, Position at) => target switch
    {
        Undefined undefined => throw at.Error($"'{undefined.Name}' is undefined and has no '{name}'."),
        JinjaObject own => own.TryGet(name, out var value) ? value : new Undefined(name),
        JinjaTuple tuple when tuple.Names.Contains(name) => tuple[tuple.Names.TakeWhile(n => n != name).Count()],
        // As in Python, a method hides a key of the same name; x['items'] reaches the key.
        _ => (object?)Methods.Of(target, name) ?? (target is JinjaDict dict && dict.TryGet(name, out var value) ? value : new Undefined(name)),
    };

    public static object? Item(object? target, object? index, Position at, WorkBudget budget)
    {
        index = index is bool flag ? (flag ? 1L : 0L) : index;
        switch (target, index)
        {
            case (JinjaDict dict, TemplateText key):
                budget.Scan(key.Length);
                return dict.TryGet(key, out var value) ? value : (object?)Methods.Of(dict, key.Text) ?? new Undefined(key.Text);
            case (JinjaDict dict, _):
                return dict.TryGet(index, out var other) ? other : new Undefined("a key");
            case (JinjaSequence list, long i):
                var place = i < 0 ? i + list.Count : i;
                return place >= 0 && place < list.Count ? list[(int)place] : new Undefined($"item {i}");
            case (TemplateText text, long i):
                return (object?)CodePoints.At(text, i, budget) ?? new Undefined($"character {i}");
            case (Undefined undefined, _):
                throw at.Error($"'{undefined.Name}' is undefined and has no items.");
            case (_, TemplateText name):
                return Get(target, name.Text, at);
            default:
                return new Undefined("an item");
        }
    }

    public static object Slice(object? target, object? from, object? to, object? by, Position at, WorkBudget budget)
    {
        var length = target switch
        {
            TemplateText text => CodePoints.Count(text, budget),
            JinjaSequence list => list.Count,
            Undefined undefined => throw at.Error($"'{undefined.Name}' is undefined and cannot be sliced."),
            _ => throw at.Error($"{Values.Kind(target)} cannot be sliced."),
        };
        long? Bound(object? bound) => bound is null ? null : Numbers.AsWhole(bound) is { } whole
            ? (long)System.Numerics.BigInteger.Clamp(whole, -length - 1, length + 1) // beyond the ends is at the ends
            : throw at.Error($"a bound of a slice must be a whole number, not {Values.Kind(bound)}.");
        var step = Bound(by) ?? 1;
        if (step == 0)
        {
            throw at.Error("the step of a slice must not be 0.");
        }

        long Place(long? bound, long fallback, long least, long most) => bound is { } b ? Math.Clamp(b < 0 ? b + length : b, least, most) : fallback;
        var start = step > 0 ? Place(Bound(from), 0, 0, length) : Place(Bound(from), length - 1, -1, length - 1);
        var stop = step > 0 ? Place(Bound(to), length, 0, length) : Place(Bound(to), -1, -1, length - 1);
        var count = (int)Math.Max(0, step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step);
        if (step == 1 && target is TemplateText whole)
        {
            var first = CodePoints.PlaceOf(whole, Math.Min(start, length), budget);
            return budget.Part(whole, first, CodePoints.PlaceOf(whole, Math.Min(start, length) + count, budget) - first);
        }

        if (step == 1 && target is JinjaSequence parts)
        {
            if (parts is JinjaTuple)
            {
                budget.HoldItems(count);
            }

            return parts.Part((int)Math.Min(start, length), count);
        }

        if (target is JinjaRange range && count > 0)
        {
            return new JinjaRange((long)range[(int)start]!, range.Step * step, count);
        }

        budget.HoldItems(count);
        budget.Spend(count);
        var items = target as JinjaSequence ?? new JinjaCharacters((TemplateText)target, budget);
        var picked = new object?[count];
        for (var i = 0; i < count; i++)
        {
            picked[i] = items[(int)(start + (i * step))];
        }

        if (target is not TemplateText mixed)
        {
            return target is JinjaTuple ? new JinjaTuple(picked) : new JinjaList(picked);
        }

        budget.HoldText(count);
        return mixed.With(string.Concat(picked));
    }
}
