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
    private readonly long _row = (long)shared.Pool.Shape.HeadDim * DataTypes.Size(shared.Pool.Shape.Type); // bytes
    private Tensor? _staged;
    private bool _writesPages; // the kernel that makes them

    private int Count => batch.Sequences.Count;

    /// <summary>Where a layer's new keys and values go, before <see cref="Attend"/>.</summary>
    public IReadOnlyList<RowTarget> Targets(int layer)
    {
        _targets.Clear();
        _staged = lane.Staging?.Next(Count);
        _writesPages = shared.Pool.Device.WritesHostMemory && batch.Sequences.All(s => PageOf(s, layer).Slab.IsPinned);
        for (var row = 0; row < Count; row++)
        {
            AddTarget(row, NewRow(layer, row, 0));
            if (_writesPages)
            {
                AddTarget(row, InPage(layer, row));
            }

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

    private void AddTarget(int row, KeyRows at) => _targets.Add(new RowTarget(row, 0, _layout.KvHeads, at.Keys, at.Values - at.Keys));

    /// <summary>Attends one layer. Its new keys and values are where <see cref="Targets"/> said.</summary>
    /// <param name="layer">the layer; they come in order</param>
    /// <param name="queries">[rows, (heads + 2 kv_heads) * dim]</param>
    /// <param name="output">[rows, heads * dim], written</param>
    public void Attend(int layer, RowBuffer queries, RowBuffer output)
    {
        if (_writesPages)
        {
            shared.Pool.WrittenByComputation(layer);
        }
        else if (_staged is not null)
        {
            for (var row = 0; row < Count; row++)
            {
                using var own = _staged.narrow(2, row, 1);
                batch.Sequences[row].Write(layer, own);
            }

            lane.Staging!.Sent();
        }

        if (shared.Pool.Device.IsAsynchronous || layer == 0)
        {
            lane.Ring.Follow(_plan.Upcoming(layer));
        }

        shared.Rows.BeginAttention(Count, output);
        foreach (var group in _plan.Groups(layer))
        {
            AttendGroup(layer, group, queries);
        }

        shared.Rows.EndAttention(Count);
    }

    public void Dispose() => end();

    private void AttendGroup(int layer, HeadGroup group, RowBuffer queries)
    {
        var work = shared.Work;
        work.Clear();
        (work.FirstHead, work.Heads, work.SplitTokens) = (group.First, group.Count, group.Placement == HeadPlacement.Host ? RowKernels.SplitTokens : shared.SplitTokens);
        if (group.Placement == HeadPlacement.Host)
        {
            AddHostRows(layer, group, work);
            shared.Rows.Attend(Count, queries, work);
            return;
        }

        foreach (var part in ResidentParts(layer, group))
        {
            var extent = part.Extents[0];
            Add(work, layer, part.Keys, part.First, part.Count, extent.Run.At(layer, group, extent.First, part.Keys.Count));
        }

        foreach (var part in _plan.StreamedParts(layer, group))
        {
            Add(work, layer, part.Keys, part.First, part.Count, lane.Ring.TakeRows(_plan.Request(part, layer, group)));
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
                work.Add(row, 1, NewRow(layer, row, group.First));
            }
        }

        if (work.Spans.Count > 0)
        {
            shared.Rows.Attend(Count, queries, work);
        }
    }

    // Keys that lie end to end. Where the history ends with them, each row sees its own new token beside the last of them.
    private void Add(AttentionWork work, int layer, TokenRange keys, int first, int count, KeyRows rows)
    {
        var size = shared.SplitTokens;
        var begun = Math.Min(keys.End, (keys.Start + size - 1) / size * size); // up to where a split begins
        var ended = Math.Max(begun, keys.End - (keys.End % size));
        if (begun > keys.Start)
        {
            AddPiece(work, layer, keys, keys with { End = begun }, first, count, rows);
        }

        if (count == 1 || ended == keys.End)
        {
            AddPiece(work, layer, keys, keys with { Start = begun }, first, count, rows);
        }
        else
        {
            AddPiece(work, layer, keys, new TokenRange(begun, ended), first, count, rows);
            AddPiece(work, layer, keys, keys with { Start = ended }, first, count, rows);
        }
    }

    private void AddPiece(AttentionWork work, int layer, TokenRange keys, TokenRange piece, int first, int count, KeyRows rows)
    {
        if (piece.IsEmpty)
        {
            return;
        }

        var skipped = (nint)((piece.Start - keys.Start) * _row);
        var some = rows with { Keys = rows.Keys + skipped, Values = rows.Values + skipped, Count = piece.Count };
        if (piece.End % shared.SplitTokens == 0)
        {
            work.Add(first, count, some);
            return;
        }

        for (var row = first; row < first + count; row++)
        {
            work.Add(row, 1, some, NewRow(layer, row, work.FirstHead));
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
            _copied[window] = parts = AttentionPlan.Cut(resident, [.. Enumerable.Range(0, Count).Select(row => _plan.History(layer, row))], shared.SplitTokens);
        }

        return parts;
    }

    // Where a new token's keys and values of a layer are read, from a head on.
    private KeyRows NewRow(int layer, int row, int firstHead)
    {
        if (_staged is null)
        {
            return FromHead(firstHead, InPage(layer, row));
        }

        var keys = TensorMemory.Pointer(_staged) + (nint)(row * _row);
        return FromHead(firstHead, new KeyRows(keys, keys + (nint)(Count * _row), 2 * Count * _row, 1));
    }

    private KeyRows InPage(int layer, int row)
    {
        var sequence = batch.Sequences[row];
        var keys = shared.Pool.AddressOf(PageOf(sequence, layer)) + (nint)(sequence.Length % _shape.Tokens * _row);
        return new KeyRows(keys, keys + (nint)(_shape.Tokens * _row), 2 * _shape.Tokens * _row, 1);
    }

    private Page PageOf(Sequence sequence, int layer) => sequence.Blocks[sequence.Length / _shape.Tokens].Pages[layer];

    private static KeyRows FromHead(int head, KeyRows rows) => rows with { Keys = rows.Keys + (nint)(head * rows.Head), Values = rows.Values + (nint)(head * rows.Head) };
}
