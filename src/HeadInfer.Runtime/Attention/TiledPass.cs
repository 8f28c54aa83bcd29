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
internal sealed class TiledPass(TiledAttention shared, AttentionLane lane, Batch batch, WorkMeter work, Action end) : IAttentionPass
{
    private readonly AttentionLayout _layout = shared.Layout;
    private readonly Device _device = shared.Pool.Device;
    private readonly HeadGroup _all = new(0, shared.Layout.KvHeads, HeadPlacement.Streamed);
    private readonly Dictionary<(TokenRange Rows, int? Window, int Size, int Ahead), List<AttentionPart>> _parts = [];
    private readonly Dictionary<(int Layer, int Ahead), List<TileRequest>> _requests = [];
    private readonly int _tokens = batch.Tokens.Length;
    private List<TokenRange>? _alike;

    public bool Stages => lane.Staging is not null;

    public Tensor Stage() => lane.Staging!.Next(_tokens);

    public void Attend(int layer, Tensor queries, Tensor kv, Tensor output)
    {
        Pace(layer);
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
        if (batch.Phase == Phase.Decode)
        {
            foreach (var rows in Alike())
            {
                AttendRows(layer, rows, queries.narrow(0, rows.Start, rows.Count), kv, output.narrow(0, rows.Start, rows.Count));
            }
        }
        else
        {
            AttendRows(layer, new TokenRange(0, 1), queries, kv, output);
        }
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
            foreach (var group in Groups(layer, i, sequence.Length))
            {
                if (group.Placement == HeadPlacement.Resident)
                {
                    shared.Resident(sequence)!.Write(layer, group, sequence.Length, own);
                }
            }
        }

        lane.Staging?.Sent();
    }

    public void Dispose() => end();

    // Sequences [from, to) of the batch, whose heads are placed alike.
    private void AttendRows(int layer, TokenRange rows, Tensor queries, Tensor kv, Tensor output)
    {
        List<(int FirstRow, Tensor Output, Tensor LogSumExp)>? own = null; // the new tokens among themselves, all heads at once: larger calls are faster ones
        foreach (var group in Groups(layer, rows.Start, LongestHistory(layer, rows)))
        {
            if (group.Placement == HeadPlacement.Host && IsOneEach(layer))
            {
                AttendOnHost(layer, group, rows, queries, output);
                continue;
            }

            own ??= batch.Phase == Phase.Decode ? AttendSelf(Heads(queries, _all), kv.narrow(2, rows.Start, rows.Count)) : AttendOwn(layer, Heads(queries, _all), kv);
            using var groupScope = NewDisposeScope();
            var asked = Heads(queries, group);
            using var merge = new AttentionMerge(asked.shape, _device);
            foreach (var part in own)
            {
                merge.Add(part.FirstRow, part.Output.narrow(0, group.First, group.Count), part.LogSumExp.narrow(0, group.First, group.Count));
            }

            foreach (var part in Parts(layer, rows, group))
            {
                using var partScope = NewDisposeScope();
                var first = part.First - rows.Start;
                var isResident = group.Placement == HeadPlacement.Resident;
                var sequence = batch.Sequences[part.First];
                var tile = isResident ? shared.Resident(sequence)!.View(layer, group, part.Keys) : lane.Ring.Take(Request(sequence, layer, group, part.Keys));
                if (batch.Phase == Phase.Prefill)
                {
                    Add(merge, 0, AttendTile(layer, group, asked, tile));
                }
                else
                {
                    foreach (var some in new TokenRange(first, first + part.Count).Split(_device.RowsTogether))
                    {
                        Add(merge, some.Start, AttendTile(layer, group, asked.narrow(2, some.Start, some.Count), tile));
                    }
                }

                if (!isResident)
                {
                    lane.Ring.Release();
                }
            }

            merge.WriteTo(Heads(output, group));
        }
    }

    private Visibility View(int layer) => new(_layout.Windows[layer]);

    // Whether each sequence asks with one token, for which tiles would not pay on the CPU.
    private bool IsOneEach(int layer) => batch.Phase == Phase.Decode || Asked(layer) == 1;

    // Tokens that a layer is asked for.
    private int Asked(int layer) => layer == _layout.Layers - 1 ? batch.Outputs : _tokens;

    // What a layer streams of a sequence when new tokens begin at a position.
    private TokenRange History(int layer, int start) => new(View(layer).FirstKey(start), start);

    private int LongestHistory(int layer, TokenRange rows, int ahead = 0)
    {
        var longest = 0;
        for (var i = rows.Start; i < rows.End; i++)
        {
            longest = Math.Max(longest, History(layer, batch.Sequences[i].Length + ahead).Count);
        }

        return longest;
    }

    private IReadOnlyList<HeadGroup> Groups(int layer, int row, int history) =>
        shared.Groups(layer, shared.Resident(batch.Sequences[row])?.Heads ?? 0, history);

    // Neighbours of the batch with as many resident heads.
    private List<TokenRange> Alike()
    {
        if (_alike is null)
        {
            _alike = [];
            for (var i = 0; i < batch.Sequences.Count; i++)
            {
                if (_alike.Count > 0 && shared.Resident(batch.Sequences[i])?.Heads == shared.Resident(batch.Sequences[_alike[^1].Start])?.Heads)
                {
                    _alike[^1] = _alike[^1] with { End = i + 1 };
                }
                else
                {
                    _alike.Add(new TokenRange(i, i + 1));
                }
            }
        }

        return _alike;
    }

    // The history of a group, cut; ahead of this pass by so many tokens.
    private List<AttentionPart> Parts(int layer, TokenRange rows, HeadGroup group, int ahead = 0)
    {
        var isResident = group.Placement == HeadPlacement.Resident;
        var size = isResident ? int.MaxValue : _layout.TileTokensOf(group);
        var key = (rows, _layout.Windows[layer], size, ahead);
        if (!_parts.TryGetValue(key, out var parts))
        {
            var seen = Enumerable.Range(0, batch.Sequences.Count).Select(i => i < rows.Start || i >= rows.End ? default : History(layer, batch.Sequences[i].Length + ahead)).ToList();
            // Copies are each sequence's own.
            _parts[key] = parts = isResident
                ? [.. Enumerable.Range(rows.Start, rows.Count).Where(i => !seen[i].IsEmpty).Select(i => new AttentionPart(seen[i], i, 1))]
                : [.. AttentionPlan.Cut(batch.Sequences, seen, size)];
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
        foreach (var rows in batch.Phase == Phase.Decode ? Alike() : [new TokenRange(0, 1)])
        {
            foreach (var group in Groups(layer, rows.Start, LongestHistory(layer, rows, ahead)))
            {
                // Heads that decode in host memory are streamed in prefill: many rows make good use of a tile.
                if (group.Placement == HeadPlacement.Resident || (group.Placement == HeadPlacement.Host && IsOneEach(layer)))
                {
                    continue;
                }

                foreach (var part in Parts(layer, rows, group, ahead))
                {
                    yield return Request(batch.Sequences[part.First], layer, group, part.Keys);
                }
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
    private void AttendOnHost(int layer, HeadGroup group, TokenRange rows, Tensor queries, Tensor output)
    {
        var seen = batch.Sequences.Select((s, i) => i >= rows.Start && i < rows.End ? Seen(layer, s.Length + (batch.Phase == Phase.Decode ? 1 : _tokens)) : default).ToList();
        var key = (rows, _layout.Windows[layer], HostAttention.PartTokens, -1);
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
            host.Add(new HostPart(from, pages.Count - from, part.First - rows.Start, part.Count));
        }

        shared.Host.Attend(host, pages, shared.Pool.Shape, group, queries, output);
        work.Add(_layout.Operations(group, seen.Sum(s => (long)s.Count)));
    }

    // What the last of a sequence's tokens sees when it has so many.
    private TokenRange Seen(int layer, int tokens) => new(View(layer).FirstKey(tokens - 1), tokens);

    // A prefill's operators are long and queued at once; without a bound, progress would be told and cancellation seen far too early.
    private void Pace(int layer)
    {
        if (batch.Phase == Phase.Prefill)
        {
            var pace = lane.Paces[layer % lane.Paces.Count];
            _device.Block(pace);
            _device.Record(WorkQueue.Compute, pace);
        }
    }

    // [tokens, heads * group, dim] -> [heads of the group, group, tokens, dim], a view
    private Tensor Heads(Tensor tensor, HeadGroup group)
    {
        var shape = tensor.shape;
        return tensor.view(shape[0], _layout.KvHeads, shape[1] / _layout.KvHeads, shape[2])
            .narrow(1, group.First, group.Count).permute(1, 2, 0, 3);
    }
}
