using System.Runtime.InteropServices;

namespace HeadInfer.Text.Tokenizers;

/// <summary>
/// Byte-pair encoding over characters, as SentencePiece does it and the tokenizers converted from it: text is not cut into
/// words first, and a character that is no token falls back to tokens of its bytes. Safe for concurrent use.
/// </summary>
/// <remarks>The library has none of this for vocabularies from tokenizer.json. Its SentencePiece is the tests' oracle.</remarks>
internal sealed class PieceBpe : IWordEncoder
{
    public const char SpaceMark = '\u2581';

    private const int Ascii = 128;
    private const int Share = 1 << 16; // characters that are worth a thread

    private readonly PairMerger _merger;
    private readonly int[] _characters; // [UTF-16 unit] the token of that character alone; -1 where there is none
    private readonly Dictionary<int, int> _beyond = []; // the same of code points above U+FFFF
    private readonly int[] _bytes; // [byte] -1 where there is no token
    private readonly int? _unknown;
    private readonly bool _fusesUnknown;
    private readonly bool _cutsAtMarks;
    private readonly bool[] _ascii = new bool[Ascii * Ascii]; // pairs of neighbours that some token has
    private readonly HashSet<int> _neighbours = []; // the same of other characters
    private readonly WordCache _pieces = new();

    /// <param name="vocabulary">tokens by their spelling</param>
    /// <param name="merges">what pairs become</param>
    /// <param name="bytes">[256] tokens of single bytes; -1 where there is none</param>
    /// <param name="unknown">the token of what cannot be spelled; null leaves it out</param>
    /// <param name="fusesUnknown">whether several of them are one</param>
    /// <param name="cutsAtMarks">whether each mark of a space begins a word that no merge crosses</param>
    public PieceBpe(Dictionary<string, int> vocabulary, IReadOnlyCollection<PairMerge> merges, int[] bytes, int? unknown, bool fusesUnknown, bool cutsAtMarks = false)
    {
        (_merger, _bytes, _unknown, _fusesUnknown, _cutsAtMarks) = (new PairMerger(merges), bytes, unknown, fusesUnknown, cutsAtMarks);
        _characters = new int[char.MaxValue + 1];
        Array.Fill(_characters, -1);
        foreach (var (token, id) in vocabulary)
        {
            if (token.Length == 1)
            {
                _characters[token[0]] = id;
            }
            else if (token.Length == 2 && Rune.TryGetRuneAt(token, 0, out var rune) && !rune.IsBmp)
            {
                _beyond[rune.Value] = id;
            }

            for (var i = 0; i + 1 < token.Length; i++)
            {
                Join(token[i], token[i + 1]);
            }
        }
    }

    /// <inheritdoc/>
    public bool SpellsBytes => !_bytes.Contains(-1);

    /// <inheritdoc/>
    public void SpellBytes(ReadOnlySpan<char> text, List<int> ids)
    {
        foreach (var value in Encoding.UTF8.GetBytes(text.ToArray()))
        {
            ids.Add(_bytes[value]);
        }
    }

    /// <inheritdoc/>
    public void Encode(string text, List<int> ids, TextWork work)
    {
        // What cannot be spelled may be one token with what is before it, and is then not encoded by itself.
        var shares = !SpellsBytes ? 1 : Math.Min(Environment.ProcessorCount, text.Length / Share);
        if (shares < 2)
        {
            Encode(text, 0, text.Length, ids, work);
            return;
        }

        int[] starts = [0, .. Enumerable.Range(1, shares - 1).Select(i => Cut(text, (int)((long)text.Length * i / shares))), text.Length];
        var parts = new List<int>[shares];
        Parallel.For(0, shares, new ParallelOptions { CancellationToken = work.CancellationToken }, i => Encode(text, starts[i], starts[i + 1], parts[i] = new List<int>((starts[i + 1] - starts[i]) / 3), work));
        foreach (var part in parts)
        {
            ids.AddRange(part);
        }
    }

    private void Encode(string text, int from, int to, List<int> ids, TextWork work)
    {
        var symbols = new List<int>();
        for (var at = from; at < to;)
        {
            work.Look();
            var end = Cut(text, at + 1);
            var piece = text.AsSpan(at, end - at);
            if (_pieces.Find(piece) is { } tokens)
            {
                ids.AddRange(tokens);
            }
            else
            {
                symbols.Clear();
                Spell(piece, symbols, ids);
                var merged = CollectionsMarshal.AsSpan(symbols)[.._merger.Merge(CollectionsMarshal.AsSpan(symbols), work)];
                ids.AddRange(merged);
                if (_unknown is null || !merged.Contains(_unknown.Value)) // which may depend on what is before
                {
                    _pieces.Keep(piece, merged);
                }
            }

            at = end;
        }
    }

    // Where no token has two neighbours, no merge joins them, and what is before and after is encoded by itself.
    private int Cut(string text, int from)
    {
        for (var at = from; at < text.Length; at++)
        {
            var (left, right) = (text[at - 1], text[at]);
            if (_cutsAtMarks && right == SpaceMark)
            {
                return at;
            }

            if (!((left | right) < Ascii ? _ascii[(left * Ascii) + right] : char.IsLowSurrogate(right) || _neighbours.Contains((left << 16) | right)))
            {
                return at;
            }
        }

        return text.Length;
    }

    private void Join(char left, char right)
    {
        if ((left | right) < Ascii)
        {
            _ascii[(left * Ascii) + right] = true;
        }
        else
        {
            _neighbours.Add((left << 16) | right);
        }
    }

    // The tokens of single characters, or of their bytes.
    private void Spell(ReadOnlySpan<char> piece, List<int> symbols, List<int> before)
    {
        Span<byte> utf8 = stackalloc byte[4];
        for (var at = 0; at < piece.Length;)
        {
            var id = _characters[piece[at]];
            var length = 1;
            if (id < 0 || char.IsSurrogate(piece[at]))
            {
                Rune.DecodeFromUtf16(piece[at..], out var rune, out length); // half a pair is U+FFFD
                id = rune.IsBmp ? _characters[rune.Value] : _beyond.GetValueOrDefault(rune.Value, -1);
                if (id < 0)
                {
                    SpellBytes(utf8[..rune.EncodeToUtf8(utf8)], symbols, before);
                }
            }

            if (id >= 0)
            {
                symbols.Add(id);
            }

            at += length;
        }
    }

    private void SpellBytes(ReadOnlySpan<byte> bytes, List<int> symbols, List<int> before)
    {
        var first = symbols.Count;
        foreach (var value in bytes)
        {
            symbols.Add(_bytes[value]);
        }

        if (symbols.IndexOf(-1, first) < 0)
        {
            return;
        }

        symbols.RemoveRange(first, symbols.Count - first);
        var last = first > 0 ? symbols[^1] : before.Count > 0 ? before[^1] : -1;
        if (_unknown is { } unknown && !(_fusesUnknown && last == unknown))
        {
            symbols.Add(unknown);
        }
    }
}
