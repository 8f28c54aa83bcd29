using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Attention;

/// <summary>Exact attention over blocks in host memory: what all passes of a model share. Belongs to the engine thread.</summary>
internal sealed class TiledAttention : IBatchAttention, IDisposable
{
    private readonly Dictionary<(int Layer, int Resident, int Size), IReadOnlyList<HeadGroup>> _groups = [];
    private readonly Dictionary<Sequence, ResidentHeads> _resident = [];
    private readonly AttentionLane[] _lanes;
    private int _depth;

    /// <param name="layout">heads and tiles</param>
    /// <param name="pool">blocks; owned from now on, unless this fails</param>
    /// <param name="kernel">computes a part</param>
    /// <param name="host">attends in host memory</param>
    /// <param name="residentSize">device memory for resident heads</param>
    /// <param name="stagedTokens">tokens of a segment, where new rows are staged</param>
    /// <param name="gapTokens">the same of a pass in a gap of another</param>
    public TiledAttention(
        AttentionLayout layout, BlockPool pool, AttentionKernel kernel, HostAttention host, ByteSize residentSize, int stagedTokens, int gapTokens)
    {
        (Layout, Pool, Kernel, Host) = (layout, pool, kernel, host);
        var device = pool.Device;
        var main = new AttentionLane(device, pool.Shape, AttentionLane.Slots(device.IsAsynchronous), layout.TileRows, stagedTokens);
        try
        {
            _lanes = [main, new AttentionLane(device, pool.Shape, AttentionLane.GapSlots(device.IsAsynchronous), layout.TileRows, gapTokens)];
        }
        catch
        {
            main.Dispose();
            throw;
        }

        Arena = new ResidentArena(residentSize, pool.Shape.Type, device.Torch);
    }

    public AttentionLayout Layout { get; }

    public BlockPool Pool { get; }

    public AttentionKernel Kernel { get; }

    public HostAttention Host { get; }

    public ResidentArena Arena { get; }

    /// <summary>Longest that a sequence may become, so that resident copies take no room beyond it.</summary>
    public int MaxTokens { get; init; } = int.MaxValue;

    public IAttentionPass Begin(Batch batch, WorkMeter work)
    {
        var added = batch.Phase == Phase.Prefill ? batch.Tokens.Length : 1;
        foreach (var sequence in batch.Sequences)
        {
            Place(sequence, sequence.Length + added);
        }

        return new TiledPass(this, _lanes[_depth++], batch, work, () => _depth--);
    }

    /// <summary>Keeps keys and values of tokens without attending them; all layers must before they are committed.</summary>
    /// <param name="sequence">has room for them</param>
    /// <param name="layer">the layer</param>
    /// <param name="count">tokens</param>
    /// <param name="fill">writes [kv_heads, 2, tokens, dim]</param>
    public void Keep(Sequence sequence, int layer, int count, Action<TorchSharp.torch.Tensor> fill)
    {
        Place(sequence, sequence.Length + count);
        using var pass = new TiledPass(this, _lanes[_depth], Batch.Prefill(sequence, new int[count], 0), WorkMeter.None, () => { });
        using var scope = TorchSharp.torch.NewDisposeScope();
        var kv = pass.Stages ? pass.Stage() : TorchSharp.torch.empty(Layout.KvHeads, 2, count, Layout.HeadDim);
        fill(kv);
        pass.Keep(layer, kv);
    }

    /// <summary>Forgets what was fetched ahead: an operation has failed, and its rows will be written anew.</summary>
    public void Reset()
    {
        foreach (var lane in _lanes[_depth..])
        {
            lane.Ring.Reset();
        }
    }

    /// <summary>Drops the device's copies of a sequence.</summary>
    public void Release(Sequence sequence)
    {
        if (_resident.Remove(sequence, out var copies))
        {
            copies.Dispose();
        }
    }

    /// <summary>The device's copies of a sequence; null if it has none.</summary>
    public ResidentHeads? Resident(Sequence sequence) => _resident.GetValueOrDefault(sequence);

    /// <summary>The groups of a layer's heads, in head order, formed once.</summary>
    /// <param name="layer">the layer</param>
    /// <param name="resident">heads of all layers that are resident, where that is not given</param>
    /// <param name="history">tokens that are streamed for each head</param>
    public IReadOnlyList<HeadGroup> Groups(int layer, int resident, int history)
    {
        var key = (layer, resident == 0 ? 0 : Layout.ResidentHeads(layer, resident), Layout.GroupSizeFor(history));
        if (!_groups.TryGetValue(key, out var groups))
        {
            _groups[key] = groups = Layout.Groups(layer, key.Item2, key.Item3);
        }

        return groups;
    }

    public void Dispose()
    {
        Pool.Device.Drain();
        foreach (var copies in _resident.Values)
        {
            copies.Dispose();
        }

        Array.ForEach(_lanes, l => l.Dispose());
        Arena.Dispose();
        Pool.Dispose();
    }

    // Resident copies, with room to grow where there is some. The pages have every row, so there may be more or fewer
    // copies than before.
    private void Place(Sequence sequence, int tokens)
    {
        if (Arena.Size == ByteSize.Zero && Layout.Placement is null)
        {
            return;
        }

        if (!_resident.TryGetValue(sequence, out var copies))
        {
            _resident[sequence] = copies = new ResidentHeads(Arena, Layout.HeadDim, Pool.Device);
        }

        if (tokens <= copies.Capacity)
        {
            return;
        }

        var before = copies.Capacity;
        var roomy = Math.Max(tokens, (int)Math.Min(MaxTokens, tokens + Math.Max(1024L, tokens / 8)));
        if (Layout.Placement is null)
        {
            copies.Heads = Math.Min(copies.Affordable(roomy), Layout.Layers * Layout.KvHeads);
            while (!copies.TryResize(roomy, ResidentGroups(copies.Heads), sequence))
            {
                copies.Heads = copies.Heads * 3 / 4; // other sequences' copies left no piece large enough
            }
        }
        else if (!copies.TryResize(roomy, ResidentGroups(0), sequence) && !copies.TryResize(tokens, ResidentGroups(0), sequence))
        {
            copies.TryResize(before, ResidentGroups(0), sequence);
            throw new MemoryBudgetException($"The heads that HeadInferOptions.Placement makes resident do not fit the device with room for {tokens:N0} tokens. Place fewer heads there, raise HeadInferOptions.GpuMemory (on the CPU: HostMemory), or shorten the context.");
        }
    }

    private IEnumerable<(int Layer, HeadGroup Group)> ResidentGroups(int heads) =>
        Enumerable.Range(0, Layout.Layers)
            .SelectMany(layer => Groups(layer, heads, 0), (layer, group) => (layer, group))
            .Where(g => g.group.Placement == HeadPlacement.Resident);
}
