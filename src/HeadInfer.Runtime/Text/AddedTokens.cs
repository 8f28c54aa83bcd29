using System.Buffers;

namespace HeadInfer.Runtime.Text;

/// <summary>A token matched as it is written, before the text is cut into words.</summary>
internal sealed record AddedToken(int Id, string Content, bool Special);

/// <summary>Finds added tokens in text: leftmost first, and the longest of those that begin at one place.</summary>
internal sealed class AddedTokens
{
    private readonly Dictionary<string, AddedToken> _byContent;
    private readonly List<AddedToken> _longestFirst;
    private readonly SearchValues<string>? _any;

    public AddedTokens(IEnumerable<AddedToken> tokens)
    {
        _longestFirst = [.. tokens.OrderByDescending(t => t.Content.Length)];
        _byContent = _longestFirst.ToDictionary(t => t.Content, StringComparer.Ordinal);
        _any = _longestFirst.Count > 0 ? SearchValues.Create([.. _byContent.Keys], StringComparison.Ordinal) : null;
    }

    public int? IdOf(string content) => _byContent.TryGetValue(content, out var token) ? token.Id : null;

    /// <summary>Matches that lie wholly in trusted text, in order.</summary>
    public IEnumerable<(int Start, AddedToken Token)> FindIn(TemplateText text)
    {
        if (_any is null)
        {
            yield break;
        }

        foreach (var (start, length) in text.TrustedRanges)
        {
            for (var at = start; at < start + length;)
            {
                var next = text.Text.AsSpan(at, start + length - at).IndexOfAny(_any);
                if (next < 0)
                {
                    break;
                }

                at += next;
                var token = _longestFirst.Find(t => at + t.Content.Length <= start + length && string.CompareOrdinal(text.Text, at, t.Content, 0, t.Content.Length) == 0)!;
                yield return (at, token);
                at += token.Content.Length;
            }
        }
    }
}
