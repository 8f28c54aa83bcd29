using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Requests;

/// <summary>Who waits, who has begun, and which memory each of them was promised.</summary>
/// <param name="pool">the memory</param>
/// <param name="longest">tokens that a sequence may have</param>
/// <param name="most">requests that may wait; answers that are paused wait outside of that number</param>
/// <param name="wake">says that somebody has come</param>
/// <param name="mostBegun">requests that may be read and answered at once</param>
/// <remarks>All of it but <see cref="Submit"/> runs on the engine's thread.</remarks>
internal sealed class Admissions(BlockPool pool, int longest, int most, Action wake, int mostBegun = int.MaxValue)
{
    private static readonly TimeSpan Grace = TimeSpan.FromMilliseconds(500);

    private readonly ConcurrentQueue<Request> _arrived = [];
    private readonly List<Request> _waiting = []; // in the order of their turn
    private long _lastEnd;
    private long _numbers;
    private int _queued;
    private bool _lookAgain; // whether somebody may be admitted who could not before

    /// <summary>Tells deadlines.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Those whose prompts are being read.</summary>
    public List<Request> Reading { get; } = [];

    /// <summary>Those whose answers are being generated.</summary>
    public List<Request> Answering { get; } = [];

    public bool HasArrived => !_arrived.IsEmpty;

    public bool HasWaiting => _waiting.Count > 0;

    /// <summary>Puts a request into the queue. From any thread.</summary>
    /// <exception cref="QueueFullException">Too many wait already.</exception>
    public void Submit(Request request)
    {
        if (Interlocked.Increment(ref _queued) > most)
        {
            Interlocked.Decrement(ref _queued);
            throw new QueueFullException(string.Create(CultureInfo.InvariantCulture, $"{most:N0} requests wait for this model already, as many as HeadInferOptions.MaxQueuedRequests allows. Try again later, or raise it."));
        }

        request.EnterQueue(() => Interlocked.Decrement(ref _queued));
        request.Times = (Stopwatch.GetTimestamp(), 0);
        _arrived.Enqueue(request);
        wake();
    }

    /// <summary>New requests come in, cancelled and late ones go out, and those for whom there is room begin.</summary>
    /// <param name="suspended">whose prefill is under way: it is left alone, and sees for itself that it was cancelled; null if none is</param>
    public void Collect(Request? suspended)
    {
        while (_arrived.TryDequeue(out var request))
        {
            request.Number = ++_numbers;
            request.Served = Reading.Count > 0 ? Reading.Min(r => r.Served) : 0; // no claim on time before it came
            _waiting.Add(request);
            _lookAgain = true;
        }

        _waiting.RemoveAll(r => r.State == RequestState.Ended);
        foreach (var request in _waiting.Concat(Reading).Concat(Answering).Where(r => r.Cancelled.IsCancellationRequested && r != suspended).ToList())
        {
            _waiting.Remove(request); // cancelled at the moment in which it came to wait, else it had ended itself
            End(request, request.CancelReason);
        }

        var now = Clock.GetUtcNow();
        foreach (var request in _waiting.Concat(Reading).Where(r => !r.HasAnswered && r.Deadline <= now && r != suspended).ToList())
        {
            _waiting.Remove(request);
            End(request, new TimeoutException("The request's deadline (GenerationOptions.Deadline) passed before its first token."));
        }

        // Also when a reader has caught up, or lags so that its answer may give way.
        if (_lookAgain || _waiting.Exists(r => r.HasAnswered && !r.IsStalled) || (_waiting.Count > 0 && Answering.Exists(r => r.IsStalled)))
        {
            _lookAgain = false;
            Admit();
        }
    }

    private void Admit()
    {
        _waiting.Sort((a, b) => Scheduler.Compare(a.Describe(), b.Describe()));
        for (var i = 0; i < _waiting.Count;)
        {
            var request = _waiting[i];
            var admission = request.IsStalled ? Admission.Later : TryAdmit(request);
            if (admission is Admission.NoRoom && Answering.Where(r => r.IsStalled).MaxBy(r => r.Number) is { } stalled)
            {
                Pause(stalled); // nobody reads its answer, so it need not hold what others want
                continue;
            }

            if (admission is Admission.NoRoom && (Reading.Count + Answering.Count > 0 || Stopwatch.GetElapsedTime(_lastEnd) < Grace))
            {
                _lookAgain |= Reading.Count + Answering.Count == 0; // whoever has just ended may be about to give blocks back
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
            _waiting[i].Tell(_waiting[i].Progress() with { Place = i + 1 });
        }
    }

    private Admission TryAdmit(Request request)
    {
        if (!request.TryMove(RequestState.Waiting, RequestState.Reading))
        {
            return Admission.Done; // its caller took it back
        }

        var sequence = request.Sequence;
        if (sequence.Settled(sequence.Length) is var settled && settled < sequence.Length)
        {
            request.GoBack(settled);
        }

        request.Done = request.EveryToken is null ? sequence.Adopt(request.Prompt) : 0;
        var full = Reading.Count + Answering.Count >= mostBegun;
        var admission = ReadsForIt(request) ? Admission.Later : full ? Admission.NoRoom : Missing(request, Wanted(request)) <= FreeBlocks() ? Admission.Done : Admission.NoRoom;
        var whole = sequence.Length - (sequence.Length % pool.BlockTokens);
        if (admission is Admission.NoRoom && !full && request.Done > 0 && whole >= request.Start && sequence.Settled(whole) == whole)
        {
            sequence.Truncate(whole); // a shared block that must be copied takes room twice
            request.Done = whole - request.Start;
            admission = Missing(request, Wanted(request)) <= FreeBlocks() ? Admission.Done : Admission.NoRoom;
        }

        if (admission is Admission.Done)
        {
            request.LeaveQueue();
            if (!TryRemember(request))
            {
                return admission;
            }

            request.BeginAfterKnown();
            request.Reserved = Wanted(request);
            request.Times = (request.Times.Asked, Stopwatch.GetTimestamp());
            Reading.Add(request);
            request.Tell(request.Progress());
            return admission;
        }

        sequence.Truncate(request.Start);
        request.Done = 0;
        return request.TryMove(RequestState.Reading, RequestState.Waiting) ? admission : Admission.Done;
    }

    // What is remembered of its tokens is its own from now on: others may put theirs in its place.
    private bool TryRemember(Request request)
    {
        try
        {
            if (pool.HasStates)
            {
                request.Sequence.Remember();
            }

            return true;
        }
        catch (Exception e)
        {
            End(request, e);
            return false;
        }
    }

    /// <summary>Takes what others have read of a prompt since the request was admitted, to the token. Before its first piece is read.</summary>
    /// <remarks>
    /// Nobody waits for it, so it is worth having however little it is. Whole blocks that are being read are worth waiting
    /// for: see <see cref="ReadsForIt"/>.
    /// </remarks>
    public void LookAgain(Request request)
    {
        // The last block of what is taken may be one that nobody had, and may have to be copied: two more than were promised.
        if (request.EveryToken is not null || request.Done != request.Reused || FreeBlocks() < 2)
        {
            return;
        }

        var more = request.Sequence.Adopt(request.Prompt.AsSpan(request.Done));
        if (more > 0 && pool.HasStates)
        {
            request.Sequence.Remember();
        }

        request.Done += more;
        request.BeginAfterKnown();
    }

    // Blocks of the prompt and of the answer that was asked for.
    private int Wanted(Request request) =>
        pool.BlocksFor(Math.Min((long)request.Start + request.Prompt.Length + Math.Min(request.MaxTokens ?? 1, longest), longest));

    // Of so many blocks those that its sequence does not have, and one where a shared block must be copied.
    private static int Missing(Request request, int wanted) => Math.Max(0, wanted - request.Sequence.Blocks.Count) + (request.Sequence.TryClaimTail() ? 0 : 1);

    // Blocks that nobody has and nobody was promised.
    private int FreeBlocks() => pool.Count.Free - Reading.Concat(Answering).Sum(r => Missing(r, r.Reserved));

    private MemoryBudgetException NoRoom(Request request, int wanted)
    {
        var (block, most) = (pool.BlockSize, pool.MostBlocks);
        return new MemoryBudgetException(string.Create(CultureInfo.InvariantCulture,
            $"Prompt and MaxTokens need {block * Missing(request, wanted)} more of KV cache; {block * Math.Max(0, FreeBlocks())} of {block * most} are free, and the rest is held by sessions that do nothing now. Dispose sessions, raise HeadInferOptions.HostMemory, or ask for fewer tokens."));
    }

    // Whether more of the prompt than is known is being read for another request right now.
    private bool ReadsForIt(Request request)
    {
        if (request.EveryToken is not null || Reading.Count == 0)
        {
            return false;
        }

        var own = request.AllTokens();
        return Reading.Exists(r => r.Sequence.Key == request.Sequence.Key && r.EveryToken is null
            && own.AsSpan(0, own.Length - 1).CommonPrefixLength(r.AllTokens()) - request.Sequence.Length >= pool.BlockTokens);
    }

    /// <summary>Says that a prompt is read, and its answer begins.</summary>
    public void BeginAnswer(Request request)
    {
        Reading.Remove(request);
        request.TryMove(RequestState.Reading, RequestState.Answering);
        Answering.Add(request);
        _lookAgain = true;
    }

    /// <summary>Takes room for one more token. Where there is none, the youngest of the answers that were promised none makes it, and is read again later.</summary>
    /// <returns>whether the answer can take a step</returns>
    public bool TryReserve(Request request)
    {
        var sequence = request.Sequence;
        var wanted = pool.BlocksFor(sequence.Length + 1L);
        while (request.State == RequestState.Answering)
        {
            // What others were promised is not taken, even while they have not needed it yet.
            if (wanted <= request.Reserved || Missing(request, wanted) <= FreeBlocks())
            {
                request.Reserved = Math.Max(request.Reserved, wanted);
                sequence.Reserve(1);
                return true;
            }

            if (Answering.Count + Reading.Count == 1 && Stopwatch.GetElapsedTime(_lastEnd) >= Grace)
            {
                End(request, NoRoom(request, wanted));
                return false;
            }

            Pause(Answering.Where(r => r == request || r.MaxTokens is null).MaxBy(r => r.Number)!);
        }

        return false;
    }

    /// <summary>Takes room for guessed tokens behind the next one, if nobody was promised it.</summary>
    public bool TryReserveDraft(Request request, int tokens)
    {
        var wanted = pool.BlocksFor(request.Sequence.Length + 1L + tokens);
        if (wanted > request.Reserved && Missing(request, wanted) > FreeBlocks())
        {
            return false;
        }

        request.Reserved = Math.Max(request.Reserved, wanted);
        request.Sequence.Reserve(1 + tokens);
        return true;
    }

    private void Pause(Request request)
    {
        request.Sequence.Park();
        request.ReadAgain();
        Answering.Remove(request);
        request.TryMove(RequestState.Answering, RequestState.Waiting);
        _waiting.Add(request);
    }

    /// <summary>Ends a request that had begun.</summary>
    /// <param name="error">why; null if it is done</param>
    public void End(Request request, Exception? error)
    {
        Reading.Remove(request);
        Answering.Remove(request);
        (_lookAgain, _lastEnd) = (true, Stopwatch.GetTimestamp());
        request.Sequence.Park();
        request.End(error);
    }

    public void EndAll(Exception reason)
    {
        while (_arrived.TryDequeue(out var request))
        {
            _waiting.Add(request);
        }

        foreach (var request in (Request[])[.. _waiting, .. Reading, .. Answering])
        {
            request.End(reason);
        }

        _waiting.Clear();
        Reading.Clear();
        Answering.Clear();
    }

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
