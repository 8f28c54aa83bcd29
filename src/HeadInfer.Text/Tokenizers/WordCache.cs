using System.Collections.Concurrent;

namespace HeadInfer.Text.Tokenizers;

/// <summary>The tokens of short words that came before. Bounded; safe for concurrent use.</summary>
internal sealed class WordCache
{
    private const int Most = 1 << 16;
    private const int Longest = 32;

    private readonly ConcurrentDictionary<string, int[]> _words = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> _bySpan;
    private int _count;

    public WordCache() => _bySpan = _words.GetAlternateLookup<ReadOnlySpan<char>>();

    /// <summary>The word's tokens; null if they are not known.</summary>
    public int[]? Find(ReadOnlySpan<char> word) => word.Length <= Longest && _bySpan.TryGetValue(word, out var tokens) ? tokens : null;

    public void Keep(ReadOnlySpan<char> word, ReadOnlySpan<int> tokens)
    {
        if (word.Length <= Longest && _count < Most && _bySpan.TryAdd(word, tokens.ToArray()))
        {
            Interlocked.Increment(ref _count);
        }
    }
}
