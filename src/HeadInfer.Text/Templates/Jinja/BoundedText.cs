namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Text that grows and is counted as it does.</summary>
internal sealed class BoundedText(WorkBudget budget)
{
    private readonly StringBuilder _text = new();

    public int Length => _text.Length;

    public BoundedText Append(string text)
    {
        budget.Hold(2L * text.Length);
        _text.Append(text);
        return this;
    }

    public BoundedText Append(char c)
    {
        budget.Hold(2);
        _text.Append(c);
        return this;
    }

    /// <summary>Writes a text character by character, some of them otherwise.</summary>
    public BoundedText Append(string text, Func<char, string?> written)
    {
        budget.Walk(text.Length);
        var from = 0;
        for (var i = 0; i < text.Length; i++)
        {
            if (written(text[i]) is { } other)
            {
                Append(text.AsSpan(from, i - from)).Append(other);
                from = i + 1;
            }
        }

        return Append(text.AsSpan(from));
    }

    /// <summary>The text. It is done with.</summary>
    public override string ToString()
    {
        budget.HoldText(_text.Length);
        budget.Release(2L * _text.Length);
        return _text.ToString();
    }

    private BoundedText Append(ReadOnlySpan<char> text)
    {
        budget.Hold(2L * text.Length);
        _text.Append(text);
        return this;
    }
}

/// <summary>Writes values as Python's <c>repr</c> does.</summary>
internal sealed class Representation
{
    private const int MaxDepth = 400;

    private readonly HashSet<object> _path = new(ReferenceEqualityComparer.Instance); // what is being written: it may hold itself
    private readonly WorkBudget _budget;
    private readonly BoundedText _text;

    private Representation(WorkBudget budget) => (_budget, _text) = (budget, new BoundedText(budget));

    public static string Of(object? value, WorkBudget budget)
    {
        if (value is long small)
        {
            return small.ToString(CultureInfo.InvariantCulture);
        }

        var representation = new Representation(budget);
        representation.Write(value);
        return representation._text.ToString();
    }

    private void Write(object? value)
    {
        _budget.Spend();
        switch (value)
        {
            case null:
                _text.Append("None");
                break;
            case bool flag:
                _text.Append(flag ? "True" : "False");
                break;
            case double number:
                _text.Append(Numbers.Float(number));
                break;
            case TemplateText inner:
                Write(inner.Text);
                break;
            case JinjaRange range:
                _text.Append(string.Create(CultureInfo.InvariantCulture, $"range({range.Start}, {range.Stop}{(range.Step == 1 ? "" : $", {range.Step}")})"));
                break;
            case JinjaCharacters characters:
                Nested(value, "[]", () => WriteAll(characters, Write));
                break;
            case JinjaTuple tuple:
                Nested(value, "()", () =>
                {
                    WriteAll(tuple, Write);
                    _text.Append(tuple.Count == 1 ? "," : "");
                });
                break;
            case JinjaView view:
                _text.Append(view.Name).Append('(');
                Nested(value, "[]", () => WriteAll(view, Write));
                _text.Append(')');
                break;
            case JinjaSequence list:
                Nested(value, "[]", () => WriteAll(list, Write));
                break;
            case JinjaDict dict:
                Nested(value, "{}", () => WriteAll(dict.Items, WriteItem));
                break;
            case JinjaNamespace space:
                _text.Append("<Namespace ");
                Nested(value, "{}", () => WriteAll(space.Attributes.Items, WriteItem));
                _text.Append('>');
                break;
            case JinjaObject other:
                _text.Append(other.Representation);
                break;
            default:
                _text.Append(value is Undefined ? "Undefined" : Convert.ToString(value, CultureInfo.InvariantCulture)!);
                break;
        }
    }

    private void WriteItem(KeyValuePair<object?, object?> item)
    {
        Write(item.Key);
        _text.Append(": ");
        Write(item.Value);
    }

    private void Nested(object value, string brackets, Action write)
    {
        if (_path.Count >= MaxDepth)
        {
            throw new ChatTemplateException($"A value that a chat template prints is nested too deep: more than {MaxDepth} levels.");
        }

        _text.Append(brackets[0]);
        if (_path.Add(value))
        {
            write();
            _path.Remove(value);
        }
        else
        {
            _text.Append("...");
        }

        _text.Append(brackets[1]);
    }

    private void WriteAll<T>(IReadOnlyList<T> items, Action<T> write)
    {
        for (var i = 0; i < items.Count; i++)
        {
            _text.Append(i > 0 ? ", " : "");
            write(items[i]);
        }
    }

    private void Write(string text)
    {
        var quote = text.Contains('\'') && !text.Contains('"') ? '"' : '\'';
        _text.Append(quote);
        if (!text.AsSpan().ContainsAnyInRange('\ud800', '\udfff'))
        {
            _text.Append(text, c => Escaped(c, quote));
        }
        else
        {
            _budget.Walk(text.Length);
            foreach (var c in CodePoints.Of(text))
            {
                _text.Append((c <= char.MaxValue ? Escaped((char)c, quote) : Characters.IsPrintable(c) ? null : $"\\U{c:x8}") ?? Characters.Write(c));
            }
        }

        _text.Append(quote);
    }

    private static string? Escaped(char c, char quote) => c switch
    {
        '\\' => "\\\\",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        _ when c == quote => "\\" + c,
        >= ' ' and < '\u007f' => null,
        _ when Characters.IsPrintable(c) => null,
        <= '\u00ff' => $"\\x{(int)c:x2}",
        _ => $"\\u{(int)c:x4}",
    };
}
