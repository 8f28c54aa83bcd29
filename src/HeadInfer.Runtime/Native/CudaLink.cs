using static TorchSharp.torch;

namespace HeadInfer.Runtime.Native;

/// <summary>What a <see cref="CudaLink"/> took, where that was measured.</summary>
/// <param name="Copying">Time in which copies ran, both ways added.</param>
/// <param name="Exposed">Time for which the computation stood still to wait for a copy.</param>
internal readonly record struct LinkTimes(TimeSpan Copying, TimeSpan Exposed)
{
    /// <summary>Share of the copies' time that passed behind the computation, 0 to 1.</summary>
    public double Hidden => Copying > TimeSpan.Zero ? Math.Max(0, 1 - (Exposed / Copying)) : 1;
}

/// <summary>The link to a GPU: a stream of its own for each direction, beside the one libtorch computes on.</summary>
/// <param name="device">The GPU.</param>
/// <param name="warn">Told once if the system refuses to pin memory.</param>
/// <remarks>
/// Buffers that a copy stream touches are allocated once and outlive it: handed back to libtorch's allocator, their memory
/// could be given to others while a copy is still under way.
/// </remarks>
internal sealed class CudaLink(CudaDevice device, Action<string>? warn = null) : KvLink
{
    private readonly CudaStream _up = new(), _down = new();
    private readonly List<(CudaEvent Start, CudaEvent End)> _copies = [], _stalls = [];
    private int _warned;

    /// <summary>For the tests: without waits, copies and computation must be seen to collide.</summary>
    internal bool IgnoreWaits { get; init; }

    /// <summary>For the tests: as if the system refused to pin memory.</summary>
    internal bool RefusePins { get; init; }

    /// <summary>Whether copies and waits are timed, which costs two events each.</summary>
    public bool IsMeasured { get; set; }

    public override Device Device => device.Device;

    public override bool IsAsynchronous => true;

    public override Fence CreateFence() => new CudaFence();

    public override void Record(LinkQueue queue, Fence fence) => ((CudaFence)fence).Event.Record(Stream(queue));

    public override void Wait(LinkQueue queue, Fence fence)
    {
        if (IgnoreWaits)
        {
            return;
        }

        if (IsMeasured && queue == LinkQueue.Compute)
        {
            Timed(_stalls, CudaStream.Compute, () => CudaStream.Compute.Wait(((CudaFence)fence).Event));
            return;
        }

        Stream(queue).Wait(((CudaFence)fence).Event);
    }

    public override void Block(Fence fence) => ((CudaFence)fence).Event.Synchronize();

    public override void Drain() => CudaDevice.Synchronize();

    public override IDisposable? Pin(nint address, long bytes)
    {
        device.Enter();
        var error = "refused for a test";
        var pinned = RefusePins ? null : PinnedMemory.TryPin(address, bytes, out error);
        if (pinned is null && Interlocked.Exchange(ref _warned, 1) == 0)
        {
            warn?.Invoke(PinnedMemory.Explain(new ByteSize(bytes), error, OperatingSystem.IsLinux() ? File.ReadAllText("/proc/self/limits") : null, HostMemory.Free()));
        }

        return pinned;
    }

    /// <summary>Times since the last call. Waits for the queues to end.</summary>
    public LinkTimes TakeTimes()
    {
        Drain();
        return new LinkTimes(Sum(_copies), Sum(_stalls));
    }

    public override void Dispose()
    {
        _up.Dispose();
        _down.Dispose();
        Sum(_copies);
        Sum(_stalls);
    }

    protected override void CopyRows(Tensor run, Tensor rows, int at, LinkQueue direction)
    {
        var (shape, size) = (run.shape, run.ElementSize);
        var (pages, pieces, tokens, dim) = (shape[0], 2 * shape[1], shape[3], shape[4]);
        var (host, pagePitch, hostPitch) = (TensorMemory.Pointer(run), run.stride(0) * size, run.stride(2) * size);
        var (target, pitch) = (TensorMemory.Pointer(rows) + (nint)(at * dim * size), rows.stride(1) * size);
        var width = tokens * dim * size;
        void Copy()
        {
            // As few copies as the two layouts allow: whole pieces over all pages, or whole pages.
            if (pages > pieces)
            {
                for (var piece = 0L; piece < pieces; piece++)
                {
                    Copy2D(host + (nint)(piece * hostPitch), pagePitch, target + (nint)(piece * pitch), width, width, pages, direction);
                }
            }
            else
            {
                for (var page = 0L; page < pages; page++)
                {
                    Copy2D(host + (nint)(page * pagePitch), hostPitch, target + (nint)(page * width), pitch, width, pieces, direction);
                }
            }
        }

        if (IsMeasured)
        {
            Timed(_copies, Stream(direction), Copy);
        }
        else
        {
            Copy();
        }
    }

    private CudaStream Stream(LinkQueue queue) => queue switch { LinkQueue.Upload => _up, LinkQueue.Download => _down, _ => CudaStream.Compute };

    private void Copy2D(nint host, long hostPitch, nint target, long pitch, long width, long height, LinkQueue direction)
    {
        var copy = new CudaDriver.Copy2D { Width = (nuint)width, Height = (nuint)height };
        if (direction == LinkQueue.Upload)
        {
            (copy.SourceType, copy.SourceHost, copy.SourcePitch) = (CudaDriver.Copy2D.Host, host, (nuint)hostPitch);
            (copy.TargetType, copy.TargetDevice, copy.TargetPitch) = (CudaDriver.Copy2D.Device, target, (nuint)pitch);
        }
        else
        {
            (copy.SourceType, copy.SourceDevice, copy.SourcePitch) = (CudaDriver.Copy2D.Device, target, (nuint)pitch);
            (copy.TargetType, copy.TargetHost, copy.TargetPitch) = (CudaDriver.Copy2D.Host, host, (nuint)hostPitch);
        }

        CudaDriver.Check(CudaDriver.Copy2DAsync(copy, Stream(direction).Handle), "copying between host and GPU");
    }

    private static void Timed(List<(CudaEvent, CudaEvent)> times, CudaStream stream, Action action)
    {
        var (start, end) = (new CudaEvent(timing: true), new CudaEvent(timing: true));
        start.Record(stream);
        action();
        end.Record(stream);
        times.Add((start, end));
    }

    private static TimeSpan Sum(List<(CudaEvent Start, CudaEvent End)> times)
    {
        var sum = TimeSpan.Zero;
        foreach (var (start, end) in times)
        {
            sum += start.Until(end);
            start.Dispose();
            end.Dispose();
        }

        times.Clear();
        return sum;
    }

    private sealed class CudaFence : Fence
    {
        public CudaEvent Event { get; } = new();

        public override void Dispose() => Event.Dispose();
    }
}
