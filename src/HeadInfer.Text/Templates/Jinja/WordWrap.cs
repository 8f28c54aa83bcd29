namespace HeadInfer.Text.Templates.Jinja;

/// <summary>The filter <c>wordwrap</c>: lines of at most so many characters.</summary>
internal static class WordWrap
{
    public static TemplateText Apply(TemplateText text, CallArguments call)
    {
        var width = call.Int(0, "width", 79);
        var breaksWords = Values.IsTrue(call.Get(1, "break_long_words", true));
        var breaksHyphens = Values.IsTrue(call.Get(3, "break_on_hyphens", true));
        var between = call.Get(2, "wrapstring") is TemplateText given ? given.Text : "\n";
        if (width <= 0)
        {
            throw call.At.Error("the width of 'wordwrap' must be more than 0.");
        }

        var result = new BoundedText(call.Budget);
        call.Budget.Walk(4L * text.Length);
        foreach (var (start, length, _) in Characters.Lines(text.Text))
        {
            result.Append(result.Length == 0 && start == 0 ? "" : between);
            Wrap(Chunks(text.Text.Substring(start, length), breaksHyphens), width, breaksWords, between, result);
        }

        return call.Get(2, "wrapstring") is TemplateText { IsTrusted: false } ? TemplateText.Data(result.ToString()) : text.With(result.ToString());
    }

    // Blanks, words, and the parts of words with hyphens.
    private static IEnumerable<string> Chunks(string line, bool breaksHyphens)
    {
        for (var i = 0; i < line.Length;)
        {
            var end = i + 1;
            var blank = Characters.IsSpace(line[i]);
            while (end < line.Length && Characters.IsSpace(line[end]) == blank
                && !(breaksHyphens && !blank && end - i > 1 && line[end - 1] == '-' && char.IsLetter(line[end - 2]) && char.IsLetter(line[end])))
            {
                end++;
            }

            yield return line[i..end];
            i = end;
        }
    }

    private static void Wrap(IEnumerable<string> chunks, long width, bool breaksWords, string between, BoundedText result)
    {
        var (used, lines, waiting) = (0L, 0, ""); // the blanks that are written only if something follows them
        foreach (var whole in chunks)
        {
            var chunk = whole;
            if (char.IsWhiteSpace(chunk[0]))
            {
                waiting = used > 0 || lines == 0 ? chunk : "";
                continue;
            }

            while (chunk.Length > 0)
            {
                var room = width - used - waiting.Length;
                if (chunk.Length <= room || (used == 0 && !breaksWords))
                {
                    result.Append(waiting).Append(chunk);
                    (used, waiting, chunk) = (used + waiting.Length + chunk.Length, "", "");
                }
                else if (breaksWords && chunk.Length > width && room > 0)
                {
                    result.Append(waiting).Append(chunk[..(int)room]).Append(between);
                    (used, waiting, lines, chunk) = (0, "", lines + 1, chunk[(int)room..]);
                }
                else
                {
                    result.Append(between);
                    (used, waiting, lines) = (0, "", lines + 1);
                }
            }
        }
    }
}
