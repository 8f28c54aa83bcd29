using System.Text.RegularExpressions;

namespace HeadInfer.Text.Tokenizers;

/// <summary>Where a text between added tokens stands.</summary>
internal enum TextPlace
{
    /// <summary>Nothing is before it.</summary>
    First,

    /// <summary>An added token is before it.</summary>
    AfterToken,

    /// <summary>It goes on a text that was cut.</summary>
    Continued,
}

/// <summary>What is done to text before it is cut into words.</summary>
internal abstract record TextNormalizer
{
    /// <param name="text">a text between added tokens, not empty</param>
    /// <param name="place">where it stands</param>
    /// <param name="work">bounds time and length</param>
    public abstract string Apply(string text, TextPlace place, TextWork work);

    /// <summary>One of Unicode's forms.</summary>
    public sealed record Form(NormalizationForm Kind) : TextNormalizer
    {
        public override string Apply(string text, TextPlace place, TextWork work) => UnicodeForm.Of(text, Kind, work);
    }

    /// <summary>Each occurrence of a text becomes another.</summary>
    public sealed record Replace(string Old, string New) : TextNormalizer
    {
        public override string Apply(string text, TextPlace place, TextWork work)
        {
            if (New.Length > Old.Length)
            {
                work.RequireLength(text.Length + ((long)(New.Length - Old.Length) * text.AsSpan().Count(Old)));
            }

            return text.Replace(Old, New, StringComparison.Ordinal);
        }
    }

    /// <summary>Each match of an expression becomes a text.</summary>
    public sealed record ReplaceMatches(Regex Old, string New) : TextNormalizer
    {
        public override string Apply(string text, TextPlace place, TextWork work)
        {
            var (result, at) = (new StringBuilder(), 0);
            foreach (var (index, length) in work.Matches(Old, text))
            {
                result.Append(text, at, index - at).Append(New);
                work.RequireLength(result.Length);
                at = index + length;
            }

            return at == 0 && result.Length == 0 ? text : result.Append(text, at, text.Length - at).ToString();
        }
    }

    /// <summary>A text is put before.</summary>
    public sealed record Prepend(string Before) : TextNormalizer
    {
        public override string Apply(string text, TextPlace place, TextWork work) => place == TextPlace.Continued ? text : Before + text;
    }

    /// <summary>Spaces become a mark, and one is put before a text that does not begin with it (Metaspace).</summary>
    /// <param name="Always">whether it is put before every text between added tokens, not before the first alone</param>
    /// <param name="Never">whether it is put before none</param>
    public sealed record MarkSpaces(string Mark, bool Always, bool Never) : TextNormalizer
    {
        public override string Apply(string text, TextPlace place, TextWork work)
        {
            if (Mark.Length > 1)
            {
                work.RequireLength(text.Length + ((long)(Mark.Length - 1) * text.AsSpan().Count(' ')));
            }

            var marked = text.Replace(" ", Mark, StringComparison.Ordinal);
            return !Never && (place == TextPlace.First || (Always && place == TextPlace.AfterToken)) && !marked.StartsWith(Mark, StringComparison.Ordinal) ? Mark + marked : marked;
        }
    }
}
