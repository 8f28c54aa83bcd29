using System.Text.RegularExpressions;

namespace HeadInfer.Text.Tokenizers;

/// <summary>What becomes of the text that an expression matches, beside the text between the matches.</summary>
internal enum SplitBehavior
{
    /// <summary>A word of its own.</summary>
    Isolated,

    /// <summary>It is dropped.</summary>
    Removed,

    /// <summary>The end of the word before it.</summary>
    MergedWithPrevious,

    /// <summary>The beginning of the word after it.</summary>
    MergedWithNext,

    /// <summary>Matches that follow each other are one word.</summary>
    Contiguous,
}

/// <summary>One cut of a text into words.</summary>
/// <param name="Pattern">what is matched</param>
/// <param name="Behavior">what becomes of it</param>
/// <param name="Inverted">whether what lies between the matches takes their place</param>
internal sealed record WordSplit(Regex Pattern, SplitBehavior Behavior = SplitBehavior.Isolated, bool Inverted = false)
{
    public IEnumerable<(int Offset, int Length)> Of(string text, TextWork work)
    {
        if (Behavior == SplitBehavior.Isolated)
        {
            return Pieces(text, work).Select(p => (p.Offset, p.Length)); // whichever is which
        }

        return Merged(text, work);
    }

    private IEnumerable<(int Offset, int Length, bool Matched)> Pieces(string text, TextWork work)
    {
        var at = 0;
        foreach (var (index, length) in work.Matches(Pattern, text))
        {
            if (length == 0)
            {
                continue;
            }

            if (index > at)
            {
                yield return (at, index - at, Inverted);
            }

            yield return (index, length, !Inverted);
            at = index + length;
        }

        if (at < text.Length)
        {
            yield return (at, text.Length - at, Inverted);
        }
    }

    private IEnumerable<(int Offset, int Length)> Merged(string text, TextWork work)
    {
        (int Offset, int Length, bool Matched)? open = null; // may still grow
        foreach (var piece in Pieces(text, work))
        {
            var joins = open is { } before && Behavior switch
            {
                SplitBehavior.MergedWithPrevious => piece.Matched && !before.Matched,
                SplitBehavior.MergedWithNext => before.Matched && !piece.Matched,
                SplitBehavior.Contiguous => piece.Matched == before.Matched,
                _ => false,
            };
            if (joins)
            {
                // What was merged takes no more.
                open = (open!.Value.Offset, open.Value.Length + piece.Length, Behavior == SplitBehavior.Contiguous ? piece.Matched : Behavior == SplitBehavior.MergedWithPrevious);
                continue;
            }

            if (open is { } done && !(Behavior == SplitBehavior.Removed && done.Matched))
            {
                yield return (done.Offset, done.Length);
            }

            open = piece;
        }

        if (open is { } last && !(Behavior == SplitBehavior.Removed && last.Matched))
        {
            yield return (last.Offset, last.Length);
        }
    }
}

/// <summary>Cuts text into words, one cut after the other.</summary>
/// <remarks>The library's own splitter drops what lies between matches, and sees characters beyond U+FFFF as two.</remarks>
internal sealed class WordSplitter(IReadOnlyList<WordSplit> splits)
{
    public IEnumerable<(int Offset, int Length)> Words(string text, TextWork work)
    {
        if (!text.AsSpan().ContainsAnyInRange('\ud800', '\udfff'))
        {
            return Cut(text, 0, text.Length, 0, work);
        }

        var (proxy, offsets) = CharacterProxies.Of(text);
        return Cut(proxy, 0, proxy.Length, 0, work).Select(w => (offsets[w.Offset], offsets[w.Offset + w.Length] - offsets[w.Offset]));
    }

    private IEnumerable<(int Offset, int Length)> Cut(string text, int offset, int length, int split, TextWork work)
    {
        if (split == splits.Count)
        {
            return [(offset, length)];
        }

        // An expression sees one word, and nothing around it.
        var words = splits[split].Of(length == text.Length ? text : text.Substring(offset, length), work);
        return split == splits.Count - 1
            ? offset == 0 ? words : words.Select(w => (w.Offset + offset, w.Length))
            : words.SelectMany(w => Cut(text, w.Offset + offset, w.Length, split + 1, work));
    }
}
