using System.Diagnostics;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Generation;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Requests;

/// <summary>Serves the requests of a model: a step of all answers at a time, and prompts piece by piece between them.</summary>
/// <remarks>
/// All of it runs on the engine's thread. A prefill gives way between pieces of its work: answers
/// take steps there, and short prompts are read, as long as their share of the time says.
/// </remarks>
/// <param name="decoder">reads prompts</param>
/// <param name="steps">takes steps</param>
/// <param name="attention">keeps what was read</param>
/// <param name="plan">how its memory is used</param>
/// <param name="answerShare">the answers' share of all time beside prompts, 0 to 0.95</param>
/// <param name="mostDrafted">tokens of an answer that are guessed and verified in a step, at most</param>
/// <param name="admissions">who is served</param>
internal sealed class Engine(
    TransformerDecoder decoder, StepDecoder steps, TiledAttention attention, ModelConfig config, MemoryPlan plan, double answerShare, int mostDrafted, Admissions admissions)
{
    private static readonly TimeSpan Slice = TimeSpan.FromMilliseconds(10), Patience = TimeSpan.FromMilliseconds(50);

    private readonly StepCosts _costs = new();
    private readonly (int Token, float Logit)[] _best = new (int, float)[RowKernels.MostRows]; // after each row of the last step
    private readonly List<Request> _reading = admissions.Reading, _answering = admissions.Answering;
    private Request? _suspended; // whose prefill is under way while others have a gap
    private TimeSpan _owed;
    private long _sliceStart;

    /// <summary>Takes one step. What fails outside of a request's own work ends them all, but not the thread.</summary>
    /// <returns>zero if there was one to take; else the time after which to look again</returns>
    public TimeSpan Step()
    {
        try
        {
            return TakeStep();
        }
        catch (Exception e)
        {
            admissions.EndAll(Explain(e));
            return TimeSpan.Zero;
        }
    }

    private TimeSpan TakeStep()
    {
        admissions.Collect(_suspended);
        var turn = Scheduler.Next([.. _reading.Select(r => r.Describe())], CanAnswer().Count(), _owed, gapTokens: null);
        switch (turn.Kind)
        {
            case TurnKind.Decode:
                Decode();
                return TimeSpan.Zero;
            case TurnKind.Prefill:
                _sliceStart = Stopwatch.GetTimestamp();
                Prefill(_reading[turn.Reader], Gap);
                Charge();
                return TimeSpan.Zero;
            default:
                _owed = TimeSpan.Zero;
                return admissions.HasWaiting ? Patience : Timeout.InfiniteTimeSpan;
        }
    }

    private IEnumerable<Request> CanAnswer() => _answering.Where(r => !r.IsStalled);

    // Between two pieces of a prefill's work.
    private void Gap()
    {
        if (_suspended is not null || Stopwatch.GetElapsedTime(_sliceStart) < Slice || (!admissions.HasArrived && _answering.Count == 0 && _reading.Count == 1))
        {
            return;
        }

        Charge();
        var (others, drained) = (Stopwatch.GetTimestamp(), false);
        _suspended = _reading.Single(r => r.IsInPass);
        try
        {
            while (true)
            {
                admissions.Collect(_suspended);
                var readers = _reading.Where(r => r != _suspended).ToList();
                var turn = Scheduler.Next([.. readers.Select(r => r.Describe())], CanAnswer().Count(), _owed, plan.ChunkTokens);
                if (turn.Kind == TurnKind.Nothing)
                {
                    break;
                }

                if (!drained)
                {
                    attention.Pacer.Drain();
                    Charge(); // what the prefill had queued is its own time
                    (others, drained) = (Stopwatch.GetTimestamp(), true);
                }

                if (turn.Kind == TurnKind.Decode)
                {
                    Decode();
                    continue;
                }

                var start = Stopwatch.GetTimestamp();
                Prefill(readers[turn.Reader], gap: null);
                _owed -= Stopwatch.GetElapsedTime(start); // it is an answer's first token
            }
        }
        finally
        {
            _suspended.GivenAway += Stopwatch.GetElapsedTime(others);
            _suspended = null;
            _sliceStart = Stopwatch.GetTimestamp();
        }
    }

    // What a prefill took since it was last charged is owed to the answers.
    private void Charge()
    {
        var taken = Stopwatch.GetElapsedTime(_sliceStart);
        _sliceStart = Stopwatch.GetTimestamp();
        _owed = _answering.Count > 0 ? _owed + Scheduler.Owed(taken, answerShare) : TimeSpan.Zero;
    }

    // One segment of a prompt.
    private void Prefill(Request request, Action? gap)
    {
        var sequence = request.Sequence;
        var start = Stopwatch.GetTimestamp();
        var given = request.GivenAway;
        try
        {
            admissions.LookAgain(request);
            var left = request.Prompt.Length - request.Done;
            var count = Math.Min(left, plan.SegmentTokens - (sequence.Length % plan.SegmentTokens)); // cut at the same positions wherever the prompt begins
            var tokens = request.Prompt.AsMemory(request.Done, count);
            sequence.Reserve(count);
            sequence.Coming = sequence.Length + left;
            request.IsInPass = true;
            var total = Cost.Prefill(config, sequence.Length, sequence.Length + left);
            var before = request.Work;
            var meter = new WorkMeter(total, share => request.Tell(request.Progress(before + ((1 - before) * share))), attention.Pacer, gap, request.Cancelled.Token);
            using var hidden = decoder.Forward(Batch.Prefill(sequence, tokens, request.EveryToken is not null ? count : count == left ? 1 : 0), attention, meter);
            sequence.Commit(tokens.Span);
            request.Done += count;
            request.Work = before + ((1 - before) * Math.Min(1, meter.Done / total));
            request.EveryToken?.Invoke(hidden);
            if (count == left)
            {
                Begin(request, hidden);
            }
        }
        catch (Exception e)
        {
            Fail([request], e);
        }
        finally
        {
            request.IsInPass = false;
            request.Served += (Stopwatch.GetElapsedTime(start) - (request.GivenAway - given)).TotalSeconds;
        }
    }

    // The prompt is read.
    private void Begin(Request request, TorchSharp.torch.Tensor hidden)
    {
        request.Tell(request.Progress(1));
        if (request.Generator is null)
        {
            admissions.End(request, null);
            return;
        }

        request.Logits = new float[config.VocabularySize];
        using var logits = decoder.Logits(hidden);
        TensorMemory.Read(logits, request.Logits);
        admissions.BeginAnswer(request);
        Sample(request);
    }

    // One token of every answer, those with a common beginning beside each other.
    private void Decode()
    {
        var start = Stopwatch.GetTimestamp();
        var all = CanAnswer().ToList();
        all.Sort((a, b) => AttentionPlan.Compare(a.Sequence, b.Sequence));
        foreach (var some in all.Chunk(RowKernels.MostRows))
        {
            DecodeSome(some);
        }

        _owed -= Stopwatch.GetElapsedTime(start);
    }

    private void DecodeSome(Request[] some)
    {
        var ready = some.Where(TryReserve).ToList();
        ready.RemoveAll(r => r.State != RequestState.Answering); // paused, so that others have room
        if (ready.Count == 0)
        {
            return;
        }

        try
        {
            var drafts = Draft(ref ready);
            if (ready.Count == 0)
            {
                return;
            }

            List<Sequence> rows = [.. ready.SelectMany((r, i) => Enumerable.Repeat(r.Sequence, 1 + drafts[i].Length))];
            int[] tokens = [.. ready.SelectMany((r, i) => (int[])[r.NextToken, .. drafts[i].Span])];
            var start = Stopwatch.GetTimestamp();
            steps.Step(Batch.Decode(rows, tokens));
            if (ready.Any(HasBest))
            {
                steps.ReadBest(_best.AsSpan(0, rows.Count));
            }

            for (int i = 0, first = 0; i < ready.Count; i++)
            {
                var (request, count) = (ready[i], 1 + drafts[i].Length);
                Read(request, first);
                if (first == 0)
                {
                    _costs.Add(rows.Count, Stopwatch.GetElapsedTime(start).TotalSeconds);
                }

                Accept(request, tokens.AsSpan(first, count), first);
                first += count;
            }
        }
        catch (MemoryBudgetException) when (ready.Count > 1)
        {
            // One of them has no room for its copies, which is seen before anything is computed: the others need not end with it.
            foreach (var request in ready)
            {
                request.Sequence.Truncate(request.Sequence.Length);
                DecodeSome([request]);
            }
        }
        catch (Exception e)
        {
            Fail([.. ready.Where(r => r.State != RequestState.Ended)], e);
        }
    }

    private bool TryReserve(Request request)
    {
        try
        {
            return admissions.TryReserve(request);
        }
        catch (Exception e)
        {
            admissions.End(request, Explain(e));
            return false;
        }
    }

    // What is guessed of each answer, as far as it is worth its time and there is room.
    private List<ReadOnlyMemory<int>> Draft(ref List<Request> ready)
    {
        var proposed = ready.ConvertAll(r => (Request: r, Draft: Propose(r)));
        proposed.RemoveAll(p => p.Request.State != RequestState.Answering);
        ready = proposed.ConvertAll(p => p.Request);
        Draft[] drafts = [.. proposed.Select(p => p.Draft)];
        var counts = _costs.Choose([.. drafts.Select(d => (d.Tokens.Length, d.Likelihood))], RowKernels.MostRows);
        for (var i = 0; i < ready.Count; i++)
        {
            counts[i] = attention.Pool.HasStates ? Math.Min(counts[i], attention.Pool.BlockTokens - 1 - (ready[i].Sequence.Length % attention.Pool.BlockTokens)) : counts[i]; // a state is kept at a block's end
            counts[i] = counts[i] > 0 && admissions.TryReserveDraft(ready[i], counts[i]) ? counts[i] : 0;
            ready[i].Drafted += counts[i];
        }

        return [.. drafts.Select((d, i) => d.Tokens[..counts[i]])];
    }

    private Draft Propose(Request request)
    {
        try
        {
            return mostDrafted > 0 ? request.Generator!.Propose(request.Sequence, request.NextToken, mostDrafted) : default;
        }
        catch (Exception e)
        {
            admissions.End(request, e);
            return default;
        }
    }

    // The tokens of a step, as far as they are what comes. Their logits are those that steps of one token would have given, so
    // the choices are the same.
    private void Accept(Request request, ReadOnlySpan<int> tokens, int firstRow)
    {
        for (var i = 0; ; i++)
        {
            request.Sequence.Commit(tokens.Slice(i, 1));
            Sample(request, firstRow + i);
            if (i + 1 == tokens.Length || request.State != RequestState.Answering || request.NextToken != tokens[i + 1])
            {
                return;
            }

            request.Accepted++;
            Read(request, firstRow + i + 1);
        }
    }

    private bool HasBest(Request request) => steps.FindsBest && request.Generator!.TakesBest;

    // Brings the logits after a row of the last step, unless the best is all that is wanted.
    private void Read(Request request, int row)
    {
        if (!HasBest(request))
        {
            steps.ReadLogits(row, request.Logits);
        }
    }

    /// <param name="request">answers</param>
    /// <param name="row">of the last step, if its token comes after one</param>
    private void Sample(Request request, int? row = null)
    {
        try
        {
            var step = row is { } at && HasBest(request) ? request.Generator!.Next(_best[at].Token, _best[at].Logit) : request.Generator!.Next(request.Logits, request.Sequence);
            request.NextToken = step.TokenId;
            request.Tell(step);
            if (step.FinishReason is not null)
            {
                admissions.End(request, null);
            }
        }
        catch (Exception e)
        {
            admissions.End(request, e);
        }
    }

    private void Fail(IReadOnlyList<Request> requests, Exception error)
    {
        try
        {
            attention.Reset();
        }
        catch (Exception e) when (e != error)
        {
            // A device that has failed fails here too: the first error says more.
        }

        foreach (var request in requests)
        {
            request.Sequence.Truncate(request.Sequence.Length); // what was reserved for the step
            if (error is not OperationCanceledException)
            {
                request.Sequence.Lose();
            }

            admissions.End(request, error is OperationCanceledException ? request.CancelReason : Explain(error));
        }
    }

    private Exception Explain(Exception error) => MemoryFault.Explain(error, plan) ?? error;
}
