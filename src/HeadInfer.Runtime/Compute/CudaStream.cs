namespace HeadInfer.Runtime.Compute;

/// <summary>A queue of work on the GPU that runs beside libtorch's.</summary>
internal sealed class CudaStream : IDisposable
{
    private const uint NonBlocking = 1;

    public CudaStream()
    {
        CudaDriver.Check(CudaDriver.CreateStream(out var handle, NonBlocking), "creating a stream");
        Handle = handle;
        NativeCounts.Add(NativeKind.Stream);
    }

    private CudaStream(nint handle) => Handle = handle;

    /// <summary>The stream that libtorch computes on.</summary>
    public static CudaStream Compute { get; } = new(0);

    public nint Handle { get; }

    /// <summary>Work asked for from now on runs after the event.</summary>
    public void Wait(CudaEvent recorded) => CudaDriver.Check(CudaDriver.WaitEvent(Handle, recorded.Handle, 0), "ordering streams");

    public void Synchronize() => CudaDriver.Check(CudaDriver.SynchronizeStream(Handle), "waiting for a stream");

    public void Dispose()
    {
        if (Handle != 0)
        {
            _ = CudaDriver.DestroyStream(Handle);
            NativeCounts.Remove(NativeKind.Stream);
        }
    }
}

/// <summary>A point in a stream's work. Waiting for one that was never recorded waits for nothing.</summary>
internal sealed class CudaEvent : IDisposable
{
    private const uint WithoutTiming = 2;

    public CudaEvent(bool timing = false)
    {
        CudaDriver.Check(CudaDriver.CreateEvent(out var handle, timing ? 0 : WithoutTiming), "creating an event");
        Handle = handle;
        NativeCounts.Add(NativeKind.Event);
    }

    public nint Handle { get; }

    public void Record(CudaStream stream) => CudaDriver.Check(CudaDriver.RecordEvent(Handle, stream.Handle), "recording an event");

    /// <summary>Blocks the calling thread until the event has happened.</summary>
    public void Synchronize() => CudaDriver.Check(CudaDriver.SynchronizeEvent(Handle), "waiting for the GPU");

    /// <summary>The time from this event to another; both have happened and were created with timing.</summary>
    public TimeSpan Until(CudaEvent later)
    {
        CudaDriver.Check(CudaDriver.GetElapsedTime(out var milliseconds, Handle, later.Handle), "timing events");
        return TimeSpan.FromMilliseconds(milliseconds);
    }

    public void Dispose()
    {
        _ = CudaDriver.DestroyEvent(Handle);
        NativeCounts.Remove(NativeKind.Event);
    }
}
