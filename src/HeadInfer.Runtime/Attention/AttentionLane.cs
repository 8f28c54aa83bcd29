using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Buffers of one forward pass at a time: a ring of tiles, and places for new rows on their way to the host.</summary>
/// <remarks>A pass that runs in a gap of another has a lane of its own, so that the other's tiles and rows survive it.</remarks>
internal sealed class AttentionLane : IDisposable
{
    private readonly Device _device;
    private readonly ScalarType _type;
    private readonly long _tileNumbers;
    private Tensor? _widened;

    /// <param name="pool">has the pages; not owned</param>
    /// <param name="layout">heads and tiles</param>
    /// <param name="slots">tiles of the ring</param>
    /// <param name="stagedTokens">new tokens of a pass at most, where rows are staged</param>
    public AttentionLane(BlockPool pool, AttentionLayout layout, int slots, int stagedTokens)
    {
        (_device, _type, _tileNumbers) = (pool.Device, pool.Shape.Type, layout.TileNumbers);
        Ring = new TileRing(pool, layout, slots);
        try
        {
            Staging = _device.IsAsynchronous ? new RowStaging(pool, layout, Math.Max(stagedTokens, RowKernels.MostRows)) : null; // a step may have more than a segment
        }
        catch
        {
            Ring.Dispose();
            throw;
        }
    }

    public TileRing Ring { get; }

    /// <summary>Null where new rows need no staging, as copies are done at once.</summary>
    public RowStaging? Staging { get; }

    /// <summary>How many lanes there are: of a pass, and of one in its gap.</summary>
    public const int Lanes = 2;

    /// <summary>Slots of the ring. Where copies overlap: one is read, one is full, one is being filled, so that the link never waits.</summary>
    public static int Slots(bool asynchronous) => asynchronous ? 3 : 1;

    /// <summary>Slots of the ring of a pass in a gap.</summary>
    public static int GapSlots(bool asynchronous) => asynchronous ? 2 : 1;

    /// <summary>A tile in the type that is computed in. If pages have another, it is copied to a buffer, which is taken once, and stays there until the next.</summary>
    /// <param name="tile">of the pages' type; no larger than the ring's</param>
    /// <param name="type">the type that is computed in</param>
    public KvTile Widen(KvTile tile, ScalarType type)
    {
        if (type == _type)
        {
            return tile;
        }

        _widened ??= empty([2 * _tileNumbers], type, _device.Torch).DetachFromDisposeScope();
        var half = tile.Keys.NumberOfElements;
        Tensor Copy(long at, Tensor rows) => _widened.narrow(0, at, half).view(rows.shape).copy_(rows);
        return new KvTile(Copy(0, tile.Keys), Copy(half, tile.Values), tile.Tokens);
    }

    public void Dispose()
    {
        _widened?.Dispose();
        Ring.Dispose();
        Staging?.Dispose();
    }
}
