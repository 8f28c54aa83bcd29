using System.Buffers;

namespace HeadInfer.Text.Tokenizers;

/// <summary>Texts by their characters, so that one walk finds those that begin at a place, however many there are.</summary>
internal sealed class PrefixTree
{
    private const int MaxCharacters = 1 << 21; // of all texts; the most known are half of it
    private const int Sought = 2; // characters of a text that are looked for before a walk

    private readonly Dictionary<long, int> _next = []; // a node and a character
    private readonly List<int> _ends = [-1]; // [node] the text that ends there; -1 if none does

    /// <param name="texts">not empty, each once</param>
    /// <exception cref="TokenizerException">They are too long.</exception>
    public PrefixTree(IReadOnlyCollection<string> texts)
    {
        if (texts.Sum(t => (long)t.Length) is > MaxCharacters and var length)
        {
            throw new TokenizerException(string.Create(CultureInfo.InvariantCulture, $"The tokenizer's added tokens have {length:N0} characters; at most {MaxCharacters:N0} are supported."));
        }

        var number = 0;
        foreach (var text in texts)
        {
            var node = 0;
            foreach (var c in text)
            {
                if (!_next.TryGetValue(Key(node, c), out var next))
                {
                    next = _next[Key(node, c)] = _ends.Count;
                    _ends.Add(-1);
                }

                node = next;
            }

            _ends[node] = number++;
        }
    }

    /// <summary>What is looked for before a walk; null if there are no texts.</summary>
    public static SearchValues<string>? Beginnings(IEnumerable<string> texts) =>
        texts.Select(t => t[..Math.Min(t.Length, Sought)]).Distinct().ToArray() is { Length: > 0 } beginnings ? SearchValues.Create(beginnings, StringComparison.Ordinal) : null;

    /// <summary>The texts that begin at a place, the shortest first: their numbers and the first characters after them.</summary>
    public IEnumerable<(int Number, int End)> At(string text, int at, int limit, TextWork work)
    {
        var node = 0;
        for (var end = at; end < limit && _next.TryGetValue(Key(node, text[end]), out node);)
        {
            work.Count(1);
            end++;
            if (_ends[node] >= 0)
            {
                yield return (_ends[node], end);
            }
        }
    }

    private static long Key(int node, char c) => ((long)node << 16) | c;
}
