using System.Collections.Concurrent;
using System.Diagnostics;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>What the host attends of a layer: some heads, each for itself.</summary>
internal sealed class HostJob
{
    /// <summary>Tokens of a split: fewer are joined than on a device that needs many of them.</summary>
    public const int SplitTokens = 2 * RowKernels.SplitTokens;

    private readonly List<AttentionWork> _works = [];

    /// <summary>Heads of the layer.</summary>
    public HeadShape Heads { get; set; }

    /// <summary>Rows of the step.</summary>
    public int Rows { get; set; }

    /// <summary>In which order jobs come.</summary>
    public uint Number { get; set; }

    public IEnumerable<AttentionWork> Works => _works.Take(Count);

    private int Count { get; set; }

    /// <summary>Work for some more heads, empty.</summary>
    public AttentionWork Add(int firstHead, int heads)
    {
        if (Count == _works.Count)
        {
            _works.Add(new AttentionWork());
        }

        var work = _works[Count++];
        work.Clear();
        (work.FirstHead, work.Heads, work.SplitTokens) = (firstHead, heads, SplitTokens);
        return work;
    }

    public void Clear() => Count = 0;
}

/// <summary>Attention of some heads by the CPU, where their keys lie, while the device attends others and fetches the next.</summary>
/// <remarks>
/// A step's layers are queued ahead. The device writes a layer's queries and then the job's number to host memory; a thread
/// waits for that number, attends with its team, and writes results and then the number, for which the device waits before it
/// goes on. So one place for queries and one for results are enough: a layer asks only when the one before has its answer.
/// The number is written whatever happens, so that the device never waits for ever. A failure is kept for <see cref="Check"/>.
///
/// The engine's thread calls everything but what says otherwise. Threads are made with the first job.
/// </remarks>
internal sealed unsafe class HostParts : IDisposable
{
    private const int SpinsBeforeYield = 1 << 14; // some hundred microseconds
    private const int FlagStride = 32;            // numbers, so that both lie in lines of their own

    private readonly RowTraits _traits;
    private readonly HostTeam _team;
    private readonly HostAttention _attention;
    private readonly Tensor _memory;
    private readonly IDisposable? _pin;
    private readonly ConcurrentQueue<HostJob> _jobs = [], _idle = [];
    private readonly SemaphoreSlim _added = new(0);
    private readonly uint* _flags;
    private Thread? _thread;
    private volatile Exception? _failure;
    private volatile bool _ending;
    private volatile uint _number, _dropped;
    private long _bytes, _ticks;

    /// <param name="traits">the model's heads</param>
    /// <param name="threads">that attend</param>
    /// <param name="device">asks; not owned</param>
    public HostParts(RowTraits traits, int threads, Device device)
    {
        (_traits, _team) = (traits, new HostTeam(threads, patient: true));
        _attention = new HostAttention(traits, _team);
        long rows = RowKernels.MostRows * traits.Shapes.Max(s => s.Count), queries = RowKernels.MostRows * traits.Shapes.Max(s => s.Queries);
        _memory = zeros([(2 * FlagStride) + queries + (2 * rows) + queries], ScalarType.Float32).DetachFromDisposeScope();
        _flags = (uint*)TensorMemory.Pointer(_memory);
        Queries = (nint)(_flags + (2 * FlagStride));
        Sums = Queries + (nint)(queries * sizeof(float));
        Outputs = Sums + (nint)(2 * rows * sizeof(float));
        _pin = device.Pin((nint)_flags, _memory.NumberOfElements * sizeof(float));
    }

    /// <summary>Makes one for a device.</summary>
    /// <returns>null if the device cannot see host memory, or the system refuses to lock it</returns>
    public static HostParts? TryCreate(RowTraits traits, int threads, Device device)
    {
        var parts = new HostParts(traits, threads, device);
        if (!device.HasOwnMemory || (device.WritesHostMemory && parts._pin is not null))
        {
            return parts;
        }

        parts.Dispose();
        return null;
    }

    /// <summary>[rows, heads, dim], written by the device.</summary>
    public nint Queries { get; }

    /// <summary>[rows, heads, 2]: of what was attended the largest score, and the sum of weights relative to it.</summary>
    public nint Sums { get; }

    /// <summary>[rows, heads, dim]: weighted values, not divided by the sum of weights.</summary>
    public nint Outputs { get; }

    /// <summary>Where the device writes a job's number once its queries are there.</summary>
    public nint Asked => (nint)_flags;

    /// <summary>Where a job's number stands once its results are there.</summary>
    public nint Done => (nint)(_flags + FlagStride);

    /// <summary>What was measured when the model was loaded, so that <see cref="Pace"/> can be told; null if nothing was. Set before the first job.</summary>
    public HostRates? Rates { get; set; }

    /// <summary>How fast it is now.</summary>
    public HostPace Pace { get; init; } = new();

    /// <summary>Bytes of keys and values that were attended a second of work, since the last call; zero if none were.</summary>
    public double TakeRate()
    {
        var (bytes, ticks) = (Interlocked.Exchange(ref _bytes, 0), Interlocked.Exchange(ref _ticks, 0));
        return ticks > 0 ? bytes / Stopwatch.GetElapsedTime(0, ticks).TotalSeconds : 0;
    }

    /// <summary>A job to fill in, empty.</summary>
    /// <param name="heads">of the layer</param>
    public HostJob Next(HeadShape heads)
    {
        var job = _idle.TryDequeue(out var used) ? used : new HostJob();
        job.Clear();
        job.Heads = heads;
        return job;
    }

    /// <summary>Queues a job. The device must be told to ask for it next.</summary>
    /// <returns>its number</returns>
    public uint Submit(HostJob job, int rows)
    {
        if (_thread is null)
        {
            NativeCounts.Add(NativeKind.TeamThread);
            _thread = new Thread(Work) { IsBackground = true, Name = "HeadInfer host parts" };
            _thread.Start();
        }

        (job.Rows, job.Number) = (rows, ++_number);
        _jobs.Enqueue(job);
        _added.Release();
        return job.Number;
    }

    /// <summary>Throws what went wrong in a job, once.</summary>
    public void Check()
    {
        if (_failure is { } failure)
        {
            _failure = null;
            throw new InvalidOperationException("Attention on the CPU failed.", failure);
        }
    }

    /// <summary>Forgets jobs that the device was never told to ask for, and waits for the others. The device's queues must be empty.</summary>
    public void Drop()
    {
        _dropped = _number;
        Await(_number);
        _failure = null;
    }

    /// <summary>Waits until a job's results are there; for devices that run on the caller's thread.</summary>
    public void Await(uint number)
    {
        for (var spin = default(SpinWait); !Reached(Done, number);)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }
    }

    /// <summary>Ends the threads. The device's queues must be empty.</summary>
    public void Dispose()
    {
        Drop();
        _ending = true;
        _added.Release();
        _thread?.Join(); // nothing is under way, and memory is given back below
        _team.Dispose();
        _pin?.Dispose();
        _memory.Dispose();
        _added.Dispose();
    }

    /// <summary>Writes a number for the other side to see, with all that was written before.</summary>
    public static void Raise(nint flag, uint number) => Volatile.Write(ref *(uint*)flag, number);

    private static bool Reached(nint flag, uint number) => (int)(Volatile.Read(ref *(uint*)flag) - number) >= 0;

    private void Work()
    {
        while (true)
        {
            for (var spins = 0; _jobs.IsEmpty && spins < SpinsBeforeYield; spins++)
            {
                Thread.SpinWait(8); // the next step comes soon
            }

            _added.Wait();
            if (_ending)
            {
                NativeCounts.Remove(NativeKind.TeamThread);
                return;
            }

            if (!_jobs.TryDequeue(out var job))
            {
                continue;
            }

            try
            {
                if (IsAsked(job.Number))
                {
                    Attend(job);
                }
            }
            catch (Exception e)
            {
                _failure = e;
            }

            Raise(Done, job.Number);
            _idle.Enqueue(job);
        }
    }

    // Waits for the device; false if the job was dropped.
    private bool IsAsked(uint number)
    {
        for (var spins = 0; !Reached(Asked, number); spins++)
        {
            if ((int)(_dropped - number) >= 0)
            {
                return Reached(Asked, number);
            }

            if (spins < SpinsBeforeYield)
            {
                Thread.SpinWait(8);
            }
            else
            {
                Thread.Yield();
            }
        }

        return true;
    }

    private void Attend(HostJob job)
    {
        var (start, all) = (Stopwatch.GetTimestamp(), job.Heads);
        _attention.Heads = all;
        _attention.Begin(job.Rows);
        var (bytes, expected) = (0L, 0.0);
        foreach (var work in job.Works)
        {
            _attention.Attend(job.Rows, (float*)Queries, all.Queries, work);
            var (first, heads) = (work.FirstHead * all.Shared, work.Heads * all.Shared);
            for (var row = 0; row < job.Rows; row++)
            {
                var at = (row * all.Count) + first;
                _attention.CopyPart(row, first, new Span<ScoreSum>((ScoreSum*)Sums + at, heads), new Span<float>((float*)Outputs + ((long)at * all.Dim), heads * all.Dim));
            }

            var key = 2L * work.Heads * all.Dim * DataTypes.Size(_traits.KvType);
            foreach (var span in work.Spans)
            {
                var own = key * work.Sources.GetRange(span.Source, span.Sources).Sum(s => (long)s.Count);
                (bytes, expected) = (bytes + own, expected + (Rates is { } rates ? own / rates.HostFor(span.Count) : 0));
            }
        }

        Interlocked.Add(ref _bytes, bytes);
        Interlocked.Add(ref _ticks, Stopwatch.GetTimestamp() - start);
        if (expected > 0)
        {
            Pace.Add(expected, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
    }
}
