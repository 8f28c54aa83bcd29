using System.Buffers;
using HeadInfer.Text.Templates;

namespace HeadInfer.Text.Tokenizers;

/// <summary>A token matched as it is written, before the text is cut into words.</summary>
/// <param name="Content">what is matched</param>
/// <param name="Special">whether it steers the model and is not text</param>
internal sealed record AddedToken(int Id, string Content, bool Special)
{
    /// <summary>Whether white space before it is part of it.</summary>
    public bool StripsBefore { get; init; }

    /// <summary>Whether white space after it is part of it.</summary>
    public bool StripsAfter { get; init; }

    /// <summary>Whether it is matched only where no letter, digit or underscore is beside it.</summary>
    public bool SingleWord { get; init; }

    /// <summary>Whether it is matched in normalized text, in its own normalized form, and not before.</summary>
    public bool IsNormalized { get; init; }

    /// <summary>
    /// Whether it is matched in text from users and documents too. Special tokens are not, nor is what the chat template
    /// writes or might: a user could forge it. Runs of spaces, say, are.
    /// </summary>
    public bool IsOpen { get; init; }

    /// <summary>Those tokens that may be matched everywhere, if they are not special.</summary>
    /// <param name="contents">the tokens</param>
    /// <param name="guarded">text of the chat template</param>
    public static HashSet<string> Open(IEnumerable<string> contents, string guarded)
    {
        var closed = contents.Where(c => !string.IsNullOrWhiteSpace(c)).Distinct().ToList();
        var (open, tree, work) = (contents.ToHashSet(StringComparer.Ordinal), new PrefixTree(closed), new TextWork(guarded.Length));
        for (var at = 0; at < guarded.Length; at++)
        {
            foreach (var (number, _) in tree.At(guarded, at, guarded.Length, work))
            {
                open.Remove(closed[number]);
            }
        }

        open.RemoveWhere(TextMarkers.IsMarker);
        return open;
    }
}

/// <summary>Where an added token was found.</summary>
/// <param name="Start">the first character that is part of it</param>
/// <param name="End">the first character after it</param>
/// <param name="Id">the token</param>
internal readonly record struct AddedMatch(int Start, int End, int Id);

/// <summary>Finds added tokens in text: leftmost first, and the longest of those that begin at one place.</summary>
internal sealed class AddedTokens
{
    private readonly Dictionary<string, AddedToken> _byContent;
    private readonly List<AddedToken> _matched;
    private readonly PrefixTree _tree;
    private readonly SearchValues<string>? _any;
    private readonly SearchValues<string>? _open;

    public AddedTokens(IEnumerable<AddedToken> tokens)
    {
        _byContent = tokens.GroupBy(t => t.Content, StringComparer.Ordinal).ToDictionary(g => g.Key, g => g.Last(), StringComparer.Ordinal);
        _matched = [.. _byContent.Values.Where(t => !t.IsNormalized)];
        _tree = new PrefixTree([.. _matched.Select(t => t.Content)]);
        _any = PrefixTree.Beginnings(_matched.Select(t => t.Content));
        _open = PrefixTree.Beginnings(_matched.Where(t => t.IsOpen).Select(t => t.Content));
    }

    public int? IdOf(string content) => _byContent.TryGetValue(content, out var token) ? token.Id : null;

    /// <summary>The tokens of a text, in order; those that are not open only where they lie wholly in trusted text.</summary>
    /// <param name="from">where to begin</param>
    public IEnumerable<AddedMatch> FindIn(TemplateText text, TextWork work, int from = 0)
    {
        var (end, ranges, range) = (from, text.TrustedRanges, 0);
        for (var at = from; at < text.Length;)
        {
            while (range < ranges.Count && ranges[range].Start + ranges[range].Length <= at)
            {
                range++;
            }

            // Up to the next trusted text only open tokens can begin.
            var (first, last) = range < ranges.Count ? (ranges[range].Start, ranges[range].Start + ranges[range].Length) : (text.Length, text.Length);
            var trusted = at >= first;
            var stop = trusted ? last : first;
            var seen = Math.Min(text.Length - at, stop - at + 1); // an open token may end in trusted text
            var next = (trusted ? _any : _open) is { } values ? text.Text.AsSpan(at, seen).IndexOfAny(values) : -1;
            if (next < 0 || at + next >= stop)
            {
                at = stop;
                continue;
            }

            at += next;
            if (Match(text.Text, at, trusted ? last : 0, work) is not { } token)
            {
                at++;
                continue;
            }

            var (start, to) = (at, at + token.Content.Length);
            while (token.StripsBefore && start > end && char.IsWhiteSpace(text.Text[start - 1]))
            {
                start--;
            }

            while (token.StripsAfter && to < text.Length && char.IsWhiteSpace(text.Text[to]))
            {
                to++;
            }

            yield return new AddedMatch(start, to, token.Id);
            (at, end) = (to, to);
        }
    }

    private AddedToken? Match(string text, int at, int trustedEnd, TextWork work)
    {
        AddedToken? longest = null;
        foreach (var (number, end) in _tree.At(text, at, text.Length, work))
        {
            var token = _matched[number];
            if ((token.IsOpen || end <= trustedEnd) && !(token.SingleWord && ((at > 0 && IsWord(text[at - 1])) || (end < text.Length && IsWord(text[end])))))
            {
                longest = token;
            }
        }

        return longest;
    }

    private static bool IsWord(char c) => char.IsLetterOrDigit(c) || c == '_';
}
