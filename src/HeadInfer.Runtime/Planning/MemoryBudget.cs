namespace HeadInfer.Runtime.Planning;

/// <summary>The memory that a plan may use.</summary>
/// <param name="Host">Host memory, for everything that is there.</param>
/// <param name="Gpu">GPU memory, for everything that is there; null to compute on the CPU.</param>
internal readonly record struct MemoryBudget(ByteSize Host, ByteSize? Gpu = null)
{
    private const double HostShare = 0.9, GpuShare = 0.95;

    /// <summary>Nine tenths of what the host has free.</summary>
    public static ByteSize OfHost(ByteSize free) => new((long)(free.Bytes * HostShare));

    /// <summary>Nineteen twentieths of what a GPU has free.</summary>
    public static ByteSize OfGpu(ByteSize free) => new((long)(free.Bytes * GpuShare));
}
