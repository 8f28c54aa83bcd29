namespace HeadInfer.Text.Templates.Jinja;

internal static class TextFilters
{
    public static object? Apply(string name, object? input, CallArguments call)
    {
        if (name is "urlencode" && input is JinjaDict or JinjaSequence)
        {
            return Query(input, call);
        }

        var text = input is TemplateText || name is not ("indent" or "wordwrap") ? Values.Print(input, call.Budget) : throw call.At.Error($"'{name}' needs a string, not {Values.Kind(input)}.");
        return name switch
        {
            "trim" => TextMethods.Trim(text, call.Get(0, "chars"), true, true, call),
            "upper" => TextMethods.Cased(text, Characters.Upper, call.Budget),
            "lower" => TextMethods.Cased(text, Characters.Lower, call.Budget),
            "capitalize" => TextMethods.Cased(text, Characters.Capitalize, call.Budget),
            "title" => TextMethods.Cased(text, Title, call.Budget),
            "replace" => TextMethods.Replace(text, call),
            "indent" => Indent(text, call),
            "escape" or "e" or "forceescape" => Escape(text, call.Budget),
            "center" => TextMethods.Justify(text, '^', call, width: 80),
            "striptags" => StripTags(text, call.Budget),
            "urlencode" => TemplateText.Data(Quote(text.Text, call.Budget)),
            "truncate" => Truncate(text, call),
            "wordcount" => WordCount(text, call.Budget),
            "wordwrap" => WordWrap.Apply(text, call),
            "format" => call.Named.Count > 0 && call.Count > 0 ? throw call.At.Error("'format' takes either values or names.")
                : Formatting.Percent(text, call.Named.Count > 0 ? Values.Dict(call.Named.Select(n => (n.Key, n.Value))) : new JinjaTuple([.. call.Positional]), call.At, call.Budget),
            _ => Attributes(input, call),
        };
    }

    /// <summary>The items' texts with another between.</summary>
    public static TemplateText Join(JinjaSequence items, TemplateText separator, bool strict, CallArguments call)
    {
        var result = new TemplateTextBuilder(call.Budget);
        for (var i = 0; i < items.Count; i++)
        {
            call.Budget.Spend();
            var item = items[i] is TemplateText || !strict ? items[i] : throw call.At.Error($"'join' needs strings, not {Values.Kind(items[i])}.");
            (i > 0 ? result.Append(separator) : result).Append(Values.Print(item, call.Budget));
        }

        return result.Build();
    }

    // The first character after a blank, a dash or an opening bracket is large.
    private static string Title(string text)
    {
        var (result, begins) = (new StringBuilder(text.Length), true);
        foreach (var c in CodePoints.Of(text))
        {
            result.Append(begins ? Characters.Capitalize(Characters.Write(c)) : Characters.Lower(Characters.Write(c)));
            begins = Characters.IsSpace(c) || c is '-' or '(' or '{' or '[' or '<';
        }

        return result.ToString();
    }

    private static TemplateText Indent(TemplateText text, CallArguments call)
    {
        var given = call.Get(0, "width", 4L) as TemplateText;
        var spaces = given is null ? Math.Max(call.Int(0, "width", 4), 0) : 0;
        call.Budget.HoldText(spaces);
        var width = given?.Text ?? new string(' ', checked((int)spaces));
        var (first, blank) = (call.IsTrue(1, "first"), call.IsTrue(2, "blank"));
        var result = new BoundedText(call.Budget).Append(first ? width : "");
        var place = 0;
        call.Budget.Walk(text.Length);
        foreach (var (start, length, _) in Characters.Lines(text.Text + "\n"))
        {
            result.Append(place == 0 ? "" : "\n").Append(place > 0 && (blank || length > 0) ? width : "").Append(text.Text.Substring(start, length));
            place++;
        }

        return given?.IsTrusted == false ? TemplateText.Data(result.ToString()) : text.With(result.ToString());
    }

    private static TemplateText Escape(TemplateText text, WorkBudget budget) => text.With(new BoundedText(budget).Append(text.Text, c => c switch
    {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '\'' => "&#39;",
        '"' => "&#34;",
        _ => null,
    }).ToString());

    // Without comments and tags, and with one blank where several were.
    private static TemplateText StripTags(TemplateText text, WorkBudget budget)
    {
        budget.HoldText(2L * text.Length);
        budget.Walk(2L * text.Length);
        var plain = Without(Without(text.Text, "<!--", "-->"), "<", ">");
        return text.With(string.Join(' ', plain.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)));
    }

    private static string Without(string text, string open, string close)
    {
        var (result, at) = (new StringBuilder(), 0);
        for (int from; (from = text.IndexOf(open, at, StringComparison.Ordinal)) >= 0;)
        {
            var end = text.IndexOf(close, from, StringComparison.Ordinal);
            if (end < 0)
            {
                break;
            }

            result.Append(text, at, from - at);
            at = end + close.Length;
        }

        return result.Append(text, at, text.Length - at).ToString();
    }

    private static string Quote(string text, WorkBudget budget)
    {
        var result = new BoundedText(budget);
        budget.Walk(text.Length);
        budget.Hold(3L * text.Length);
        foreach (var b in Encoding.UTF8.GetBytes(text))
        {
            result.Append(char.IsAsciiLetterOrDigit((char)b) || b is (byte)'_' or (byte)'.' or (byte)'-' or (byte)'~' or (byte)'/' ? ((char)b).ToString() : $"%{b:X2}");
        }

        return result.ToString();
    }

    private static TemplateText Query(object? input, CallArguments call)
    {
        var pairs = input is JinjaDict dict ? Methods.Pairs(dict, call.Budget) : (JinjaSequence)input!;
        string Part(object? value) => Quote(Values.Print(value, call.Budget).Text, call.Budget).Replace("/", "%2F", StringComparison.Ordinal);
        var parts = pairs.Select(p => p is JinjaSequence { Count: 2 } pair ? Part(pair[0]) + "=" + Part(pair[1]) : throw call.At.Error("'urlencode' needs pairs."));
        return TemplateText.Data(string.Join('&', parts));
    }

    private static TemplateText Truncate(TemplateText text, CallArguments call)
    {
        var (length, end, leeway) = (call.Int(0, "length", 255), call.TextOf(2, "end", "..."), call.Int(3, "leeway", 5));
        var tail = CodePoints.Count(end, call.Budget);
        if (length < tail || leeway < 0)
        {
            throw call.At.Error("'truncate' needs a length that its end fits in, and no negative leeway.");
        }

        if (CodePoints.Count(text, call.Budget) <= length + leeway)
        {
            return text;
        }

        var head = (TemplateText)Members.Slice(text, null, length - tail, null, call.At, call.Budget);
        var blank = call.IsTrue(1, "killwords") ? -1 : TextSearch.FindLast(head.Text, " ", 0, head.Length, call.Budget);
        return call.Budget.Join(blank < 0 ? head : call.Budget.Part(head, 0, blank), end);
    }

    private static long WordCount(TemplateText text, WorkBudget budget)
    {
        budget.Walk(text.Length);
        var (count, inside) = (0L, false);
        foreach (var c in CodePoints.Of(text.Text))
        {
            var word = Characters.IsWord(c);
            count += word && !inside ? 1 : 0;
            inside = word;
        }

        return count;
    }

    private static TemplateText Attributes(object? input, CallArguments call)
    {
        var dict = input as JinjaDict ?? throw call.At.Error($"'xmlattr' needs a dictionary, not {Values.Kind(input)}.");
        string Safe(object? value) => Escape(Values.Print(value, call.Budget), call.Budget).Text;
        var parts = dict.Items.Where(i => i.Value is not (null or Undefined)).Select(i => $"{Safe(i.Key)}=\"{Safe(i.Value)}\"").ToList();
        return TemplateText.Data((parts.Count > 0 && Values.IsTrue(call.Get(0, "autospace", true)) ? " " : "") + string.Join(' ', parts));
    }
}
