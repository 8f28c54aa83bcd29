using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>One forward pass of <see cref="TiledAttention"/>: by head groups, and within a group part by part.</summary>
/// <remarks>
/// A part is the new tokens themselves, a tile of earlier ones streamed to the device, a resident copy, or host pages
/// where they lie. The history is streamed once a pass, however many new tokens there are, and once for all sequences that
/// share it. Tiles of the layers to come are fetched while a layer computes, and those of the next pass while the last does.
/// </remarks>
internal sealed class TiledPass(TiledAttention shared, AttentionLane lane, Batch batch, IReadOnlyList<ResidentExtent>[] resident, WorkMeter work, Action end) : IAttentionPass
{
    private readonly AttentionLayout _layout = shared.Layout;
    private readonly Device _device = shared.Pool.Device;
    private readonly HeadGroup _all = new(0, shared.Layout.KvHeads, HeadPlacement.Streamed);
    private readonly Dictionary<(int? Window, int Size, int Ahead), List<AttentionPart>> _parts = [];
    private readonly Dictionary<int, List<ResidentPart>> _copied = []; // by the layer's window, or 0
    private readonly Dictionary<(int Layer, int Ahead), List<TileRequest>> _requests = [];
    private readonly int _tokens = batch.Tokens.Length;

    public bool Stages => lane.Staging is not null;

    public Tensor Stage() => lane.Staging!.Next(_tokens);

    public void Attend(int layer, Tensor queries, Tensor kv, Tensor output)
    {
        Keep(layer, kv);
        if (_device.IsAsynchronous || layer == 0)
        {
            lane.Ring.Follow(Upcoming(layer));
        }

        if (Asked(layer) == 0)
        {
            return;
        }

        using var scope = NewDisposeScope();
        AttendAll(layer, queries, kv, output);
    }

    /// <summary>Keeps a layer's new keys and values.</summary>
    /// <param name="layer">the layer</param>
    /// <param name="kv">[kv_heads, 2, tokens, dim]</param>
    public void Keep(int layer, Tensor kv)
    {
        for (var i = 0; i < batch.Sequences.Count; i++)
        {
            var sequence = batch.Sequences[i];
            using var own = batch.Phase == Phase.Decode ? kv.narrow(2, i, 1) : kv.alias();
            sequence.Write(layer, own);
            foreach (var extent in resident[i])
            {
                KeepCopies(layer, own, sequence.Length, extent);
            }
        }

        lane.Staging?.Sent();
    }

    public void Dispose() => end();

    // New rows that have a place in a run.
    private void KeepCopies(int layer, Tensor kv, int start, ResidentExtent extent)
    {
        var fresh = extent.Tokens.Intersect(new TokenRange(start, start + (int)kv.shape[2]));
        foreach (var group in fresh.IsEmpty ? [] : shared.ResidentGroups(layer))
        {
            using var target = extent.Run.Rows(layer, group, extent.First + fresh.Start - extent.Tokens.Start, fresh.Count);
            using var heads = kv.narrow(0, group.First, group.Count);
            using var source = heads.narrow(2, fresh.Start - start, fresh.Count);
            target.copy_(source);
        }
    }

    private void AttendAll(int layer, Tensor queries, Tensor kv, Tensor output)
    {
        List<(int FirstRow, Tensor Output, Tensor LogSumExp)>? own = null; // the new tokens among themselves, all heads at once: larger calls are faster ones
        foreach (var group in Groups(layer))
        {
            if (group.Placement == HeadPlacement.Host && IsOneEach(layer))
            {
                AttendOnHost(layer, group, queries, output);
                continue;
            }

            own ??= batch.Phase == Phase.Decode ? AttendSelf(Heads(queries, _all), kv) : AttendOwn(layer, Heads(queries, _all), kv);
            using var groupScope = NewDisposeScope();
            var asked = Heads(queries, group);
            using var merge = new AttentionMerge(asked.shape, _device);
            foreach (var part in own)
            {
                merge.Add(part.FirstRow, part.Output.narrow(0, group.First, group.Count), part.LogSumExp.narrow(0, group.First, group.Count));
            }

            foreach (var part in ResidentParts(layer, group))
            {
                using var partScope = NewDisposeScope();
                Tensor[] copies = [.. part.Extents.Select(e => e.Run.Rows(layer, group, e.First, e.Tokens.Count))];
                var rows = copies is [var one] ? one : cat(copies, 2);
                AttendPart(layer, group, merge, asked, part.Keys, part.First, part.Count, rows.select(1, 0), rows.select(1, 1));
            }

            foreach (var part in StreamedParts(layer, group))
            {
                using var partScope = NewDisposeScope();
                var tile = lane.Ring.Take(Request(batch.Sequences[part.First], layer, group, part.Keys));
                AttendPart(layer, group, merge, asked, part.Keys, part.First, part.Count, tile.Keys, tile.Values);
                lane.Ring.Release();
            }

            merge.WriteTo(Heads(output, group));
        }
    }

    private void AttendPart(int layer, HeadGroup group, AttentionMerge merge, Tensor asked, TokenRange range, int first, int count, Tensor keys, Tensor values)
    {
        var tile = new KvTile(keys, values, range);
        if (batch.Phase == Phase.Prefill)
        {
            Add(merge, 0, AttendTile(layer, group, asked, tile));
            return;
        }

        foreach (var some in new TokenRange(first, first + count).Split(_device.RowsTogether))
        {
            Add(merge, some.Start, AttendTile(layer, group, asked.narrow(2, some.Start, some.Count), tile));
        }
    }

    private Visibility View(int layer) => new(_layout.Windows[layer]);

    // Whether each sequence asks with one token, for which tiles would not pay on the CPU.
    private bool IsOneEach(int layer) => batch.Phase == Phase.Decode || Asked(layer) == 1;

    // Tokens that a layer is asked for.
    private int Asked(int layer) => layer == _layout.Layers - 1 ? batch.Outputs : _tokens;

    // Of a sequence of the batch what a layer attends, when new tokens begin so far ahead of where they do now.
    private TokenRange History(int layer, int row, int ahead)
    {
        var start = batch.Sequences[row].Length + ahead;
        return new TokenRange(View(layer).FirstKey(start), start);
    }

    // Whether a layer's streamed tokens begin behind those that have copies.
    private bool BeginsWithCopies(int layer) => _layout.Placement is null && _layout.Windows[layer] is null;

    private TokenRange Streamed(int layer, int row, int ahead)
    {
        var all = History(layer, row, ahead);
        var copied = BeginsWithCopies(layer) && resident[row].Count > 0 ? resident[row][^1].Tokens.End : 0;
        return all.Intersect(new TokenRange(copied, int.MaxValue));
    }

    private IReadOnlyList<HeadGroup> Groups(int layer, int ahead = 0) =>
        shared.Groups(layer, Enumerable.Range(0, batch.Sequences.Count).Max(row => Streamed(layer, row, ahead).Count));

    // What of a group's history has copies, cut.
    private List<ResidentPart> ResidentParts(int layer, HeadGroup group)
    {
        if (group.Placement != HeadPlacement.Resident && !BeginsWithCopies(layer))
        {
            return [];
        }

        var window = _layout.Windows[layer];
        if (!_copied.TryGetValue(window ?? 0, out var parts))
        {
            TokenRange[] seen = [.. Enumerable.Range(0, batch.Sequences.Count).Select(row => History(layer, row, 0))];
            // Where a row must not depend on its company, neither may its parts, as runs do.
            _copied[window ?? 0] = parts = [.. _device.RowsTogether == 1 ? AttentionPlan.CutAlone(resident, seen, _device.TokensAtOnce) : AttentionPlan.Cut(resident, seen)];
        }

        return parts;
    }

    // What of a group's history is streamed, cut; ahead of this pass by so many tokens.
    private List<AttentionPart> StreamedParts(int layer, HeadGroup group, int ahead = 0)
    {
        if (group.Placement == HeadPlacement.Resident)
        {
            return [];
        }

        var key = (_layout.Windows[layer], _layout.TileTokensOf(group), ahead);
        if (!_parts.TryGetValue(key, out var parts))
        {
            _parts[key] = parts = [.. AttentionPlan.Cut(batch.Sequences, [.. Enumerable.Range(0, batch.Sequences.Count).Select(row => Streamed(layer, row, ahead))], key.Item2)];
        }

        return parts;
    }

    // In the order they will be asked for: the rest of this pass, then those layers of the next whose new rows are on
    // their way already. The next pass is taken to be like this one; if it is not, what was fetched is dropped.
    private IEnumerable<TileRequest> Upcoming(int layer)
    {
        for (var l = layer; l < _layout.Layers; l++)
        {
            foreach (var request in Requests(l, ahead: 0))
            {
                yield return request;
            }
        }

        for (var l = 0; l <= layer && _device.IsAsynchronous; l++)
        {
            foreach (var request in Requests(l, ahead: batch.Phase == Phase.Decode ? 1 : _tokens))
            {
                yield return request;
            }
        }
    }

    // What a layer asks for, formed once: every layer looks at those of all that follow.
    private List<TileRequest> Requests(int layer, int ahead)
    {
        if (!_requests.TryGetValue((layer, ahead), out var requests))
        {
            _requests[(layer, ahead)] = requests = Asked(layer) == 0 ? [] : [.. AllRequests(layer, ahead)];
        }

        return requests;
    }

    private IEnumerable<TileRequest> AllRequests(int layer, int ahead)
    {
        foreach (var group in Groups(layer, ahead))
        {
            // Heads that decode in host memory are streamed in prefill: many rows make good use of a tile.
            if (group.Placement == HeadPlacement.Host && IsOneEach(layer))
            {
                continue;
            }

            foreach (var part in StreamedParts(layer, group, ahead))
            {
                yield return Request(batch.Sequences[part.First], layer, group, part.Keys);
            }
        }
    }

    private static TileRequest Request(Sequence sequence, int layer, HeadGroup group, TokenRange keys) => new(sequence, sequence.Version, layer, group, keys);

    // Each new token of decode to itself alone. Sequences become entries of the kernel's batch.
    private List<(int FirstRow, Tensor Output, Tensor LogSumExp)> AttendSelf(Tensor queries, Tensor kv)
    {
        var (heads, group, dim) = (queries.shape[0], queries.shape[1], queries.shape[3]);
        var parts = new List<(int, Tensor, Tensor)>();
        foreach (var some in new TokenRange(0, (int)queries.shape[2]).Split(_device.RowsTogether))
        {
            var (q, own) = (queries.narrow(2, some.Start, some.Count), kv.narrow(2, some.Start, some.Count));
            var (output, lse) = shared.Kernel.Attend(
                q.transpose(1, 2).reshape(heads * some.Count, group, 1, dim), own.select(1, 0).reshape(heads * some.Count, 1, dim), own.select(1, 1).reshape(heads * some.Count, 1, dim),
                new TokenRange(0, 1), new TokenRange(0, 1), default);
            parts.Add((some.Start, output.reshape(heads, some.Count, group, dim).transpose(1, 2), lse.reshape(heads, some.Count, group).transpose(1, 2)));
        }

        work.Add(_layout.Operations(_all, queries.shape[2]));
        return parts;
    }

    // The new tokens of a prefill among themselves.
    private List<(int FirstRow, Tensor Output, Tensor LogSumExp)> AttendOwn(int layer, Tensor queries, Tensor kv)
    {
        var start = batch.Sequences[0].Length;
        var tokens = new TokenRange(start, start + _tokens);
        var asked = tokens with { Start = tokens.End - (int)queries.shape[2] };
        var parts = new List<(int, Tensor, Tensor)>();
        foreach (var rows in asked.SplitAligned(_device.TokensAtOnce))
        {
            foreach (var keys in tokens.SplitAligned(_device.TokensAtOnce))
            {
                if (keys.Start >= rows.End || View(layer).Keys(rows, keys).IsEmpty)
                {
                    continue;
                }

                using var scope = NewDisposeScope();
                var first = rows.Start - asked.Start;
                var own = kv.narrow(2, keys.Start - start, keys.Count);
                foreach (var part in AttendTile(layer, _all, queries.narrow(2, first, rows.Count), new KvTile(own.select(1, 0), own.select(1, 1), keys), rows))
                {
                    parts.Add((first + part.FirstRow, Outer(part.Output), Outer(part.LogSumExp)));
                }
            }
        }

        return parts;
    }

    private static Tensor Outer(Tensor tensor) => tensor.MoveToOuterDisposeScope();

    private static void Add(AttentionMerge merge, int firstRow, IEnumerable<(int FirstRow, Tensor Output, Tensor LogSumExp)> parts)
    {
        foreach (var part in parts)
        {
            merge.Add(firstRow + part.FirstRow, part.Output, part.LogSumExp);
        }
    }

    // The answers of a tile: one, unless some rows see less of it than others or the kernel takes fewer rows at once.
    private IEnumerable<(int FirstRow, Tensor Output, Tensor LogSumExp)> AttendTile(int layer, HeadGroup group, Tensor queries, KvTile tile, TokenRange? at = null)
    {
        // In decode every sequence sees all of what it is given, wherever its token stands.
        var view = batch.Phase == Phase.Decode ? default : View(layer);
        var end = batch.Phase == Phase.Decode ? tile.Tokens.End + (int)queries.shape[2] : batch.Sequences[0].Length + _tokens;
        var asked = at ?? new TokenRange(end - (int)queries.shape[2], end);
        foreach (var rows in view.SplitByReach(view.Rows(asked, tile.Tokens), tile.Tokens))
        {
            var step = shared.Kernel.RowsAtOnce(group.Count * _layout.HeadsPerKvHead, rows, tile.Tokens, view);
            foreach (var block in rows.Split(Math.Min(step, _device.TokensAtOnce)))
            {
                var seen = view.Keys(block, tile.Tokens);
                var first = block.Start - asked.Start;
                var q = queries.narrow(2, first, block.Count);
                var k = tile.Keys.narrow(1, seen.Start - tile.Tokens.Start, seen.Count);
                var v = tile.Values.narrow(1, seen.Start - tile.Tokens.Start, seen.Count);
                var (output, lse) = shared.Kernel.Attend(q, k, v, block, seen, view);
                yield return (first, output, lse);
                work.Add(_layout.Operations(group, view.Pairs(block, seen)));
            }
        }
    }

    // A new token's row is in its page already: everything it sees lies in pages.
    private void AttendOnHost(int layer, HeadGroup group, Tensor queries, Tensor output)
    {
        var seen = batch.Sequences.Select(s => Seen(layer, s.Length + (batch.Phase == Phase.Decode ? 1 : _tokens))).ToList();
        var key = (_layout.Windows[layer], HostAttention.PartTokens, -1);
        if (!_parts.TryGetValue(key, out var parts))
        {
            _parts[key] = parts = [.. AttentionPlan.Cut(batch.Sequences, seen, HostAttention.PartTokens)];
        }

        var pages = new List<PageRows>();
        var host = new List<HostPart>(parts.Count);
        foreach (var part in parts)
        {
            var from = pages.Count;
            batch.Sequences[part.First].AddRows(layer, part.Keys, pages);
            host.Add(new HostPart(from, pages.Count - from, part.First, part.Count));
        }

        shared.Host.Attend(host, pages, shared.Pool.Shape, group, queries, output);
        work.Add(_layout.Operations(group, seen.Sum(s => (long)s.Count)));
    }

    // What the last of a sequence's tokens sees when it has so many.
    private TokenRange Seen(int layer, int tokens) => new(View(layer).FirstKey(tokens - 1), tokens);

    // [tokens, heads * group, dim] -> [heads of the group, group, tokens, dim], a view
    private Tensor Heads(Tensor tensor, HeadGroup group)
    {
        var shape = tensor.shape;
        return tensor.view(shape[0], _layout.KvHeads, shape[1] / _layout.KvHeads, shape[2])
            .narrow(1, group.First, group.Count).permute(1, 2, 0, 3);
    }
}
