using System.Buffers;
using System.Text.RegularExpressions;
using HeadInfer.Text.Tokenizers;

namespace HeadInfer.Text.Templates;

/// <summary>
/// Markers that a chat template writes as text, since the vocabulary has no token for them: Llama 2's <c>[/INST]</c>. Where
/// a message has such a marker, its first character is spelled in bytes, or it is cut in two where the vocabulary has no
/// tokens for that: so that its tokens are not the template's.
/// </summary>
internal sealed partial class TextMarkers
{
    private readonly PrefixTree _tree;
    private readonly SearchValues<string>? _any;

    private TextMarkers(IReadOnlyCollection<string> markers) => (_tree, _any) = (new PrefixTree(markers), PrefixTree.Beginnings(markers));

    public static TextMarkers None { get; } = new([]);

    /// <summary>Those of a template that are not among the added tokens.</summary>
    public static TextMarkers Of(string template, AddedTokens added) => new([.. In(template).Where(m => added.IdOf(m) is null)]);

    /// <summary>Those of a template, each once.</summary>
    public static IEnumerable<string> In(string template) => Shape().Matches(template).Select(m => m.Value).Distinct();

    /// <summary>Whether a text is written like a marker: in brackets or angles, as a word that no other text has.</summary>
    public static bool IsMarker(string text) => Shape().Match(text) is { Success: true, Index: 0 } match && match.Length == text.Length;

    /// <summary>The markers that do not lie wholly in trusted text.</summary>
    /// <param name="text">the whole text</param>
    /// <param name="from">the first character of the part that is looked at</param>
    /// <param name="to">the first character after it</param>
    public IEnumerable<(int Start, int Length)> FindIn(TemplateText text, int from, int to, TextWork work)
    {
        var ranges = text.TrustedRanges;
        var range = FirstThatEndsAfter(ranges, from);
        for (var at = from; _any is not null && at < to;)
        {
            var next = text.Text.AsSpan(at, to - at).IndexOfAny(_any);
            if (next < 0)
            {
                yield break;
            }

            at += next;
            var end = at;
            foreach (var (_, last) in _tree.At(text.Text, at, to, work))
            {
                end = last;
            }

            if (end == at)
            {
                at++;
                continue;
            }

            while (range < ranges.Count && ranges[range].Start + ranges[range].Length <= at)
            {
                range++;
            }

            if (!(range < ranges.Count && ranges[range].Start <= at && end <= ranges[range].Start + ranges[range].Length))
            {
                yield return (at, end - at);
            }

            at = end;
        }
    }

    // A text between two tokens begins anywhere among the ranges.
    private static int FirstThatEndsAfter(IReadOnlyList<(int Start, int Length)> ranges, int place)
    {
        var (low, high) = (0, ranges.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            (low, high) = ranges[middle].Start + ranges[middle].Length <= place ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    [GeneratedRegex(@"\[/?[A-Z][A-Z_]+\]|<</?[A-Z]+>>|<\|[^|<>\s]+\|>|<\uff5c[^\uff5c<>]+\uff5c>|</?s>|<(start|end)_of_turn>", RegexOptions.CultureInvariant)]
    private static partial Regex Shape();
}
