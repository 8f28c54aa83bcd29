using HeadInfer.Runtime;

namespace HeadInfer.Soak;

/// <summary>Ends one request as its fate says, from another thread where others would.</summary>
internal sealed class Act : IAsyncDisposable
{
    private readonly HeadInferSession _session;
    private readonly Tally _tally;
    private readonly CancellationTokenSource _cancel = new();
    private readonly TimeSpan _after;
    private readonly int _throwAt;
    private Task _other = Task.CompletedTask;
    private bool _begun;
    private int _told;

    public Act(HeadInferSession session, Fate fate, Random random, Tally tally)
    {
        (_session, Fate, _throwAt, _tally) = (session, fate, random.Next(1, 4), tally);
        _after = TimeSpan.FromMilliseconds(random.Next(4) == 0 ? 0 : 30 * random.NextDouble());
        Deadline = fate == Fate.Deadline ? DateTimeOffset.UtcNow + (_after - TimeSpan.FromMilliseconds(2)) : null;
        Progress = fate == Fate.ThrowFromProgress || random.Next(4) == 0 ? new Told(this) : null;
    }

    public Fate Fate { get; }

    public CancellationToken Token => _cancel.Token;

    public DateTimeOffset? Deadline { get; }

    public IProgress<PrefillProgress>? Progress { get; }

    /// <summary>Whether the session may be disposed meanwhile.</summary>
    public bool MayDispose => Fate is Fate.Dispose or Fate.DisposeAsync;

    /// <summary>Says that an operation begins.</summary>
    public void Begin()
    {
        if (!_begun)
        {
            _begun = true;
            _other = Fate switch
            {
                Fate.Cancel => AfterAsync(_cancel.CancelAsync),
                Fate.Dispose => AfterAsync(() =>
                {
                    _session.Dispose();
                    return Task.CompletedTask;
                }),
                Fate.DisposeAsync => AfterAsync(() => _session.DisposeAsync().AsTask()),
                Fate.Intrude => AfterAsync(Intrude),
                _ => Task.CompletedTask,
            };
        }
    }

    /// <summary>Whether an error is one that the request asked for. A full queue and full memory may come to everybody.</summary>
    public bool Expects(Exception e) => e switch
    {
        QueueFullException or MemoryBudgetException => true,
        OperationCanceledException => Fate == Fate.Cancel,
        ObjectDisposedException => MayDispose,
        TimeoutException => Fate == Fate.Deadline,
        CallbackException => Fate == Fate.ThrowFromProgress,
        InvalidOperationException => Fate == Fate.Intrude,
        _ => false,
    };

    /// <summary>Waits for what was done from elsewhere.</summary>
    public async ValueTask DisposeAsync()
    {
        try
        {
            await _other;
        }
        catch (Exception e)
        {
            _tally.Fault($"{Fate} from another thread: {e}");
        }

        _cancel.Dispose();
    }

    private Task AfterAsync(Func<Task> action) => Task.Run(async () =>
    {
        await Task.Delay(_after);
        await action();
    });

    // Two at once are refused; whoever comes first has the session.
    private Task Intrude()
    {
        try
        {
            _session.Fork().Dispose();
        }
        catch (Exception e) when (e is InvalidOperationException or ObjectDisposedException)
        {
        }

        return Task.CompletedTask;
    }

    private sealed class Told(Act act) : IProgress<PrefillProgress>
    {
        public void Report(PrefillProgress value)
        {
            if (++act._told == act._throwAt && act.Fate == Fate.ThrowFromProgress)
            {
                throw new CallbackException();
            }
        }
    }
}
