using Microsoft.ML.Tokenizers;

namespace HeadInfer.Runtime.Text;

/// <summary>The parts of a loaded tokenizer.</summary>
internal sealed class TokenizerModel
{
    public required BpeTokenizer Bpe { get; init; }

    public required AddedTokens AddedTokens { get; init; }

    public required IReadOnlySet<int> SpecialIds { get; init; }

    /// <summary>[id] the bytes that a token stands for; empty where the vocabulary has a hole.</summary>
    public required ReadOnlyMemory<byte>[] TokenBytes { get; init; }

    /// <summary>Whether text is brought to Unicode's composed form first.</summary>
    public bool ComposesText { get; init; }

    /// <summary>Tokens before a text that is encoded with special tokens.</summary>
    public IReadOnlyList<int> Prefix { get; init; } = [];

    /// <summary>Tokens after it.</summary>
    public IReadOnlyList<int> Suffix { get; init; } = [];

    /// <summary>Encodes text in which nothing is special.</summary>
    public void EncodePlain(ReadOnlySpan<char> text, List<int> ids)
    {
        if (text.IsEmpty)
        {
            return;
        }

        if (ComposesText)
        {
            text = ComposedForm.Of(text);
        }

        ids.AddRange(Bpe.EncodeToIds(text, considerNormalization: false));
    }
}
