using System.Text.RegularExpressions;

namespace HeadInfer.SemanticKernel;

/// <summary>Text with markers in it, such as <c>&lt;|channel|&gt;analysis&lt;|message|&gt;</c>: a vocabulary has tokens for the markers, and for nothing longer.</summary>
internal static partial class Markup
{
    private const int MostCalls = 8;

    /// <summary>The markers of a text, in order.</summary>
    public static IEnumerable<string> Markers(string text) => Shape().Matches(text).Select(m => m.Value);

    /// <summary>The text as a model writes it.</summary>
    public static OutputConstraint Form(string text)
    {
        var (parts, at) = (new List<OutputConstraint>(), 0);
        foreach (Match marker in Shape().Matches(text))
        {
            AddText(at, marker.Index);
            parts.Add(OutputConstraint.Marker(marker.Value));
            at = marker.Index + marker.Length;
        }

        AddText(at, text.Length);
        return OutputConstraint.Sequence([.. parts]);

        void AddText(int from, int to)
        {
            if (from < to)
            {
                parts.Add(OutputConstraint.Text(text[from..to]));
            }
        }
    }

    /// <summary>A call once or more, with nothing between. More than a few at once are not asked of a model.</summary>
    public static OutputConstraint Several(OutputConstraint call, int most)
    {
        var calls = call;
        for (var i = 1; i < Math.Min(most, MostCalls); i++)
        {
            calls = OutputConstraint.Sequence(call, OutputConstraint.Optional(calls));
        }

        return calls;
    }

    [GeneratedRegex(@"<\|[^|<>\s]+\|?>|<[^|<>\s]+\|>|<\uff5c[^\uff5c<>\s]+\uff5c>|</?\w+>|\[/?[A-Z_]+\]", RegexOptions.CultureInvariant)]
    private static partial Regex Shape();
}
