using System.Collections.Frozen;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Attention;

/// <summary>Exact attention over blocks in host memory: what all passes of a model share. Belongs to the engine thread.</summary>
internal sealed class TiledAttention : IBatchAttention, IDisposable
{
    private readonly Dictionary<(int Layer, int Size, int Most, ulong OnHost), IReadOnlyList<HeadGroup>> _groups = [];
    private readonly IReadOnlyList<HeadGroup>[] _residentGroups; // [layer]
    private readonly AttentionLane[] _lanes;
    private readonly List<PageRows> _pages = [];
    private readonly AttentionKernel _kernel;
    private readonly int _mostHeads; // KV heads of a layer
    private readonly int _segment;   // tokens
    private readonly int[] _hostLayers; // [layer] how many of those before it the host may attend; and of all
    private int _depth;

    /// <param name="layout">heads and tiles</param>
    /// <param name="pool">blocks; owned from now on, unless this fails</param>
    /// <param name="kernel">computes a part</param>
    /// <param name="rows">computes steps; owned from now on, unless this fails</param>
    /// <param name="residentSize">device memory for resident copies</param>
    /// <param name="stagedTokens">tokens of a segment, where new rows are staged</param>
    /// <param name="gapTokens">the same of a pass in a gap of another</param>
    /// <param name="maxTokens">longest that a sequence may become</param>
    /// <param name="windowSize">device memory for copies of windows</param>
    public TiledAttention(
        AttentionLayout layout, BlockPool pool, AttentionKernel kernel, RowKernels rows, ByteSize residentSize, int stagedTokens, int gapTokens, int maxTokens = int.MaxValue, ByteSize windowSize = default)
    {
        (Layout, Pool, _kernel, Rows, _segment) = (layout, pool, kernel, rows, stagedTokens);
        _mostHeads = Enumerable.Range(0, layout.Layers).Max(layer => layout.HeadsOf(layer).KvHeads);
        SplitTokens = layout.SplitTokens(pool.BlockTokens);
        var device = pool.Device;
        _residentGroups = [.. Enumerable.Range(0, layout.Layers).Select(layer => (IReadOnlyList<HeadGroup>)[.. layout.ResidentGroups(layer)])];
        var made = new Parts();
        try
        {
            _lanes =
            [
                made.Add(new AttentionLane(pool, layout, AttentionLane.Slots(device.IsAsynchronous), stagedTokens)),
                made.Add(new AttentionLane(pool, layout, AttentionLane.GapSlots(device.IsAsynchronous), gapTokens)),
            ];
            Pacer = made.Add(new Pacer(device));
            Resident = made.Add(new ResidentCopies(layout, pool, residentSize) { MaxTokens = maxTokens });
            Windows = made.Add(new WindowCopies(layout, pool, windowSize));
        }
        catch
        {
            made.TakeBack();
            throw;
        }

        _hostLayers = [.. Enumerable.Range(0, layout.Layers + 1).Select(end => Enumerable.Range(0, end).Count(layer => !Windows.Exist || layout.Windows[layer] is null))];
    }

    /// <summary>[layers] of [heads], float32: scores of what each head attends beside its keys, which is nothing. Empty or null where there is none. Not owned.</summary>
    public IReadOnlyList<TorchSharp.torch.Tensor?> Sinks { get; set; } = [];

    /// <summary>Where a layer's sinks lie, or zero.</summary>
    public nint SinksAt(int layer) => Sinks.Count > 0 && Sinks[layer] is { } sinks ? TensorMemory.Pointer(sinks) : 0;

    public AttentionLayout Layout { get; }

    public BlockPool Pool { get; }

    /// <summary>Computes a part of a layer.</summary>
    public AttentionKernel KernelOf(int layer) => OtherKernels.GetValueOrDefault(Layout.HeadsOf(layer), _kernel);

    /// <summary>Kernels of layers with other heads than most.</summary>
    public IReadOnlyDictionary<HeadShape, AttentionKernel> OtherKernels { get; init; } = FrozenDictionary<HeadShape, AttentionKernel>.Empty;

    /// <summary>What a layer has in its pages.</summary>
    public PageShape ShapeOf(int layer) => Pool.ShapeOf(Layout.PagesOf(layer));

    public RowKernels Rows { get; }

    /// <summary>Tokens of a split of what is copied or streamed.</summary>
    public int SplitTokens { get; }

    /// <summary>Filled anew for each call of <see cref="RowKernels.Attend"/>.</summary>
    public AttentionWork Work { get; } = new();

    public ResidentCopies Resident { get; }

    public WindowCopies Windows { get; }

    /// <summary>Attends heads beside the device in steps; null where the device itself is the host, or nothing would be gained. Owned.</summary>
    public HostParts? Host { get; init; }

    /// <summary>What was measured of host memory; null if it was not.</summary>
    public HostRates? HostRates { get; init; }

    /// <summary>Tokens without copies from which on the host attends heads; below, its answer takes longer than the link's.</summary>
    public int LeastHostTokens { get; init; } = 4096;

    /// <summary>How many KV heads of all layers that it may attend the host attends of an answer, where no placement is given, beyond the tokens that have copies; by how many answers there are when it begins, and how fast the host is now.</summary>
    public Func<int, double, int> HostHeads { get; init; } = (_, _) => 0;

    /// <summary>Keeps what a prefill queues short.</summary>
    public Pacer Pacer { get; }

    public IAttentionPass Begin(Batch batch, WorkMeter work)
    {
        var copies = Place(batch); // may be refused, and then no pass has begun
        return new TiledPass(this, _lanes[_depth++], batch, copies[0], work, () => _depth--);
    }

    public RowPass BeginStep(Batch batch)
    {
        var plan = new TilePlan(this, batch, Place(batch), PlaceWindows(batch)); // may be refused, and then no pass has begun
        Pool.AwaitDownloads();
        return new RowPass(this, _lanes[_depth++], batch, plan, () => _depth--);
    }

    /// <summary>Adds keys in host pages to what is attended.</summary>
    public void AddPages(int layer, Sequence sequence, AttentionPart part, HeadGroup group, AttentionWork work)
    {
        _pages.Clear();
        sequence.AddRows(Layout.PagesOf(layer), part.Keys, _pages);
        work.Spans.Add(new KeySpan(work.Sources.Count, _pages.Count, part.First, part.Count));
        var row = ShapeOf(layer).RowBytes;
        var half = Pool.BlockTokens * row;
        foreach (var page in _pages)
        {
            var keys = page.Page + (nint)((2 * group.First * half) + (page.First * row));
            work.Sources.Add(new KeyRows(keys, keys + (nint)half, 2 * half, page.Count));
        }
    }

    /// <summary>Keeps keys and values of tokens without attending them; all layers must before they are committed.</summary>
    /// <param name="sequence">has room for them</param>
    /// <param name="count">tokens</param>
    /// <param name="fill">writes [kv_heads, 2, tokens, dim]</param>
    public void Keep(Sequence sequence, int layer, int count, Action<TorchSharp.torch.Tensor> fill)
    {
        var batch = Batch.Prefill(sequence, new int[count], 0);
        using var pass = new TiledPass(this, _lanes[_depth], batch, Place(batch)[0], WorkMeter.None, () => { });
        using var scope = TorchSharp.torch.NewDisposeScope();
        var kv = pass.Stages ? pass.Stage(layer) : TorchSharp.torch.empty(Layout.HeadsOf(layer).KvHeads, 2, count, Layout.HeadsOf(layer).Dim);
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

        if (Host is not null)
        {
            Parts.Dispose(Pool.Device.Drain, Host.Drop);
        }
    }

    /// <summary>The groups of a layer's heads, in head order, formed once.</summary>
    /// <param name="history">tokens that are streamed for each head</param>
    /// <param name="most">heads of a group at most</param>
    /// <param name="onHost">heads of the layer that the host attends, of each row that it attends some of</param>
    public IReadOnlyList<HeadGroup> Groups(int layer, int history, int most, IEnumerable<int> onHost)
    {
        var key = (layer, Layout.GroupSizeFor(history, layer), most, onHost.Aggregate(0UL, (all, heads) => all | (1UL << heads)));
        if (!_groups.TryGetValue(key, out var groups))
        {
            _groups[key] = groups = Layout.Groups(layer, key.Item2, most, [.. Enumerable.Range(0, 64).Where(heads => (key.Item4 >> heads & 1) != 0)]);
        }

        return groups;
    }

    /// <summary>Whether so many tokens of a prompt join their parts a few heads at a time, so that sums stay small. Of fewer tokens they are, and calls are better large.</summary>
    public bool MergesApart(int tokens) => Pool.Device.IsAsynchronous && tokens > _segment / AttentionLayout.MergedShare;

    /// <summary>The groups of a layer that copies are kept of.</summary>
    public IReadOnlyList<HeadGroup> ResidentGroups(int layer) => _residentGroups[layer];

    public void Dispose() => Parts.Dispose(
        [Pool.Device.Drain, () => Host?.Dispose(), .. _lanes.Select(l => (Action)l.Dispose), Resident.Dispose, Windows.Dispose, Pacer.Dispose, Rows.Dispose, Pool.Dispose]);

    private IReadOnlyList<ResidentExtent>[] Place(Batch batch)
    {
        var placed = new IReadOnlyList<ResidentExtent>[batch.Sequences.Count];
        for (var row = placed.Length - 1; row >= 0; row--) // the last one of a sequence first: it stands for all of them
        {
            var end = batch.Phase == Phase.Prefill ? batch.Sequences[row].Length + batch.Tokens.Length : batch.Position(row) + 1;
            placed[row] = row + 1 < placed.Length && batch.Sequences[row + 1] == batch.Sequences[row] ? placed[row + 1] : Resident.Place(batch.Sequences[row], end);
            ChooseHost(batch, batch.Sequences[row], placed[row].Count > 0 ? placed[row][^1].Tokens.End : 0);
        }

        return placed;
    }

    /// <summary>Heads of a layer that the host attends of a sequence: the same number in each, as far as that goes.</summary>
    public int HostHeadsOf(int layer, Sequence sequence) =>
        sequence.OnHost is { } place && _hostLayers[layer + 1] > _hostLayers[layer]
            ? Math.Min((_hostLayers[layer + 1] * place.Heads / _hostLayers[^1]) - (_hostLayers[layer] * place.Heads / _hostLayers[^1]), Layout.HeadsOf(layer).KvHeads)
            : 0;

    private IReadOnlyList<ResidentExtent>[] PlaceWindows(Batch batch)
    {
        var placed = new IReadOnlyList<ResidentExtent>[batch.Sequences.Count];
        Windows.BeginStep(batch.Sequences);
        for (var row = placed.Length - 1; row >= 0; row--)
        {
            var sequence = batch.Sequences[row];
            placed[row] = row + 1 < placed.Length && batch.Sequences[row + 1] == sequence ? placed[row + 1] : Windows.Place(sequence, batch.Position(row) + 1 - sequence.Length);
        }

        return placed;
    }

    // The first step after a prompt decides how many heads the host attends, and from where on, for all of the answer: where a
    // key is attended shows in the last bits of a result, and they may not depend on how many tokens a step has.
    private void ChooseHost(Batch batch, Sequence sequence, int copied)
    {
        if (batch.Phase == Phase.Prefill)
        {
            sequence.OnHost = null;
            Windows.Leave(sequence);
        }
        else if (sequence.OnHost is null)
        {
            var pays = Host is not null && Layout.Placement is null && _mostHeads < 64 && sequence.Length - copied >= LeastHostTokens;
            sequence.OnHost = (pays ? HostHeads(batch.Sequences.Distinct().Count(), Host!.Pace.Follow()) : 0, copied);
        }
    }
}
