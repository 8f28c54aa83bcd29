using Microsoft.ML.Tokenizers;

namespace HeadInfer.Runtime.Text;

/// <summary>The parts of a loaded tokenizer.</summary>
internal sealed class TokenizerModel
{
    public required BpeTokenizer Bpe { get; init; }

    /// <summary>Cuts text into words.</summary>
    public required WordSplitter Splitter { get; init; }

    /// <summary>
    /// Tokens by their spelling in the byte-level alphabet, where a word that is a token as it stands is that token
    /// whatever the merges would make of it (<c>ignore_merges</c>, Llama 3); null where merges decide alone.
    /// </summary>
    public IReadOnlyDictionary<string, int>? WholeWords { get; init; }

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

        if (WholeWords is null)
        {
            ids.AddRange(Bpe.EncodeToIds(text, considerNormalization: false));
            return;
        }

        foreach (var (offset, length) in Splitter.PreTokenize(text))
        {
            var word = text.Slice(offset, length);
            if (WholeWords.TryGetValue(ByteLevel.Encode(word), out var id))
            {
                ids.Add(id);
            }
            else
            {
                ids.AddRange(Bpe.EncodeToIds(word, considerPreTokenization: false, considerNormalization: false));
            }
        }
    }
}
