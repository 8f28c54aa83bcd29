using System.Text.RegularExpressions;
using Microsoft.ML.Tokenizers;

namespace HeadInfer.Runtime.Text;

/// <summary>Cuts text into words by an expression: its matches, and whatever lies between them, each a word.</summary>
/// <remarks>The library's own splitter drops what lies between.</remarks>
internal sealed class WordSplitter(Regex pattern) : PreTokenizer
{
    public override IEnumerable<(int Offset, int Length)> PreTokenize(string text)
    {
        var at = 0;
        for (var match = pattern.Match(text); match.Success; match = match.NextMatch())
        {
            if (match.Length == 0)
            {
                continue;
            }

            if (match.Index > at)
            {
                yield return (at, match.Index - at);
            }

            yield return (match.Index, match.Length);
            at = match.Index + match.Length;
        }

        if (at < text.Length)
        {
            yield return (at, text.Length - at);
        }
    }

    public override IEnumerable<(int Offset, int Length)> PreTokenize(ReadOnlySpan<char> text) => PreTokenize(text.ToString());
}
