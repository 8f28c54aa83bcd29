using System.Diagnostics;
using System.Threading.Channels;
using HeadInfer.Runtime.Generation;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Requests;

internal enum RequestState
{
    /// <summary>Holds nothing but what its sequence had. Its caller may take it back.</summary>
    Waiting,

    /// <summary>Its prompt is being read.</summary>
    Reading,

    /// <summary>Its answer is being generated.</summary>
    Answering,

    /// <summary>Over; the engine touches it no more.</summary>
    Ended,
}

/// <summary>What the engine tells of a request.</summary>
/// <param name="Progress">how far the reading is, or the place in the queue; null if it is a step</param>
/// <param name="Step">a step of the answer</param>
internal readonly record struct RequestEvent(PrefillProgress? Progress, GenerationStep Step);

/// <summary>Tokens to read after those of a sequence, and perhaps an answer to generate.</summary>
/// <remarks>
/// What is told goes through a channel, so that the engine never calls its callers and never waits for them. A reader that
/// lags stops its own answer alone: the engine computes no further than <see cref="Buffered"/> steps ahead of it.
/// </remarks>
internal sealed class Request(Sequence sequence, int[] prompt, IGenerator? generator, int? maxTokens)
{
    /// <summary>Steps that may wait for their reader before nothing more is computed; those that one pass gives come on top.</summary>
    public const int Buffered = 48;

    private readonly Channel<RequestEvent> _events = Channel.CreateUnbounded<RequestEvent>(new UnboundedChannelOptions { SingleReader = true });
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _state;
    private int _unread;
    private int _toldProgress;
    private Action? _leaveQueue;

    public Sequence Sequence => sequence;

    /// <summary>Null where nothing is to be generated.</summary>
    public IGenerator? Generator => generator;

    /// <summary>Tokens to read after those that the sequence has. Grows by an answer that must be read again.</summary>
    public int[] Prompt { get; private set; } = prompt;

    /// <summary>Tokens of the answer, after the prompt, for which room is reserved; null lets it grow as long as there is room.</summary>
    public int? MaxTokens { get; private set; } = maxTokens;

    /// <summary>Requests with a higher one go first.</summary>
    public int Priority { get; init; }

    /// <summary>When the first token must be there at the latest.</summary>
    public DateTimeOffset? Deadline { get; init; }

    /// <summary>Given the residual stream of every token of the prompt instead of the last one's logits. On the engine's thread.</summary>
    public Action<TorchSharp.torch.Tensor>? EveryToken { get; init; }

    /// <summary>Tokens that the sequence had before.</summary>
    public int Start { get; private set; } = sequence.Length;

    /// <summary>Ends the work under way.</summary>
    public CancellationTokenSource Cancelled { get; } = new();

    /// <summary>What its caller is told when it is cancelled.</summary>
    public Exception CancelReason { get; private set; } = new OperationCanceledException();

    /// <summary>In which order requests came.</summary>
    public long Number { get; set; }

    /// <summary>Tokens of the prompt that were known, and need not be read.</summary>
    public int Reused { get; set; }

    /// <summary>Tokens at the prompt's beginning that its caller did not ask for: they had been read, and made room for others.</summary>
    public int Lost { get; set; }

    /// <summary>Of what the caller asked for, the tokens that were known when its reading began, and whether what is known goes on otherwise after them.</summary>
    public (int Reused, bool Diverged) Found { get; private set; }

    /// <summary>Tokens of the prompt that the sequence has by now.</summary>
    public int Done { get; set; }

    /// <summary>Share of the prefill's work that is done, 0 to 1.</summary>
    public double Work { get; set; }

    /// <summary>Whether a forward pass reads its prompt right now.</summary>
    public bool IsInPass { get; set; }

    /// <summary>Blocks that the sequence may come to have.</summary>
    public int Reserved { get; set; }

    /// <summary>Seconds of prefill that were given to it; who has had least goes first.</summary>
    public double Served { get; set; }

    /// <summary>When it began to wait, and when its reading began, as <see cref="System.Diagnostics.Stopwatch.GetTimestamp"/>.</summary>
    public (long Asked, long Begun) Times { get; set; }

    /// <summary>Time that others computed while it was suspended.</summary>
    public TimeSpan GivenAway { get; set; }

    /// <summary>The token that its next step computes.</summary>
    public int NextToken { get; set; }

    /// <summary>Tokens of the answer that were guessed and computed.</summary>
    public int Drafted { get; set; }

    /// <summary>Those of them that came.</summary>
    public int Accepted { get; set; }

    /// <summary>[vocabulary] after the last token.</summary>
    public float[] Logits { get; set; } = [];

    /// <summary>Whether its answer has begun. If it waits or is read all the same, it was paused.</summary>
    public bool HasAnswered => Logits.Length > 0;

    public RequestState State => (RequestState)Volatile.Read(ref _state);

    /// <summary>Whether the reader lags so far behind that nothing more is computed for it.</summary>
    public bool IsStalled => Volatile.Read(ref _unread) >= Buffered;

    /// <summary>Done when the engine lets go of the sequence, whatever came of it.</summary>
    public Task Ended => _ended.Task;

    /// <summary>What is told, in order; ends when the request has.</summary>
    public ChannelReader<RequestEvent> Events => _events.Reader;

    /// <summary>What the scheduler knows of it.</summary>
    public Candidate Describe() => new(Priority, Deadline, Served, Number, Prompt.Length - Done);

    /// <summary>How far the reading is.</summary>
    /// <param name="fraction">share of its work</param>
    public PrefillProgress Progress(double fraction = 0) =>
        new(Prompt.Length - Reused, fraction, Times.Begun == 0 ? TimeSpan.Zero : Stopwatch.GetElapsedTime(Times.Begun) - GivenAway);

    /// <summary>What the sequence has, and what of the prompt it is to get.</summary>
    public int[] AllTokens()
    {
        var length = sequence.Length;
        var tokens = new int[length + Prompt.Length - Done];
        sequence.CopyTo(0, tokens.AsSpan(0, length));
        Prompt.AsSpan(Done).CopyTo(tokens.AsSpan(length));
        return tokens;
    }

    /// <summary>Says that reading begins after the tokens that are known.</summary>
    public void BeginAfterKnown()
    {
        Reused = Done;
        if (!HasAnswered) // else it is read again, with what was generated
        {
            Found = (Math.Max(0, Done - Lost), sequence.Diverged);
        }
    }

    /// <summary>Makes the tokens that were told part of what is to be read, as the sequence is given up.</summary>
    public void ReadAgain()
    {
        var tokens = new int[sequence.Length - Start + 1];
        sequence.CopyTo(Start, tokens.AsSpan(0, tokens.Length - 1));
        tokens[^1] = NextToken; // told, and not computed yet
        MaxTokens -= tokens.Length - Prompt.Length;
        (Prompt, Done, Work) = (tokens, 0, 0);
        sequence.Truncate(Start);
    }

    /// <summary>Makes the sequence's last tokens part of what is to be read: what is remembered of them has made room for others.</summary>
    /// <param name="length">of the sequence from now on</param>
    public void GoBack(int length)
    {
        var again = new int[Start - length];
        sequence.CopyTo(length, again);
        (Prompt, Lost, Start) = ([.. again, .. Prompt], Lost + (HasAnswered ? 0 : again.Length), length);
        sequence.Truncate(length);
    }

    /// <summary>Moves on from a state; false if it is another one.</summary>
    public bool TryMove(RequestState from, RequestState to) => Interlocked.CompareExchange(ref _state, (int)to, (int)from) == (int)from;

    /// <summary>Takes a place in the queue, which the request has until it is first admitted, or ends.</summary>
    /// <param name="leave">gives the place back; called once, from any thread</param>
    public void EnterQueue(Action leave) => _leaveQueue = leave;

    /// <summary>Gives back the place in the queue, if the request still has one.</summary>
    public void LeaveQueue() => Interlocked.Exchange(ref _leaveQueue, null)?.Invoke();

    public void Tell(GenerationStep step)
    {
        Interlocked.Increment(ref _unread);
        _events.Writer.TryWrite(new RequestEvent(null, step));
    }

    /// <summary>Tells progress. What is neither the beginning of the reading nor its end is left out as long as what was told before is unread.</summary>
    public void Tell(PrefillProgress progress)
    {
        if (Interlocked.Exchange(ref _toldProgress, 1) == 0 || (progress.Place == 0 && progress.Fraction is 0 or 1))
        {
            _events.Writer.TryWrite(new RequestEvent(progress, default));
        }
    }

    /// <summary>Says that an event was read.</summary>
    /// <returns>whether the engine had stopped for this reader</returns>
    public bool Read(RequestEvent told)
    {
        if (told.Progress is not null)
        {
            Volatile.Write(ref _toldProgress, 0);
            return false;
        }

        return Interlocked.Decrement(ref _unread) == Buffered - 1;
    }

    /// <param name="error">why; null if it is done</param>
    public void End(Exception? error)
    {
        Volatile.Write(ref _state, (int)RequestState.Ended);
        LeaveQueue();
        _events.Writer.TryComplete(error);
        _ended.TrySetResult();
    }

    /// <summary>Takes the request back: at once while it waits, else as soon as the engine lets go of it.</summary>
    public void Cancel(Exception reason)
    {
        CancelReason = reason;
        Cancelled.Cancel();
        if (TryMove(RequestState.Waiting, RequestState.Ended))
        {
            End(reason);
        }
    }
}
