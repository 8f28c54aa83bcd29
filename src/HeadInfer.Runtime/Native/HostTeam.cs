using static TorchSharp.torch;

namespace HeadInfer.Runtime.Native;

/// <summary>A few threads that split one short task at a time: a fork and join of about a microsecond while it is warm.</summary>
/// <remarks>
/// For kernels that are bound by memory and take tens of microseconds: the thread pool's wake-up would cost as much as
/// the work. Members spin for a moment after a task, then sleep.
/// </remarks>
internal sealed class HostTeam
{
    private const int SpinsBeforeSleep = 2_000; // some 50 microseconds

    private static readonly Dictionary<int, HostTeam> Teams = [];

    private readonly Lock _gate = new();
    private readonly SemaphoreSlim[] _wake;
    private readonly bool[] _asleep;
    private volatile Action<int>? _task;
    private volatile int _round;
    private volatile Exception? _failure;
    private int _running;

    private HostTeam(int size)
    {
        Size = size;
        _wake = [.. Enumerable.Range(0, size).Select(_ => new SemaphoreSlim(0))];
        _asleep = new bool[size];
        for (var member = 1; member < size; member++)
        {
            var number = member;
            new Thread(() => Work(number)) { IsBackground = true, Name = $"HeadInfer host {number}" }.Start();
            NativeCounts.Add(NativeKind.TeamThread);
        }
    }

    /// <summary>The team as large as libtorch's on the calling thread; made once for each size, and asleep when not needed.</summary>
    public static HostTeam Shared
    {
        get
        {
            var size = get_num_threads();
            lock (Teams)
            {
                return Teams.TryGetValue(size, out var team) ? team : Teams[size] = new HostTeam(size);
            }
        }
    }

    /// <summary>Threads of all teams that were made: those that should be alive.</summary>
    public static int SharedThreads
    {
        get
        {
            lock (Teams)
            {
                return Teams.Values.Sum(team => team.Size - 1);
            }
        }
    }

    /// <summary>How many members there are, the caller among them.</summary>
    public int Size { get; }

    /// <summary>Runs a task once for each member, with the member's number, and waits for all.</summary>
    public void Run(Action<int> task)
    {
        lock (_gate)
        {
            if (Size > 1)
            {
                _task = task;
                _running = Size - 1;
                Interlocked.Increment(ref _round); // a full fence: members see the task before the round
                for (var member = 1; member < Size; member++)
                {
                    if (Volatile.Read(ref _asleep[member]))
                    {
                        _wake[member].Release();
                    }
                }
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

    private void Work(int member)
    {
        for (var seen = 0; ;)
        {
            WaitForRound(member, seen);
            seen++;
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
            if (spins < SpinsBeforeSleep)
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
