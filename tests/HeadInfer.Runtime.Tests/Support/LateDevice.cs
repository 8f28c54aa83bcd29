using System.Collections.Concurrent;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>A device whose copies really are late: each direction has a thread of its own that dawdles at random.</summary>
/// <remarks>It computes as the CPU does, and runs what a GPU would: staging, rings, fences. The computing thread blocks where a GPU's queue would wait.</remarks>
internal sealed class LateDevice : CpuDevice
{
    private readonly Dictionary<WorkQueue, Worker> _workers;

    public LateDevice(int seed, TimeSpan longest) =>
        _workers = new[] { WorkQueue.Upload, WorkQueue.Download }.ToDictionary(q => q, q => new Worker(new Random(seed + (int)q), longest));

    /// <summary>Without waits, copies and computation must be seen to collide.</summary>
    public bool IgnoreWaits { get; init; }

    /// <summary>Whether pinning overwrites memory, as a GPU's does where it touches pages: what is to stay there is written afterwards.</summary>
    public bool OverwritesPinned { get; init; }

    /// <summary>Copies of rows to the device so far.</summary>
    public long Uploads { get; private set; }

    public override bool IsAsynchronous => true;

    public override unsafe IDisposable? Pin(nint address, long bytes)
    {
        if (OverwritesPinned)
        {
            new Span<byte>((void*)address, checked((int)bytes)).Clear();
        }

        return base.Pin(address, bytes);
    }

    public override Fence CreateFence() => new LateFence();

    public override void Record(WorkQueue queue, Fence fence)
    {
        var done = ((LateFence)fence).Begin();
        if (queue == WorkQueue.Compute)
        {
            done.Set(); // the computing thread has done all that it was told
        }
        else
        {
            _workers[queue].Add(done.Set);
        }
    }

    public override void Wait(WorkQueue queue, Fence fence)
    {
        if (IgnoreWaits)
        {
            return;
        }

        var done = ((LateFence)fence).Current;
        if (queue == WorkQueue.Compute)
        {
            done.Wait();
        }
        else
        {
            _workers[queue].Add(done.Wait);
        }
    }

    public override void Block(Fence fence) => ((LateFence)fence).Current.Wait();

    public override void Drain()
    {
        foreach (var worker in _workers.Values)
        {
            using var done = new ManualResetEventSlim();
            worker.Add(done.Set);
            done.Wait();
        }
    }

    public override void Dispose()
    {
        foreach (var worker in _workers.Values)
        {
            worker.Dispose();
        }

        base.Dispose();
    }

    protected override void CopyWeights(Tensor from, Tensor to)
    {
        var (host, device) = (from.alias().DetachFromDisposeScope(), to.alias().DetachFromDisposeScope());
        _workers[WorkQueue.Upload].Add(() =>
        {
            using (host)
            using (device)
            {
                base.CopyWeights(host, device);
            }
        }, late: true);
    }

    protected override void CopyRows(Tensor run, Tensor rows, int at, WorkQueue direction)
    {
        Uploads += direction == WorkQueue.Upload ? 1 : 0;
        var (pages, device) = (run.alias().DetachFromDisposeScope(), rows.alias().DetachFromDisposeScope());
        _workers[direction].Add(() =>
        {
            using (pages)
            using (device)
            {
                base.CopyRows(pages, device, at, direction);
            }
        }, late: true);
    }

    private sealed class LateFence : Fence
    {
        public ManualResetEventSlim Current { get; private set; } = new(true);

        // Whoever waits for the fence as it was still waits for that.
        public ManualResetEventSlim Begin() => Current = new ManualResetEventSlim();

        public override void Dispose()
        {
        }
    }

    private sealed class Worker : IDisposable
    {
        private readonly BlockingCollection<(Action Work, bool Late)> _work = [];
        private readonly Thread _thread;

        public Worker(Random random, TimeSpan longest)
        {
            _thread = new Thread(() =>
            {
                using var inference = inference_mode();
                foreach (var (work, late) in _work.GetConsumingEnumerable())
                {
                    if (late && random.Next(4) == 0)
                    {
                        Thread.Sleep(longest * random.NextDouble());
                    }

                    work();
                }
            });
            _thread.Start();
        }

        public void Add(Action work, bool late = false) => _work.Add((work, late));

        public void Dispose()
        {
            _work.CompleteAdding();
            _thread.Join();
            _work.Dispose();
        }
    }
}
