using System.Globalization;
using System.Text;

namespace HeadInfer.Runtime.Text.Jinja;

/// <summary>How JSON is written: the arguments of <c>tojson</c>, in the order that transformers gives them.</summary>
/// <param name="Ascii">Characters beyond ASCII are escaped.</param>
/// <param name="Indent">Blanks a level, each item on its line; null for one line.</param>
/// <param name="ItemSeparator">Between items.</param>
/// <param name="KeySeparator">Between a key and its value.</param>
/// <param name="Sorted">Keys in order.</param>
internal sealed record JsonStyle(bool Ascii, int? Indent, string ItemSeparator, string KeySeparator, bool Sorted)
{
    public static JsonStyle Of(CallArguments call)
    {
        var indent = call.Get(1, "indent") switch
        {
            null => (int?)null,
            long blanks => (int)Math.Clamp(blanks, 0, 16),
            var other => throw call.At.Error($"'indent' must be a whole number, not {Values.Kind(other)}."),
        };
        var separators = call.Get(2, "separators") is List<object?> and [TemplateText item, TemplateText key] ? (item.Text, key.Text) : (indent is null ? ", " : ",", ": ");
        return new JsonStyle(Values.IsTrue(call.Get(0, "ensure_ascii", false)), indent, separators.Item1, separators.Item2, Values.IsTrue(call.Get(3, "sort_keys", false)));
    }
}

/// <summary>Writes JSON as Python's <c>json.dumps(ensure_ascii=False)</c> does, which is what templates are trained on.</summary>
internal static class JsonText
{
    private const int MaxDepth = 100;

    private const int MaxLength = 1 << 26;

    /// <param name="value">the value</param>
    /// <param name="style">how it is written</param>
    /// <param name="at">where the template asks for it</param>
    public static string Write(object? value, JsonStyle style, Position at)
    {
        var text = new StringBuilder();
        Write(value, style, 0, text, at);
        return text.ToString();
    }

    private static void Write(object? value, JsonStyle style, int depth, StringBuilder text, Position at)
    {
        if (depth > MaxDepth || text.Length > MaxLength)
        {
            throw at.Error("the value is nested too deep or too large for JSON.");
        }

        switch (value)
        {
            case null:
                text.Append("null");
                break;
            case bool flag:
                text.Append(flag ? "true" : "false");
                break;
            case long number:
                text.Append(number.ToString(CultureInfo.InvariantCulture));
                break;
            case double number:
                text.Append(double.IsNaN(number) ? "NaN" : double.IsInfinity(number) ? number > 0 ? "Infinity" : "-Infinity" : Values.Float(number));
                break;
            case TemplateText inner:
                WriteString(inner.Text, style, text);
                break;
            case List<object?> list:
                WriteItems('[', ']', list, item => Write(item, style, depth + 1, text, at), style, depth, text);
                break;
            case JinjaDict dict:
                var items = style.Sorted ? dict.Items.OrderBy(i => i.Key, StringComparer.Ordinal).ToList() : dict.Items;
                WriteItems('{', '}', items, item =>
                {
                    WriteString(item.Key, style, text);
                    text.Append(style.KeySeparator);
                    Write(item.Value, style, depth + 1, text, at);
                }, style, depth, text);
                break;
            default:
                throw at.Error($"{Values.Kind(value)} cannot be written as JSON.");
        }
    }

    private static void WriteItems<T>(char open, char close, IReadOnlyList<T> items, Action<T> write, JsonStyle style, int depth, StringBuilder text)
    {
        text.Append(open);
        for (var i = 0; i < items.Count; i++)
        {
            text.Append(i > 0 ? style.ItemSeparator : "");
            NewLine(style, depth + 1, text);
            write(items[i]);
        }

        if (items.Count > 0)
        {
            NewLine(style, depth, text);
        }

        text.Append(close);
    }

    private static void NewLine(JsonStyle style, int depth, StringBuilder text)
    {
        if (style.Indent is { } width)
        {
            text.Append('\n').Append(' ', width * depth);
        }
    }

    private static void WriteString(string value, JsonStyle style, StringBuilder text)
    {
        text.Append('"');
        foreach (var c in value)
        {
            _ = c switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\n' => text.Append("\\n"),
                '\r' => text.Append("\\r"),
                '\t' => text.Append("\\t"),
                '\b' => text.Append("\\b"),
                '\f' => text.Append("\\f"),
                < ' ' => text.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                > '\u007f' when style.Ascii => text.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                _ => text.Append(c),
            };
        }

        text.Append('"');
    }
}
