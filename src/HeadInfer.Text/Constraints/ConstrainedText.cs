namespace HeadInfer.Text.Constraints;

/// <summary>An output on its way through its grammar: tells before each token which ones are allowed. One for each generation.</summary>
/// <remarks>
/// Among what is allowed are only tokens after which the tokens that are left can still complete the output, so that it is
/// whole when its limit is reached. An <see cref="UnhurriedNode"/> is the exception: the limit may cut it off.
/// </remarks>
internal sealed class ConstrainedText
{
    // Texts at one place of which different things are known: as many as are found out about in the time of three strings of any content.
    private const int MostTexts = 64;
    private const int MostWholeTexts = 3;
    private const int MostKeys = 8;

    private readonly TokenTrie _trie;
    private readonly ulong[] _allowed;
    private readonly List<FrameSet> _walk = [new()]; // [depth]
    private readonly List<FrameSet> _groups = []; // what the last mask was made of
    private FrameSet _at = new();
    private bool _leftOut;
    private int _nearest;

    public ConstrainedText(Node grammar, TokenTrie trie)
    {
        (_trie, _allowed) = (trie, new ulong[(trie.Size + 63) / 64]);
        grammar.Enter(new EndFrame(), _at);
    }

    /// <summary>Whether the output is whole and nothing may follow.</summary>
    public bool IsComplete => _at.MustEnd;

    /// <summary>Whether the best token that the grammar allows was refused once, since too few are left for what it begins: the output is whole, and shorter than it might be.</summary>
    public bool WasHurried { get; private set; }

    /// <summary>Refuses the tokens that the grammar does not allow: their logits become negative infinity.</summary>
    /// <param name="logits">[vocabulary], penalties taken off</param>
    /// <param name="tokensLeft">tokens that may be generated yet, the next one included</param>
    /// <param name="stopTokens">tokens that end the output</param>
    /// <exception cref="HeadInferException">None is allowed: the vocabulary lacks the bytes to go on.</exception>
    public void Mask(Span<float> logits, int tokensLeft, IReadOnlyCollection<int> stopTokens)
    {
        var limit = LimitOf(tokensLeft);
        AllowSome(limit, stopTokens);
        if (_leftOut)
        {
            var hurried = RefusesBest(logits, stopTokens);
            AllowSome(limit, stopTokens, hurried);
            WasHurried |= hurried;
        }

        Apply(logits);
    }

    /// <summary>How many bytes may remain after the next token: a byte is a token at most.</summary>
    /// <remarks>Where that is not enough, tokens must be longer: as long as they have to be on average, or as they can be.</remarks>
    private int LimitOf(int tokensLeft)
    {
        var bytes = Enumerable.Range(0, _at.Count).Select(i => _at[i].MinBytes).Where(b => b >= 0).DefaultIfEmpty(0).Min();
        if (bytes <= tokensLeft)
        {
            return tokensLeft - 1;
        }

        AllowUpTo(-1); // nothing, to see how near the end they come
        var nearest = Math.Min(_nearest, bytes - 1); // which one byte reaches
        return Math.Max(nearest, bytes - ((bytes + tokensLeft - 1) / tokensLeft));
    }

    // What a deferred node needs is known too late. Where nothing fits, what comes nearest to the end does. A text that has to end
    // may bring a few letters with its quote where nothing else is as long as tokens must be.
    private void AllowSome(int limit, IReadOnlyCollection<int> stopTokens, bool closing = false)
    {
        AllowUpTo(limit, closing);
        if (closing && !HasAny())
        {
            AllowUpTo(limit);
        }

        if (_nearest < Node.Never && !_at.CanEnd && !HasAny())
        {
            AllowUpTo(_nearest);
        }

        foreach (var stop in _at.CanEnd ? stopTokens.Where(s => s < _trie.Size) : [])
        {
            _allowed[stop >> 6] |= 1UL << stop;
        }
    }

    private bool HasAny() => _allowed.AsSpan().ContainsAnyExcept(0UL);

    // Whether the best token of the grammar alone is none of those that are allowed.
    private bool RefusesBest(ReadOnlySpan<float> logits, IReadOnlyCollection<int> stopTokens)
    {
        var fitting = (ulong[])_allowed.Clone();
        AllowSome(Node.Never, stopTokens);
        var best = -1;
        for (var token = 0; token < Math.Min(_trie.Size, logits.Length); token++)
        {
            best = (_allowed[token >> 6] >> token & 1) != 0 && (best < 0 || logits[token] > logits[best]) ? token : best;
        }

        return best >= 0 && (fitting[best >> 6] >> best & 1) == 0;
    }

    /// <summary>Takes a token that was allowed.</summary>
    public void Advance(int token)
    {
        var after = After(_at, token, FrameSet.Wide);
        if (after.Count == 0)
        {
            // More places stay between tokens than within one, so those that led here may have been given up for others. What the mask kept is kept again.
            foreach (var group in _groups)
            {
                var kept = After(group, token, FrameSet.Narrow);
                for (var i = 0; i < kept.Count; i++)
                {
                    after.Add(kept[i]);
                }
            }
        }

        _at = after;
    }

    /// <summary>The bytes that come next whatever is chosen, such as the rest of a property's name; none where there is a choice, or the output may end.</summary>
    /// <param name="most">bytes wanted at most</param>
    public byte[] Forced(int most)
    {
        var (bytes, at) = (new List<byte>(), _at);
        while (bytes.Count < most && !at.CanEnd && OnlyByte(at) is { } only && only.Value != TokenTrie.SpecialMark)
        {
            bytes.Add(only.Value);
            at = only.After;
        }

        return [.. bytes];
    }

    // The one byte that may follow, and what it leads to.
    private static (byte Value, FrameSet After)? OnlyByte(FrameSet frames)
    {
        (byte, FrameSet)? only = null;
        var next = new FrameSet();
        for (var value = 0; value < 256; value++)
        {
            frames.Step((byte)value, next);
            if (next.Count == 0)
            {
                continue;
            }

            if (only is not null)
            {
                return null;
            }

            (only, next) = (((byte)value, next), new FrameSet());
        }

        return only;
    }

    private FrameSet After(FrameSet frames, int token, int most)
    {
        foreach (var value in _trie.Bytes(token))
        {
            var next = new FrameSet(most);
            frames.Step(value, next);
            frames = next;
        }

        return frames;
    }

    /// <param name="limit">bytes that may still have to follow a token</param>
    /// <param name="closing">whether texts for which there is no room any more end with the next byte, where they can</param>
    private void AllowUpTo(int limit, bool closing = false)
    {
        Array.Clear(_allowed);
        (_leftOut, _nearest) = (false, Node.Never);
        _groups.Clear();
        var (texts, others) = (new List<TextFrame>(), new FrameSet());
        Gather(_at, texts, others);
        // Places in texts of which the same is known are one group. Finding out about another takes milliseconds.
        var cost = 0L;
        var groups = new Dictionary<object, List<TextFrame>>();
        foreach (var text in texts.OrderBy(t => t.MinBytes))
        {
            var key = text.MaskKey(_trie, limit);
            if (groups.TryGetValue(key, out var group))
            {
                group.Add(text);
            }
            else if (groups.Count < MostTexts && cost < (MostWholeTexts - 1L) * _trie.Entries.Length)
            {
                groups[key] = [text];
                cost += text.Mask(_trie, limit).Cost;
            }
        }

        foreach (var group in groups.Values)
        {
            Add(group, limit, closing);
        }

        if (others.Count > 0)
        {
            _groups.Add(others);
            _walk[0] = others;
            Walk(0, _trie.Entries.Length, limit);
        }
    }

    // Texts, and what is none.
    private static void Gather(FrameSet frames, List<TextFrame> texts, FrameSet others)
    {
        for (var i = 0; i < frames.Count; i++)
        {
            if (frames[i] is TextFrame text)
            {
                texts.Add(text);
            }
            else if (frames[i].Entered is { } entered)
            {
                Gather(entered, texts, others);
            }
            else
            {
                others.Add(frames[i]);
            }
        }
    }

    private void Add(List<TextFrame> group, int limit, bool closing)
    {
        // Most texts end alike; names of properties end as those before them allow.
        var frames = new FrameSet();
        var keys = group.Where(t => !t.LeavesAlike).Take(MostKeys).ToList();
        var after = new FrameSet(FrameSet.Narrow);
        foreach (var text in group.Where(t => t.LeavesAlike))
        {
            frames.Add(text);
            after.Add(text.After!);
        }

        keys.ForEach(frames.Add);
        _groups.Add(frames);
        var mask = group[0].Mask(_trie, limit);
        _leftOut |= mask.LeavesOut;
        var refused = after.Count > 0 ? [] : keys.Select(k => k.Refused(_trie, limit)).Aggregate((IEnumerable<int>?)null, (a, b) => a?.Intersect(b) ?? b)!.ToHashSet();
        for (var word = 0; word < _allowed.Length; word++)
        {
            _allowed[word] |= mask.Inside[word] & (refused.Count == 0 ? ulong.MaxValue : ~refused.Where(t => t >> 6 == word).Aggregate(0UL, (bits, t) => bits | (1UL << t)));
        }

        var entries = _trie.Entries;
        foreach (var exit in closing ? mask.Closing : mask.Exits)
        {
            ref readonly var entry = ref entries[exit];
            var level = Level(entry.Depth);
            for (var i = 0; i < after.Count; i++)
            {
                level.Add(after[i]);
            }

            foreach (var key in keys)
            {
                if (key.Leave(_trie, exit) is { } left)
                {
                    level.Add(left);
                }
            }

            if (level.Count == 0)
            {
                continue;
            }

            if (entry.Tokens > 0)
            {
                Allow(entry, level.MinBytes, limit);
            }

            if (entry.Next > exit + 1)
            {
                Walk(exit + 1, entry.Next, limit);
            }
        }
    }

    // Entries from a place to another, which continue one whose frames are set.
    private void Walk(int from, int to, int limit)
    {
        var entries = _trie.Entries;
        for (var at = from; at < to;)
        {
            ref readonly var entry = ref entries[at];
            var frames = Level(entry.Depth);
            _walk[entry.Depth - 1].Step(entry.Value, frames);
            if (frames.Count == 0)
            {
                at = entry.Next;
                continue;
            }

            if (entry.Tokens > 0)
            {
                Allow(entry, frames.MinBytes, limit);
            }

            at++;
        }
    }

    private void Allow(in TokenTrie.Entry entry, int minBytes, int limit)
    {
        if (minBytes > limit)
        {
            _leftOut = true;
            _nearest = Math.Min(_nearest, minBytes);
            return;
        }

        foreach (var token in _trie.TokensAt(entry))
        {
            _allowed[token >> 6] |= 1UL << token;
        }
    }

    private void Apply(Span<float> logits)
    {
        var any = false;
        for (var word = 0; word < _allowed.Length; word++)
        {
            var bits = _allowed[word];
            var ids = logits[Math.Min(word << 6, logits.Length)..Math.Min((word + 1) << 6, logits.Length)]; // a tokenizer may have more
            if (bits == 0)
            {
                ids.Fill(float.NegativeInfinity);
                continue;
            }

            any = true;
            for (var bit = 0; bit < ids.Length && bits != ulong.MaxValue; bit++)
            {
                ids[bit] = (bits >> bit & 1) != 0 ? ids[bit] : float.NegativeInfinity;
            }
        }

        // Models pad their vocabulary beyond the tokenizer's.
        logits[Math.Min(_trie.Size, logits.Length)..].Fill(float.NegativeInfinity);
        if (!any)
        {
            throw new HeadInferException("No token of the model's vocabulary continues the output as its constraint demands: the tokenizer lacks tokens for single bytes. Leave the constraint out.");
        }
    }

    // The frames of a depth, emptied.
    private FrameSet Level(int depth)
    {
        while (_walk.Count <= depth)
        {
            _walk.Add(new FrameSet(FrameSet.Narrow));
        }

        _walk[depth].Clear();
        return _walk[depth];
    }
}
