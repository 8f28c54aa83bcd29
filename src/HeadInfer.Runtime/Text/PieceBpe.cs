using System.Collections.Concurrent;
using System.Text;

namespace HeadInfer.Runtime.Text;

/// <summary>How two neighbouring tokens become one.</summary>
/// <param name="Rank">smaller ones first</param>
/// <param name="Id">the token they become</param>
internal readonly record struct PairMerge(int Rank, int Id);

/// <summary>
/// Byte-pair encoding over characters, as SentencePiece does it and the tokenizers converted from it: text is not cut into
/// words first, and a character that is no token falls back to tokens of its bytes. Safe for concurrent use.
/// </summary>
/// <remarks>The library has none of this for vocabularies from tokenizer.json. Its SentencePiece is the tests' oracle.</remarks>
internal sealed class PieceBpe : IWordEncoder
{
    public const char SpaceMark = '\u2581';

    private const int Scanned = 48; // symbols up to which looking at all pairs is faster than a heap
    private const int MostWords = 1 << 16;
    private const int LongestWord = 64;

    private readonly Dictionary<string, int> _vocabulary;
    private readonly Dictionary<long, PairMerge> _merges;
    private readonly int[] _bytes; // [byte] -1 where there is no token
    private readonly int? _unknown;
    private readonly bool _fusesUnknown;
    private readonly bool _cutsAtSpaces;
    private readonly ConcurrentDictionary<string, int[]> _words = new(StringComparer.Ordinal);
    private int _wordCount;

    /// <param name="vocabulary">tokens by their spelling</param>
    /// <param name="merges">what pairs become, by the ids of both (<see cref="Pair"/>)</param>
    /// <param name="bytes">[256] tokens of single bytes; -1 where there is none</param>
    /// <param name="unknown">the token of what cannot be spelled; null leaves it out</param>
    /// <param name="fusesUnknown">whether several of them are one</param>
    public PieceBpe(Dictionary<string, int> vocabulary, Dictionary<long, PairMerge> merges, int[] bytes, int? unknown, bool fusesUnknown)
    {
        (_vocabulary, _merges, _bytes, _unknown, _fusesUnknown) = (vocabulary, merges, bytes, unknown, fusesUnknown);
        // Where no token goes on past the beginning of a word, no merge does, and words can be encoded by themselves.
        _cutsAtSpaces = !vocabulary.Keys.Any(t => Cut(t, 1) < t.Length);
    }

    public static long Pair(int left, int right) => ((long)left << 32) | (uint)right;

    /// <param name="text">normalized text</param>
    /// <param name="ids">gets the tokens</param>
    public void Encode(string text, List<int> ids)
    {
        if (!_cutsAtSpaces)
        {
            ids.AddRange(Word(text));
            return;
        }

        var known = _words.GetAlternateLookup<ReadOnlySpan<char>>();
        for (var at = 0; at < text.Length;)
        {
            var end = Cut(text, at + 1);
            var word = text.AsSpan(at, end - at);
            if (!known.TryGetValue(word, out var tokens))
            {
                tokens = Word(word.ToString());
                if (word.Length <= LongestWord && _wordCount < MostWords && known.TryAdd(word, tokens))
                {
                    Interlocked.Increment(ref _wordCount);
                }
            }

            ids.AddRange(tokens);
            at = end;
        }
    }

    // Where the next word begins: at a mark after something else.
    private static int Cut(string text, int from)
    {
        for (var at = from; at < text.Length; at++)
        {
            if (text[at] == SpaceMark && text[at - 1] != SpaceMark)
            {
                return at;
            }
        }

        return text.Length;
    }

    private int[] Word(string text)
    {
        var symbols = Symbols(text);
        return symbols.Count <= Scanned ? Scan(symbols) : Merge([.. symbols]);
    }

    private List<int> Symbols(string text)
    {
        var symbols = new List<int>(text.Length);
        var single = _vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        Span<byte> utf8 = stackalloc byte[4];
        for (var at = 0; at < text.Length;)
        {
            Rune.DecodeFromUtf16(text.AsSpan(at), out var rune, out var length); // half a pair is U+FFFD
            if (single.TryGetValue(rune == Rune.ReplacementChar ? "\ufffd" : text.AsSpan(at, length), out var id))
            {
                symbols.Add(id);
            }
            else
            {
                var bytes = utf8[..rune.EncodeToUtf8(utf8)];
                var first = symbols.Count;
                foreach (var value in bytes)
                {
                    symbols.Add(_bytes[value]);
                }

                if (symbols.LastIndexOf(-1) >= first)
                {
                    symbols.RemoveRange(first, symbols.Count - first);
                    if (_unknown is { } unknown && !(_fusesUnknown && symbols.Count > 0 && symbols[^1] == unknown))
                    {
                        symbols.Add(unknown);
                    }
                }
            }

            at += length;
        }

        return symbols;
    }

    // The best pair of all, the leftmost of equals, until there is none.
    private int[] Scan(List<int> symbols)
    {
        while (true)
        {
            var (best, at) = (new PairMerge(int.MaxValue, -1), -1);
            for (var i = 0; i + 1 < symbols.Count; i++)
            {
                if (_merges.TryGetValue(Pair(symbols[i], symbols[i + 1]), out var merge) && merge.Rank < best.Rank)
                {
                    (best, at) = (merge, i);
                }
            }

            if (at < 0)
            {
                return [.. symbols];
            }

            symbols[at] = best.Id;
            symbols.RemoveAt(at + 1);
        }
    }

    // The same with a heap of pairs, some of which are no more when their turn comes.
    private int[] Merge(int[] symbols)
    {
        var (next, previous) = (new int[symbols.Length], new int[symbols.Length]);
        var heap = new PriorityQueue<(int Left, long Pair, int Id), long>(symbols.Length);
        void Offer(int left, int right)
        {
            var pair = Pair(symbols[left], symbols[right]);
            if (_merges.TryGetValue(pair, out var merge))
            {
                heap.Enqueue((left, pair, merge.Id), Pair(merge.Rank, left)); // by rank, then from the left
            }
        }

        for (var i = 0; i < symbols.Length; i++)
        {
            (previous[i], next[i]) = (i - 1, i + 1 < symbols.Length ? i + 1 : -1);
        }

        for (var i = 0; i + 1 < symbols.Length; i++)
        {
            Offer(i, i + 1);
        }

        while (heap.TryDequeue(out var candidate, out _))
        {
            var (left, right) = (candidate.Left, symbols[candidate.Left] < 0 ? -1 : next[candidate.Left]);
            if (right < 0 || Pair(symbols[left], symbols[right]) != candidate.Pair)
            {
                continue;
            }

            (symbols[left], symbols[right]) = (candidate.Id, -1);
            next[left] = next[right];
            if (next[left] >= 0)
            {
                previous[next[left]] = left;
                Offer(left, next[left]);
            }

            if (previous[left] >= 0)
            {
                Offer(previous[left], left);
            }
        }

        return [.. symbols.Where(s => s >= 0)];
    }
}
