using System.Collections.Concurrent;
using System.Globalization;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Attention;

/// <summary>Which blocks have copies in device memory. Sequences that share blocks share their copies.</summary>
/// <remarks>
/// The pages have everything, so copies may be dropped at any time, and are filled from there. A sequence's copies are those
/// of its beginning, without gaps: what follows them is streamed. They outlive their sequence until another one needs the room.
/// </remarks>
internal sealed class ResidentCopies : IDisposable
{
    private const int LeastRoom = 1024; // tokens that a sequence may grow by before its copies move

    private readonly AttentionLayout _layout;
    private readonly BlockPool _pool;
    private readonly Device _device;
    private readonly ConcurrentDictionary<Block, (ResidentRun Run, int Index)> _places = [];
    private readonly List<ResidentRun> _runs = [];
    private readonly List<ResidentGroup> _groups;
    private readonly Fence _computed, _filled;
    private readonly long _blockElements;
    private long _passes;

    /// <param name="layout">which heads are resident</param>
    /// <param name="size">device memory for copies</param>
    public ResidentCopies(AttentionLayout layout, BlockPool pool, ByteSize size)
    {
        (_layout, _pool, _device) = (layout, pool, pool.Device);
        _groups = [.. Enumerable.Range(0, layout.Layers).Where(layout.Keeps).SelectMany(layout.ResidentGroups, (layer, group) => new ResidentGroup(layout.PagesOf(layer), group, layout.HeadsOf(layer).Dim))];
        _blockElements = _groups.Sum(g => g.Numbers) * pool.BlockTokens;
        Arena = new ResidentArena(_groups.Count > 0 ? size : ByteSize.Zero, pool.Shape.Type, _device.Torch);
        (_computed, _filled) = (_device.CreateFence(), _device.CreateFence());
    }

    public ResidentArena Arena { get; }

    /// <summary>Longest that a sequence may become, so that copies take no room beyond it.</summary>
    public int MaxTokens { get; init; } = int.MaxValue;

    /// <summary>Whether a group must have copies of all tokens, since the caller says so.</summary>
    private bool IsGiven => _layout.Placement is not null;

    /// <summary>Gives a sequence's blocks copies as far as there is room.</summary>
    /// <param name="sequence">has blocks for the tokens</param>
    /// <param name="tokens">tokens that it is about to have</param>
    /// <returns>what has copies, from its beginning on</returns>
    /// <exception cref="MemoryBudgetException">Heads that the caller made resident do not fit.</exception>
    public IReadOnlyList<ResidentExtent> Place(Sequence sequence, int tokens)
    {
        if (_groups.Count == 0)
        {
            return [];
        }

        var (wanted, placed) = (_pool.BlocksFor(tokens), 0);
        while (placed < wanted && _places.ContainsKey(sequence.Blocks[placed]))
        {
            placed++;
        }

        if (placed < wanted)
        {
            placed = Extend(sequence, placed, wanted, tokens);
        }

        var extents = new List<ResidentExtent>();
        _passes++;
        for (var i = 0; i < placed; i++)
        {
            var (run, index) = _places[sequence.Blocks[i]];
            var end = Math.Min(tokens, (i + 1) * _pool.BlockTokens);
            if (extents.Count > 0 && extents[^1] is var last && last.Run == run && last.First + last.Tokens.Count == index * _pool.BlockTokens)
            {
                extents[^1] = last with { Tokens = last.Tokens with { End = end } };
            }
            else
            {
                extents.Add(new ResidentExtent(new TokenRange(i * _pool.BlockTokens, end), run, index * _pool.BlockTokens));
                run.LastUse = _passes;
            }
        }

        return extents;
    }

    /// <summary>Memory of a sequence's copies. From any thread.</summary>
    /// <param name="blocks">the sequence's</param>
    public ByteSize SizeOf(IReadOnlyList<Block> blocks)
    {
        var placed = 0;
        for (var i = 0; i < blocks.Count && _places.ContainsKey(blocks[i]); i++)
        {
            placed++;
        }

        return new ByteSize(placed * _blockElements * DataTypes.Size(_pool.Shape.Type));
    }

    public void Dispose()
    {
        _runs.ForEach(r => r.Dispose());
        Arena.Dispose();
        _computed.Dispose();
        _filled.Dispose();
    }

    // Copies from a block on: behind the run before if that has room, else in a new one.
    private int Extend(Sequence sequence, int from, int wanted, int tokens)
    {
        if (from > 0 && _places[sequence.Blocks[from - 1]] is var (run, index) && EndsAt(run, index))
        {
            from = Assign(sequence, run, from, Math.Min(wanted, from + (run.Capacity / _pool.BlockTokens) - run.Blocks.Count));
            if (from < wanted && run.Blocks.Count <= from && IsOwn(sequence, run, from) && run.Piece >= (wanted - from + run.Blocks.Count) * _blockElements)
            {
                from -= run.Blocks.Count; // one larger run in its place: fewer parts to attend
                Drop(run);
            }
        }

        while (from < wanted && TryMake(sequence, from, wanted, tokens) is { } made)
        {
            from = Assign(sequence, made, from, Math.Min(wanted, from + (made.Capacity / _pool.BlockTokens)));
        }

        return from == wanted || !IsGiven ? from : throw new MemoryBudgetException(string.Create(CultureInfo.InvariantCulture,
            $"The heads that HeadInferOptions.Placement makes resident do not fit the device with room for {tokens:N0} tokens. Place fewer heads there, raise HeadInferOptions.GpuMemory (on the CPU: HostMemory), or shorten the context."));
    }

    // Whether a block is a run's last one. Behind it may stand blocks that a cancelled or shortened sequence gave back empty, or
    // that nobody can find: their places are free again.
    private bool EndsAt(ResidentRun run, int index)
    {
        while (run.Blocks.Count - 1 > index && run.Blocks[^1] is { Users: 0, Node: null } gone)
        {
            _places.TryRemove(gone, out _);
            run.Blocks.RemoveAt(run.Blocks.Count - 1);
        }

        return run.Blocks.Count - 1 == index;
    }

    // Whether the blocks before one are a whole run that nobody else has.
    private static bool IsOwn(Sequence sequence, ResidentRun run, int end)
    {
        for (var i = 0; i < run.Blocks.Count; i++)
        {
            if (run.Blocks[i] != sequence.Blocks[end - run.Blocks.Count + i] || run.Blocks[i].Users > 1)
            {
                return false;
            }
        }

        return true;
    }

    // A run for blocks, with room to grow where there is some. What nobody has makes way, the least recently used first.
    private ResidentRun? TryMake(Sequence sequence, int from, int wanted, int tokens)
    {
        var coming = Math.Max(tokens, sequence.Coming);
        var most = _pool.BlocksFor(Math.Min(MaxTokens, coming + Math.Max(LeastRoom, coming / 8L))) - from;
        while (Arena.LargestPiece < Math.Max(most, wanted - from) * _blockElements && _runs.Where(r => r.IsIdle).MinBy(r => r.LastUse) is { } idle)
        {
            Drop(idle);
        }

        for (var blocks = Math.Min(Math.Max(most, wanted - from), Arena.LargestPiece / _blockElements); blocks > 0; blocks = Math.Min(blocks - 1, Arena.LargestPiece / _blockElements))
        {
            if (Arena.TryRent(blocks * _blockElements) is { } memory)
            {
                var run = new ResidentRun(Arena, memory, _groups, (int)blocks * _pool.BlockTokens);
                _runs.Add(run);
                return run;
            }
        }

        return null;
    }

    private void Drop(ResidentRun run)
    {
        foreach (var block in run.Blocks)
        {
            _places.TryRemove(block, out _);
        }

        _runs.Remove(run);
        run.Dispose();
    }

    // Gives blocks the next places of a run, and fills in what they have.
    private int Assign(Sequence sequence, ResidentRun run, int from, int to)
    {
        var first = run.Blocks.Count * _pool.BlockTokens;
        for (var i = from; i < to; i++)
        {
            _places[sequence.Blocks[i]] = (run, run.Blocks.Count);
            run.Blocks.Add(sequence.Blocks[i]);
        }

        var filled = new TokenRange(from * _pool.BlockTokens, Math.Min(sequence.Length, to * _pool.BlockTokens));
        if (!filled.IsEmpty)
        {
            Fill(sequence, run, filled, first);
        }

        return to;
    }

    private void Fill(Sequence sequence, ResidentRun run, TokenRange tokens, int first)
    {
        _device.Record(WorkQueue.Compute, _computed);
        _device.Wait(WorkQueue.Upload, _computed); // what was there may be read yet
        run.Fill(_groups, sequence, tokens, first);
        _device.Record(WorkQueue.Upload, _filled);
        _device.Wait(WorkQueue.Compute, _filled);
    }
}
