using System.Collections.Concurrent;
using HeadInfer.Runtime.Native;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>A link whose copies really are late: each direction has a thread of its own that dawdles at random.</summary>
/// <remarks>On the CPU it runs what a GPU would: staging, rings, fences. The computing thread blocks where a GPU's queue would wait.</remarks>
internal sealed class LateLink : KvLink
{
    private readonly Dictionary<LinkQueue, Worker> _workers;

    public LateLink(int seed, TimeSpan longest) =>
        _workers = new[] { LinkQueue.Upload, LinkQueue.Download }.ToDictionary(q => q, q => new Worker(new Random(seed + (int)q), longest));

    /// <summary>Without waits, copies and computation must be seen to collide.</summary>
    public bool IgnoreWaits { get; init; }

    public override Device Device => CPU;

    public override bool IsAsynchronous => true;

    public override Fence CreateFence() => new LateFence();

    public override void Record(LinkQueue queue, Fence fence)
    {
        var done = ((LateFence)fence).Begin();
        if (queue == LinkQueue.Compute)
        {
            done.Set(); // the computing thread has done all that it was told
        }
        else
        {
            _workers[queue].Add(done.Set);
        }
    }

    public override void Wait(LinkQueue queue, Fence fence)
    {
        if (IgnoreWaits)
        {
            return;
        }

        var done = ((LateFence)fence).Current;
        if (queue == LinkQueue.Compute)
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

    public override IDisposable? Pin(nint address, long bytes) => null;

    public override void Dispose()
    {
        foreach (var worker in _workers.Values)
        {
            worker.Dispose();
        }
    }

    protected override void CopyRows(Tensor run, Tensor rows, int at, LinkQueue direction)
    {
        var (pages, device) = (run.alias().DetachFromDisposeScope(), rows.alias().DetachFromDisposeScope());
        _workers[direction].Add(() =>
        {
            using (pages)
            using (device)
            {
                HostLink.Copy(pages, device, at, direction);
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
