using System.Runtime.CompilerServices;

namespace HeadInfer.Text.Constraints;

/// <summary>The tokens of a vocabulary by their bytes, laid out so that a walk leaves out all that begins like what is not allowed.</summary>
/// <remarks>
/// A special token begins with <see cref="SpecialMark"/>, a byte that no text has: only a grammar that asks for the token
/// itself allows it, never one that allows its spelling.
/// </remarks>
internal sealed class TokenTrie
{
    public const byte SpecialMark = 0xff;

    private static readonly ConditionalWeakTable<Tokenizer, TokenTrie> Known = [];

    private readonly Entry[] _entries; // each followed by those that continue it
    private readonly int[] _tokens; // of all entries, in their order
    private readonly byte[][] _bytes; // [id]

    /// <param name="bytes">[id] the bytes of each token; empty where the vocabulary has a hole</param>
    public TokenTrie(byte[][] bytes)
    {
        _bytes = bytes;
        LongestToken = bytes.Max(b => b.Length);
        var ids = Enumerable.Range(0, bytes.Length).Where(id => bytes[id].Length > 0).ToList();
        ids.Sort((a, b) => _bytes[a].AsSpan().SequenceCompareTo(_bytes[b]));
        _tokens = [.. ids];
        var entries = new List<Entry>();
        var path = new Stack<int>(); // entries from the root to the last one
        byte[] last = [];
        for (var i = 0; i < ids.Count; i++)
        {
            var token = _bytes[ids[i]];
            var shared = token.AsSpan().CommonPrefixLength(last);
            Close(entries, path, shared);
            for (var depth = shared; depth < token.Length; depth++)
            {
                path.Push(entries.Count);
                entries.Add(new Entry(token[depth], depth + 1, i, 0, 0));
            }

            // A token comes before those that continue it, and beside those of equal bytes.
            entries[path.Peek()] = entries[path.Peek()] with { Tokens = entries[path.Peek()].Tokens + 1 };
            last = token;
        }

        Close(entries, path, 0);
        _entries = [.. entries];
        Masks = new TextMasks(this);
    }

    /// <summary>A tokenizer's vocabulary, made when first asked for and kept as long as the tokenizer is.</summary>
    public static TokenTrie Of(Tokenizer tokenizer) => Known.GetValue(tokenizer, Make);

    private static TokenTrie Make(Tokenizer tokenizer) => new([.. Enumerable.Range(0, tokenizer.VocabularySize).Select(id => Bytes(tokenizer, id))]);

    /// <summary>Ids are below this.</summary>
    public int Size => _bytes.Length;

    /// <summary>Bytes of the longest token.</summary>
    public int LongestToken { get; }

    /// <summary>What is known of texts, for all grammars.</summary>
    public TextMasks Masks { get; }

    public ReadOnlySpan<Entry> Entries => _entries;

    /// <summary>The bytes of a token as grammars see them.</summary>
    public ReadOnlySpan<byte> Bytes(int id) => _bytes[id];

    public ReadOnlySpan<int> TokensAt(in Entry entry) => _tokens.AsSpan(entry.FirstToken, entry.Tokens);

    /// <summary>The bytes that lead to an entry.</summary>
    public ReadOnlySpan<byte> PathTo(int entry) => _bytes[_tokens[_entries[entry].FirstToken]].AsSpan(0, _entries[entry].Depth);

    /// <summary>The entry of a byte after another entry, or after none if that is negative; -1 if there is none.</summary>
    public int Child(int entry, byte value)
    {
        var (at, end) = entry < 0 ? (0, _entries.Length) : (entry + 1, _entries[entry].Next);
        for (; at < end; at = _entries[at].Next)
        {
            if (_entries[at].Value == value)
            {
                return at;
            }
        }

        return -1;
    }

    // Vocabularies have a token for each byte, also for those that no text has.
    private static byte[] Bytes(Tokenizer tokenizer, int id)
    {
        var bytes = tokenizer.Bytes(id).Span;
        return tokenizer.IsSpecial(id) ? [SpecialMark, .. bytes] : bytes.Contains(SpecialMark) ? [] : bytes.ToArray();
    }

    private static void Close(List<Entry> entries, Stack<int> path, int depth)
    {
        while (path.Count > depth)
        {
            var at = path.Pop();
            entries[at] = entries[at] with { Next = entries.Count };
        }
    }

    /// <summary>A byte of one or more tokens.</summary>
    /// <param name="Depth">how many bytes lead here, this one included</param>
    /// <param name="FirstToken">where its tokens, and those that continue it, begin in the order</param>
    /// <param name="Tokens">how many tokens end here</param>
    /// <param name="Next">the entry after all that continue this one</param>
    internal readonly record struct Entry(byte Value, int Depth, int FirstToken, int Tokens, int Next);
}
