using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Requests;

/// <summary>Serves the requests of a model: a step of all answers at a time, and prompts piece by piece between them.</summary>
/// <remarks>
/// All of it but <see cref="Submit"/> runs on the engine's thread. A prefill gives way between pieces of its work: answers
/// take steps there, and short prompts are read, as long as their share of the time says.
/// </remarks>
internal sealed class Engine(EngineThread thread, TransformerDecoder decoder, TiledAttention attention, ModelConfig config, MemoryPlan plan, double answerShare, int maxQueued)
{
    private static readonly TimeSpan Slice = TimeSpan.FromMilliseconds(10), Patience = TimeSpan.FromMilliseconds(50), Grace = TimeSpan.FromMilliseconds(500);

    private readonly ConcurrentQueue<Request> _arrived = [];
    private readonly List<Request> _waiting = []; // in the order of their turn
    private readonly List<Request> _reading = [];
    private readonly List<Request> _answering = [];
    private Request? _suspended; // whose prefill is under way while others have a gap
    private TimeSpan _owed;
    private long _sliceStart;
    private long _lastEnd;
    private long _numbers;
    private int _queued;
    private bool _lookAgain; // whether somebody may be admitted who could not before

    /// <summary>Puts a request into the queue. From any thread.</summary>
    /// <exception cref="QueueFullException">Too many wait already.</exception>
    public void Submit(Request request)
    {
        if (Interlocked.Increment(ref _queued) > maxQueued)
        {
            Interlocked.Decrement(ref _queued);
            throw new QueueFullException($"{maxQueued:N0} requests wait for this model already, as many as HeadInferOptions.MaxQueuedRequests allows. Try again later, or raise it.");
        }

        request.Queue = n => Interlocked.Add(ref _queued, n);
        request.Times = (Stopwatch.GetTimestamp(), 0);
        _arrived.Enqueue(request);
        thread.Wake();
    }

    /// <summary>Takes one step.</summary>
    /// <returns>zero if there was one to take; else the time after which to look again</returns>
    public TimeSpan Step()
    {
        Collect();
        var turn = Scheduler.Next([.. _reading.Select(Describe)], CanAnswer().Count(), _owed, gapTokens: null);
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
                return _waiting.Count > 0 ? Patience : Timeout.InfiniteTimeSpan;
        }
    }

    /// <summary>Ends all requests.</summary>
    public void EndAll(Exception reason)
    {
        while (_arrived.TryDequeue(out var request))
        {
            _waiting.Add(request);
        }

        foreach (var request in (Request[])[.. _waiting, .. _reading, .. _answering])
        {
            request.End(reason);
        }

        _waiting.Clear();
        _reading.Clear();
        _answering.Clear();
    }

    private static Candidate Describe(Request request) =>
        new(request.Priority, request.Deadline, request.Served, request.Number, request.Prompt.Length - request.Done);

    private IEnumerable<Request> CanAnswer() => _answering.Where(r => !r.IsStalled);

    // New requests come in, cancelled and late ones go out, and those for whom there is room begin.
    private void Collect()
    {
        while (_arrived.TryDequeue(out var request))
        {
            request.Number = ++_numbers;
            request.Served = _reading.Count > 0 ? _reading.Min(r => r.Served) : 0; // no claim on time before it came
            _waiting.Add(request);
            _lookAgain = true;
        }

        _waiting.RemoveAll(r => r.State == RequestState.Ended);
        foreach (var request in _reading.Concat(_answering).Where(r => r.Cancelled.IsCancellationRequested && r != _suspended).ToList())
        {
            End(request, request.CancelReason);
        }

        var now = DateTimeOffset.UtcNow;
        foreach (var request in _waiting.Concat(_reading).Where(r => r.Deadline <= now && r != _suspended).ToList())
        {
            _waiting.Remove(request);
            End(request, new TimeoutException("The request's deadline (GenerationOptions.Deadline) passed before its first token."));
        }

        // Also when a reader has caught up, or lags so that its answer may give way.
        if (_lookAgain || _waiting.Exists(r => r.Logits.Length > 0 && !r.IsStalled) || (_waiting.Count > 0 && _answering.Exists(r => r.IsStalled)))
        {
            _lookAgain = false;
            Admit();
        }
    }

    private void Admit()
    {
        _waiting.Sort((a, b) => Scheduler.Compare(Describe(a), Describe(b)));
        for (var i = 0; i < _waiting.Count;)
        {
            var request = _waiting[i];
            var admission = request.IsStalled ? Admission.Later : TryAdmit(request);
            if (admission is Admission.NoRoom && _answering.Where(r => r.IsStalled).MaxBy(r => r.Number) is { } stalled)
            {
                Pause(stalled); // nobody reads its answer, so it need not hold what others want
                continue;
            }

            if (admission is Admission.NoRoom && (_reading.Count + _answering.Count > 0 || Stopwatch.GetElapsedTime(_lastEnd) < Grace))
            {
                _lookAgain |= _reading.Count + _answering.Count == 0; // whoever has just ended may be about to give blocks back
                break; // who came later does not overtake
            }

            if (admission is Admission.Later)
            {
                i++;
                continue;
            }

            _waiting.RemoveAt(i);
            if (admission is Admission.NoRoom)
            {
                request.End(NoRoom(request, Wanted(request)));
            }
        }

        for (var i = 0; i < _waiting.Count; i++)
        {
            _waiting[i].Tell(Progress(_waiting[i]) with { Place = i + 1 });
        }
    }

    private Admission TryAdmit(Request request)
    {
        if (!request.TryMove(RequestState.Waiting, RequestState.Reading))
        {
            return Admission.Done; // its caller took it back
        }

        var sequence = request.Sequence;
        request.Done = request.EveryToken is null ? sequence.Adopt(request.Prompt) : 0;
        var admission = ReadsForIt(request) ? Admission.Later : Missing(request, Wanted(request)) <= FreeBlocks() ? Admission.Done : Admission.NoRoom;
        var whole = sequence.Length - (sequence.Length % attention.Pool.BlockTokens);
        if (admission is Admission.NoRoom && request.Done > 0 && whole >= request.Start)
        {
            sequence.Truncate(whole); // a shared block that must be copied takes room twice
            request.Done = whole - request.Start;
            admission = Missing(request, Wanted(request)) <= FreeBlocks() ? Admission.Done : Admission.NoRoom;
        }

        if (admission is Admission.Done)
        {
            (request.Reused, request.Diverged) = (request.Done, sequence.Diverged);
            request.Reserved = Wanted(request);
            request.Times = (request.Times.Asked, Stopwatch.GetTimestamp());
            _reading.Add(request);
            request.Tell(Progress(request));
            return admission;
        }

        sequence.Truncate(request.Start);
        request.Done = 0;
        return request.TryMove(RequestState.Reading, RequestState.Waiting) ? admission : Admission.Done;
    }

    // Blocks of the prompt and of the answer that was asked for.
    private int Wanted(Request request) =>
        attention.Pool.BlocksFor(Math.Min((long)request.Start + request.Prompt.Length + Math.Min(request.MaxTokens ?? 1, plan.LongestContext), plan.LongestContext));

    // Of so many blocks those that its sequence does not have, and one where a shared block must be copied.
    private static int Missing(Request request, int wanted) => Math.Max(0, wanted - request.Sequence.Blocks.Count) + (request.Sequence.MustCopy ? 1 : 0);

    // Blocks that nobody has and nobody was promised.
    private int FreeBlocks() => attention.Pool.Count.Free - _reading.Concat(_answering).Sum(r => Missing(r, r.Reserved));

    private MemoryBudgetException NoRoom(Request request, int wanted)
    {
        var (block, most) = (attention.Pool.BlockSize, attention.Pool.MostBlocks);
        return new MemoryBudgetException(string.Create(CultureInfo.InvariantCulture,
            $"Prompt and MaxTokens need {block * Missing(request, wanted)} more of KV cache; {block * Math.Max(0, FreeBlocks())} of {block * most} are free, and the rest is held by sessions that do nothing now. Dispose sessions, raise HeadInferOptions.HostMemory, or ask for fewer tokens."));
    }

    // Whether more of the prompt than is known is being read for another request right now.
    private bool ReadsForIt(Request request)
    {
        if (request.EveryToken is not null || _reading.Count == 0)
        {
            return false;
        }

        var own = Tokens(request);
        return _reading.Exists(r => r.Sequence.Key == request.Sequence.Key && r.EveryToken is null
            && own.AsSpan(0, own.Length - 1).CommonPrefixLength(Tokens(r)) - request.Sequence.Length >= attention.Pool.BlockTokens);
    }

    // What the sequence has, and what of the prompt it is to get.
    private static int[] Tokens(Request request)
    {
        var length = request.Sequence.Length;
        var tokens = new int[length + request.Prompt.Length - request.Done];
        request.Sequence.CopyTo(0, tokens.AsSpan(0, length));
        request.Prompt.AsSpan(request.Done).CopyTo(tokens.AsSpan(length));
        return tokens;
    }

    // Between two pieces of a prefill's work.
    private void Gap()
    {
        if (_suspended is not null || Stopwatch.GetElapsedTime(_sliceStart) < Slice || (_arrived.IsEmpty && _answering.Count == 0 && _reading.Count == 1))
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
                Collect();
                var readers = _reading.Where(r => r != _suspended).ToList();
                var turn = Scheduler.Next([.. readers.Select(Describe)], CanAnswer().Count(), _owed, plan.ChunkTokens);
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
            var left = request.Prompt.Length - request.Done;
            var count = Math.Min(left, plan.SegmentTokens - (sequence.Length % plan.SegmentTokens)); // cut at the same positions wherever the prompt begins
            var tokens = request.Prompt.AsMemory(request.Done, count);
            sequence.Reserve(count);
            request.IsInPass = true;
            var total = Cost.Prefill(config, sequence.Length, sequence.Length + left);
            var before = request.Work;
            var meter = new WorkMeter(total, share => request.Tell(Progress(request, before + ((1 - before) * share))), attention.Pacer, gap, request.Cancelled.Token);
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
        request.Tell(Progress(request, 1));
        if (request.Generator is null)
        {
            End(request, null);
            return;
        }

        _reading.Remove(request);
        _lookAgain = true;

        request.Logits = new float[config.VocabularySize];
        using var logits = decoder.Logits(hidden);
        TensorMemory.Read(logits, request.Logits);
        request.TryMove(RequestState.Reading, RequestState.Answering);
        _answering.Add(request);
        Sample(request);
    }

    // One token of every answer, those with a common beginning beside each other.
    private void Decode()
    {
        var start = Stopwatch.GetTimestamp();
        var all = CanAnswer().ToList();
        all.Sort((a, b) => AttentionPlan.Compare(a.Sequence, b.Sequence));
        foreach (var some in all.Chunk(HostMath.FewRows))
        {
            DecodeSome(some);
        }

        _owed -= Stopwatch.GetElapsedTime(start);
    }

    private void DecodeSome(Request[] some)
    {
        var ready = new List<Request>();
        foreach (var request in some)
        {
            if (TryReserve(request))
            {
                ready.Add(request);
            }
        }

        ready.RemoveAll(r => r.State != RequestState.Answering); // paused, so that others have room
        if (ready.Count == 0)
        {
            return;
        }

        try
        {
            int[] tokens = [.. ready.Select(r => r.NextToken)];
            using var scope = TorchSharp.torch.NewDisposeScope();
            var hidden = decoder.Forward(Batch.Decode([.. ready.Select(r => r.Sequence)], tokens), attention, WorkMeter.None);
            var logits = decoder.Logits(hidden);
            for (var i = 0; i < ready.Count; i++)
            {
                ready[i].Sequence.Commit(tokens.AsSpan(i, 1));
                TensorMemory.Read(logits.narrow(0, i, 1), ready[i].Logits);
            }
        }
        catch (Exception e)
        {
            Fail(ready, e);
            return;
        }

        ready.ForEach(Sample);
    }

    private void Sample(Request request)
    {
        try
        {
            var step = request.Generator!.Next(request.Logits, request.Sequence);
            request.NextToken = step.TokenId;
            request.Tell(step);
            if (step.FinishReason is not null)
            {
                End(request, null);
            }
        }
        catch (Exception e)
        {
            End(request, e);
        }
    }

    // Room for one more token. Where there is none, the youngest answer makes it, and is read again later.
    private bool TryReserve(Request request)
    {
        var sequence = request.Sequence;
        var wanted = attention.Pool.BlocksFor(sequence.Length + 1L);
        while (request.State == RequestState.Answering)
        {
            // What others were promised is not taken, even while they have not needed it yet.
            if (wanted <= request.Reserved || Missing(request, wanted) <= FreeBlocks())
            {
                request.Reserved = Math.Max(request.Reserved, wanted);
                sequence.Reserve(1);
                return true;
            }

            if (_answering.Count + _reading.Count == 1 && Stopwatch.GetElapsedTime(_lastEnd) >= Grace)
            {
                End(request, NoRoom(request, wanted));
                return false;
            }

            Pause(_answering.MaxBy(r => r.Number)!);
        }

        return false;
    }

    private void Pause(Request request)
    {
        var (sequence, start) = (request.Sequence, request.Start);
        var tokens = new int[sequence.Length - start + 1];
        sequence.CopyTo(start, tokens.AsSpan(0, tokens.Length - 1));
        tokens[^1] = request.NextToken; // told, and not computed yet
        sequence.Truncate(start);
        (request.Prompt, request.Done, request.Work) = (tokens, 0, 0);
        _answering.Remove(request);
        request.TryMove(RequestState.Answering, RequestState.Waiting);
        _waiting.Add(request);
    }

    private void End(Request request, Exception? error)
    {
        _reading.Remove(request);
        _answering.Remove(request);
        (_lookAgain, _lastEnd) = (true, Stopwatch.GetTimestamp());
        request.End(error);
    }

    private void Fail(IReadOnlyList<Request> requests, Exception error)
    {
        attention.Reset();
        foreach (var request in requests)
        {
            request.Sequence.Truncate(request.Sequence.Length); // what was reserved for the step
            End(request, error is OperationCanceledException ? request.CancelReason : MemoryFault.Explain(error, plan) ?? error);
        }
    }

    private static PrefillProgress Progress(Request request, double fraction = 0) =>
        new(request.Prompt.Length - request.Reused, fraction, request.Times.Begun == 0 ? TimeSpan.Zero : Stopwatch.GetElapsedTime(request.Times.Begun) - request.GivenAway);

    private enum Admission
    {
        /// <summary>It begins, or is over.</summary>
        Done,

        /// <summary>Its beginning is being read for another one, or its reader lags.</summary>
        Later,

        /// <summary>There is no room for it.</summary>
        NoRoom,
    }
}
