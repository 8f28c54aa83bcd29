using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Attention;

/// <summary>Buffers of one forward pass at a time: a ring of tiles, and places for new rows on their way to the host.</summary>
/// <remarks>A pass that runs in a gap of another has a lane of its own, so that the other's tiles and rows survive it.</remarks>
internal sealed class AttentionLane : IDisposable
{
    /// <param name="device">fills and empties the buffers</param>
    /// <param name="shape">of a page</param>
    /// <param name="slots">tiles of the ring</param>
    /// <param name="tileRows">tokens times heads of a tile</param>
    /// <param name="stagedTokens">new tokens of a pass at most, where rows are staged</param>
    public AttentionLane(Device device, PageShape shape, int slots, long tileRows, int stagedTokens)
    {
        Ring = new TileRing(device, shape, slots, tileRows);
        try
        {
            Staging = device.IsAsynchronous ? new RowStaging(device, shape, stagedTokens) : null;
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

    /// <summary>Slots of the ring. Where copies overlap: one is read, one is full, one is being filled, so that the link never waits.</summary>
    public static int Slots(bool asynchronous) => asynchronous ? 3 : 1;

    /// <summary>Slots of the ring of a pass in a gap.</summary>
    public static int GapSlots(bool asynchronous) => asynchronous ? 2 : 1;

    public void Dispose()
    {
        Ring.Dispose();
        Staging?.Dispose();
    }
}
