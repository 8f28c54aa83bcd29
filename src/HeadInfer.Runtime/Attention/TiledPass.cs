using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>One forward pass of <see cref="TiledAttention"/> over many tokens of a sequence: by head groups, and within a group part by part.</summary>
/// <remarks>
/// A part is the new tokens themselves, a tile of earlier ones streamed to the device, a resident copy, or host pages
/// where they lie. The history is streamed once a pass, however many new tokens there are. Tiles of the layers to come are
/// fetched while a layer computes, and those of the next pass while the last does.
///
/// Where pages have another type than the one that is computed in, new keys and values are rounded to it before anything
/// attends them, also the new tokens themselves. So a token sees the same numbers whether they were formed in this pass, in
/// an earlier one or for another request: neither segments nor what was reused show in an answer.
/// </remarks>
internal sealed class TiledPass(TiledAttention shared, AttentionLane lane, Batch batch, IReadOnlyList<ResidentExtent> resident, WorkMeter work, Action end) : IAttentionPass
{
    private readonly AttentionLayout _layout = shared.Layout;
    private readonly Device _device = shared.Pool.Device;
    private readonly TilePlan _plan = new(shared, batch, [resident]);
    private readonly Dictionary<int, List<ResidentPart>> _copied = []; // by the layer's window, or 0
    private readonly Sequence _sequence = batch.Sequences[0];
    private readonly int _tokens = batch.Tokens.Length;
    private readonly Dictionary<int, Tensor> _lent = []; // by pages: new rows that later layers attend too

    public bool Stages => lane.Staging is not null;

    public Tensor Stage(int layer) => lane.Staging!.Next(_tokens, layer);

    public void Attend(int layer, Tensor queries, Tensor? own, Tensor output)
    {
        if (own is not null)
        {
            Round(own);
            Keep(layer, own);
        }

        var pages = _layout.PagesOf(layer);
        if (own is not null && _layout.Lends(layer))
        {
            _lent[pages] = Stages ? own.alias().DetachFromDisposeScope() : own.clone().DetachFromDisposeScope(); // staged, it stays
        }

        var kv = own ?? _lent[pages];
        if (_device.IsAsynchronous || layer == 0)
        {
            lane.Ring.Follow(_plan.Upcoming(layer));
        }

        if (_plan.Asked(layer) == 0)
        {
            return;
        }

        using var scope = NewDisposeScope();
        AttendAll(layer, queries, kv, output);
    }

    /// <summary>Keeps a layer's new keys and values.</summary>
    /// <param name="kv">[kv_heads, 2, tokens, dim]</param>
    public void Keep(int layer, Tensor kv)
    {
        _sequence.Write(_layout.PagesOf(layer), kv);
        foreach (var extent in resident)
        {
            KeepCopies(layer, kv, extent);
        }

        lane.Staging?.Sent();
    }

    public void Dispose()
    {
        foreach (var kv in _lent.Values)
        {
            kv.Dispose();
        }

        end();
    }

    // In place, to what pages will have; head by head, so that the copy is small.
    private void Round(Tensor kv)
    {
        for (var head = 0; head < kv.shape[0] && kv.dtype != shared.Pool.Shape.Type; head++)
        {
            using var rows = kv.narrow(0, head, 1);
            using var rounded = rows.to(shared.Pool.Shape.Type);
            rows.copy_(rounded);
        }
    }

    // New rows that have a place in a run.
    private void KeepCopies(int layer, Tensor kv, ResidentExtent extent)
    {
        var start = _sequence.Length;
        var fresh = extent.Tokens.Intersect(new TokenRange(start, start + _tokens));
        foreach (var group in fresh.IsEmpty ? [] : shared.ResidentGroups(layer))
        {
            using var target = extent.Run.Rows(_layout.PagesOf(layer), group, extent.First + fresh.Start - extent.Tokens.Start, fresh.Count);
            using var heads = kv.narrow(0, group.First, group.Count);
            using var source = heads.narrow(2, fresh.Start - start, fresh.Count);
            target.copy_(source);
        }
    }

    private void AttendAll(int layer, Tensor queries, Tensor kv, Tensor output)
    {
        List<(int FirstRow, Tensor Output, Tensor LogSumExp)>? own = null; // the new tokens among themselves, all heads at once: larger calls are faster ones
        foreach (var group in _plan.Groups(layer))
        {
            if (_plan.IsInPages(layer, group))
            {
                AttendOnHost(layer, group, queries, output);
                continue;
            }

            own ??= AttendOwn(layer, queries, kv);
            using var groupScope = NewDisposeScope();
            var asked = Heads(layer, queries, group);
            using var merge = new AttentionMerge(asked.shape, _device);
            foreach (var part in own)
            {
                merge.Add(part.FirstRow, part.Output.narrow(0, group.First, group.Count), part.LogSumExp.narrow(0, group.First, group.Count));
            }

            foreach (var part in ResidentParts(layer, group))
            {
                using var partScope = NewDisposeScope();
                Tensor[] copies = [.. part.Extents.Select(e => e.Run.Rows(_layout.PagesOf(layer), group, e.First, e.Tokens.Count))];
                var rows = copies is [var one] ? one : cat(copies, 2);
                Add(merge, Widened(new KvTile(rows.select(1, 0), rows.select(1, 1), part.Keys), layer, group, asked.dtype).SelectMany(tile => AttendTile(layer, group, asked, tile)));
            }

            foreach (var part in _plan.StreamedParts(layer, group))
            {
                using var partScope = NewDisposeScope();
                Add(merge, AttendTile(layer, group, asked, lane.Widen(lane.Ring.Take(_plan.Request(part, layer, group)), asked.dtype)));
                lane.Ring.Release();
            }

            if (shared.Sinks.Count > 0 && shared.Sinks[layer] is { } sinks)
            {
                // A part that adds nothing and has its share of the whole.
                var scores = sinks.view(kv.shape[0], -1, 1).narrow(0, group.First, group.Count).expand(asked.shape[0], asked.shape[1], asked.shape[2]).contiguous();
                merge.Add(0, zeros_like(asked).contiguous(), scores);
            }

            merge.WriteTo(Heads(layer, output, group));
        }
    }

    // Copies in the type that is computed in; where pages have another, in pieces no larger than a tile.
    private IEnumerable<KvTile> Widened(KvTile copies, int layer, HeadGroup group, ScalarType type) => copies.Keys.dtype == type
        ? [copies]
        : copies.Tokens.SplitAligned(_layout.TileTokensOf(group, layer)).Select(tokens => lane.Widen(copies.Narrow(tokens), type));

    // What of a group's history has copies, cut.
    private List<ResidentPart> ResidentParts(int layer, HeadGroup group)
    {
        if (!_plan.HasCopies(group))
        {
            return [];
        }

        var window = _layout.Windows[layer] ?? 0;
        if (!_copied.TryGetValue(window, out var parts))
        {
            // Where sums must not depend on how runs lie, parts may not either.
            var seen = _plan.History(layer, 0);
            _copied[window] = parts = _device.JoinsRuns
                ? [.. AttentionPlan.CutAlone(_plan.Copies(layer)[0], seen, _device.TokensAtOnce)]
                : [.. _plan.Copies(layer)[0].SelectMany(e => AttentionPlan.CutAlone([e], seen.Intersect(e.Tokens), int.MaxValue))];
        }

        return parts;
    }

    // The new tokens of a prefill among themselves.
    private List<(int FirstRow, Tensor Output, Tensor LogSumExp)> AttendOwn(int layer, Tensor allQueries, Tensor kv)
    {
        var all = new HeadGroup(0, _layout.HeadsOf(layer).KvHeads, HeadPlacement.Streamed);
        var queries = Heads(layer, allQueries, all);
        var start = _sequence.Length;
        var tokens = new TokenRange(start, start + _tokens);
        var asked = tokens with { Start = tokens.End - (int)queries.shape[2] };
        var parts = new List<(int, Tensor, Tensor)>();
        foreach (var rows in asked.SplitAligned(_device.TokensAtOnce))
        {
            foreach (var keys in tokens.SplitAligned(_device.TokensAtOnce))
            {
                if (keys.Start >= rows.End || _plan.View(layer).Keys(rows, keys).IsEmpty)
                {
                    continue;
                }

                using var scope = NewDisposeScope();
                var first = rows.Start - asked.Start;
                var own = kv.narrow(2, keys.Start - start, keys.Count);
                foreach (var part in AttendTile(layer, all, queries.narrow(2, first, rows.Count), new KvTile(own.select(1, 0), own.select(1, 1), keys), rows))
                {
                    parts.Add((first + part.FirstRow, Outer(part.Output), Outer(part.LogSumExp)));
                }
            }
        }

        return parts;
    }

    private static Tensor Outer(Tensor tensor) => tensor.MoveToOuterDisposeScope();

    private static void Add(AttentionMerge merge, IEnumerable<(int FirstRow, Tensor Output, Tensor LogSumExp)> parts)
    {
        foreach (var part in parts)
        {
            merge.Add(part.FirstRow, part.Output, part.LogSumExp);
        }
    }

    // The answers of a tile: one, unless some rows see less of it than others or the kernel takes fewer rows at once.
    private IEnumerable<(int FirstRow, Tensor Output, Tensor LogSumExp)> AttendTile(int layer, HeadGroup group, Tensor queries, KvTile tile, TokenRange? at = null)
    {
        var view = _plan.View(layer);
        var end = _sequence.Length + _tokens;
        var asked = at ?? new TokenRange(end - (int)queries.shape[2], end);
        foreach (var rows in view.SplitByReach(view.Rows(asked, tile.Tokens), tile.Tokens))
        {
            var step = shared.KernelOf(layer).RowsAtOnce(group.Count * _layout.HeadsOf(layer).Shared, rows, tile.Tokens, view);
            foreach (var block in rows.Split(Math.Min(step, _device.TokensAtOnce)))
            {
                var seen = view.Keys(block, tile.Tokens);
                var first = block.Start - asked.Start;
                var q = queries.narrow(2, first, block.Count);
                var k = tile.Keys.narrow(1, seen.Start - tile.Tokens.Start, seen.Count);
                var v = tile.Values.narrow(1, seen.Start - tile.Tokens.Start, seen.Count);
                var (output, lse) = shared.KernelOf(layer).Attend(q, k, v, block, seen, view);
                yield return (first, output, lse);
                work.Add(_layout.Operations(layer, group, view.Pairs(block, seen)));
            }
        }
    }

    // The only token that is asked for: its row, and all that it sees, lie in pages.
    private void AttendOnHost(int layer, HeadGroup group, Tensor queries, Tensor output)
    {
        var length = _sequence.Length + _tokens;
        var seen = new TokenRange(_plan.View(layer).FirstKey(length - 1), length);
        var attended = shared.Work;
        attended.Clear();
        (attended.FirstHead, attended.Heads) = (group.First, group.Count);
        foreach (var keys in seen.SplitAligned(RowKernels.SplitTokens))
        {
            shared.AddPages(layer, _sequence, new AttentionPart(keys, 0, 1), group, attended);
        }

        using var rows = new RowBuffer((int)(queries.shape[1] * queries.shape[2]), CPU);
        using var row = rows.Memory.narrow(0, 0, 1);
        row.view(queries.shape).copy_(queries);
        shared.Rows.Heads = _layout.HeadsOf(layer);
        shared.Rows.BeginAttention(1, rows, shared.SinksAt(layer));
        shared.Rows.Attend(1, rows, attended);
        shared.Rows.EndAttention(1);
        Heads(layer, output, group).copy_(Heads(layer, row.view(queries.shape), group));
        work.Add(_layout.Operations(layer, group, seen.Count));
    }

    // [tokens, heads * group, dim] -> [heads of the group, group, tokens, dim], a view
    private Tensor Heads(int layer, Tensor tensor, HeadGroup group)
    {
        var (shape, heads) = (tensor.shape, _layout.HeadsOf(layer));
        return tensor.view(shape[0], heads.KvHeads, heads.Shared, heads.Dim)
            .narrow(1, group.First, group.Count).permute(1, 2, 0, 3);
    }
}
