namespace HeadInfer.Text.Tokenizers;

/// <summary>Normalizes long runs of marks in linear time: Unicode's own algorithm, with the library's tables.</summary>
/// <remarks>
/// The library is asked about single characters and pairs alone, so results are those of its version of Unicode. A table
/// of our own was rejected: it would be of another version.
/// </remarks>
internal sealed class RunNormalizer
{
    private const int LowestMark = 0x0334, HighestMark = 0x0345; // of the least combining class, 1, and of the greatest, 240
    private const int None = -1;

    private readonly NormalizationForm _decomposed;
    private readonly bool _composes;
    private readonly StringBuilder _result;
    private readonly Dictionary<Rune, (int Rune, MarkClass? Class)[]> _decompositions = [];
    private readonly Dictionary<(int, int), int> _composites = [];
    private readonly List<MarkClass> _classes = []; // in canonical order
    private readonly StringBuilder _rest = new(); // marks after the starter, in order
    private int _starter = None;
    private bool _marked; // whether marks wait

    private RunNormalizer(NormalizationForm form, StringBuilder result) =>
        (_decomposed, _composes, _result) = (
            form is NormalizationForm.FormC or NormalizationForm.FormD ? NormalizationForm.FormD : NormalizationForm.FormKD,
            form is NormalizationForm.FormC or NormalizationForm.FormKC,
            result);

    /// <summary>Appends a text's form.</summary>
    /// <param name="text">text that begins where nothing joins what is before</param>
    /// <param name="result">gets it</param>
    public static void Append(ReadOnlySpan<char> text, NormalizationForm form, StringBuilder result, TextWork work)
    {
        var run = new RunNormalizer(form, result);
        foreach (var rune in text.EnumerateRunes())
        {
            work.Count(1);
            work.RequireLength(result.Length);
            foreach (var (part, @class) in run.Decompose(rune))
            {
                run.Take(part, @class);
            }
        }

        run.Reorder();
        run.Write();
    }

    private void Take(int rune, MarkClass? @class)
    {
        if (@class is not null)
        {
            @class.Waiting.Add(rune);
            _marked = true;
            return;
        }

        Reorder();
        if (_rest.Length == 0 && _starter != None && _composes && !UnicodeForm.Begins(new Rune(rune)) && Compose(_starter, rune) is var whole and not None)
        {
            _starter = whole;
            return;
        }

        Write();
        _starter = rune;
    }

    // Composes the starter with the first of each class that it takes. What is left waits in order.
    private void Reorder()
    {
        if (!_marked)
        {
            return;
        }

        foreach (var (_, waiting) in _classes)
        {
            var blocked = false; // by a mark of the same class
            foreach (var mark in waiting)
            {
                if (!blocked && _composes && _starter != None && Compose(_starter, mark) is var whole and not None)
                {
                    _starter = whole;
                    continue;
                }

                blocked = true;
                Append(_rest, mark);
            }

            waiting.Clear();
        }

        _marked = false;
    }

    private void Write()
    {
        if (_starter != None)
        {
            Append(_result, _starter);
        }

        _result.Append(_rest);
        _rest.Clear();
        _starter = None;
    }

    private (int Rune, MarkClass? Class)[] Decompose(Rune rune)
    {
        if (!_decompositions.TryGetValue(rune, out var parts))
        {
            parts = _decompositions[rune] = [.. rune.ToString().Normalize(_decomposed).EnumerateRunes().Select(r => (r.Value, ClassOf(r)))];
        }

        return parts;
    }

    private int Compose(int left, int right)
    {
        if (!_composites.TryGetValue((left, right), out var whole))
        {
            var text = Text(left, right).Normalize(NormalizationForm.FormC);
            whole = _composites[(left, right)] = Rune.TryGetRuneAt(text, 0, out var first) && first.Utf16SequenceLength == text.Length ? first.Value : None;
        }

        return whole;
    }

    // The class of a mark, found among those known by what the library puts before what; null for a starter.
    private MarkClass? ClassOf(Rune rune)
    {
        if (Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark or UnicodeCategory.OtherNotAssigned)
            || !(Swaps(HighestMark, rune.Value) || Swaps(rune.Value, LowestMark)))
        {
            return null;
        }

        var (low, high) = (0, _classes.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            var known = _classes[middle];
            if (Swaps(known.Mark, rune.Value))
            {
                high = middle;
            }
            else if (Swaps(rune.Value, known.Mark))
            {
                low = middle + 1;
            }
            else
            {
                return known;
            }
        }

        var added = new MarkClass(rune.Value, []);
        _classes.Insert(low, added);
        return added;
    }

    // Whether canonical order puts the second before the first.
    private static bool Swaps(int first, int second) =>
        first != second && Text(first, second).Normalize(NormalizationForm.FormD) is var ordered && Rune.TryGetRuneAt(ordered, 0, out var leads) && leads.Value == second;

    private static string Text(int first, int second) => char.ConvertFromUtf32(first) + char.ConvertFromUtf32(second);

    private static void Append(StringBuilder text, int rune)
    {
        Span<char> characters = stackalloc char[2];
        text.Append(characters[..new Rune(rune).EncodeToUtf16(characters)]);
    }

    /// <summary>A combining class: one of its marks, and those of the text that wait to be written.</summary>
    private sealed record MarkClass(int Mark, List<int> Waiting);
}
