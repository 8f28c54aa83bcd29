using HeadInfer.Runtime.Native;

namespace HeadInfer.Runtime.Planning;

/// <summary>Knows how much of the GPU memory that this process holds is free to be used again.</summary>
/// <remarks>
/// libtorch keeps what disposed models had, for whoever comes next, so to the driver it is in use. What the process took
/// since its first model and no living model was planned to have is taken to be such memory.
/// </remarks>
internal static class GpuLedger
{
    private static readonly Lock Gate = new();
    private static ByteSize? _before; // used on the GPU, by whomever, when the process first looked
    private static ByteSize _planned; // by the models that live

    /// <summary>Notes what is in use before anything of this process is.</summary>
    public static void Open()
    {
        lock (Gate)
        {
            var (free, total) = CudaDevice.Memory();
            _before ??= total - free;
        }
    }

    /// <summary>Memory that a further model can have.</summary>
    public static ByteSize Free()
    {
        lock (Gate)
        {
            var (free, total) = CudaDevice.Memory();
            var kept = total - free - (_before ?? total) - _planned;
            return kept > ByteSize.Zero ? free + kept : free;
        }
    }

    public static void Add(MemoryPlan plan) => Change(plan, 1);

    public static void Remove(MemoryPlan plan) => Change(plan, -1);

    private static void Change(MemoryPlan plan, int sign)
    {
        if (plan.Gpu is { } gpu)
        {
            lock (Gate)
            {
                _planned += (gpu.Fixed + gpu.Resident) * sign;
            }
        }
    }
}
