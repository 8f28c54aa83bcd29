using HeadInfer.Runtime.Cache;
using HeadInfer.Runtime.Native;

namespace HeadInfer.Runtime.Attention;

/// <summary>What all sessions of a model share for attention: the link, buffers on the device, and the kernels.</summary>
/// <remarks>Belongs to the engine thread, as one session computes at a time.</remarks>
internal sealed class AttentionWorkspace : IDisposable
{
    private const int TilesAhead = 3; // slots: one is read, one is full, one is being filled

    private readonly Dictionary<(int Layer, int Resident, int Size), IReadOnlyList<HeadGroup>> _groups = [];

    /// <param name="layout">heads and tiles</param>
    /// <param name="pool">pages; owned from now on, unless this fails</param>
    /// <param name="link">owned from now on, unless this fails</param>
    /// <param name="kernel">computes a part</param>
    /// <param name="host">attends in host memory</param>
    /// <param name="residentSize">device memory for resident heads</param>
    /// <param name="stagedTokens">tokens of a segment, where new rows are staged</param>
    /// <param name="kernels">fused kernels; owned from now on, unless this fails; null does without</param>
    public AttentionWorkspace(
        AttentionLayout layout, PagePool pool, KvLink link, AttentionKernel kernel, HostAttention host, ByteSize residentSize, int stagedTokens, FusedKernels? kernels = null)
    {
        (Layout, Pool, Link, Kernel, Host, Fused) = (layout, pool, link, kernel, host, kernels);
        Merging = kernels?.TakesHeads(layout.HeadDim, 0) == true ? kernels : null;
        Ring = new TileRing(link, pool.Shape, SlotsFor(link.IsAsynchronous), layout.TileRows);
        try
        {
            Staging = link.IsAsynchronous ? new RowStaging(link, pool.Shape, stagedTokens) : null;
        }
        catch
        {
            Ring.Dispose();
            throw;
        }

        Arena = new ResidentArena(residentSize, pool.Shape.Type, link.Device);
    }

    public AttentionLayout Layout { get; }

    public PagePool Pool { get; }

    public KvLink Link { get; }

    public AttentionKernel Kernel { get; }

    public HostAttention Host { get; }

    public TileRing Ring { get; }

    /// <summary>Null where new rows need no staging, as copies are done at once.</summary>
    public RowStaging? Staging { get; }

    public ResidentArena Arena { get; }

    public FusedKernels? Fused { get; }

    /// <summary>The fused kernels where they take the model's heads.</summary>
    public FusedKernels? Merging { get; }

    /// <summary>Slots of the tile ring: where copies overlap, one more, so that the link never waits for a slot.</summary>
    public static int SlotsFor(bool asynchronous) => asynchronous ? TilesAhead : 1;

    /// <summary>The groups of a layer's heads, in head order, formed once.</summary>
    /// <param name="layer">the layer</param>
    /// <param name="resident">heads of the layer that are resident, where that is not given</param>
    /// <param name="history">tokens that are streamed for each head</param>
    public IReadOnlyList<HeadGroup> Groups(int layer, int resident, int history)
    {
        var key = (layer, resident, Layout.GroupSizeFor(history));
        if (!_groups.TryGetValue(key, out var groups))
        {
            _groups[key] = groups = Layout.Groups(layer, resident, key.Item3);
        }

        return groups;
    }

    public void Dispose()
    {
        Link.Drain();
        Ring.Dispose();
        Staging?.Dispose();
        Arena.Dispose();
        Pool.Dispose();
        Fused?.Dispose();
        Link.Dispose();
    }
}
