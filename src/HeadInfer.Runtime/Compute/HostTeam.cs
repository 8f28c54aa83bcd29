namespace HeadInfer.Runtime.Compute;

/// <summary>A few threads that split one short task at a time: a fork and join of about a microsecond while it is warm.</summary>
/// <remarks>
/// For kernels that are bound by memory and take tens of microseconds: the thread pool's wake-up would cost as much as
/// the work. Members spin for a moment after a task, then sleep. They are made when there is a first task.
/// </remarks>
internal sealed class HostTeam : IDisposable
{
    private const int SpinsBeforeSleep = 2_000, PatientSpins = 40_000; // some 50 microseconds, and a millisecond

    private readonly Lock _gate = new();
    private readonly int _spins;
    private readonly SemaphoreSlim[] _wake;
    private readonly bool[] _asleep;
    private volatile Action<int>? _task;
    private volatile int _round;
    private volatile Exception? _failure;
    private volatile bool _ending;
    private bool _begun;
    private int _running;

    /// <param name="size">members, the caller of <see cref="Run"/> among them</param>
    /// <param name="patient">whether members wait long for the next task before they sleep: where tasks come in turn with another device's</param>
    public HostTeam(int size, bool patient = false)
    {
        (Size, _spins) = (size, patient ? PatientSpins : SpinsBeforeSleep);
        _wake = [.. Enumerable.Range(0, size).Select(_ => new SemaphoreSlim(0))];
        _asleep = new bool[size];
    }

    /// <summary>How many members there are, the caller among them.</summary>
    public int Size { get; }

    /// <summary>Runs a task once for each member, with the member's number, and waits for all.</summary>
    public void Run(Action<int> task)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_ending, this);
            if (Size > 1)
            {
                Begin();
                _task = task;
                _running = Size - 1;
                NextRound();
            }

            Exception? failure;
            try
            {
                task(0);
            }
            finally
            {
                var spin = new SpinWait();
                while (Volatile.Read(ref _running) > 0)
                {
                    spin.SpinOnce(sleep1Threshold: -1);
                }

                (failure, _failure) = (_failure, null);
            }

            if (failure is not null)
            {
                throw new InvalidOperationException("A part of a kernel failed.", failure);
            }
        }
    }

    /// <summary>The share of some items that a member works on.</summary>
    public (int Start, int End) Share(int member, int items) =>
        ((int)((long)items * member / Size), (int)((long)items * (member + 1) / Size));

    /// <summary>Ends the members. Returns at once.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _ending = true;
            NextRound();
        }
    }

    private void Begin()
    {
        for (var member = 1; member < Size && !_begun; member++)
        {
            var number = member;
            NativeCounts.Add(NativeKind.TeamThread);
            new Thread(() => Work(number)) { IsBackground = true, Name = $"HeadInfer host {number}" }.Start();
        }

        _begun = true;
    }

    private void NextRound()
    {
        Interlocked.Increment(ref _round); // a full fence: members see the task before the round
        for (var member = 1; member < Size; member++)
        {
            if (Volatile.Read(ref _asleep[member]))
            {
                _wake[member].Release();
            }
        }
    }

    private void Work(int member)
    {
        for (var seen = 0; ;)
        {
            WaitForRound(member, seen);
            seen++;
            if (_ending)
            {
                NativeCounts.Remove(NativeKind.TeamThread);
                return;
            }

            try
            {
                _task!(member);
            }
            catch (Exception e)
            {
                _failure = e;
            }

            Interlocked.Decrement(ref _running);
        }
    }

    private void WaitForRound(int member, int seen)
    {
        for (var spins = 0; _round == seen; spins++)
        {
            if (spins < _spins)
            {
                Thread.SpinWait(8);
                continue;
            }

            // Asleep is said first and the round looked at again after, so that a wake-up is never missed;
            // one too many only makes the next sleep end at once.
            Volatile.Write(ref _asleep[member], true);
            Interlocked.MemoryBarrier();
            if (_round == seen)
            {
                _wake[member].Wait();
            }

            Volatile.Write(ref _asleep[member], false);
        }
    }
}
