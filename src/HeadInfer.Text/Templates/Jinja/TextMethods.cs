namespace HeadInfer.Text.Templates.Jinja;

internal static class TextMethods
{
    public static Func<CallArguments, object?>? Of(TemplateText text, string name) => name switch
    {
        "strip" => call => Trim(text, call.Get(0, "chars"), true, true, call),
        "lstrip" => call => Trim(text, call.Get(0, "chars"), true, false, call),
        "rstrip" => call => Trim(text, call.Get(0, "chars"), false, true, call),
        "upper" => call => Cased(text, Characters.Upper, call.Budget),
        "lower" => call => Cased(text, Characters.Lower, call.Budget),
        "casefold" => call => Cased(text, t => Characters.Lower(t.Replace("\u00df", "ss", StringComparison.Ordinal)).Replace('\u03c2', '\u03c3'), call.Budget),
        "title" => call => Cased(text, Characters.Title, call.Budget),
        "swapcase" => call => Cased(text, Characters.SwapCase, call.Budget),
        "capitalize" => call => Cased(text, Characters.Capitalize, call.Budget),
        "startswith" => call => Any(text, call, starts: true),
        "endswith" => call => Any(text, call, starts: false),
        "find" => call => Find(text, call, TextSearch.Find),
        "rfind" => call => Find(text, call, TextSearch.FindLast),
        "index" => call => Find(text, call, TextSearch.Find) is >= 0 and var place ? place : throw call.At.Error("'index' does not find the text."),
        "rindex" => call => Find(text, call, TextSearch.FindLast) is >= 0 and var place ? place : throw call.At.Error("'rindex' does not find the text."),
        "count" => call => Count(text, call),
        "replace" => call => Replace(text, call),
        "split" => call => TextParts.Split(text, call),
        "rsplit" => call => TextParts.RightSplit(text, call),
        "splitlines" => call => TextParts.Lines(text, call.IsTrue(0, "keepends"), call.Budget),
        "partition" => call => TextParts.Partition(text, call, last: false),
        "rpartition" => call => TextParts.Partition(text, call, last: true),
        "join" => call => TextFilters.Join(Values.Items(call.Get(0, "items"), call.At, call.Budget), text, strict: true, call),
        "format" => call => Formatting.Format(text, call),
        "zfill" => call => ZeroFill(text, call),
        "ljust" => call => Justify(text, '<', call),
        "rjust" => call => Justify(text, '>', call),
        "center" => call => Justify(text, '^', call),
        "expandtabs" => call => Replace(text, call with { Positional = [TemplateText.Trusted("\t"), TemplateText.Trusted(new string(' ', (int)Math.Clamp(call.Int(0, "tabsize", 8), 0, 64)))] }),
        "isdigit" => call => All(text, Characters.IsDigit, call),
        "isdecimal" => call => All(text, Characters.IsDecimal, call),
        "isnumeric" => call => All(text, Characters.IsNumeric, call),
        "isalpha" => call => All(text, Characters.IsLetter, call),
        "isalnum" => call => All(text, c => Characters.IsLetter(c) || Characters.IsNumeric(c), call),
        "isspace" => call => All(text, Characters.IsSpace, call),
        "isascii" => call => text.Length == 0 || All(text, c => c < 128, call),
        "isprintable" => call => text.Length == 0 || All(text, Characters.IsPrintable, call),
        "isidentifier" => call => All(text, c => c == '_' || Characters.IsLetter(c) || Characters.IsDecimal(c), call) && !char.IsDigit(text.Text[0]),
        "isupper" => call => All(text, _ => true, call) && Characters.AllCased(text.Text, Characters.IsUpper),
        "islower" => call => All(text, _ => true, call) && Characters.AllCased(text.Text, Characters.IsLower),
        "istitle" => call => All(text, _ => true, call) && text.Text.Any(c => Characters.IsCased(c)) && Characters.Title(text.Text) == text.Text,
        "removeprefix" => call => text.Text.StartsWith(call.Text(0, "prefix"), StringComparison.Ordinal) ? call.Budget.Part(text, call.Text(0, "prefix").Length, text.Length - call.Text(0, "prefix").Length) : text,
        "removesuffix" => call => text.Text.EndsWith(call.Text(0, "suffix"), StringComparison.Ordinal) ? call.Budget.Part(text, 0, text.Length - call.Text(0, "suffix").Length) : text,
        _ => null,
    };

    /// <summary>Without blanks, or without given characters, at the ends.</summary>
    public static TemplateText Trim(TemplateText text, object? characters, bool start, bool end, CallArguments call)
    {
        var budget = call.Budget;
        if (characters is not (null or TemplateText))
        {
            throw call.At.Error($"the characters to strip must be a string, not {Values.Kind(characters)}.");
        }

        var (source, from, to) = (text.Text, 0, text.Length);
        var set = characters is TemplateText given ? CodePoints.Of(given.Text).ToHashSet() : null;
        budget.Hold(set is null ? 0 : 64 + (24L * set.Count));
        bool Drops(int c) => set?.Contains(c) ?? Characters.IsSpace(c);
        while (start && from < to && (CodePoints.IsInside(source, from + 1) ? 2 : 1) is var size && Drops(char.IsSurrogate(source[from]) ? CodePoints.Of(source.Substring(from, size)).First() : source[from]))
        {
            from += size;
        }

        while (end && to > from && (CodePoints.IsInside(source, to - 1) ? 2 : 1) is var size && Drops(char.IsSurrogate(source[to - 1]) ? CodePoints.Of(source.Substring(to - size, size)).First() : source[to - 1]))
        {
            to -= size;
        }

        budget.Walk(text.Length - (to - from));
        return budget.Part(text, from, to - from);
    }

    public static TemplateText Cased(TemplateText text, Func<string, string> change, WorkBudget budget)
    {
        budget.HoldText(3L * text.Length); // a character may become three
        budget.Walk(text.Length);
        return text.With(change(text.Text));
    }

    public static TemplateText Replace(TemplateText text, CallArguments call)
    {
        var (old, most, budget) = (call.Text(0, "old"), call.Int(2, "count", -1), call.Budget);
        var by = call.TextOf(1, "new");
        if (old.Length == 0)
        {
            return Between(text, by, most, budget);
        }

        TemplateTextBuilder? result = null;
        var at = 0;
        foreach (var place in TextSearch.Places(text.Text, old, budget).Take(most < 0 ? int.MaxValue : (int)Math.Min(most, int.MaxValue)))
        {
            result = (result ?? new TemplateTextBuilder(budget)).Append(budget.Part(text, at, place - at)).Append(by);
            at = place + old.Length;
        }

        return result is null ? text : result.Append(budget.Part(text, at, text.Length - at)).Build();
    }

    private static TemplateText Between(TemplateText text, TemplateText by, long most, WorkBudget budget)
    {
        var (result, characters) = (new TemplateTextBuilder(budget), new JinjaCharacters(text, budget));
        for (var i = 0; i < characters.Count; i++)
        {
            budget.Spend();
            result = (most < 0 || i < most ? result.Append(by) : result).Append((TemplateText)characters[i]!);
        }

        return (most < 0 || characters.Count < most ? result.Append(by) : result).Build();
    }

    // Where a call's optional bounds lie; null if they leave nothing.
    private static (int From, int To)? Range(TemplateText text, CallArguments call)
    {
        if (!call.Has(1, "start") && !call.Has(2, "end"))
        {
            return (0, text.Length);
        }

        var length = CodePoints.Count(text, call.Budget);
        long Bound(int place, string name, long fallback) => call.Get(place, name) is null ? fallback : call.Int(place, name, fallback) is < 0 and var back ? Math.Max(back + length, 0) : call.Int(place, name, fallback);
        var (from, to) = (Bound(1, "start", 0), Bound(2, "end", length));
        return from > to || from > length ? null : (CodePoints.PlaceOf(text, from, call.Budget), CodePoints.PlaceOf(text, to, call.Budget));
    }

    private static bool Any(TemplateText text, CallArguments call, bool starts)
    {
        if (Range(text, call) is not var (from, to))
        {
            return false;
        }

        bool Matches(object? part)
        {
            var given = part as TemplateText ?? throw call.At.Error($"'{(starts ? "startswith" : "endswith")}' needs a string, not {Values.Kind(part)}.");
            call.Budget.Spend();
            call.Budget.Scan(given.Length);
            return starts ? text.Text.AsSpan(from, to - from).StartsWith(given.Text) : text.Text.AsSpan(from, to - from).EndsWith(given.Text);
        }

        var any = call.Get(0, starts ? "prefix" : "suffix");
        return any is JinjaSequence several ? several.Any(Matches) : Matches(any);
    }

    private static long Find(TemplateText text, CallArguments call, Func<string, string, int, int, WorkBudget, int> find) => Range(text, call) is var (from, to)
        ? CodePoints.Before(text, find(text.Text, call.Text(0, "sub"), from, to, call.Budget), call.Budget)
        : -1;

    private static long Count(TemplateText text, CallArguments call)
    {
        if (Range(text, call) is not var (from, to))
        {
            return 0;
        }

        var part = call.Budget.Part(text, from, to - from);
        var wanted = call.Text(0, "sub");
        return wanted.Length == 0 ? CodePoints.Count(part, call.Budget) + 1 : TextSearch.Places(part.Text, wanted, call.Budget).LongCount();
    }

    private static TemplateText ZeroFill(TemplateText text, CallArguments call)
    {
        var sign = text.Text is ['+' or '-', ..] ? 1 : 0;
        var spec = new FormatSpec("0", '>', '\0', false, Math.Max(0, call.Int(0, "width", 0) - sign), '\0', null, 's');
        var filled = spec.Write(text.Substring(sign, text.Length - sign), trusted: true, call.At, call.Budget);
        return sign == 0 ? filled : call.Budget.Join(text.Substring(0, sign), filled);
    }

    public static TemplateText Justify(TemplateText text, char align, CallArguments call, long width = 0)
    {
        var fill = call.TextOf(1, "fillchar", " ");
        if (CodePoints.Count(fill, call.Budget) != 1)
        {
            throw call.At.Error("what a text is filled up with must be one character.");
        }

        width = Math.Clamp(call.Int(0, "width", width), 0, int.MaxValue);
        var missing = width - CodePoints.Count(text, call.Budget);
        if (align == '^' && missing > 0 && missing % 2 == 1 && width % 2 == 1)
        {
            // Python's center has its odd blank in front where the width is odd.
            text = new FormatSpec(fill.Text, '>', '\0', false, width - missing + 1, '\0', null, 's').Write(text, fill.IsTrusted, call.At, call.Budget);
        }

        return new FormatSpec(fill.Text, align, '\0', false, width, '\0', null, 's').Write(text, fill.IsTrusted, call.At, call.Budget);
    }

    private static bool All(TemplateText text, Func<int, bool> test, CallArguments call)
    {
        call.Budget.Walk(text.Length);
        return text.Length > 0 && CodePoints.Of(text.Text).All(test);
    }
}
