using static TorchSharp.torch;

namespace HeadInfer.Runtime.Cache;

/// <summary>Keys and values of one head group in device memory, as one part of attention reads them.</summary>
/// <param name="Keys">[heads, tokens, dim]</param>
/// <param name="Values">[heads, tokens, dim]</param>
/// <param name="Tokens">the tokens they are of</param>
internal readonly record struct KvTile(Tensor Keys, Tensor Values, TokenRange Tokens);

/// <summary>A few tile buffers, allocated once, through which head groups stream whatever the length of the context.</summary>
/// <remarks>A tile is valid until as many more have been loaded as the ring has slots.</remarks>
internal sealed class TileRing : IDisposable
{
    private readonly Tensor[] _slots; // each [heads, 2, tokens, dim]
    private int _next;

    public TileRing(int slots, int heads, int tokens, int headDim, ScalarType type, Device device)
    {
        TileTokens = tokens;
        _slots = [.. Enumerable.Range(0, slots).Select(_ => empty([heads, 2, tokens, headDim], type, device).DetachFromDisposeScope())];
    }

    /// <summary>Tokens of a tile at most.</summary>
    public int TileTokens { get; }

    /// <summary>Copies a group's rows from host pages into the next slot.</summary>
    /// <param name="cache">where they lie</param>
    /// <param name="layer">the layer</param>
    /// <param name="group">the heads, at most as many as a slot has</param>
    /// <param name="range">the tokens, at most <see cref="TileTokens"/></param>
    public KvTile Load(SequenceCache cache, int layer, HeadGroup group, TokenRange range)
    {
        var slot = _slots[_next].narrow(0, 0, group.Count);
        _next = (_next + 1) % _slots.Length;
        foreach (var run in cache.Runs(layer, range))
        {
            // [pages, heads, 2, page tokens, dim] -> [heads, 2, pages, page tokens, dim]
            var source = run.Memory.narrow(1, group.First, group.Count).permute(1, 2, 0, 3, 4);
            slot.narrow(2, run.Tokens.Start - range.Start, run.Tokens.Count).unflatten(2, [run.Pages, run.PageTokens]).copy_(source);
        }

        var rows = slot.narrow(2, 0, range.Count);
        return new KvTile(rows.select(1, 0), rows.select(1, 1), range);
    }

    public void Dispose() => Array.ForEach(_slots, s => s.Dispose());
}
