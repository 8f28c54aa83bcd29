using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Heads of which there are copies.</summary>
/// <param name="Pages">in which of a block's pages they lie</param>
/// <param name="Dim">dimensions of each</param>
internal readonly record struct ResidentGroup(int Pages, HeadGroup Group, int Dim)
{
    /// <summary>Numbers of a token.</summary>
    public long Numbers => 2L * Group.Count * Dim;
}

/// <summary>Copies of neighbouring blocks in device memory, for all layers and groups that are resident.</summary>
internal sealed class ResidentRun : IDisposable
{
    private readonly ResidentArena _arena;
    private readonly Tensor _memory;
    private readonly Dictionary<(int Pages, int FirstHead), (Tensor Rows, nint Address, long RowBytes)> _copies = []; // each [heads, 2, capacity, dim]

    /// <param name="arena">where the memory is from</param>
    /// <param name="memory">[elements]; goes back to the arena</param>
    /// <param name="groups">what is resident</param>
    /// <param name="capacity">tokens</param>
    public ResidentRun(ResidentArena arena, Tensor memory, IEnumerable<ResidentGroup> groups, int capacity)
    {
        (_arena, _memory, Capacity) = (arena, memory, capacity);
        var at = 0L;
        foreach (var group in groups)
        {
            using var part = memory.narrow(0, at, group.Numbers * capacity);
            var rows = part.view(group.Group.Count, 2, capacity, group.Dim).DetachFromDisposeScope();
            _copies.Add((group.Pages, group.Group.First), (rows, TensorMemory.Pointer(rows), group.Dim * memory.ElementSize));
            at += group.Numbers * capacity;
        }
    }

    public List<Block> Blocks { get; } = [];

    /// <summary>Tokens that there is room for.</summary>
    public int Capacity { get; }

    /// <summary>In which of all passes it was last attended.</summary>
    public long LastUse { get; set; }

    /// <summary>Whether no sequence has any of the blocks.</summary>
    public bool IsIdle => Blocks.TrueForAll(b => b.Users == 0);

    /// <summary>Elements of the arena that there would be in one piece without it.</summary>
    public long Piece => _arena.PieceAround(_memory);

    /// <summary>Rows of a resident group. A view.</summary>
    /// <param name="pages">in which of a block's pages they lie</param>
    /// <param name="group">all of a resident group, or some heads of it</param>
    /// <param name="first">token of the run</param>
    /// <param name="count">tokens</param>
    /// <returns>[heads, 2, tokens, dim]</returns>
    public Tensor Rows(int pages, HeadGroup group, int first, int count)
    {
        var (start, copy) = Find(pages, group);
        using var heads = copy.Rows.narrow(0, group.First - start, group.Count);
        return heads.narrow(2, first, count);
    }

    /// <summary>The same by address.</summary>
    public KeyRows At(int pages, HeadGroup group, int first, int count)
    {
        var (start, copy) = Find(pages, group);
        var part = Capacity * copy.RowBytes;
        var keys = copy.Address + (nint)((2 * (group.First - start) * part) + (first * copy.RowBytes));
        return new KeyRows(keys, keys + (nint)part, 2 * part, count);
    }

    /// <summary>Fills in rows from a sequence's pages, in the queue of uploads.</summary>
    /// <param name="groups">the run's</param>
    /// <param name="sequence">has the tokens</param>
    /// <param name="first">where in the run they begin</param>
    public void Fill(IEnumerable<ResidentGroup> groups, Sequence sequence, TokenRange tokens, int first)
    {
        var (pool, device) = (sequence.Pool, sequence.Pool.Device);
        foreach (var (pages, group, _) in groups)
        {
            using var scope = NewDisposeScope();
            device.Wait(WorkQueue.Upload, pool.Written(pages));
            var rows = Rows(pages, group, 0, Capacity);
            foreach (var source in sequence.Runs(pages, tokens))
            {
                device.Upload(source.Memory.narrow(1, group.First, group.Count), rows, first + source.Tokens.Start - tokens.Start);
            }
        }
    }

    public void Dispose()
    {
        foreach (var copy in _copies.Values)
        {
            copy.Rows.Dispose();
        }

        _arena.Return(_memory);
    }

    private (int FirstHead, (Tensor Rows, nint Address, long RowBytes) Copy) Find(int pages, HeadGroup group) =>
        _copies.TryGetValue((pages, group.First), out var own) ? (group.First, own) : (0, _copies[(pages, 0)]);
}

/// <summary>Tokens of a sequence that have copies.</summary>
/// <param name="Run">where the copies are</param>
/// <param name="First">where in the run they begin, in tokens</param>
internal readonly record struct ResidentExtent(TokenRange Tokens, ResidentRun Run, int First);
