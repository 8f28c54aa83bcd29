namespace HeadInfer.Runtime.Sequences;

/// <summary>Whose blocks a sequence may share.</summary>
/// <param name="Name">the caller's</param>
/// <param name="Rotation">of its keys</param>
internal readonly record struct CacheKey(string Name, int Rotation);

/// <summary>A block by what stands before it: the path from the root to it is the beginning that it continues.</summary>
/// <param name="parent">null at a root</param>
/// <param name="block">null at a root</param>
/// <param name="key">of a root</param>
internal sealed class PrefixNode(PrefixNode? parent, Block? block, CacheKey? key = null)
{
    private readonly Dictionary<int, List<PrefixNode>> _children = []; // by their first token

    public PrefixNode? Parent => parent;

    public CacheKey? Key => key;

    /// <summary>Null at a root.</summary>
    public Block? Block { get; set; } = block;

    /// <summary>When its first token was read.</summary>
    public DateTimeOffset Read { get; } = DateTimeOffset.UtcNow;

    /// <summary>When it was last wanted, and which of those that were wanted together stands first.</summary>
    public long LastUse { get; set; }

    public bool IsLeaf => _children.Count == 0;

    public IEnumerable<PrefixNode> AllChildren => _children.Values.SelectMany(c => c);

    public IReadOnlyList<PrefixNode> Children(int firstToken) => _children.GetValueOrDefault(firstToken) ?? (IReadOnlyList<PrefixNode>)[];

    public void Add(PrefixNode child)
    {
        var token = child.Block!.Tokens[0];
        if (!_children.TryGetValue(token, out var list))
        {
            _children[token] = list = [];
        }

        list.Add(child);
    }

    public void Remove(PrefixNode child)
    {
        var token = child.Block!.Tokens[0];
        _children[token].Remove(child);
        if (_children[token].Count == 0)
        {
            _children.Remove(token);
        }
    }
}

/// <summary>A beginning whose rows are in memory.</summary>
/// <param name="Tokens">its length</param>
/// <param name="InUse">whether a sequence has the end of it</param>
/// <param name="LastUse">greater for those that were wanted later; no time</param>
/// <param name="Read">when its last block was begun</param>
internal readonly record struct KnownBeginning(int Tokens, bool InUse, long LastUse, DateTimeOffset Read);

/// <summary>All beginnings whose rows are in memory, as a tree of blocks. Guarded by the <see cref="BlockPool"/>.</summary>
/// <remarks>
/// Callers that may not share have a root each. Only full blocks have children. Of several blocks with the same tokens in
/// the same place one is known; the others end with their sequences.
/// </remarks>
internal sealed class PrefixIndex
{
    private readonly Dictionary<CacheKey, PrefixNode> _roots = [];
    private readonly SortedSet<PrefixNode> _idle = new(Comparer<PrefixNode>.Create((a, b) => a.LastUse.CompareTo(b.LastUse))); // leaves that nobody has
    private long _clock;

    /// <summary>The longest known beginning of some tokens.</summary>
    /// <param name="key">the caller's root</param>
    /// <param name="blocks">gets its blocks; of the last one perhaps only the first tokens are meant</param>
    /// <returns>its length, and whether what is known goes on otherwise from there; if not, nothing is known after it</returns>
    public (int Length, bool Diverged) Find(CacheKey key, ReadOnlySpan<int> tokens, List<Block> blocks)
    {
        var (length, diverged, node) = (0, false, _roots.GetValueOrDefault(key));
        while (node is not null && length < tokens.Length)
        {
            var (best, common) = ((PrefixNode?)null, 0);
            diverged = !node.IsLeaf;
            foreach (var child in node.Children(tokens[length]))
            {
                if (child.Block!.Tokens.CommonPrefixLength(tokens[length..]) is var n && n >= common)
                {
                    diverged = child.Block.Filled > n || (diverged && n == common);
                    (best, common) = n > common ? (child, n) : (best, common);
                }
            }

            if (best is null)
            {
                break;
            }

            blocks.Add(best.Block!);
            length += common;
            node = best.Block!.IsFull && common == best.Block.Filled ? best : null;
        }

        return (length, diverged && length < tokens.Length);
    }

    /// <summary>The beginnings of a caller that nothing longer continues.</summary>
    public IEnumerable<KnownBeginning> Known(string name)
    {
        var open = new Stack<(PrefixNode Node, int Before)>();
        foreach (var first in _roots.Where(r => r.Key.Name == name).SelectMany(r => r.Value.AllChildren))
        {
            open.Push((first, 0));
        }

        while (open.TryPop(out var next))
        {
            var tokens = next.Before + next.Node.Block!.Filled;
            if (next.Node.IsLeaf)
            {
                yield return new KnownBeginning(tokens, next.Node.Block.Users > 0, next.Node.LastUse, next.Node.Read);
            }

            foreach (var child in next.Node.AllChildren)
            {
                open.Push((child, tokens));
            }
        }
    }

    /// <summary>The root of a key, or the place of a block that is full.</summary>
    public PrefixNode Place(CacheKey key, Block? before)
    {
        if (before?.Node is { } node)
        {
            return node;
        }

        if (!_roots.TryGetValue(key, out var root))
        {
            _roots[key] = root = new PrefixNode(null, null, key);
        }

        return root;
    }

    /// <summary>Makes a block known that has just got its first tokens.</summary>
    public static void Add(PrefixNode parent, Block block)
    {
        block.Node = new PrefixNode(parent, block);
        parent.Add(block.Node);
    }

    /// <summary>Says that a block is full. Where another one has the same tokens already, that one stays known and this one is forgotten.</summary>
    /// <returns>the block that is known</returns>
    public static Block Seal(Block block)
    {
        var node = block.Node!;
        foreach (var other in node.Parent!.Children(block.Tokens[0]))
        {
            if (other != node && other.Block!.Tokens.SequenceEqual(block.Tokens))
            {
                node.Parent.Remove(node);
                block.Node = null;
                return other.Block;
            }
        }

        return block;
    }

    /// <summary>Puts a block in the place of another one with the same tokens, which nobody has; that one is forgotten.</summary>
    public void Replace(Block known, Block by)
    {
        var node = known.Node!;
        _idle.Remove(node);
        (node.Block, by.Node, known.Node) = (by, node, null);
        node.LastUse = ++_clock;
    }

    /// <summary>Says that nobody has a known block any more, or that somebody has it again.</summary>
    public void SetIdle(Block block, bool idle)
    {
        var node = block.Node!;
        _idle.Remove(node);
        node.LastUse = ++_clock;
        if (idle && node.IsLeaf)
        {
            _idle.Add(node);
        }
    }

    /// <summary>Forgets the block that was not wanted for the longest time; null if all are in use.</summary>
    public Block? TakeOldest()
    {
        if (_idle.Min is not { } node)
        {
            return null;
        }

        _idle.Remove(node);
        Forget(node);
        return node.Block;
    }

    private void Forget(PrefixNode node)
    {
        var parent = node.Parent!;
        parent.Remove(node);
        node.Block!.Node = null;
        if (parent is { IsLeaf: true, Key: { } key })
        {
            _roots.Remove(key); // nothing of that caller is known any more
        }
        else if (parent is { IsLeaf: true, Block.Users: 0 })
        {
            _idle.Add(parent); // with the time when it was last wanted
        }
    }
}
