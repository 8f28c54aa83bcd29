using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Copies of neighbouring blocks in device memory, for all layers and groups that are resident.</summary>
internal sealed class ResidentRun : IDisposable
{
    private readonly ResidentArena _arena;
    private readonly Tensor _memory;
    private readonly Dictionary<(int Layer, int FirstHead), (Tensor Rows, nint Address)> _copies = []; // each [heads, 2, capacity, dim]
    private readonly long _row; // bytes

    /// <param name="arena">where the memory is from</param>
    /// <param name="memory">[elements]; goes back to the arena</param>
    /// <param name="groups">what is resident</param>
    /// <param name="capacity">tokens</param>
    /// <param name="headDim">dimensions of a head</param>
    public ResidentRun(ResidentArena arena, Tensor memory, IEnumerable<(int Layer, HeadGroup Group)> groups, int capacity, int headDim)
    {
        (_arena, _memory, Capacity) = (arena, memory, capacity);
        _row = headDim * memory.ElementSize;
        var at = 0L;
        foreach (var (layer, group) in groups)
        {
            using var part = memory.narrow(0, at, 2L * group.Count * capacity * headDim);
            var rows = part.view(group.Count, 2, capacity, headDim).DetachFromDisposeScope();
            _copies.Add((layer, group.First), (rows, TensorMemory.Pointer(rows)));
            at += 2L * group.Count * capacity * headDim;
        }
    }

    /// <summary>The blocks, in order.</summary>
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
    /// <param name="layer">the layer</param>
    /// <param name="group">all of a resident group, or some heads of it</param>
    /// <param name="first">token of the run</param>
    /// <param name="count">tokens</param>
    /// <returns>[heads, 2, tokens, dim]</returns>
    public Tensor Rows(int layer, HeadGroup group, int first, int count)
    {
        var (start, copy) = Find(layer, group);
        using var heads = copy.Rows.narrow(0, group.First - start, group.Count);
        return heads.narrow(2, first, count);
    }

    /// <summary>The same by address.</summary>
    public KeyRows At(int layer, HeadGroup group, int first, int count)
    {
        var ((start, copy), part) = (Find(layer, group), Capacity * _row);
        var keys = copy.Address + (nint)((2 * (group.First - start) * part) + (first * _row));
        return new KeyRows(keys, keys + (nint)part, 2 * part, count);
    }

    public void Dispose()
    {
        foreach (var copy in _copies.Values)
        {
            copy.Rows.Dispose();
        }

        _arena.Return(_memory);
    }

    private (int FirstHead, (Tensor Rows, nint Address) Copy) Find(int layer, HeadGroup group) =>
        _copies.TryGetValue((layer, group.First), out var own) ? (group.First, own) : (0, _copies[(layer, 0)]);
}

/// <summary>Tokens of a sequence that have copies.</summary>
/// <param name="Tokens">the tokens</param>
/// <param name="Run">where the copies are</param>
/// <param name="First">where in the run they begin, in tokens</param>
internal readonly record struct ResidentExtent(TokenRange Tokens, ResidentRun Run, int First);
