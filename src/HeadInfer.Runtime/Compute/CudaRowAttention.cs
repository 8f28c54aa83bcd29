using static HeadInfer.Runtime.Compute.CudaModule;

namespace HeadInfer.Runtime.Compute;

/// <summary>The attention of few rows on a GPU: splits of keys are attended, and joined as they come.</summary>
internal sealed unsafe partial class CudaRowKernels
{
    public override void BeginAttention(int rows, RowBuffer output, nint sinks)
    {
        (_output, _sinks, _runs) = (output, sinks, RunsOf(Heads.Dim));
        _runs.Clear(); // what a call that failed had left
        Array.Clear(_begun);
    }

    public override void Attend(int rows, RowBuffer queries, AttentionWork work)
    {
        foreach (var span in work.Spans)
        {
            for (var done = 0; !_runs.TryAdd(work, span, work.Heads * Heads.Shared, ref done);)
            {
                AttendRuns(rows, queries, work);
            }
        }

        AttendRuns(rows, queries, work);
    }

    public override void AskHost(int rows, RowBuffer queries, HostParts parts, uint number)
    {
        var (heads, to, flag, width, stride) = (queries.Address, parts.Queries, parts.Asked, Heads.Queries, queries.Width);
        Start(_ask, (1, 1, 1), AskThreads, 0, Of(ref heads), Of(ref to), Of(ref flag), Of(ref number), Of(ref rows), Of(ref width), Of(ref stride));
    }

    public override void JoinHost(int rows, HostParts parts, uint number, int firstHead, int heads)
    {
        var (flag, hostSums, hostOutputs, state, output) = (parts.Done, parts.Sums, parts.Outputs, _stateAddress, _output!.Address);
        var (first, count, queries, dim, begins) = (firstHead * Heads.Shared, heads * Heads.Shared, Heads.Count, Heads.Dim, _begun[firstHead] ? 0 : 1);
        Start(_await, (1, 1, 1), 1, 0, Of(ref flag), Of(ref number)); // one thread looks, as the link has better to do
        Start(_joinHost, (count, rows, 1), Math.Min(JoinHostThreads, (dim + 31) / 32 * 32), 0,
            Of(ref hostSums), Of(ref hostOutputs), Of(ref state), Of(ref output), Of(ref _sinks), Of(ref first), Of(ref queries), Of(ref dim), Of(ref begins));
        _begun[firstHead] = true;
    }

    private RunList RunsOf(int dim)
    {
        if (!_runsOf.TryGetValue(dim, out var runs))
        {
            _runsOf.Add(dim, runs = new RunList(dim * DataTypes.Size(_traits.Type), PartialFloats / dim));
        }

        return runs;
    }

    // Joined as it came.
    public override void EndAttention(int rows)
    {
    }

    private void AttendRuns(int rows, RowBuffer queries, AttentionWork work)
    {
        var (heads, sums, outputs, state, output) = (queries.Address, _sumsAddress, _outputsAddress, _stateAddress, _output!.Address);
        var (runs, count, begins) = (_runs.Runs, _runs.Count, _begun[work.FirstHead] ? 0 : 1);
        var shape = new Shape(Heads, queries.Width, _traits, work);
        if (count > 0)
        {
            var (fast, all) = (_tensorCores && Heads.Dim % 8 == 0 && work.SplitTokens <= SplitTokens, _runs.MostRows * Heads.Shared);
            var (piece, splits) = (KeysOfPiece * Heads.Dim * sizeof(ushort), _runs.Splits);
            var pieces = Math.Min(_attendShared / piece, MostPieces);
            if (fast && all <= Queries && pieces >= FewestPieces)
            {
                Start(_attendStream, (Math.Min((long)splits * work.Heads, _processors), 1, 1), StreamThreads, pieces * piece,
                    Of(ref heads), Of(ref sums), Of(ref outputs), Of(ref runs), Of(ref count), Of(ref shape), Of(ref splits), Of(ref pieces));
            }
            else
            {
                var (blocks, shared) = fast ? ((all + ManyQueries - 1) / ManyQueries, 0) : (all, (work.SplitTokens + 3) / 4 * 4 * sizeof(float)); // compilers read some scores at once, and use those that are there
                Start(fast ? all <= Queries ? _attend8 : _attend16 : _attendPlain, (splits, work.Heads, blocks), Threads, shared, Of(ref heads), Of(ref sums), Of(ref outputs), Of(ref runs), Of(ref count), Of(ref shape));
            }
        }

        // Many splits of a row alone: blocks share its dimensions, so that enough of them fetch.
        var lanes = begins == 1 && rows == 1 && _runs.Splits > FewSplits ? JoinLanes : MoreJoinLanes;
        Start(_join, (work.Heads * Heads.Shared, rows, lanes == JoinLanes ? (Heads.Dim + JoinLanes - 1) / JoinLanes : 1), JoinThreads, 0,
            Of(ref sums), Of(ref outputs), Of(ref state), Of(ref output), Of(ref runs), Of(ref count), Of(ref shape), Of(ref _sinks), Of(ref begins), Of(ref lanes));
        _begun[work.FirstHead] = true;
        _runs.Clear();
    }

    /// <summary>The kernels' struct of the same name.</summary>
    private readonly struct Shape(HeadShape heads, int stride, RowTraits traits, AttentionWork work)
    {
        public readonly int Queries = heads.Count, KvHeads = heads.KvHeads, Dim = heads.Dim, Stride = stride, FirstHead = work.FirstHead, Heads = work.Heads, SplitTokens = work.SplitTokens;
        public readonly float Scale = (float)traits.Scale, Cap = (float)(traits.SoftCap ?? 0);
    }
}
