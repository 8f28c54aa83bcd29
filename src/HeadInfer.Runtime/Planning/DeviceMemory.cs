using System.Runtime.InteropServices;
using HeadInfer.Runtime.Native;

namespace HeadInfer.Runtime.Planning;

/// <summary>What it means when the GPU has less memory than the plan was told.</summary>
internal static class DeviceMemory
{
    /// <summary>The failure in the plan's words, if it is one of GPU memory; else null.</summary>
    public static MemoryBudgetException? Explain(Exception failure, MemoryPlan plan)
    {
        if (plan.Gpu is not { } gpu || failure is not (ExternalException or DeviceException)
            || !failure.Message.Contains("out of memory", StringComparison.OrdinalIgnoreCase))
        {
            return null;
        }

        var (free, total) = CudaDevice.Memory();
        return new MemoryBudgetException(
            $"The GPU has no memory left ({free} of {total} free), although the plan takes at most {gpu.Budget} of it: {gpu.Fixed} for weights and workspace, {gpu.Resident} for resident heads. "
            + "Another process may have taken some since: end it, or lower HeadInferOptions.GpuMemory, ResidentMemory or SegmentTokens. The session is as it was before.", failure);
    }
}
