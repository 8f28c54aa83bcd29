using HeadInfer.Runtime.Cache;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Exact attention over a cache in host pages: by head groups, and within a group part by part.</summary>
/// <remarks>
/// A part is the new tokens themselves, a tile of earlier ones streamed to the device, a resident copy, or host pages
/// where they lie. The history is streamed once a call, however many new tokens there are.
/// </remarks>
internal sealed class TiledAttention : ISequenceAttention
{
    private readonly AttentionLayout _layout;
    private readonly AttentionKernel _kernel;
    private readonly HostAttention _host;
    private readonly TileRing _ring;
    private readonly SequenceCache _cache;
    private readonly ResidentHeads _resident;
    private readonly PageShape _pageShape;
    private readonly List<PageRows> _rows = [];

    /// <param name="layout">heads, windows and groups of every layer</param>
    /// <param name="kernel">computes one part on the device</param>
    /// <param name="host">attends heads where they lie in host memory</param>
    /// <param name="pool">where the pages come from; not owned</param>
    /// <param name="ring">tile buffers, shared by the sessions of a model; not owned</param>
    /// <param name="device">where resident copies are kept</param>
    public TiledAttention(AttentionLayout layout, AttentionKernel kernel, HostAttention host, PagePool pool, TileRing ring, Device device)
    {
        (_layout, _kernel, _host, _ring) = (layout, kernel, host, ring);
        _pageShape = pool.Shape;
        _cache = new SequenceCache(pool, layout.Groups.Count);
        _resident = new ResidentHeads(layout.HeadDim, pool.Shape.Type, device);
    }

    public int Length => _cache.Length;

    /// <summary>Host memory of the sequence's pages.</summary>
    public ByteSize HostSize => _cache.Size;

    /// <summary>Device memory of the sequence's resident heads.</summary>
    public ByteSize ResidentSize => _resident.Size;

    public void Reserve(int tokens) => _cache.Reserve(Length + tokens);

    public void Advance(int tokens) => _cache.Advance(tokens);

    public void Truncate(int length) => _cache.Truncate(length);

    public void Attend(int layer, Tensor queries, Tensor keys, Tensor values, Tensor output, WorkMeter work)
    {
        var rows = new TokenRange(Length, Length + (int)queries.shape[0]);
        _cache.Write(layer, Length, keys, values);
        foreach (var group in _layout.Groups[layer])
        {
            using var scope = TorchSharp.torch.NewDisposeScope();
            if (group.Placement == HeadPlacement.Resident)
            {
                _resident.Write(layer, group, Length, keys, values);
            }

            var part = new GroupQueries(layer, group, Heads(queries, group), rows, new Visibility(_layout.Windows[layer]), work);
            if (rows.Count == 1 && group.Placement == HeadPlacement.Host)
            {
                // The new token's row is in its page already: everything it sees lies in pages.
                var seen = new TokenRange(part.View.FirstKey(rows.Start), rows.End);
                _rows.Clear();
                _cache.AddRows(layer, seen, _rows);
                _host.Attend(_rows, _pageShape, group, part.Queries.squeeze(2), Heads(output, group).squeeze(2));
                work.Add(_layout.Operations(group, seen.Count));
                continue;
            }

            using var merge = new AttentionMerge(part.Queries.shape);
            AddPart(merge, part, new KvTile(Heads(keys, group).select(1, 0), Heads(values, group).select(1, 0), rows));
            AddHistory(merge, part);
            Heads(output, group).copy_(merge.Output);
        }
    }

    public void Dispose()
    {
        _cache.Dispose();
        _resident.Dispose();
    }

    private void AddHistory(AttentionMerge merge, GroupQueries part)
    {
        var history = new TokenRange(part.View.FirstKey(part.Rows.Start), part.Rows.Start);
        if (part.Group.Placement == HeadPlacement.Resident && !history.IsEmpty)
        {
            AddPart(merge, part, _resident.View(part.Layer, part.Group, history));
            return;
        }

        // Heads that decode in host memory are streamed here too: many rows make good use of a tile.
        foreach (var range in history.Split(_ring.TileTokens))
        {
            using var scope = TorchSharp.torch.NewDisposeScope();
            AddPart(merge, part, _ring.Load(_cache, part.Layer, part.Group, range));
        }
    }

    private void AddPart(AttentionMerge merge, GroupQueries part, KvTile tile)
    {
        using var scope = TorchSharp.torch.NewDisposeScope();
        var rows = part.View.Rows(part.Rows, tile.Tokens);
        var whole = part.View.IsWhole(rows, tile.Tokens);
        var causal = part.View.IsCausal(rows, tile.Tokens);
        var step = _kernel.RowsAtOnce(part.Group.Count * _layout.HeadsPerKvHead, tile.Tokens.Count, masked: !whole && !causal);
        foreach (var block in step < rows.Count ? rows.Split(step) : [rows])
        {
            var seen = part.View.Keys(block, tile.Tokens);
            var first = block.Start - part.Rows.Start;
            var q = part.Queries.narrow(2, first, block.Count);
            var k = tile.Keys.narrow(1, seen.Start - tile.Tokens.Start, seen.Count);
            var v = tile.Values.narrow(1, seen.Start - tile.Tokens.Start, seen.Count);
            var (output, lse) =
                part.View.IsWhole(block, seen) ? _kernel.Whole(q, k, v)
                : part.View.IsCausal(block, seen) ? _kernel.Causal(q, k, v)
                : _kernel.Masked(q, k, v, part.View.Mask(block, seen, q.device));
            merge.Add(first, output, lse);
            part.Work.Add(_layout.Operations(part.Group, part.View.Pairs(block, seen)));
        }
    }

    // [tokens, heads * group or heads, dim] -> [heads of the group, group or 1, tokens, dim], a view
    private Tensor Heads(Tensor tensor, HeadGroup group)
    {
        var shape = tensor.shape;
        return tensor.view(shape[0], _layout.KvHeads, shape[1] / _layout.KvHeads, shape[2])
            .narrow(1, group.First, group.Count).permute(1, 2, 0, 3);
    }

    /// <summary>What a head group attends in one call.</summary>
    /// <param name="Layer">The layer.</param>
    /// <param name="Group">The heads.</param>
    /// <param name="Queries">[heads, group, tokens, dim]</param>
    /// <param name="Rows">The new tokens.</param>
    /// <param name="View">What they see.</param>
    /// <param name="Work">Told of the work done.</param>
    private readonly record struct GroupQueries(int Layer, HeadGroup Group, Tensor Queries, TokenRange Rows, Visibility View, WorkMeter Work);
}
