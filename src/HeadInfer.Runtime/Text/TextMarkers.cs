using System.Buffers;
using System.Text.RegularExpressions;

namespace HeadInfer.Runtime.Text;

/// <summary>
/// Markers that a chat template writes as text, since the vocabulary has no token for them: Llama 2's <c>[/INST]</c>. Where
/// a message has such a marker, its first character is spelled in bytes, or it is cut in two where the vocabulary has no
/// tokens for that: so that its tokens are not the template's.
/// </summary>
internal sealed partial class TextMarkers
{
    private readonly SearchValues<string>? _any;
    private readonly string[] _longestFirst;

    private TextMarkers(IEnumerable<string> markers)
    {
        _longestFirst = [.. markers.OrderByDescending(m => m.Length)];
        _any = _longestFirst.Length > 0 ? SearchValues.Create(_longestFirst, StringComparison.Ordinal) : null;
    }

    public static TextMarkers None { get; } = new([]);

    /// <summary>Those of a template that are not among the added tokens.</summary>
    public static TextMarkers Of(string template, AddedTokens added) => new(Shape().Matches(template).Select(m => m.Value).Distinct().Where(m => added.IdOf(m) is null));

    /// <summary>Whether a text is written like a marker: in brackets or angles, as a word that no other text has.</summary>
    public static bool IsMarker(string text) => Shape().Match(text) is { Success: true, Index: 0 } match && match.Length == text.Length;

    /// <summary>The markers that do not lie wholly in trusted text.</summary>
    /// <param name="text">the whole text</param>
    /// <param name="from">the first character of the part that is looked at</param>
    /// <param name="to">the first character after it</param>
    public IEnumerable<(int Start, int Length)> FindIn(TemplateText text, int from, int to)
    {
        for (var at = from; _any is not null && at < to;)
        {
            var next = text.Text.AsSpan(at, to - at).IndexOfAny(_any);
            if (next < 0)
            {
                yield break;
            }

            at += next;
            var marker = Array.Find(_longestFirst, m => string.CompareOrdinal(text.Text, at, m, 0, m.Length) == 0)!;
            if (!text.TrustedRanges.Any(r => r.Start <= at && at + marker.Length <= r.Start + r.Length))
            {
                yield return (at, marker.Length);
            }

            at += marker.Length;
        }
    }

    [GeneratedRegex(@"\[/?[A-Z][A-Z_]+\]|<</?[A-Z]+>>|<\|[^|<>\s]+\|>|<\uff5c[^\uff5c<>]+\uff5c>|</?s>|<(start|end)_of_turn>", RegexOptions.CultureInvariant)]
    private static partial Regex Shape();
}
