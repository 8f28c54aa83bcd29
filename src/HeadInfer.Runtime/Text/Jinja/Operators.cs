namespace HeadInfer.Runtime.Text.Jinja;

/// <summary>Arithmetic, joining and comparing, as Python does them.</summary>
internal static class Operators
{
    private const int MaxItems = 1 << 22;

    public static object Unary(string @operator, object? value, Position at) => (@operator, value) switch
    {
        ("not", _) => !Values.IsTrue(value),
        ("-", long number) => -number,
        ("-", double number) => -number,
        ("+", long or double) => value,
        _ => throw at.Error($"'{@operator}' cannot be applied to {Values.Kind(value)}."),
    };

    public static object Binary(string @operator, object? left, object? right, Position at) => (@operator, left, right) switch
    {
        ("~", _, _) => Join(Values.Print(left), Values.Print(right)),
        ("+", TemplateText a, TemplateText b) => Join(a, b),
        ("+", List<object?> a, List<object?> b) => a.Count + b.Count <= MaxItems ? (List<object?>)[.. a, .. b] : throw at.Error($"a list has more than {MaxItems} items."),
        ("*", TemplateText text, long times) => Repeat(text, times, at),
        ("%", TemplateText format, _) => Methods.PercentFormat(format, right as List<object?> ?? [right], at),
        _ when Values.Number(left) is { } a && Values.Number(right) is { } b => Arithmetic(@operator, left, right, a, b, at),
        _ => throw at.Error($"'{@operator}' cannot be applied to {Values.Kind(left)} and {Values.Kind(right)}."),
    };

    public static bool Compare(string @operator, object? left, object? right, Position at) => @operator switch
    {
        "==" => Values.AreEqual(left, right),
        "!=" => !Values.AreEqual(left, right),
        "in" => Contains(right, left, at),
        "not in" => !Contains(right, left, at),
        _ => Order(left, right, at) is var order && @operator switch { "<" => order < 0, "<=" => order <= 0, ">" => order > 0, _ => order >= 0 },
    };

    public static int Order(object? left, object? right, Position at) => (left, right) switch
    {
        (TemplateText a, TemplateText b) => string.CompareOrdinal(a.Text, b.Text),
        _ when Values.Number(left) is { } a && Values.Number(right) is { } b => a.CompareTo(b),
        _ => throw at.Error($"{Values.Kind(left)} and {Values.Kind(right)} have no order."),
    };

    public static TemplateText Join(TemplateText a, TemplateText b) => new TemplateTextBuilder().Append(a).Append(b).Build();

    private static bool Contains(object? container, object? item, Position at) => (container, item) switch
    {
        (TemplateText text, TemplateText part) => text.Text.Contains(part.Text, StringComparison.Ordinal),
        (List<object?> list, _) => list.Exists(i => Values.AreEqual(i, item)),
        (JinjaDict dict, TemplateText key) => dict.TryGet(key.Text, out _),
        (JinjaDict or Undefined, _) => false,
        _ => throw at.Error($"'in' cannot look for {Values.Kind(item)} in {Values.Kind(container)}."),
    };

    private static TemplateText Repeat(TemplateText text, long times, Position at)
    {
        if (times * text.Length > 1 << 24)
        {
            throw at.Error("the template repeats a string too often.");
        }

        return text.With(string.Concat(Enumerable.Repeat(text.Text, (int)Math.Max(times, 0))));
    }

    private static object Arithmetic(string @operator, object? left, object? right, double a, double b, Position at)
    {
        if (b == 0 && (@operator is "/" or "//" or "%"))
        {
            throw at.Error("division by zero.");
        }

        var whole = left is not double && right is not double;
        var (i, j) = whole ? ((long)a, (long)b) : (0, 0);
        try
        {
            return @operator switch
            {
                "+" => whole ? (object)checked(i + j) : a + b,
                "-" => whole ? (object)checked(i - j) : a - b,
                "*" => whole ? (object)checked(i * j) : a * b,
                "/" => a / b,
                "//" => whole ? (object)(long)Math.Floor((decimal)i / j) : Math.Floor(a / b),
                "%" => whole ? (object)(((i % j) + j) % j) : a - (b * Math.Floor(a / b)),
                "**" => whole && j >= 0 ? (object)checked((long)Math.Pow(i, j)) : Math.Pow(a, b),
                _ => throw at.Error($"the operator '{@operator}' is not supported."),
            };
        }
        catch (OverflowException)
        {
            throw at.Error("a number is too large.");
        }
    }
}
