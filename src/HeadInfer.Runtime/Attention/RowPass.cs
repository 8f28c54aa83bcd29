using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>One step of <see cref="TiledAttention"/>: a few new tokens of one or several sequences, by kernels for few rows.</summary>
/// <remarks>
/// A row's keys are cut into splits at fixed positions, and its results are joined in their order. A split is attended at
/// once, in however many places its rows lie: the end of the history in a tile or a copy, the step's own rows where they were
/// staged. So neither the company of a row nor how many tokens came before in the same step shows in a bit of its result.
/// </remarks>
internal sealed class RowPass(TiledAttention shared, AttentionLane lane, Batch batch, TilePlan plan, Action end) : IDisposable
{
    private readonly AttentionLayout _layout = shared.Layout;
    private readonly TilePlan _plan = plan;
    private readonly Dictionary<(int Window, int Rows), List<ResidentPart>> _copied = [];   // by the layer's window, or 0, and the rows that the host attends for
    private readonly Dictionary<(int Window, int Rows), List<AttentionPart>> _inPages = []; // the same
    private readonly List<RowTarget> _targets = [];
    private readonly Dictionary<int, Tensor?> _lent = []; // by pages: staged rows that later layers attend too
    private Tensor? _staged;
    private bool _writesPages; // the kernel that makes them

    private int Count => batch.Sequences.Count;

    /// <summary>Where a layer's new keys and values go, before <see cref="Attend"/>.</summary>
    public IReadOnlyList<RowTarget> Targets(int layer)
    {
        _targets.Clear();
        _staged = lane.Staging?.Next(Count, layer);
        if (_layout.Lends(layer))
        {
            _lent[_layout.PagesOf(layer)] = _staged;
        }

        _writesPages = shared.Pool.Device.WritesHostMemory && Enumerable.Range(0, Count).All(row => PageOf(layer, row, batch.Position(row)).Slab.IsPinned);
        for (var row = 0; row < Count; row++)
        {
            var position = batch.Position(row);
            var one = new TokenRange(position, position + 1);
            AddTarget(layer, row, NewRows(layer, row, one, 0));
            if (_writesPages)
            {
                AddTarget(layer, row, InPage(layer, row, one));
            }

            foreach (var extent in _plan.Copies(layer)[row])
            {
                foreach (var group in extent.Tokens.Intersect(one).IsEmpty ? [] : _plan.CopiedHeads(layer))
                {
                    var copy = extent.Run.At(_layout.PagesOf(layer), group, extent.First + position - extent.Tokens.Start, 1);
                    _targets.Add(new RowTarget(row, group.First, group.Count, copy.Keys, copy.Values - copy.Keys));
                }
            }
        }

        return _targets;
    }

    private void AddTarget(int layer, int row, KeyRows at) => _targets.Add(new RowTarget(row, 0, _layout.HeadsOf(layer).KvHeads, at.Keys, at.Values - at.Keys));

    /// <summary>Attends one layer. Its new keys and values, if it keeps any, are where <see cref="Targets"/> said.</summary>
    /// <param name="layer">the layer; they come in order</param>
    /// <param name="queries">[rows, (heads + 2 kv_heads) * dim]</param>
    /// <param name="output">[rows, heads * dim], written</param>
    public void Attend(int layer, RowBuffer queries, RowBuffer output)
    {
        var pages = _layout.PagesOf(layer);
        if (!_layout.Keeps(layer))
        {
            _staged = _lent[pages];
        }
        else if (_writesPages)
        {
            shared.Pool.WrittenByComputation(pages);
        }
        else if (_staged is not null)
        {
            for (int row = 0, next; row < Count; row = next)
            {
                for (next = row + 1; next < Count && batch.FirstRow(next) == row; next++)
                {
                }

                using var own = _staged.narrow(2, row, next - row);
                batch.Sequences[row].Write(pages, own);
            }

            lane.Staging!.Sent();
        }

        if (shared.Pool.Device.IsAsynchronous || layer == 0)
        {
            lane.Ring.Follow(_plan.Upcoming(layer));
        }

        shared.Rows.BeginAttention(Count, output, shared.SinksAt(layer));
        var groups = _plan.Groups(layer);
        var job = AskHost(layer, groups, queries);
        foreach (var group in groups)
        {
            AttendGroup(layer, group, queries);
        }

        if (job is { } number)
        {
            foreach (var group in groups.Where(IsOnHost))
            {
                shared.Rows.JoinHost(Count, shared.Host!, number, group.First, group.Count);
            }
        }

        shared.Rows.EndAttention(Count);
    }

    // Whether the host attends some of a group's keys beside the device.
    private bool IsOnHost(HeadGroup group) => group.Placement == HeadPlacement.Host && shared.Host is not null;

    // First of all, so that it works beside everything else. Its number; null if there is nothing for it.
    private uint? AskHost(int layer, IReadOnlyList<HeadGroup> groups, RowBuffer queries)
    {
        if (!groups.Any(IsOnHost))
        {
            return null;
        }

        var job = shared.Host!.Next(_layout.HeadsOf(layer));
        foreach (var group in groups.Where(IsOnHost))
        {
            AddPages(layer, group, job.Add(group.First, group.Count));
        }

        shared.Pool.Device.Wait(WorkQueue.Compute, shared.Pool.Written(_layout.PagesOf(layer))); // also what was read before the step may be on its way yet
        var number = shared.Host.Submit(job, Count);
        shared.Rows.AskHost(Count, queries, shared.Host, number);
        return number;
    }

    public void Dispose() => end();

    private void AttendGroup(int layer, HeadGroup group, RowBuffer queries)
    {
        var work = shared.Work;
        work.Clear();
        (work.FirstHead, work.Heads, work.SplitTokens) = (group.First, group.Count, shared.SplitTokens);
        if (_plan.IsInPages(layer, group))
        {
            work.SplitTokens = RowKernels.SplitTokens;
            AddPages(layer, group, work);
            shared.Rows.Attend(Count, queries, work);
            return;
        }

        foreach (var part in ResidentParts(layer, group))
        {
            var extent = part.Extents[0];
            Add(work, layer, part.Keys, part.First, part.Count, extent.Run.At(_layout.PagesOf(layer), group, extent.First, part.Keys.Count));
        }

        foreach (var part in _plan.StreamedParts(layer, group))
        {
            Add(work, layer, part.Keys, part.First, part.Count, lane.Ring.TakeRows(_plan.Request(part, layer, group)));
            shared.Rows.Attend(Count, queries, work);
            lane.Ring.Release();
            work.Clear();
        }

        // The step's own tokens in splits that no token of the history is in.
        for (var row = 0; row < Count; row++)
        {
            if (_plan.HostStart(layer, group, row) <= batch.Sequences[row].Length)
            {
                continue;
            }

            var (history, own) = (_plan.History(layer, row), _plan.New(layer, row));
            foreach (var piece in (history.IsEmpty ? own : own with { Start = SplitEnd(history.End) }).SplitAligned(shared.SplitTokens))
            {
                work.Add(row, 1, NewRows(layer, row, piece, group.First));
            }
        }

        if (work.Spans.Count > 0)
        {
            shared.Rows.Attend(Count, queries, work);
        }
    }

    // The end of the split that tokens before a position are in.
    private int SplitEnd(int position) => (position + shared.SplitTokens - 1) / shared.SplitTokens * shared.SplitTokens;

    // Keys that lie end to end. Where the history ends with them, each row sees new tokens beside the last of them.
    private void Add(AttentionWork work, int layer, TokenRange keys, int first, int count, KeyRows rows)
    {
        var size = shared.SplitTokens;
        var begun = Math.Min(keys.End, SplitEnd(keys.Start));
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

        var skipped = (nint)((piece.Start - keys.Start) * shared.ShapeOf(layer).RowBytes);
        var some = rows with { Keys = rows.Keys + skipped, Values = rows.Values + skipped, Count = piece.Count };
        if (piece.End % shared.SplitTokens == 0)
        {
            work.Add(first, count, some);
            return;
        }

        for (var row = first; row < first + count; row++)
        {
            var own = _plan.New(layer, row);
            work.Add(row, 1, some, NewRows(layer, row, own with { End = Math.Min(own.End, SplitEnd(piece.End)) }, work.FirstHead));
        }
    }

    // What the host attends of a group. New tokens' rows are in their pages already.
    private void AddPages(int layer, HeadGroup group, AttentionWork work)
    {
        var key = (_layout.Windows[layer] ?? 0, _plan.RowsOnHost(layer, group));
        if (!_inPages.TryGetValue(key, out var parts))
        {
            TokenRange Seen(int row) => new TokenRange(_plan.View(layer).FirstKey(batch.Position(row)), batch.Position(row) + 1).Intersect(new TokenRange(_plan.HostStart(layer, group, row), int.MaxValue));
            TokenRange[] seen = [.. Enumerable.Range(0, Count).Select(Seen)];
            _inPages[key] = parts = [.. AttentionPlan.Cut(batch.Sequences, seen, work.SplitTokens)];
        }

        foreach (var part in parts)
        {
            shared.AddPages(layer, batch.Sequences[part.First], part, group, work);
        }
    }

    // What of a group's history has copies, cut.
    private List<ResidentPart> ResidentParts(int layer, HeadGroup group)
    {
        if (!_plan.HasCopies(group))
        {
            return [];
        }

        var key = (_layout.Windows[layer] ?? 0, _plan.RowsOnHost(layer, group));
        if (!_copied.TryGetValue(key, out var parts))
        {
            // Copies may have come to be since the host was chosen; what it attends is not attended twice.
            TokenRange Seen(int row) => _plan.History(layer, row).Intersect(new TokenRange(0, _plan.HostStart(layer, group, row)));
            _copied[key] = parts = AttentionPlan.Cut(_plan.Copies(layer), [.. Enumerable.Range(0, Count).Select(Seen)], shared.SplitTokens);
        }

        return parts;
    }

    // Where keys and values of some of the step's own tokens are read, from a head on. They are of one split, and so of one page.
    private KeyRows NewRows(int layer, int row, TokenRange tokens, int firstHead)
    {
        if (_staged is null)
        {
            return FromHead(firstHead, InPage(layer, row, tokens));
        }

        var (first, bytes) = (batch.FirstRow(row) + tokens.Start - batch.Sequences[row].Length, shared.ShapeOf(layer).RowBytes);
        var keys = TensorMemory.Pointer(_staged) + (nint)(first * bytes);
        return FromHead(firstHead, new KeyRows(keys, keys + (nint)(Count * bytes), 2 * Count * bytes, tokens.Count));
    }

    private KeyRows InPage(int layer, int row, TokenRange tokens)
    {
        var (all, bytes) = (shared.Pool.BlockTokens, shared.ShapeOf(layer).RowBytes);
        var keys = shared.Pool.AddressOf(PageOf(layer, row, tokens.Start)) + (nint)(tokens.Start % all * bytes);
        return new KeyRows(keys, keys + (nint)(all * bytes), 2 * all * bytes, tokens.Count);
    }

    private Page PageOf(int layer, int row, int position) => batch.Sequences[row].Blocks[position / shared.Pool.BlockTokens].Pages[_layout.PagesOf(layer)];

    private static KeyRows FromHead(int head, KeyRows rows) => rows with { Keys = rows.Keys + (nint)(head * rows.Head), Values = rows.Values + (nint)(head * rows.Head) };
}
