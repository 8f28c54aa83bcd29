namespace HeadInfer.Text.Templates.Jinja;

/// <summary>The methods of strings, lists and dictionaries that chat templates call.</summary>
internal static class Methods
{
    /// <summary>A method bound to its value, or null if it has none of that name.</summary>
    public static JinjaFunction? Of(object? target, string name)
    {
        var (kind, method) = target switch
        {
            TemplateText text => ("str", TextMethods.Of(text, name)),
            JinjaList list => ("list", OfList(list, name)),
            JinjaTuple tuple => ("tuple", OfSequence(tuple, name)),
            JinjaDict dict => ("dict", OfDict(dict, name)),
            double number when name == "is_integer" => ("float", _ => double.IsInteger(number)),
            _ => ("", null),
        };
        return method is null ? null : new JinjaFunction($"<built-in method {name} of {kind} object at 0x0>", method);
    }

    private static Func<CallArguments, object?>? OfSequence(JinjaSequence items, string name) => name switch
    {
        "index" => call =>
        {
            for (var i = 0; i < items.Count; i++)
            {
                if (Comparing.AreEqual(items[i], call.Get(0, "item"), call.Budget))
                {
                    return (long)i;
                }
            }

            throw call.At.Error("'index' finds no such item.");
        },
        "count" => call => (long)items.Count(i => Comparing.AreEqual(i, call.Get(0, "item"), call.Budget)),
        _ => null,
    };

    private static Func<CallArguments, object?>? OfList(JinjaList list, string name) => name switch
    {
        "append" => call =>
        {
            list.AddRange(new JinjaTuple(call.Get(0, "item")), call.Budget);
            return null;
        },
        "extend" => call =>
        {
            list.AddRange(Values.Items(call.Get(0, "items"), call.At, call.Budget), call.Budget);
            return null;
        },
        "insert" => call =>
        {
            var place = call.Int(0, "index", 0);
            list.Insert((int)Math.Clamp(place < 0 ? place + list.Count : place, 0, list.Count), call.Get(1, "item"), call.Budget);
            return null;
        },
        "pop" => call =>
        {
            var place = call.Int(0, "index", -1);
            place = place < 0 ? place + list.Count : place;
            var item = place >= 0 && place < list.Count ? list[(int)place] : throw call.At.Error("'pop' finds nothing there.");
            list.RemoveAt((int)place, call.Budget);
            return item;
        },
        "copy" => _ => list.Part(0, list.Count),
        _ => OfSequence(list, name),
    };

    private static Func<CallArguments, object?>? OfDict(JinjaDict dict, string name) => name switch
    {
        "items" => call => new JinjaView("dict_items", Pairs(dict, call.Budget)),
        "keys" => call => new JinjaView("dict_keys", (JinjaList)Values.Items(dict, call.At, call.Budget)),
        "values" => call =>
        {
            call.Budget.HoldItems(dict.Items.Count);
            return new JinjaView("dict_values", new JinjaList(dict.Items.Select(i => i.Value)));
        },
        "get" => call => dict.TryGet(call.Get(0, "key"), out var value) ? value : call.Get(1, "default"),
        "copy" => call => Fill(new JinjaDict(), dict, call.At, call.Budget),
        "update" => call =>
        {
            Fill(dict, call.Get(0, "other") as JinjaDict ?? new JinjaDict(), call.At, call.Budget);
            foreach (var (key, value) in call.Named)
            {
                Set(dict, TemplateText.Data(key), value, call.At, call.Budget);
            }

            return null;
        },
        _ => null,
    };

    /// <summary>A dictionary's keys with their values.</summary>
    public static JinjaList Pairs(JinjaDict dict, WorkBudget budget)
    {
        budget.Hold(64 + (64L * dict.Items.Count));
        return new JinjaList(dict.Items.Select(i => (object?)new JinjaTuple(i.Key, i.Value)));
    }

    public static JinjaDict Fill(JinjaDict dict, JinjaDict from, Position at, WorkBudget budget)
    {
        foreach (var (key, value) in from.Items.ToArray())
        {
            Set(dict, key, value, at, budget);
        }

        return dict;
    }

    /// <summary>Sets an item, counted.</summary>
    public static void Set(JinjaDict dict, object? key, object? value, Position at, WorkBudget budget)
    {
        budget.Hold(96);
        budget.Scan(key is TemplateText text ? text.Length : 0);
        dict.Set(JinjaDict.Identity(key) is null ? throw at.Error($"{Values.Kind(key)} cannot be a key.") : key, value);
    }
}
