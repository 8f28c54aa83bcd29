using System.Numerics;
using System.Runtime.Intrinsics;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>A few rows' attention to keys and values in host memory, where they lie, by the CPU: each key is read once for all rows that share it.</summary>
/// <remarks>
/// A split of one head is a task; the threads take tasks in turn, some neighbouring ones at a time. A task gives a maximum,
/// a sum and an output for each query, and those of a query are joined in the order of its splits. So a row's result is the
/// same, to the bit, in any company and on any number of threads. Written because libtorch's fused attention reads cold pages
/// at 23 GB/s for one query, where all cores together read 43.
///
/// Keys and values may be of 16 bits (<see cref="RowTraits.KvType"/>); queries, sums and outputs are float32.
/// <see cref="Write"/> ends the attention. Where there are other parts of it elsewhere, <see cref="CopyPart"/> gives this one
/// as it stands, to be merged with them.
/// </remarks>
internal sealed unsafe class HostAttention
{
    /// <summary>Joined values from which on the threads share that work.</summary>
    private const int ManyValues = 1 << 15;

    /// <summary>What arrives while the weights of a query are formed, and for how many queries more is asked for ahead at most.</summary>
    private const int BytesPerQuery = 1024, QueriesAhead = 8;

    /// <summary>How often a thread asks for tasks: seldom, as it fetches ahead what follows in memory, and often enough that none waits long for the others.</summary>
    private const int TurnsOfThread = 64;

    private readonly RowTraits _traits;
    private readonly HostTeam _team;
    private readonly Action<int> _attend, _join; // made once, so that a step takes no memory
    private readonly ScoreSum[] _joined;         // [row, query head]
    private readonly float[] _outputs;           // [row, query head, dim]
    private readonly List<Piece> _pieces = [];
    private float[] _queries = [], _partials = [], _scores = [];
    private ScoreSum[] _sums = [];
    private int[] _offsets = [];
    private AttentionWork _work = new();
    private int _rows, _scoreSize, _next, _turn;

    /// <param name="team">the threads</param>
    public HostAttention(RowTraits traits, HostTeam team)
    {
        (_traits, _team, _attend, _join) = (traits, team, AttendTasks, JoinHeads);
        Heads = traits.Shape;
        _joined = new ScoreSum[RowKernels.MostRows * traits.Shapes.Max(s => s.Count)];
        _outputs = new float[RowKernels.MostRows * traits.Shapes.Max(s => s.Queries)];
    }

    /// <summary>Heads of the layer that is attended.</summary>
    public HeadShape Heads { get; set; }

    /// <summary>Begins: nothing has been attended.</summary>
    /// <param name="sinks">[heads] scores of what each head attends beside its keys, which is nothing; or null</param>
    public void Begin(int rows, float* sinks = null)
    {
        Array.Fill(_joined, ScoreSum.None, 0, rows * Heads.Count);
        for (var i = 0; sinks is not null && i < rows * Heads.Count; i++)
        {
            _joined[i] = new ScoreSum(sinks[i % Heads.Count], 1);
        }

        if (sinks is not null)
        {
            _outputs.AsSpan(0, rows * Heads.Queries).Clear();
        }
    }

    /// <summary>Attends some keys.</summary>
    /// <param name="queries">[rows, heads, dim]</param>
    /// <param name="stride">floats from one row to the next</param>
    /// <param name="work">what</param>
    public void Attend(int rows, float* queries, long stride, AttentionWork work)
    {
        Cut(work);
        var (shared, dim, splits) = (Heads.Shared, Heads.Dim, _pieces.Count);
        Ensure(ref _offsets, splits + 1);
        var most = 0;
        for (var i = 0; i < splits; i++)
        {
            _offsets[i + 1] = _offsets[i] + (_pieces[i].Count * work.Heads * shared);
            most = Math.Max(most, _pieces[i].Count * shared * _pieces[i].Keys);
        }

        Ensure(ref _sums, _offsets[splits]);
        Ensure(ref _partials, checked(_offsets[splits] * dim));
        Ensure(ref _scores, checked(_team.Size * most));
        Ensure(ref _queries, work.Heads * rows * shared * dim);
        Gather(rows, queries, stride, work);
        (_rows, _work, _scoreSize, _next) = (rows, work, most, 0);
        _turn = Math.Max(1, splits * work.Heads / (_team.Size * TurnsOfThread));
        _team.Run(_attend);
        _next = -1;
        if (_offsets[splits] * dim > ManyValues)
        {
            _team.Run(_join);
        }
        else
        {
            JoinHeads(0);
        }
    }

    /// <summary>Writes what was attended.</summary>
    /// <param name="output">[rows, heads, dim]</param>
    /// <param name="stride">floats from one row to the next</param>
    public void Write(int rows, float* output, long stride)
    {
        var (heads, dim) = (Heads.Count, Heads.Dim);
        for (var row = 0; row < rows; row++)
        {
            for (var head = 0; head < heads; head++)
            {
                var at = (row * heads) + head;
                var target = output + (row * stride) + ((long)head * dim);
                for (var i = 0; i < dim; i++)
                {
                    target[i] = _outputs[(at * dim) + i] / _joined[at].Total;
                }
            }
        }
    }

    /// <summary>Copies what was attended so far out, for a row and some of its query heads.</summary>
    /// <param name="firstHead">first of the query heads</param>
    /// <param name="sums">[heads], written: largest score and sum of the weights</param>
    /// <param name="outputs">[heads, dim], written: sums of weighted values, not divided by that of the weights</param>
    public void CopyPart(int row, int firstHead, Span<ScoreSum> sums, Span<float> outputs)
    {
        var (first, dim) = ((row * Heads.Count) + firstHead, Heads.Dim);
        _joined.AsSpan(first, sums.Length).CopyTo(sums);
        for (var head = 0; head < sums.Length; head++)
        {
            var output = outputs.Slice(head * dim, dim);
            if (sums[head] == ScoreSum.None)
            {
                output.Clear(); // what is there is of an earlier step
            }
            else
            {
                _outputs.AsSpan((first + head) * dim, dim).CopyTo(output);
            }
        }
    }

    /// <summary>Adds what was attended elsewhere, as <see cref="CopyPart"/> gives it.</summary>
    public void AddPart(int row, int firstHead, ReadOnlySpan<ScoreSum> sums, ReadOnlySpan<float> outputs)
    {
        var (first, dim) = ((row * Heads.Count) + firstHead, Heads.Dim);
        for (var head = 0; head < sums.Length; head++)
        {
            if (sums[head] != ScoreSum.None)
            {
                Join(ref _joined[first + head], _outputs.AsSpan((first + head) * dim, dim), sums[head], outputs.Slice(head * dim, dim));
            }
        }
    }

    private static void Ensure<T>(ref T[] buffer, int length)
    {
        if (buffer.Length < length)
        {
            buffer = new T[Math.Max(length, 2 * buffer.Length)];
        }
    }

    // Spans into splits.
    private void Cut(AttentionWork work)
    {
        _pieces.Clear();
        foreach (var span in work.Spans)
        {
            var (source, skipped, keys) = (span.Source, 0, 0);
            for (var at = span.Source; at < span.Source + span.Sources; at++)
            {
                keys += work.Sources[at].Count;
            }

            for (int left = keys, taken; left > 0; left -= taken)
            {
                taken = Math.Min(left, work.SplitTokens);
                _pieces.Add(new Piece(source, skipped, taken, span.First, span.Count));
                for (skipped += taken; source < span.Source + span.Sources && skipped >= work.Sources[source].Count;)
                {
                    skipped -= work.Sources[source++].Count;
                }
            }
        }
    }

    // [rows, heads, dim] -> [KV heads of the work, rows, queries of a head, dim]: those of neighbouring rows are one block.
    private void Gather(int rows, float* queries, long stride, AttentionWork work)
    {
        var width = Heads.Shared * Heads.Dim;
        for (var head = 0; head < work.Heads; head++)
        {
            for (var row = 0; row < rows; row++)
            {
                new ReadOnlySpan<float>(queries + (row * stride) + ((long)(work.FirstHead + head) * width), width).CopyTo(_queries.AsSpan(((head * rows) + row) * width));
            }
        }
    }

    private void AttendTasks(int member)
    {
        switch (_traits.KvType)
        {
            case ScalarType.BFloat16:
                AttendTasks<BFloat16>(member);
                break;
            case ScalarType.Float16:
                AttendTasks<Float16>(member);
                break;
            default:
                AttendTasks<Float32>(member);
                break;
        }
    }

    private void AttendTasks<TElement>(int member)
        where TElement : unmanaged, IElement<TElement>
    {
        if (Vector512.IsHardwareAccelerated && Heads.Dim % WideLane.Count == 0)
        {
            AttendTasks<WideLane, TElement>(member);
        }
        else
        {
            AttendTasks<PlainLane, TElement>(member);
        }
    }

    private void AttendTasks<TLane, TElement>(int member)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var (heads, count) = (_work.Heads, _pieces.Count * _work.Heads);
        fixed (float* queries = _queries, partials = _partials, scores = _scores)
        {
            for (int task; (task = Interlocked.Add(ref _next, _turn) - _turn) < count;) // in the order of memory, so that asking ahead pays
            {
                for (var end = Math.Min(task + _turn, count); task < end; task++)
                {
                    AttendSplit<TLane, TElement>(task / heads, task % heads, queries, partials, scores + ((long)member * _scoreSize));
                }
            }
        }
    }

    private void AttendSplit<TLane, TElement>(int number, int head, float* allQueries, float* allPartials, float* scores)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var (split, dim, shared) = (_pieces[number], Heads.Dim, Heads.Shared);
        var (count, first, keys) = (split.Count * shared, _offsets[number] + (head * split.Count * shared), split.Keys);
        var queries = allQueries + ((((long)head * _rows) + split.First) * shared * dim);
        for (int source = split.Source, skipped = split.Skipped, at = 0; at < keys; source++, skipped = 0)
        {
            var rows = _work.Sources[source];
            var some = Math.Min(rows.Count - skipped, keys - at);
            HostAttentionMath.Score<TLane, TElement>((TElement*)(rows.Keys + (nint)(head * rows.Head)) + ((long)skipped * dim), some, queries, count, dim, scores + at, keys);
            at += some;
        }

        // Values arrive while weights are formed.
        var values = (byte*)_work.Sources[split.Source].Values + (nint)(head * _work.Sources[split.Source].Head) + ((long)split.Skipped * dim * sizeof(TElement)) + HostAttentionMath.BytesAhead;
        for (var query = 0; query < count; query++)
        {
            if (query < QueriesAhead)
            {
                InnerProducts.Prefetch<TElement>(values + (query * BytesPerQuery), BytesPerQuery);
            }

            _sums[first + query] = HostSoftmax.Weigh<TLane>(scores + ((long)query * keys), keys, (float)_traits.Scale, (float?)_traits.SoftCap);
        }

        var partials = allPartials + ((long)first * dim);
        new Span<float>(partials, count * dim).Clear();
        for (int source = split.Source, skipped = split.Skipped, at = 0; at < keys; source++, skipped = 0)
        {
            var rows = _work.Sources[source];
            var some = Math.Min(rows.Count - skipped, keys - at);
            HostAttentionMath.AddValues<TLane, TElement>((TElement*)(rows.Values + (nint)(head * rows.Head)) + ((long)skipped * dim), some, scores + at, keys, count, dim, partials);
            at += some;
        }
    }

    // Adds each query's partial results to what it has, split by split.
    private void JoinHeads(int member)
    {
        var (work, shared, dim) = (_work, Heads.Shared, Heads.Dim);
        for (int head; (head = Interlocked.Increment(ref _next)) < work.Heads;)
        {
            for (var i = 0; i < _pieces.Count; i++)
            {
                var split = _pieces[i];
                var from = _offsets[i] + (head * split.Count * shared);
                for (var query = 0; query < split.Count * shared; query++)
                {
                    var to = ((split.First + (query / shared)) * Heads.Count) + ((work.FirstHead + head) * shared) + (query % shared);
                    Join(ref _joined[to], _outputs.AsSpan(to * dim, dim), _sums[from + query], _partials.AsSpan((from + query) * dim, dim));
                }
            }
        }
    }

    private static void Join(ref ScoreSum sum, Span<float> output, ScoreSum part, ReadOnlySpan<float> partial)
    {
        if (sum == ScoreSum.None)
        {
            sum = part;
            partial.CopyTo(output);
            return;
        }

        var maximum = Math.Max(sum.Maximum, part.Maximum);
        var (kept, added) = (MathF.Exp(sum.Maximum - maximum), MathF.Exp(part.Maximum - maximum));
        sum = new ScoreSum(maximum, (sum.Total * kept) + (part.Total * added));
        var (at, keptLanes, addedLanes) = (0, new Vector<float>(kept), new Vector<float>(added));
        for (; at <= output.Length - Vector<float>.Count; at += Vector<float>.Count)
        {
            ((new Vector<float>(output[at..]) * keptLanes) + (new Vector<float>(partial[at..]) * addedLanes)).CopyTo(output[at..]);
        }

        for (; at < output.Length; at++)
        {
            output[at] = (output[at] * kept) + (partial[at] * added);
        }
    }

    /// <summary>Keys of a split: from a token of a source on.</summary>
    private readonly record struct Piece(int Source, int Skipped, int Keys, int First, int Count);
}
