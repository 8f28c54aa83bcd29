using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>One step of <see cref="TiledAttention"/>: a new token of each of a few sequences, by kernels for few rows.</summary>
/// <remarks>
/// A row's keys are cut into splits at fixed positions, and its results are joined in their order. A split is attended at
/// once, in however many places its rows lie: the end of the history in a tile or a copy, the new row where it was staged.
/// So neither the company of a row nor how many tokens came before in the same step shows in a bit of its result.
/// </remarks>
internal sealed class RowPass(TiledAttention shared, AttentionLane lane, Batch batch, IReadOnlyList<ResidentExtent>[] resident, Action end) : IDisposable
{
    private readonly AttentionLayout _layout = shared.Layout;
    private readonly PageShape _shape = shared.Pool.Shape;
    private readonly TilePlan _plan = new(shared, batch, resident);
    private readonly Dictionary<int, List<ResidentPart>> _copied = [];    // by the layer's window, or 0
    private readonly Dictionary<int, List<AttentionPart>> _onHost = [];   // by the layer's window, or 0
    private readonly List<RowTarget> _targets = [];
    private readonly List<PageRows> _pages = [];
    private readonly long _row = (long)shared.Pool.Shape.HeadDim * DataTypes.Size(shared.Pool.Shape.Type); // bytes
    private Tensor? _staged;

    private int Count => batch.Sequences.Count;

    /// <summary>Where a layer's new keys and values go, before <see cref="Attend"/>.</summary>
    public IReadOnlyList<RowTarget> Targets(int layer)
    {
        _targets.Clear();
        _staged = lane.Staging?.Next(Count);
        for (var row = 0; row < Count; row++)
        {
            var own = NewRow(layer, row, 0);
            _targets.Add(new RowTarget(row, 0, _layout.KvHeads, own.Keys, own.Values - own.Keys));
            foreach (var extent in resident[row])
            {
                var at = extent.First + batch.Sequences[row].Length - extent.Tokens.Start;
                foreach (var group in batch.Sequences[row].Length < extent.Tokens.End ? shared.ResidentGroups(layer) : [])
                {
                    var copy = extent.Run.At(layer, group, at, 1);
                    _targets.Add(new RowTarget(row, group.First, group.Count, copy.Keys, copy.Values - copy.Keys));
                }
            }
        }

        return _targets;
    }

    /// <summary>Attends one layer. Its new keys and values are where <see cref="Targets"/> said.</summary>
    /// <param name="layer">the layer; they come in order</param>
    /// <param name="queries">[rows, (heads + 2 kv_heads) * dim]</param>
    /// <param name="output">[rows, heads * dim], written</param>
    public void Attend(int layer, RowBuffer queries, RowBuffer output)
    {
        for (var row = 0; row < Count && _staged is not null; row++)
        {
            using var own = _staged.narrow(2, row, 1);
            batch.Sequences[row].Write(layer, own);
        }

        lane.Staging?.Sent();
        if (shared.Pool.Device.IsAsynchronous || layer == 0)
        {
            lane.Ring.Follow(_plan.Upcoming(layer));
        }

        shared.Rows.BeginAttention(Count);
        foreach (var group in _plan.Groups(layer))
        {
            AttendGroup(layer, group, queries);
        }

        shared.Rows.EndAttention(Count, output);
    }

    public void Dispose() => end();

    private void AttendGroup(int layer, HeadGroup group, RowBuffer queries)
    {
        var work = shared.Work;
        work.Clear();
        (work.FirstHead, work.Heads) = (group.First, group.Count);
        if (group.Placement == HeadPlacement.Host)
        {
            AddHostRows(layer, group, work);
            shared.Rows.Attend(Count, queries, work);
            return;
        }

        foreach (var part in ResidentParts(layer, group))
        {
            var extent = part.Extents[0];
            foreach (var keys in part.Keys.SplitAligned(shared.SplitTokens))
            {
                Add(work, layer, keys, part.First, part.Count, extent.Run.At(layer, group, extent.First + keys.Start - extent.Tokens.Start, keys.Count));
            }
        }

        foreach (var part in _plan.StreamedParts(layer, group))
        {
            var tile = lane.Ring.TakeRows(_plan.Request(part, layer, group));
            foreach (var keys in part.Keys.SplitAligned(shared.SplitTokens))
            {
                var skipped = (nint)((keys.Start - part.Keys.Start) * _row);
                Add(work, layer, keys, part.First, part.Count, tile with { Keys = tile.Keys + skipped, Values = tile.Values + skipped, Count = keys.Count });
            }

            shared.Rows.Attend(Count, queries, work);
            lane.Ring.Release();
            work.Clear();
        }

        // New tokens with which a split begins.
        for (var row = 0; row < Count; row++)
        {
            var history = _plan.History(layer, row);
            if (history.IsEmpty || history.End % shared.SplitTokens == 0)
            {
                work.Splits.Add(new KeySplit(work.Sources.Count, 1, row, 1));
                work.Sources.Add(NewRow(layer, row, group.First));
            }
        }

        if (work.Splits.Count > 0)
        {
            shared.Rows.Attend(Count, queries, work);
        }
    }

    // Keys of one split. Where the history ends with them, each row sees its own new token beside them.
    private void Add(AttentionWork work, int layer, TokenRange keys, int first, int count, KeyRows rows)
    {
        if (keys.End % shared.SplitTokens == 0)
        {
            work.Splits.Add(new KeySplit(work.Sources.Count, 1, first, count));
            work.Sources.Add(rows);
            return;
        }

        for (var row = first; row < first + count; row++)
        {
            work.Splits.Add(new KeySplit(work.Sources.Count, 2, row, 1));
            work.Sources.Add(rows);
            work.Sources.Add(NewRow(layer, row, work.FirstHead));
        }
    }

    // A new token's row is in its page already: everything it sees lies in pages.
    private void AddHostRows(int layer, HeadGroup group, AttentionWork work)
    {
        var window = _layout.Windows[layer] ?? 0;
        if (!_onHost.TryGetValue(window, out var parts))
        {
            TokenRange[] seen = [.. Enumerable.Range(0, Count).Select(row => _plan.History(layer, row)).Select(h => h with { End = h.End + 1 })];
            _onHost[window] = parts = [.. AttentionPlan.Cut(batch.Sequences, seen, RowKernels.SplitTokens)];
        }

        foreach (var part in parts)
        {
            shared.AddPages(layer, batch.Sequences[part.First], part, group, work);
        }
    }

    // What of a group's history has copies, cut.
    private List<ResidentPart> ResidentParts(int layer, HeadGroup group)
    {
        if (!_plan.HasCopies(layer, group))
        {
            return [];
        }

        var window = _layout.Windows[layer] ?? 0;
        if (!_copied.TryGetValue(window, out var parts))
        {
            _copied[window] = parts = [.. AttentionPlan.Cut(resident, [.. Enumerable.Range(0, Count).Select(row => _plan.History(layer, row))], shared.SplitTokens)];
        }

        return parts;
    }

    // Where a new token's keys and values of a layer stand, from a head on.
    private KeyRows NewRow(int layer, int row, int firstHead)
    {
        var sequence = batch.Sequences[row];
        var (start, part) = _staged is null
            ? (shared.Pool.AddressOf(sequence.Blocks[sequence.Length / _shape.Tokens].Pages[layer]) + (nint)(sequence.Length % _shape.Tokens * _row), _shape.Tokens * _row)
            : (TensorMemory.Pointer(_staged) + (nint)(row * _row), Count * _row);
        var keys = start + (nint)(2 * firstHead * part);
        return new KeyRows(keys, keys + (nint)part, 2 * part, 1);
    }
}
