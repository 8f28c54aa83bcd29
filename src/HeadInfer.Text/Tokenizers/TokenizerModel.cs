using System.Runtime.InteropServices;
using HeadInfer.Text.Templates;
using Microsoft.ML.Tokenizers;

namespace HeadInfer.Text.Tokenizers;

/// <summary>The parts of a loaded tokenizer.</summary>
internal sealed class TokenizerModel
{
    /// <summary>What is done to text first, in order.</summary>
    public IReadOnlyList<TextNormalizer> Normalizers { get; init; } = [];

    /// <summary>Encodes normalized text.</summary>
    public required IWordEncoder Words { get; init; }

    public required AddedTokens AddedTokens { get; init; }

    /// <summary>Those that are matched in normalized text; null if there are none.</summary>
    public AddedTokens? NormalizedTokens { get; init; }

    public required IReadOnlySet<int> SpecialIds { get; init; }

    /// <summary>[id] the bytes that a token stands for; empty where the vocabulary has a hole.</summary>
    public required ReadOnlyMemory<byte>[] TokenBytes { get; init; }

    /// <summary>Spaces that a decoded text loses at its beginning, as encoding put them there.</summary>
    public int StrippedSpaces { get; init; }

    /// <summary>Markers of the chat template that are no tokens, but text (Llama 2's <c>[/INST]</c>).</summary>
    public TextMarkers Markers { get; init; } = TextMarkers.None;

    /// <summary>Tokens before a text that is encoded with special tokens.</summary>
    public IReadOnlyList<int> Prefix { get; init; } = [];

    /// <summary>Tokens after it.</summary>
    public IReadOnlyList<int> Suffix { get; init; } = [];

    /// <summary>Encodes text in which no added token is.</summary>
    /// <param name="place">where it stands</param>
    /// <param name="ids">gets the tokens</param>
    public void EncodePlain(ReadOnlySpan<char> text, TextPlace place, List<int> ids, TextWork work)
    {
        if (text.IsEmpty)
        {
            return;
        }

        var normal = UnicodeForm.WellFormed(text.ToString());
        foreach (var normalizer in Normalizers)
        {
            normal = normalizer.Apply(normal, place, work);
        }

        work.Take(normal.Length);
        var at = 0;
        foreach (var (start, end, id) in NormalizedTokens?.FindIn(TemplateText.Data(normal), work) ?? [])
        {
            if (start > at)
            {
                Words.Encode(normal[at..start], ids, work);
            }

            ids.Add(id);
            at = end;
        }

        if (at < normal.Length)
        {
            Words.Encode(normal[at..], ids, work);
        }
    }
}

/// <summary>Encodes normalized text.</summary>
internal interface IWordEncoder
{
    /// <param name="text">normalized text, not empty</param>
    /// <param name="ids">gets the tokens</param>
    void Encode(string text, List<int> ids, TextWork work);

    /// <summary>Whether any text can be spelled in tokens of bytes that no other text has.</summary>
    bool SpellsBytes => false;

    /// <summary>Spells a text in tokens of bytes.</summary>
    void SpellBytes(ReadOnlySpan<char> text, List<int> ids)
    {
    }
}

/// <summary>Byte-level byte-pair encoding: the library's, but for words so long that its time grows with their square.</summary>
/// <param name="bpe">the library's encoder; null where merges of different halves have one rank, which it does not know</param>
/// <param name="splitter">cuts text into words</param>
/// <param name="whole">
/// tokens by their spelling in the byte-level alphabet, where a word that is a token as it stands is that token whatever the
/// merges would make of it (<c>ignore_merges</c>, Llama 3); null where merges decide alone
/// </param>
/// <param name="bytes">[256] tokens of single bytes; -1 where there is none</param>
/// <param name="merger">the same merges</param>
internal sealed class ByteLevelEncoder(BpeTokenizer? bpe, WordSplitter splitter, IReadOnlyDictionary<string, int>? whole, int[] bytes, Lazy<PairMerger> merger) : IWordEncoder
{
    private const int LongWord = 500;

    private readonly WordCache _words = new();

    /// <inheritdoc/>
    public void Encode(string text, List<int> ids, TextWork work)
    {
        foreach (var (offset, length) in splitter.Words(text, work))
        {
            var word = text.AsSpan(offset, length);
            if (_words.Find(word) is { } known)
            {
                ids.AddRange(known);
            }
            else
            {
                var first = ids.Count;
                if (whole is not null && whole.TryGetValue(ByteLevel.Encode(word), out var id))
                {
                    ids.Add(id);
                }
                else if (bpe is null || length > LongWord)
                {
                    Merge(word, ids, work);
                }
                else
                {
                    ids.AddRange(bpe.EncodeToIds(word, considerPreTokenization: false, considerNormalization: false));
                }

                _words.Keep(word, CollectionsMarshal.AsSpan(ids)[first..]);
            }
        }
    }

    private void Merge(ReadOnlySpan<char> word, List<int> ids, TextWork work)
    {
        var utf8 = new byte[Encoding.UTF8.GetByteCount(word)];
        Encoding.UTF8.GetBytes(word, utf8);
        var (tokens, count) = (new int[utf8.Length], 0);
        foreach (var value in utf8)
        {
            tokens[count] = bytes[value];
            count += tokens[count] < 0 ? 0 : 1; // a byte that is no token is left out
        }

        ids.AddRange(tokens.AsSpan(0, merger.Value.Merge(tokens.AsSpan(0, count), work)));
    }
}
