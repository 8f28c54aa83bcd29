using System.Numerics;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>How JSON is written: the arguments of <c>tojson</c>, in the order that transformers gives them.</summary>
/// <param name="Ascii">Characters beyond ASCII are escaped.</param>
/// <param name="Indent">What a level is indented by, each item on its line; null for one line.</param>
/// <param name="ItemSeparator">Between items.</param>
/// <param name="KeySeparator">Between a key and its value.</param>
/// <param name="Sorted">Keys in order.</param>
internal sealed record JsonStyle(bool Ascii, string? Indent, string ItemSeparator, string KeySeparator, bool Sorted)
{
    private const long MaxIndent = 1 << 16;

    public static JsonStyle Of(CallArguments call)
    {
        var indent = call.Get(1, "indent") switch
        {
            null => null,
            TemplateText text => text.Text,
            long blanks and <= MaxIndent => new string(' ', (int)Math.Max(blanks, 0)),
            var other => throw call.At.Error($"'indent' must be a string, or a whole number of at most {MaxIndent}, not {Values.Kind(other)}."),
        };
        var separators = call.Get(2, "separators") is JinjaSequence { Count: 2 } given && (given[0], given[1]) is (TemplateText item, TemplateText key)
            ? (item.Text, key.Text)
            : (indent is null ? ", " : ",", ": ");
        return new JsonStyle(call.IsTrue(0, "ensure_ascii"), indent, separators.Item1, separators.Item2, call.IsTrue(3, "sort_keys"));
    }
}

/// <summary>Writes JSON as Python's <c>json.dumps(ensure_ascii=False)</c> does, which is what templates are trained on.</summary>
internal sealed class JsonText
{
    private const int MaxDepth = 400;

    private readonly CallArguments _call;
    private readonly JsonStyle _style;
    private readonly BoundedText _text;

    private JsonText(JsonStyle style, CallArguments call) => (_style, _call, _text) = (style, call, new BoundedText(call.Budget));

    /// <param name="style">how it is written</param>
    /// <param name="call">where the template asks for it</param>
    public static string Write(object? value, JsonStyle style, CallArguments call)
    {
        var json = new JsonText(style, call);
        json.Write(value, 0);
        return json._text.ToString();
    }

    private void Write(object? value, int depth)
    {
        _call.Budget.Spend();
        if (depth > MaxDepth)
        {
            throw _call.At.Error($"the value is nested too deep for JSON: more than {MaxDepth} levels, or it holds itself.");
        }

        switch (value)
        {
            case TemplateText inner:
                WriteString(inner.Text);
                break;
            case JinjaView or JinjaRange or JinjaCharacters:
                throw _call.At.Error("what is neither a list nor a tuple cannot be written as JSON.");
            case JinjaSequence list:
                WriteItems('[', ']', list, item => Write(item, depth + 1), depth);
                break;
            case JinjaDict dict:
                IEnumerable<KeyValuePair<object?, object?>> items = dict.Items;
                if (_style.Sorted)
                {
                    items = Comparing.Sort(Methods.Pairs(dict, _call.Budget), p => ((JinjaTuple)p!)[0], backwards: false, _call.At, _call.Budget)
                        .Select(p => KeyValuePair.Create(((JinjaTuple)p!)[0], ((JinjaTuple)p)[1]));
                }

                WriteItems('{', '}', items, item =>
                {
                    WriteString(item.Key is TemplateText key ? key.Text : Scalar(item.Key)!);
                    _text.Append(_style.KeySeparator);
                    Write(item.Value, depth + 1);
                }, depth);
                break;
            default:
                _text.Append(Scalar(value) ?? throw _call.At.Error($"{Values.Kind(value)} cannot be written as JSON."));
                break;
        }
    }

    private static string? Scalar(object? value) => value switch
    {
        null => "null",
        bool flag => flag ? "true" : "false",
        long or BigInteger => Convert.ToString(value, CultureInfo.InvariantCulture),
        double number => double.IsNaN(number) ? "NaN" : double.IsInfinity(number) ? number > 0 ? "Infinity" : "-Infinity" : Numbers.Float(number),
        _ => null,
    };

    private void WriteItems<T>(char open, char close, IEnumerable<T> items, Action<T> write, int depth)
    {
        _text.Append(open);
        var any = false;
        foreach (var item in items)
        {
            _text.Append(any ? _style.ItemSeparator : "");
            any = true;
            NewLine(depth + 1);
            write(item);
        }

        if (any)
        {
            NewLine(depth);
        }

        _text.Append(close);
    }

    private void NewLine(int depth)
    {
        if (_style.Indent is { } width)
        {
            _text.Append('\n');
            for (var i = 0; i < depth; i++)
            {
                _text.Append(width);
            }
        }
    }

    private void WriteString(string value) => _text.Append('"').Append(value, c => c switch
    {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\b' => "\\b",
        '\f' => "\\f",
        < ' ' => $"\\u{(int)c:x4}",
        > '~' when _style.Ascii => $"\\u{(int)c:x4}",
        _ => null,
    }).Append('"');
}
