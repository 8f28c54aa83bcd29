using System.Globalization;
using System.Text;

namespace HeadInfer.Runtime.Text.Jinja;

/// <summary>Writes JSON as Python's <c>json.dumps(ensure_ascii=False)</c> does, which is what templates are trained on.</summary>
internal static class JsonText
{
    private const int MaxDepth = 100;

    /// <param name="value">the value</param>
    /// <param name="indent">blanks a level, each item on its line; null for one line with ", " and ": "</param>
    /// <param name="at">where the template asks for it</param>
    public static string Write(object? value, long? indent, Position at)
    {
        var text = new StringBuilder();
        Write(value, indent, 0, text, at);
        return text.ToString();
    }

    private static void Write(object? value, long? indent, int depth, StringBuilder text, Position at)
    {
        if (depth > MaxDepth)
        {
            throw at.Error("the value is nested too deep for JSON.");
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
                WriteString(inner.Text, text);
                break;
            case List<object?> list:
                WriteItems('[', ']', list, item => Write(item, indent, depth + 1, text, at), indent, depth, text);
                break;
            case JinjaDict dict:
                WriteItems('{', '}', dict.Items, item =>
                {
                    WriteString(item.Key, text);
                    text.Append(": ");
                    Write(item.Value, indent, depth + 1, text, at);
                }, indent, depth, text);
                break;
            default:
                throw at.Error($"{Values.Kind(value)} cannot be written as JSON.");
        }
    }

    private static void WriteItems<T>(char open, char close, IReadOnlyList<T> items, Action<T> write, long? indent, int depth, StringBuilder text)
    {
        text.Append(open);
        for (var i = 0; i < items.Count; i++)
        {
            text.Append(i > 0 ? indent is null ? ", " : "," : "");
            NewLine(indent, depth + 1, text);
            write(items[i]);
        }

        if (items.Count > 0)
        {
            NewLine(indent, depth, text);
        }

        text.Append(close);
    }

    private static void NewLine(long? indent, int depth, StringBuilder text)
    {
        if (indent is { } width)
        {
            text.Append('\n').Append(' ', (int)Math.Clamp(width, 0, 16) * depth);
        }
    }

    private static void WriteString(string value, StringBuilder text)
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
                _ => text.Append(c),
            };
        }

        text.Append('"');
    }
}
