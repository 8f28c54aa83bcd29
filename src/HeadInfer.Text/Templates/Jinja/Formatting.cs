namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Python's two ways to put values into text: <c>'%s' % x</c> and <c>'{}'.format(x)</c>.</summary>
internal static class Formatting
{
    public static TemplateText Percent(TemplateText format, object? values, Position at, WorkBudget budget)
    {
        var (result, next, text) = (new TemplateTextBuilder(budget), 0, format.Text);
        object? Next() => values is JinjaTuple several
            ? next < several.Count ? several[next++] : throw at.Error("'%' has fewer values than places.")
            : next++ == 0 ? values : throw at.Error("'%' has fewer values than places.");
        for (var i = 0; i < text.Length;)
        {
            var plain = text.IndexOf('%', i) is >= 0 and var found ? found : text.Length;
            if (plain > i)
            {
                result.Append(budget.Part(format, i, plain - i));
            }

            i = plain + 1;
            if (plain == text.Length)
            {
                break;
            }

            object? given = null;
            var named = i < text.Length && text[i] == '(';
            if (named)
            {
                var close = text.IndexOf(')', i) is > 0 and var end ? end : throw at.Error("a name after '%' has no ')'.");
                var key = text[(i + 1)..close];
                given = values is JinjaDict dict && dict.TryGet(key, out var value) ? value : throw at.Error($"'%' has no value named '{key}'.");
                (i, next) = (close + 1, 1);
            }

            var spec = Directive(text, ref i, Next, at);
            if (spec.Type == '%')
            {
                result.Append(format.Substring(i - 1, 1));
                continue;
            }

            result.Append(Convert(spec, named ? given : Next(), format.IsTrusted, at, budget));
        }

        // As in Python, lists and dictionaries may be left over: they could have been asked for by name.
        var left = values is JinjaTuple all ? next < all.Count : next == 0 && values is not (JinjaSequence or JinjaDict or Undefined);
        return left ? throw at.Error("'%' has more values than places.") : result.Build();
    }

    /// <summary><c>{}</c>, <c>{0}</c> and <c>{name}</c>, with <c>.member</c>, <c>[item]</c>, <c>!r</c> and a specification.</summary>
    public static TemplateText Format(TemplateText format, CallArguments call)
    {
        var (next, budget) = (0, call.Budget);
        TemplateText Fill(int from, int to, int depth)
        {
            var (result, text) = (new TemplateTextBuilder(budget), format.Text);
            for (var i = from; i < to;)
            {
                var plain = text.AsSpan(i, to - i).IndexOfAny('{', '}') is >= 0 and var found ? i + found : to;
                if (plain > i)
                {
                    result.Append(budget.Part(format, i, plain - i));
                    i = plain;
                }
                else if (i + 1 < to && text[i + 1] == text[i])
                {
                    result.Append(format.Substring(i, 1));
                    i += 2;
                }
                else if (text[i] == '}' || depth > 1)
                {
                    throw call.At.Error("'format' finds a bracket where none may be.");
                }
                else
                {
                    var close = Close(text, i, to);
                    budget.Walk(close - i);
                    result.Append(close < 0 ? throw call.At.Error("'format' finds a '{' without its '}'.") : Field(i + 1, close, depth));
                    i = close + 1;
                }
            }

            return result.Build();
        }

        TemplateText Field(int from, int to, int depth)
        {
            var text = format.Text;
            var colon = text.IndexOf(':', from, to - from) is >= 0 and var found ? found : to;
            var bang = text.IndexOf('!', from, colon - from) is >= 0 and var mark ? mark : colon;
            var name = text[from..bang];
            var value = Value(name, call, ref next);
            value = bang == colon ? value : text[(bang + 1)..colon] switch
            {
                "r" or "a" => TemplateText.Data(Values.Represent(value, budget)),
                "s" => Values.Print(value, budget),
                var other => throw call.At.Error($"'format' does not know '!{other}'."),
            };
            var spec = colon == to ? TemplateText.Empty : Fill(colon + 1, to, depth + 1);
            return spec.Length == 0 ? Values.Print(value, budget) : FormatSpec.Parse(spec.Text, call.At).Write(value, spec.IsTrusted, call.At, budget);
        }

        return Fill(0, format.Length, 0);
    }

    // Where the bracket that is open at a place closes; -1 if it does not.
    private static int Close(string text, int open, int to)
    {
        var depth = 0;
        for (var i = open; i < to; i++)
        {
            depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
            if (depth == 0)
            {
                return i;
            }

            if (depth > 2)
            {
                return -1; // and no further: it would be looked for again from the next one
            }
        }

        return -1;
    }

    private static object? Value(string name, CallArguments call, ref int next)
    {
        var end = name.AsSpan().IndexOfAny('.', '[') is >= 0 and var found ? found : name.Length;
        var first = name[..end];
        var place = first.Length == 0 ? next++ : int.TryParse(first, out var number) ? number : int.MaxValue;
        var value = place < call.Count ? call.Positional[place] : call.Named.TryGetValue(first, out var named) ? named
            : throw call.At.Error($"'format' has no value for '{{{name}}}'.");
        while (end < name.Length)
        {
            var isItem = name[end] == '[';
            var stop = name.AsSpan(end + 1).IndexOfAny(isItem ? "]" : ".[") is >= 0 and var next1 ? end + 1 + next1 : name.Length;
            var step = name[(end + 1)..stop];
            value = isItem ? Members.Item(value, long.TryParse(step, out var index) ? index : TemplateText.Data(step), call.At, call.Budget) : Members.Get(value, step, call.At);
            end = isItem ? Math.Min(stop + 1, name.Length) : stop;
        }

        return value;
    }

    // Flags, width, precision and letter of a '%'; the letter may be '%' again.
    private static FormatSpec Directive(string text, ref int i, Func<object?> next, Position at)
    {
        var flags = i;
        while (i < text.Length && text[i] is '-' or '+' or ' ' or '#' or '0')
        {
            i++;
        }

        var given = text[flags..i];
        long? Size(ref int place)
        {
            if (place >= text.Length || text[place] != '*')
            {
                return FormatSpec.Number(text, ref place);
            }

            place++;
            return next() is long size and >= 0 and <= int.MaxValue ? size : throw at.Error("'*' needs a whole number.");
        }

        var width = Size(ref i) ?? 0;
        var precision = (long?)null;
        if (i < text.Length && text[i] == '.')
        {
            i++;
            precision = Size(ref i) ?? 0;
        }

        while (i < text.Length && text[i] is 'h' or 'l' or 'L')
        {
            i++;
        }

        var type = i < text.Length ? text[i++] : throw at.Error("a '%' at the end stands for nothing.");
        var left = given.Contains('-');
        var zeros = given.Contains('0') && !left && type is not ('s' or 'r' or 'a' or 'c');
        return new FormatSpec(zeros ? "0" : " ", left ? '<' : zeros ? '=' : '>', given.Contains('+') ? '+' : given.Contains(' ') ? ' ' : '\0', given.Contains('#'), width, '\0', precision, type);
    }

    private static TemplateText Convert(FormatSpec spec, object? value, bool trusted, Position at, WorkBudget budget)
    {
        switch (spec.Type)
        {
            case 's':
                return (spec with { Sign = '\0' }).Write(Values.Print(value, budget), trusted, at, budget);
            case 'r' or 'a':
                return (spec with { Sign = '\0', Type = 's' }).Write(TemplateText.Data(Values.Represent(value, budget)), trusted, at, budget);
            case 'c' when value is TemplateText letter && CodePoints.Count(letter, budget) == 1:
                return (spec with { Sign = '\0', Type = 's' }).Write(letter, trusted, at, budget);
            case 'd' or 'i' or 'u' when value is double number && double.IsFinite(number):
                return (spec with { Type = 'd', Precision = null }).Write(Numbers.Whole(new System.Numerics.BigInteger(number)), trusted, at, budget);
            case 'd' or 'i' or 'u' or 'x' or 'X' or 'o' or 'c' when Numbers.AsWhole(value) is { } whole:
                return (spec with { Type = spec.Type is 'i' or 'u' ? 'd' : spec.Type, Precision = null }).Write(Numbers.Whole(whole), trusted, at, budget);
            case 'e' or 'E' or 'f' or 'F' or 'g' or 'G' when Numbers.AsDouble(value) is { } real:
                return spec.Write(real, trusted, at, budget);
            default:
                throw at.Error($"'%{spec.Type}' cannot write {Values.Kind(value)}.");
        }
    }
}
