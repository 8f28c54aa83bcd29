using static TorchSharp.torch;

namespace HeadInfer.Runtime.Native;

/// <summary>A queue of work that runs in order beside the other queues.</summary>
internal enum LinkQueue
{
    /// <summary>The operators of attention and decoder.</summary>
    Compute,

    /// <summary>Copies from pages to the device.</summary>
    Upload,

    /// <summary>Copies from the device to pages.</summary>
    Download,
}

/// <summary>A point in a queue, reusable. Waiting for one that was never recorded waits for nothing.</summary>
internal abstract class Fence : IDisposable
{
    public abstract void Dispose();
}

/// <summary>Bytes that were moved between host and device.</summary>
/// <param name="Uploaded">From pages to the device.</param>
/// <param name="Downloaded">From the device to pages.</param>
internal readonly record struct LinkTraffic(ByteSize Uploaded, ByteSize Downloaded);

/// <summary>The way between the pages in host memory and the device that computes.</summary>
internal abstract class KvLink : IDisposable
{
    /// <summary>What is at the other end.</summary>
    public abstract Device Device { get; }

    /// <summary>Whether copies run beside the computation. Where they do not, there is nothing to fetch ahead or to wait for.</summary>
    public abstract bool IsAsynchronous { get; }

    /// <summary>Bytes moved so far.</summary>
    public LinkTraffic Traffic { get; protected set; }

    public abstract Fence CreateFence();

    /// <summary>Sets a fence behind what is in a queue now.</summary>
    public abstract void Record(LinkQueue queue, Fence fence);

    /// <summary>What is queued from now on runs after the fence.</summary>
    public abstract void Wait(LinkQueue queue, Fence fence);

    /// <summary>Blocks the calling thread until the fence has been passed.</summary>
    public abstract void Block(Fence fence);

    /// <summary>Blocks the calling thread until all queues are empty.</summary>
    public abstract void Drain();

    /// <summary>Makes host memory fast to copy, until the result is disposed. May be called from any thread.</summary>
    /// <returns>null where there is nothing to do, or the system refuses</returns>
    public abstract IDisposable? Pin(nint address, long bytes);

    /// <summary>Copies rows from pages to device memory.</summary>
    /// <param name="run">[pages, heads, 2, tokens a page, dim], heads and halves of a page contiguous</param>
    /// <param name="rows">[heads, 2, tokens, dim]</param>
    /// <param name="at">where the run's first token goes</param>
    public void Upload(Tensor run, Tensor rows, int at)
    {
        CopyRows(run, rows, at, LinkQueue.Upload);
        Traffic = Traffic with { Uploaded = Traffic.Uploaded + Moved(run) };
    }

    /// <summary>Copies rows from device memory to pages.</summary>
    /// <param name="rows">[heads, 2, tokens, dim]</param>
    /// <param name="at">where the run's first token comes from</param>
    /// <param name="run">[pages, heads, 2, tokens a page, dim], heads and halves of a page contiguous</param>
    public void Download(Tensor rows, int at, Tensor run)
    {
        CopyRows(run, rows, at, LinkQueue.Download);
        Traffic = Traffic with { Downloaded = Traffic.Downloaded + Moved(run) };
    }

    public abstract void Dispose();

    protected abstract void CopyRows(Tensor run, Tensor rows, int at, LinkQueue direction);

    // Where device memory is host memory nothing moves, whatever is copied.
    private ByteSize Moved(Tensor run) => Device.type == TorchSharp.DeviceType.CPU ? ByteSize.Zero : new(run.NumberOfElements * run.ElementSize);
}

/// <summary>No way at all: device memory is host memory, and copies are done when the call returns.</summary>
internal sealed class HostLink : KvLink
{
    private static readonly Fence Passed = new NoFence();

    public override Device Device => CPU;

    public override bool IsAsynchronous => false;

    public override Fence CreateFence() => Passed;

    public override void Record(LinkQueue queue, Fence fence)
    {
    }

    public override void Wait(LinkQueue queue, Fence fence)
    {
    }

    public override void Block(Fence fence)
    {
    }

    public override void Drain()
    {
    }

    public override IDisposable? Pin(nint address, long bytes) => null;

    public override void Dispose()
    {
    }

    protected override void CopyRows(Tensor run, Tensor rows, int at, LinkQueue direction) => Copy(run, rows, at, direction);

    /// <summary>Copies rows at once.</summary>
    public static void Copy(Tensor run, Tensor rows, int at, LinkQueue direction)
    {
        using var scope = TorchSharp.torch.NewDisposeScope();
        var pages = run.permute(1, 2, 0, 3, 4); // [heads, 2, pages, tokens, dim]
        var device = rows.narrow(2, at, run.shape[0] * run.shape[3]).unflatten(2, [run.shape[0], run.shape[3]]);
        if (direction == LinkQueue.Upload)
        {
            device.copy_(pages);
        }
        else
        {
            pages.copy_(device);
        }
    }

    private sealed class NoFence : Fence
    {
        public override void Dispose()
        {
        }
    }
}
