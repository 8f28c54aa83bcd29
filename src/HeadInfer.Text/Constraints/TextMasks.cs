namespace HeadInfer.Text.Constraints;

/// <summary>What a place in a text says of each token.</summary>
/// <param name="Inside">tokens that end within the text, a bit each</param>
/// <param name="Exits">entries with which the text ends; what follows the text decides on them and on what continues them</param>
/// <param name="Closing">those of them with nothing of the text before its end, if there is no room for more of it and it may end; all of them otherwise</param>
/// <param name="LeavesOut">whether tokens within the text are left out because too much would have to follow them</param>
/// <param name="Cost">entries that were tried to find it</param>
internal sealed record TextMask(ulong[] Inside, int[] Exits, int[] Closing, bool LeavesOut, int Cost);

/// <summary>The masks of texts, found when first asked for. Safe for concurrent use.</summary>
internal sealed class TextMasks(TokenTrie trie)
{
    // 19 KB each for a vocabulary of 150,000.
    private const int Most = 512;

    private readonly Dictionary<object, TextMask> _masks = [];
    private readonly Lock _gate = new();

    /// <summary>What the mask of a place depends on.</summary>
    /// <param name="state">a place in a text</param>
    /// <param name="limit">bytes that may still have to follow a token, to the text's end</param>
    public (TState State, int Limit) Key<TState>(TState state, int limit)
        where TState : struct, ITextState<TState>
    {
        // What is left out of the state is left out of the limit too.
        var reduced = state.ForTokensUpTo(trie.LongestToken);
        return (reduced, Math.Max(0, Math.Min(limit, state.MaxMinBytes) - (state.MaxMinBytes - reduced.MaxMinBytes)));
    }

    /// <inheritdoc cref="Key"/>
    public TextMask Of<TState>(TState state, int limit)
        where TState : struct, ITextState<TState>
    {
        var key = Key(state, limit);
        lock (_gate)
        {
            if (!_masks.TryGetValue(key, out var mask))
            {
                if (_masks.Count >= Most)
                {
                    _masks.Clear();
                }

                _masks[key] = mask = Find(key.State, key.Limit);
            }

            return mask;
        }
    }

    private TextMask Find<TState>(TState start, int limit)
        where TState : struct, ITextState<TState>
    {
        var inside = new ulong[(trie.Size + 63) / 64];
        var exits = new List<int>();
        var (leavesOut, cost) = (false, 0);
        var states = new TState[trie.LongestToken + 2]; // [depth]
        states[0] = start;
        var entries = trie.Entries;
        for (var at = 0; at < entries.Length;)
        {
            cost++;
            ref readonly var entry = ref entries[at];
            switch (states[entry.Depth - 1].Step(entry.Value, out states[entry.Depth]))
            {
                case TextStep.Inside:
                    var fits = entry.Tokens > 0 && states[entry.Depth].MinBytes <= limit;
                    leavesOut |= entry.Tokens > 0 && !fits;
                    foreach (var token in fits ? trie.TokensAt(entry) : [])
                    {
                        inside[token >> 6] |= 1UL << token;
                    }

                    at++;
                    break;
                case TextStep.Ended:
                    exits.Add(at);
                    at = entry.Next;
                    break;
                default:
                    at = entry.Next;
                    break;
            }
        }

        int[] all = [.. exits], atOnce = start.MinBytes > limit ? [.. exits.Where(e => trie.Entries[e].Depth == 1)] : [];
        return new TextMask(inside, all, atOnce.Length > 0 ? atOnce : all, leavesOut, cost);
    }
}
