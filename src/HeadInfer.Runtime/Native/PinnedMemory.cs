namespace HeadInfer.Runtime.Native;

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

    public void Dispose()
    {
        _ = CudaDriver.UnregisterHostMemory(_address);
        NativeCounts.Remove(NativeKind.Pin);
    }
}
