namespace HeadInfer.Runtime.Compute;

/// <summary>Host memory that the GPU may copy to and from at the speed of the link.</summary>
/// <remarks>
/// Ordinary memory is touched by all cores and then registered: several times faster than letting the driver allocate
/// pinned memory, which touches it with one thread.
/// </remarks>
internal sealed unsafe class PinnedMemory : IDisposable
{
    private const uint Portable = 1;
    private const long SystemPage = 4096;
    private const long Share = 4L << 20; // bytes a thread touches at a time

    private readonly nint _address;

    private PinnedMemory(nint address)
    {
        _address = address;
        NativeCounts.Add(NativeKind.Pin);
    }

    /// <summary>Pins memory that the caller owns and keeps until this is disposed.</summary>
    /// <param name="address">where it begins</param>
    /// <param name="bytes">how long it is</param>
    /// <param name="error">why the system refused</param>
    /// <returns>null if the system refused, such as by its limit on locked memory</returns>
    public static PinnedMemory? TryPin(nint address, long bytes, out string error)
    {
        Parallel.For(0, (bytes + Share - 1) / Share, share =>
        {
            var end = Math.Min(bytes, (share + 1) * Share);
            for (var at = share * Share; at < end; at += SystemPage)
            {
                *(byte*)(address + (nint)at) = 0;
            }
        });
        var result = CudaDriver.RegisterHostMemory(address, (nuint)bytes, Portable);
        error = result == 0 ? "" : CudaDriver.Describe(result);
        return result == 0 ? new PinnedMemory(address) : null;
    }

    /// <summary>Why the system refuses to pin memory, and what to do, in words.</summary>
    /// <param name="size">what was to be pinned</param>
    /// <param name="error">what the driver says</param>
    /// <param name="limits">text of <c>/proc/self/limits</c>, or null</param>
    /// <param name="free">host memory that is free</param>
    public static string Explain(ByteSize size, string error, string? limits, ByteSize free)
    {
        // "Max locked memory         8388608              8388608              bytes"
        const string name = "Max locked memory";
        var limit = limits?.Split('\n').FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal))?[name.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[0];
        var locked = long.TryParse(limit, out var bytes) ? $"The process may lock {new ByteSize(bytes)} (ulimit -l), and " : "";
        return $"The system refuses to lock {size} of memory for the GPU ({error}), so the KV cache moves through the driver's own buffers, several times slower. {locked}{free} of host memory are free. "
            + (free < size ? "Lower HeadInferOptions.HostMemory, or end what takes the memory."
                : OperatingSystem.IsWindows() ? "Lower HeadInferOptions.HostMemory."
                : "Raise the limit of locked memory (ulimit -l unlimited; for a container --ulimit memlock=-1; for a service LimitMEMLOCK=infinity), or lower HeadInferOptions.HostMemory.");
    }

    public void Dispose()
    {
        _ = CudaDriver.UnregisterHostMemory(_address);
        NativeCounts.Remove(NativeKind.Pin);
    }
}
