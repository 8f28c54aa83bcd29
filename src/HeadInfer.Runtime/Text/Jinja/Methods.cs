using System.Globalization;

namespace HeadInfer.Runtime.Text.Jinja;

/// <summary>The methods of strings, lists and dictionaries that chat templates call.</summary>
internal static class Methods
{
    /// <summary>A method bound to its value, or null if it has none of that name.</summary>
    public static JinjaFunction? Of(object? target, string name) => target switch
    {
        TemplateText text => OfText(text, name),
        List<object?> list => OfList(list, name),
        JinjaDict dict => OfDict(dict, name),
        _ => null,
    };

    /// <summary>Python's <c>%</c> on strings: s, d, r, f and %.</summary>
    public static TemplateText PercentFormat(TemplateText format, List<object?> values, Position at)
    {
        var (result, next) = (new TemplateTextBuilder(), 0);
        for (var i = 0; i < format.Length; i++)
        {
            var directive = format.Text[i] == '%' && i + 1 < format.Length ? format.Text[++i] : '\0';
            if (directive is '\0' or '%')
            {
                result.Append(format.Substring(i, 1));
                continue;
            }

            var value = next < values.Count ? values[next++] : throw at.Error("'%' has fewer values than places.");
            result.Append(directive switch
            {
                's' => Values.Print(value),
                'd' => TemplateText.Trusted(((long)(Values.Number(value) ?? throw at.Error("'%d' needs a number."))).ToString(CultureInfo.InvariantCulture)),
                'f' => TemplateText.Trusted((Values.Number(value) ?? throw at.Error("'%f' needs a number.")).ToString("F6", CultureInfo.InvariantCulture)),
                'r' => TemplateText.Data(Values.Represent(value)),
                _ => throw at.Error($"'%{directive}' is not supported."),
            });
        }

        return result.Build();
    }

    private static JinjaFunction? OfText(TemplateText text, string name) => name switch
    {
        "strip" => call => text.Trim(Characters(call)),
        "lstrip" => call => text.Trim(Characters(call), end: false),
        "rstrip" => call => text.Trim(Characters(call), start: false),
        "upper" => _ => text.With(text.Text.ToUpperInvariant()),
        "lower" => _ => text.With(text.Text.ToLowerInvariant()),
        "title" => _ => text.With(CultureInfo.InvariantCulture.TextInfo.ToTitleCase(text.Text.ToLowerInvariant())),
        "capitalize" => _ => text.With(text.Length == 0 ? "" : text.Text[..1].ToUpperInvariant() + text.Text[1..].ToLowerInvariant()),
        "startswith" => call => Any(call, text.Text.StartsWith),
        "endswith" => call => Any(call, text.Text.EndsWith),
        "find" => call => (long)text.Text.IndexOf(call.Text(0, "sub"), (int)Math.Clamp(call.Int(1, "start", 0), 0, text.Length), StringComparison.Ordinal),
        "rfind" => call => (long)text.Text.LastIndexOf(call.Text(0, "sub"), StringComparison.Ordinal),
        "count" => call => (long)Places(text.Text, call.Text(0, "sub")).Count,
        "replace" => call => Replace(text, call),
        "split" => call => Split(text, call),
        "rsplit" => call => RightSplit(text, call),
        "splitlines" => _ => text.Length == 0 ? new List<object?>() : SplitAt(text.Text.EndsWith('\n') ? text.Substring(0, text.Length - 1) : text, "\n", int.MaxValue),
        "join" => call => Filters.Apply("join", call.Get(0, "items"), call with { Positional = [text] }, null!),
        "format" => call => Format(text, call),
        "isdigit" => _ => text.Length > 0 && text.Text.All(char.IsDigit),
        "isalpha" => _ => text.Length > 0 && text.Text.All(char.IsLetter),
        "isalnum" => _ => text.Length > 0 && text.Text.All(char.IsLetterOrDigit),
        "isspace" => _ => text.Length > 0 && text.Text.All(char.IsWhiteSpace),
        "isupper" => _ => Tests.Apply("upper", text, [], default),
        "islower" => _ => Tests.Apply("lower", text, [], default),
        "removeprefix" => call => text.Text.StartsWith(call.Text(0, "prefix"), StringComparison.Ordinal) ? text.Substring(call.Text(0, "prefix").Length, text.Length - call.Text(0, "prefix").Length) : text,
        "removesuffix" => call => text.Text.EndsWith(call.Text(0, "suffix"), StringComparison.Ordinal) ? text.Substring(0, text.Length - call.Text(0, "suffix").Length) : text,
        _ => null,
    };

    private static JinjaFunction? OfList(List<object?> list, string name) => name switch
    {
        "append" => call =>
        {
            list.Add(call.Get(0, "item"));
            return null;
        },
        "extend" => call =>
        {
            list.AddRange(Values.Items(call.Get(0, "items"), call.At).ToArray());
            return null;
        },
        "insert" => call =>
        {
            list.Insert((int)Math.Clamp(call.Int(0, "index", 0), 0, list.Count), call.Get(1, "item"));
            return null;
        },
        "pop" => call =>
        {
            var place = (int)call.Int(0, "index", -1);
            place = place < 0 ? place + list.Count : place;
            var item = place >= 0 && place < list.Count ? list[place] : throw call.At.Error("'pop' finds nothing there.");
            list.RemoveAt(place);
            return item;
        },
        "index" => call => list.FindIndex(i => Values.AreEqual(i, call.Get(0, "item"))) is >= 0 and var place ? (long)place : throw call.At.Error("'index' finds no such item."),
        "count" => call => (long)list.Count(i => Values.AreEqual(i, call.Get(0, "item"))),
        _ => null,
    };

    private static JinjaFunction? OfDict(JinjaDict dict, string name) => name switch
    {
        "items" => _ => dict.Items.Select(i => (object?)new List<object?> { TemplateText.Data(i.Key), i.Value }).ToList(),
        "keys" => _ => dict.Items.Select(i => (object?)TemplateText.Data(i.Key)).ToList(),
        "values" => _ => dict.Items.Select(i => i.Value).ToList(),
        "get" => call => call.Get(0, "key") is TemplateText key && dict.TryGet(key.Text, out var value) ? value : call.Get(1, "default"),
        "update" => call =>
        {
            foreach (var (key, value) in (call.Get(0, "other") as JinjaDict)?.Items ?? [])
            {
                dict.Set(key, value);
            }

            return null;
        },
        _ => null,
    };

    private static char[]? Characters(CallArguments call) => call.Get(0, "chars") is TemplateText chars ? chars.Text.ToCharArray() : null;

    private static bool Any(CallArguments call, Func<string, StringComparison, bool> matches) =>
        call.Get(0, "prefix") is List<object?> several
            ? several.OfType<TemplateText>().Any(t => matches(t.Text, StringComparison.Ordinal))
            : matches(call.Text(0, "prefix"), StringComparison.Ordinal);

    private static List<int> Places(string text, string part)
    {
        var places = new List<int>();
        for (var at = 0; part.Length > 0 && (at = text.IndexOf(part, at, StringComparison.Ordinal)) >= 0; at += part.Length)
        {
            places.Add(at);
        }

        return places;
    }

    private static TemplateText Replace(TemplateText text, CallArguments call)
    {
        var (old, most) = (call.Text(0, "old"), call.Int(2, "count", -1));
        var by = call.Get(1, "new") as TemplateText ?? throw call.At.Error("'replace' needs two strings.");
        var (result, at) = (new TemplateTextBuilder(), 0);
        foreach (var place in Places(text.Text, old).Take(most < 0 ? int.MaxValue : (int)most))
        {
            result.Append(text.Substring(at, place - at)).Append(by);
            at = place + old.Length;
        }

        return at == 0 ? text : result.Append(text.Substring(at, text.Length - at)).Build();
    }

    private static List<object?> Split(TemplateText text, CallArguments call)
    {
        var most = call.Int(1, "maxsplit", -1);
        if (call.Get(0, "sep") is TemplateText separator)
        {
            return SplitAt(text, separator.Text, most < 0 ? int.MaxValue : (int)most);
        }

        // Runs of white space; none of the parts is empty, and the rest after the last cut keeps its end.
        var (parts, at) = (new List<object?>(), 0);
        while (true)
        {
            while (at < text.Length && char.IsWhiteSpace(text.Text[at]))
            {
                at++;
            }

            if (at == text.Length)
            {
                return parts;
            }

            var end = at;
            while (end < text.Length && ((most >= 0 && parts.Count >= most) || !char.IsWhiteSpace(text.Text[end])))
            {
                end++;
            }

            parts.Add(text.Substring(at, end - at));
            at = end;
        }
    }

    private static List<object?> SplitAt(TemplateText text, string separator, int most)
    {
        var (parts, at) = (new List<object?>(), 0);
        foreach (var place in Places(text.Text, separator).Take(most))
        {
            parts.Add(text.Substring(at, place - at));
            at = place + separator.Length;
        }

        parts.Add(text.Substring(at, text.Length - at));
        return parts;
    }

    private static List<object?> RightSplit(TemplateText text, CallArguments call)
    {
        var (separator, most) = (call.Text(0, "sep"), call.Int(1, "maxsplit", -1));
        var (parts, end) = (new List<object?>(), text.Length);
        foreach (var place in Places(text.Text, separator).AsEnumerable().Reverse().Take(most < 0 ? int.MaxValue : (int)most))
        {
            parts.Add(text.Substring(place + separator.Length, end - place - separator.Length));
            end = place;
        }

        parts.Add(text.Substring(0, end));
        parts.Reverse();
        return parts;
    }

    // {} and {0} and {name}, without format specifications.
    private static TemplateText Format(TemplateText format, CallArguments call)
    {
        var (result, next) = (new TemplateTextBuilder(), 0);
        for (var i = 0; i < format.Length; i++)
        {
            var c = format.Text[i];
            if (c is '{' or '}' && i + 1 < format.Length && format.Text[i + 1] == c)
            {
                result.Append(format.Substring(i++, 1));
            }
            else if (c == '{' && format.Text.IndexOf('}', i) is > 0 and var close)
            {
                var name = format.Text[(i + 1)..close];
                var place = name.Length == 0 ? next++ : int.TryParse(name, CultureInfo.InvariantCulture, out var number) ? number : int.MaxValue;
                var missing = new Undefined(name);
                var value = call.Get(place, name, missing);
                result.Append(ReferenceEquals(value, missing) ? throw call.At.Error($"'format' has no value for '{{{name}}}'.") : Values.Print(value));
                i = close;
            }
            else
            {
                result.Append(format.Substring(i, 1));
            }
        }

        return result.Build();
    }
}
