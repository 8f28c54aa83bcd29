using HeadInfer.Runtime.Cache;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Exact attention over a cache in host pages: by head groups, and within a group part by part.</summary>
/// <remarks>
/// A part is the new tokens themselves, a tile of earlier ones streamed to the device, a resident copy, or host pages
/// where they lie. The history is streamed once a call, however many new tokens there are; tiles of the layers to come
/// are fetched while a layer computes, and those of the next call while the last layer does.
/// </remarks>
internal sealed class TiledAttention : ISequenceAttention
{
    private const int LayersAhead = 2; // layers of a prefill that the caller's thread may be ahead of the device

    private readonly AttentionWorkspace _shared;
    private readonly AttentionLayout _layout;
    private readonly KvLink _link;
    private readonly SequenceCache _cache;
    private readonly ResidentHeads _resident;
    private readonly HeadGroup _all; // heads of a layer
    private readonly List<PageRows> _rows = [];
    private readonly Fence[] _paces;
    private int _tokens, _outputs; // of the forward pass
    private int _residentHeads; // in all, where placement is the planner's

    /// <param name="shared">what the sessions of a model share; not owned</param>
    public TiledAttention(AttentionWorkspace shared)
    {
        (_shared, _layout, _link) = (shared, shared.Layout, shared.Link);
        _all = new HeadGroup(0, _layout.KvHeads, HeadPlacement.Streamed);
        _cache = new SequenceCache(shared.Pool, _layout.Layers, _link);
        _resident = new ResidentHeads(shared.Arena, _layout.HeadDim, _link);
        _paces = [.. Enumerable.Range(0, LayersAhead).Select(_ => _link.CreateFence())];
    }

    public int Length => _cache.Length;

    /// <summary>Host memory of the sequence's pages.</summary>
    public ByteSize HostSize => _cache.Size;

    /// <summary>Device memory of the sequence's resident heads.</summary>
    public ByteSize ResidentSize => _resident.Size;

    /// <summary>Tokens that the resident copies have room for.</summary>
    public int ResidentCapacity => _resident.Capacity;

    /// <summary>Longest that the sequence may become, so that resident copies take no room beyond it.</summary>
    public int MaxTokens { get; init; } = int.MaxValue;

    public void Reserve(int tokens)
    {
        _cache.Reserve(Length + tokens);
        if (Length + tokens > _resident.Capacity)
        {
            PlaceResident(Length + tokens);
        }
    }

    public bool Stages => _shared.Staging is not null;

    public void Begin(int tokens, int outputs) => (_tokens, _outputs) = (tokens, outputs);

    public Tensor Stage() => _shared.Staging!.Next(_tokens);

    public void Advance(int tokens) => _cache.Advance(tokens);

    public void Truncate(int length)
    {
        _shared.Ring.Reset(); // an operation that failed may have held a tile, and what was fetched ahead may be overwritten
        _cache.Truncate(length);
    }

    public void Attend(int layer, Tensor queries, Tensor rows, Tensor output, WorkMeter work)
    {
        Pace(layer);
        Keep(layer, rows);
        if (_link.IsAsynchronous || layer == 0)
        {
            _shared.Ring.Follow(Upcoming(layer));
        }

        var tokens = new TokenRange(Length, Length + _tokens);
        var asked = tokens with { Start = tokens.End - Asked(layer) };
        using var scope = TorchSharp.torch.NewDisposeScope();
        List<Part>? own = null; // the new tokens among themselves, all heads at once: larger calls are faster ones
        foreach (var group in asked.IsEmpty ? [] : Groups(layer, tokens.Start))
        {
            using var groupScope = TorchSharp.torch.NewDisposeScope();
            var question = new Question(layer, group, Heads(queries, group), asked, View(layer), work);
            if (asked.Count == 1 && group.Placement == HeadPlacement.Host)
            {
                AttendOnHost(question, Heads(output, group));
                continue;
            }

            own ??= AttendOwn(question with { Group = _all, Queries = Heads(queries, _all) }, rows, tokens);
            using var merge = new AttentionMerge(question.Queries.shape, _shared.Merging);
            foreach (var part in own)
            {
                merge.Add(part.FirstRow, part.Output.narrow(0, group.First, group.Count), part.LogSumExp.narrow(0, group.First, group.Count));
            }

            AddHistory(merge, question, History(layer, tokens.Start));
            merge.WriteTo(Heads(output, group));
        }
    }

    /// <summary>Keeps rows without attending to them; all layers must before <see cref="Advance"/>.</summary>
    /// <param name="layer">the layer</param>
    /// <param name="rows">[kv_heads, 2, tokens, dim], from <see cref="Stage"/> where it <see cref="Stages"/></param>
    public void Keep(int layer, Tensor rows)
    {
        _cache.Write(layer, Length, rows);
        _shared.Staging?.Sent();
        foreach (var group in Groups(layer, Length))
        {
            if (group.Placement == HeadPlacement.Resident)
            {
                _resident.Write(layer, group, Length, rows);
            }
        }
    }

    public void Dispose()
    {
        _shared.Ring.Reset();
        _cache.Dispose();
        _resident.Dispose();
        Array.ForEach(_paces, p => p.Dispose());
    }

    private Visibility View(int layer) => new(_layout.Windows[layer]);

    // What a layer streams when new tokens begin at a position.
    private TokenRange History(int layer, int start) => new(View(layer).FirstKey(start), start);

    private IReadOnlyList<HeadGroup> Groups(int layer, int start) =>
        _shared.Groups(layer, _residentHeads == 0 ? 0 : _layout.ResidentHeads(layer, _residentHeads), History(layer, start).Count);

    // Tokens that a layer is asked for.
    private int Asked(int layer) => layer == _layout.Layers - 1 ? _outputs : _tokens;

    // In the order they will be asked for: the rest of this pass, then those layers of the next whose new rows are on
    // their way already. The next pass is taken to be like this one; if it is not, what was fetched is dropped.
    private IEnumerable<TileRequest> Upcoming(int layer)
    {
        for (var l = layer; l < _layout.Layers; l++)
        {
            foreach (var request in Requests(l, Length))
            {
                yield return request;
            }
        }

        for (var l = 0; l <= layer && _link.IsAsynchronous; l++)
        {
            foreach (var request in Requests(l, Length + _tokens))
            {
                yield return request;
            }
        }
    }

    private IEnumerable<TileRequest> Requests(int layer, int start)
    {
        if (Asked(layer) == 0)
        {
            yield break;
        }

        foreach (var group in Groups(layer, start))
        {
            // Heads that decode in host memory are streamed in prefill: many rows make good use of a tile.
            if (group.Placement == HeadPlacement.Resident || (group.Placement == HeadPlacement.Host && Asked(layer) == 1))
            {
                continue;
            }

            foreach (var range in History(layer, start).Split(_layout.TileTokensOf(group)))
            {
                yield return new TileRequest(_cache, _cache.Version, layer, group, range);
            }
        }
    }

    private List<Part> AttendOwn(Question question, Tensor rows, TokenRange tokens) =>
        [.. Attend(question, new KvTile(rows.select(1, 0), rows.select(1, 1), tokens)).Select(p => new Part(p.FirstRow, p.Output.MoveToOuterDisposeScope(), p.LogSumExp.MoveToOuterDisposeScope()))];

    private void AddHistory(AttentionMerge merge, Question question, TokenRange history)
    {
        if (question.Group.Placement == HeadPlacement.Resident)
        {
            if (!history.IsEmpty)
            {
                Add(merge, Attend(question, _resident.View(question.Layer, question.Group, history)));
            }

            return;
        }

        foreach (var range in history.Split(_layout.TileTokensOf(question.Group)))
        {
            using var scope = TorchSharp.torch.NewDisposeScope();
            Add(merge, Attend(question, _shared.Ring.Take(new TileRequest(_cache, _cache.Version, question.Layer, question.Group, range))));
            _shared.Ring.Release();
        }
    }

    private static void Add(AttentionMerge merge, IEnumerable<Part> parts)
    {
        foreach (var part in parts)
        {
            merge.Add(part.FirstRow, part.Output, part.LogSumExp);
        }
    }

    // The answers of a tile: one, unless some rows see less of it than others or the kernel takes fewer rows at once.
    private IEnumerable<Part> Attend(Question question, KvTile tile)
    {
        var view = question.View;
        foreach (var rows in view.SplitByReach(view.Rows(question.Rows, tile.Tokens), tile.Tokens))
        {
            var step = _shared.Kernel.RowsAtOnce(question.Group.Count * _layout.HeadsPerKvHead, rows, tile.Tokens, view);
            foreach (var block in rows.Split(step))
            {
                var seen = view.Keys(block, tile.Tokens);
                var first = block.Start - question.Rows.Start;
                var q = question.Queries.narrow(2, first, block.Count);
                var k = tile.Keys.narrow(1, seen.Start - tile.Tokens.Start, seen.Count);
                var v = tile.Values.narrow(1, seen.Start - tile.Tokens.Start, seen.Count);
                var (output, lse) = _shared.Kernel.Attend(q, k, v, block, seen, view);
                yield return new Part(first, output, lse);
                question.Work.Add(_layout.Operations(question.Group, view.Pairs(block, seen)));
            }
        }
    }

    // The new token's row is in its page already: everything it sees lies in pages.
    private void AttendOnHost(Question question, Tensor output)
    {
        var seen = new TokenRange(question.View.FirstKey(question.Rows.Start), question.Rows.End);
        _rows.Clear();
        _cache.AddRows(question.Layer, seen, _rows);
        _shared.Host.Attend(_rows, _shared.Pool.Shape, question.Group, question.Queries.squeeze(2), output.squeeze(2));
        question.Work.Add(_layout.Operations(question.Group, seen.Count));
    }

    // Resident copies, with room to grow where there is some. The pages have every row, so there may be more or fewer
    // copies than before.
    private void PlaceResident(int tokens)
    {
        var before = _resident.Capacity;
        var roomy = Math.Max(tokens, (int)Math.Min(MaxTokens, tokens + Math.Max(1024L, tokens / 8)));
        if (_layout.Placement is null)
        {
            _residentHeads = Math.Min(_resident.Affordable(roomy), _layout.Layers * _layout.KvHeads);
            while (!_resident.TryResize(roomy, ResidentGroups(), _cache))
            {
                _residentHeads = _residentHeads * 3 / 4; // other sessions' copies left no piece large enough
            }
        }
        else if (!_resident.TryResize(roomy, ResidentGroups(), _cache) && !_resident.TryResize(tokens, ResidentGroups(), _cache))
        {
            _resident.TryResize(before, ResidentGroups(), _cache);
            throw new MemoryBudgetException($"The heads that HeadInferOptions.Placement makes resident do not fit the device with room for {tokens:N0} tokens. Place fewer heads there, raise HeadInferOptions.GpuMemory (on the CPU: HostMemory), or shorten the context.");
        }
    }

    private IEnumerable<(int Layer, HeadGroup Group)> ResidentGroups() =>
        Enumerable.Range(0, _layout.Layers)
            .SelectMany(layer => Groups(layer, 0), (layer, group) => (layer, group))
            .Where(g => g.group.Placement == HeadPlacement.Resident);

    // A prefill's operators are long and queued at once; without a bound, progress would be told and cancellation seen far too early.
    private void Pace(int layer)
    {
        if (_tokens > 1)
        {
            _link.Block(_paces[layer % LayersAhead]);
            _link.Record(LinkQueue.Compute, _paces[layer % LayersAhead]);
        }
    }

    // [tokens, heads * group, dim] -> [heads of the group, group, tokens, dim], a view
    private Tensor Heads(Tensor tensor, HeadGroup group)
    {
        var shape = tensor.shape;
        return tensor.view(shape[0], _layout.KvHeads, shape[1] / _layout.KvHeads, shape[2])
            .narrow(1, group.First, group.Count).permute(1, 2, 0, 3);
    }

    /// <summary>What a head group is asked in one call.</summary>
    /// <param name="Layer">The layer.</param>
    /// <param name="Group">The heads.</param>
    /// <param name="Queries">[heads, group, tokens, dim]</param>
    /// <param name="Rows">The tokens that ask.</param>
    /// <param name="View">What they see.</param>
    /// <param name="Work">Told of the work done.</param>
    private readonly record struct Question(int Layer, HeadGroup Group, Tensor Queries, TokenRange Rows, Visibility View, WorkMeter Work);

    /// <summary>An answer from some of the keys.</summary>
    /// <param name="FirstRow">The first row it is for.</param>
    /// <param name="Output">[heads, group, rows, dim]</param>
    /// <param name="LogSumExp">[heads, group, rows]</param>
    private readonly record struct Part(int FirstRow, Tensor Output, Tensor LogSumExp);
}
