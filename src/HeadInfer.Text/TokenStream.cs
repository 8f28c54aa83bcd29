namespace HeadInfer.Text;

/// <summary>Decodes tokens as they come and never splits a character: bytes wait until it is whole.</summary>
/// <param name="tokenizer">The tokenizer.</param>
/// <param name="skipSpecial">Whether special tokens are left out.</param>
public sealed class TokenStream(Tokenizer tokenizer, bool skipSpecial = true)
{
    private readonly HashSet<int> _shown = [];
    private int _strip = tokenizer.StrippedSpaces;
    private readonly System.Text.Decoder _decoder = Encoding.UTF8.GetDecoder();

    /// <summary>Does not leave out these special tokens.</summary>
    internal TokenStream Show(IEnumerable<int> tokens)
    {
        _shown.UnionWith(tokens);
        return this;
    }

    /// <summary>Takes a token.</summary>
    /// <returns>the text that is complete with it; may be empty</returns>
    /// <exception cref="ArgumentOutOfRangeException">The id is not in the vocabulary.</exception>
    public string Append(int id)
    {
        var bytes = tokenizer.Bytes(id).Span;
        return skipSpecial && tokenizer.IsSpecial(id) && !_shown.Contains(id) ? "" : Convert(bytes, flush: false);
    }

    /// <summary>Ends the text.</summary>
    /// <returns>U+FFFD for a character that was never completed, else nothing</returns>
    public string Flush() => Convert([], flush: true);

    private string Convert(ReadOnlySpan<byte> bytes, bool flush)
    {
        Span<char> small = stackalloc char[64];
        var most = _decoder.GetCharCount(bytes, flush);
        var chars = most <= small.Length ? small : new char[most];
        ReadOnlySpan<char> text = chars[.._decoder.GetChars(bytes, chars, flush)];
        while (_strip > 0 && text.Length > 0)
        {
            var space = text[0] == ' ';
            text = space ? text[1..] : text;
            _strip = space ? _strip - 1 : 0;
        }

        return new string(text);
    }
}
