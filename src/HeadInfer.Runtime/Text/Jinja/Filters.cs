namespace HeadInfer.Runtime.Text.Jinja;

/// <summary>The filters that chat templates use.</summary>
internal static class Filters
{
    private const int MaxCompared = 10_000;

    // Named arguments that a filter reads; others are refused rather than ignored.
    private static readonly Dictionary<string, string[]> Named = new(StringComparer.Ordinal)
    {
        ["trim"] = ["chars"],
        ["replace"] = ["old", "new", "count"],
        ["tojson"] = ["ensure_ascii", "indent", "separators", "sort_keys"],
        ["default"] = ["default_value", "boolean"],
        ["d"] = ["default_value", "boolean"],
        ["join"] = ["d", "attribute"],
        ["sort"] = ["reverse", "case_sensitive", "attribute"],
        ["dictsort"] = ["case_sensitive", "by", "reverse"],
        ["map"] = ["attribute", "default"],
        ["int"] = ["default"],
        ["float"] = ["default"],
        ["round"] = ["precision", "method"],
        ["sum"] = ["attribute", "start"],
        ["indent"] = ["width", "first", "blank"],
    };

    public static object? Apply(string name, object? input, CallArguments call, Evaluator evaluator) =>
        call.Named.Keys.FirstOrDefault(n => !Named.GetValueOrDefault(name, []).Contains(n)) is { } unknown
            ? throw call.At.Error($"the argument '{unknown}' of the filter '{name}' is not supported.")
            : Compute(name, input, call, evaluator);

    private static object? Compute(string name, object? input, CallArguments call, Evaluator evaluator) => name switch
    {
        "trim" => Text(input, call).Trim(call.Get(0, "chars") is TemplateText chars ? chars.Text.ToCharArray() : null),
        "upper" or "lower" or "title" or "capitalize" => Methods.Of(Text(input, call), name)!(call),
        "replace" => Methods.Of(Text(input, call), name)!(call),
        "length" or "count" => (long)(input is TemplateText text ? text.Length : input is JinjaDict dict ? dict.Items.Count : Values.Items(input, call.At).Count),
        "string" => Values.Print(input),
        "tojson" => TemplateText.Data(JsonText.Write(input, JsonStyle.Of(call), call.At)),
        "default" or "d" => input is Undefined || (Values.IsTrue(call.Get(1, "boolean", false)) && !Values.IsTrue(input)) ? call.Get(0, "default_value", TemplateText.Empty) : input,
        "join" => Join(Values.Items(input, call.At), call),
        "first" => Values.Items(input, call.At) is [var first, ..] ? first : new Undefined("the first item"),
        "last" => Values.Items(input, call.At) is [.., var last] ? last : new Undefined("the last item"),
        "list" => Values.Items(input, call.At).ToList(),
        "reverse" => input is TemplateText reversed ? reversed.With(string.Concat(reversed.Text.Reverse())) : Values.Items(input, call.At).Reverse().ToList(),
        "unique" => Unique(Values.Items(input, call.At), call.At),
        "sort" => Sort(input, call),
        "items" => input is Undefined ? new List<object?>() : Pairs(input, call),
        "dictsort" => SortedPairs(input, call),
        "map" => Map(input, call, evaluator),
        "select" or "reject" => Values.Items(input, call.At).Where(i => Passes(i, call) == (name == "select")).ToList(),
        "selectattr" or "rejectattr" => Values.Items(input, call.At).Where(i => Passes(Attribute(i, call.Text(0, "attribute"), call.At), call.Rest()) == (name == "selectattr")).ToList(),
        "int" => ToInt(input, call),
        "float" => Values.Number(input) ?? (input is TemplateText number && double.TryParse(number.Text, System.Globalization.CultureInfo.InvariantCulture, out var value) ? value : call.Get(0, "default", 0.0)),
        "abs" => input switch { long whole => whole == long.MinValue ? throw call.At.Error("a number is too large.") : (object)Math.Abs(whole), double number => Math.Abs(number), _ => throw call.At.Error($"'abs' needs a number, not {Values.Kind(input)}.") },
        "round" => Round(input, call),
        "min" or "max" => Extreme(Values.Items(input, call.At), name == "max", call.At),
        "sum" => Values.Items(input, call.At).Aggregate(call.Get(1, "start", 0L)!, (sum, item) => Operators.Binary("+", sum, call.Get(0, "attribute") is TemplateText attribute ? Attribute(item, attribute.Text, call.At) : item, call.At)),
        "indent" => Indent(Text(input, call), call),
        "safe" => input,
        "escape" or "e" => Escape(Text(input, call)),
        _ => throw call.At.Error($"the filter '{name}' is not supported."),
    };

    private static TemplateText Text(object? input, CallArguments call) => input switch
    {
        TemplateText text => text,
        Undefined => TemplateText.Empty,
        _ => Values.Print(input),
    };

    private static TemplateText Join(IReadOnlyList<object?> items, CallArguments call)
    {
        var separator = call.Get(0, "d", TemplateText.Empty) as TemplateText ?? throw call.At.Error("'join' needs a string between.");
        var result = new TemplateTextBuilder();
        for (var i = 0; i < items.Count; i++)
        {
            var item = call.Get(1, "attribute") is TemplateText attribute ? Attribute(items[i], attribute.Text, call.At) : items[i];
            (i > 0 ? result.Append(separator) : result).Append(Values.Print(item));
        }

        return result.Build();
    }

    private static List<object?> Sort(object? input, CallArguments call)
    {
        object? By(object? item) => call.Get(2, "attribute") is TemplateText attribute ? Attribute(item, attribute.Text, call.At) : item;
        var order = Comparer<object?>.Create((a, b) => (By(a), By(b)) is (TemplateText x, TemplateText y) && !Values.IsTrue(call.Get(1, "case_sensitive", false))
            ? string.Compare(x.Text, y.Text, StringComparison.OrdinalIgnoreCase)
            : Operators.Order(By(a), By(b), call.At));
        var items = Values.Items(input, call.At);
        return Values.IsTrue(call.Get(0, "reverse", false)) ? [.. items.OrderDescending(order)] : [.. items.Order(order)];
    }

    private static List<object?> Pairs(object? input, CallArguments call)
    {
        var dict = input as JinjaDict ?? throw call.At.Error($"'items' needs a dictionary, not {Values.Kind(input)}.");
        return [.. dict.Items.Select(i => new List<object?> { TemplateText.Data(i.Key), i.Value })];
    }

    private static List<object?> SortedPairs(object? input, CallArguments call)
    {
        var place = call.Text(1, "by", "key") == "value" ? 1 : 0;
        var sensitive = Values.IsTrue(call.Get(0, "case_sensitive", false));
        var order = Comparer<object?>.Create((a, b) => (a, b) is (TemplateText x, TemplateText y) && !sensitive
            ? string.Compare(x.Text, y.Text, StringComparison.OrdinalIgnoreCase)
            : Operators.Order(a, b, call.At));
        var pairs = Pairs(input, call).Cast<List<object?>>();
        return [.. Values.IsTrue(call.Get(2, "reverse", false)) ? pairs.OrderByDescending(p => p[place], order) : pairs.OrderBy(p => p[place], order)];
    }

    private static List<object?> Unique(IReadOnlyList<object?> items, Position at)
    {
        var kept = new List<object?>();
        foreach (var item in items)
        {
            if (kept.Count > MaxCompared)
            {
                throw at.Error($"'unique' compares more than {MaxCompared} items.");
            }

            if (!kept.Exists(k => Values.AreEqual(k, item)))
            {
                kept.Add(item);
            }
        }

        return kept;
    }

    private static object Round(object? input, CallArguments call)
    {
        var number = Values.Number(input) ?? throw call.At.Error($"'round' needs a number, not {Values.Kind(input)}.");
        var scale = Math.Pow(10, Math.Clamp(call.Int(0, "precision", 0), -15, 15));
        var rounded = call.Text(1, "method", "common") switch
        {
            "common" => Math.Round(number * scale, MidpointRounding.ToEven),
            "ceil" => Math.Ceiling(number * scale),
            "floor" => Math.Floor(number * scale),
            var method => throw call.At.Error($"the rounding method '{method}' is not supported."),
        } / scale;
        if (input is long && call.Text(1, "method", "common") == "common")
        {
            return (long)rounded;
        }

        return rounded;
    }

    private static List<object?> Map(object? input, CallArguments call, Evaluator evaluator)
    {
        var items = Values.Items(input, call.At);
        if (call.Named.TryGetValue("attribute", out var attribute))
        {
            return [.. items.Select(i => Attribute(i, Values.Print(attribute).Text, call.At) is var value && value is Undefined && call.Named.TryGetValue("default", out var fallback) ? fallback : value)];
        }

        var filter = call.Text(0, "filter");
        return [.. items.Select(i => Apply(filter, i, call.Rest(), evaluator))];
    }

    // Without a test a value must be true; with one, the first argument names it.
    private static bool Passes(object? item, CallArguments call) =>
        call.Count == 0 ? Values.IsTrue(item) : Tests.Apply(call.Text(0, "test"), item, call.Rest().Positional, call.At);

    private static object? Attribute(object? item, string path, Position at) =>
        path.Split('.').Aggregate(item, (value, name) =>
            long.TryParse(name, out var index) ? Evaluator.GetItem(value, index, at) : Evaluator.GetMember(value, name, at));

    private static object? ToInt(object? input, CallArguments call) => input switch
    {
        double number => (long)Math.Truncate(number),
        TemplateText text when long.TryParse(text.Text.Trim(), System.Globalization.CultureInfo.InvariantCulture, out var whole) => whole,
        TemplateText => call.Get(0, "default", 0L),
        _ => (long)(Values.Number(input) ?? 0),
    };

    private static object? Extreme(IReadOnlyList<object?> items, bool largest, Position at) =>
        items.Count == 0 ? new Undefined("the extreme of nothing")
        : items.Aggregate((best, item) => Operators.Order(item, best, at) > 0 == largest && Operators.Order(item, best, at) != 0 ? item : best);

    private static TemplateText Indent(TemplateText text, CallArguments call)
    {
        var given = call.Get(0, "width", 4L) as TemplateText;
        var width = given?.Text ?? new string(' ', (int)Math.Clamp(call.Int(0, "width", 4), 0, 1024));
        var (first, blank) = (Values.IsTrue(call.Get(1, "first", false)), Values.IsTrue(call.Get(2, "blank", false)));
        var lines = text.Text.Split('\n');
        var indented = string.Join('\n', lines.Select((line, i) => (i > 0 || first) && (blank || line.Length > 0) ? width + line : line));
        return given?.IsTrusted == false ? TemplateText.Data(indented) : text.With(indented);
    }

    private static TemplateText Escape(TemplateText text) =>
        text.With(text.Text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal).Replace(">", "&gt;", StringComparison.Ordinal).Replace("'", "&#39;", StringComparison.Ordinal).Replace("\"", "&#34;", StringComparison.Ordinal));
}
