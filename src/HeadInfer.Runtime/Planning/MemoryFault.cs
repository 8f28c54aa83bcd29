using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Planning;

/// <summary>What it means when there is less memory than the plan was told.</summary>
/// <remarks>What libtorch says is not passed on: it is a page of C++ frames, and all it knows is how much was asked for.</remarks>
internal static partial class MemoryFault
{
    /// <summary>The failure in the plan's words, if it is one of memory; else null.</summary>
    public static MemoryBudgetException? Explain(Exception failure, MemoryPlan plan) =>
        failure is OutOfMemoryException || (failure is ExternalException && HostRefusal().IsMatch(failure.Message)) ? OfHost(failure, plan)
        : failure is ExternalException or DeviceException && failure.Message.Contains("out of memory", StringComparison.OrdinalIgnoreCase) && plan.Gpu is { } gpu ? OfGpu(gpu)
        : null;

    private static MemoryBudgetException OfHost(Exception failure, MemoryPlan plan)
    {
        var asked = Asked().Match(failure.Message) is { Success: true } match && long.TryParse(match.Groups[1].Value, out var bytes) ? $"{new ByteSize(bytes)} more" : "more memory";
        var parts = plan.Gpu is null ? $"{plan.Weights} of weights, {plan.Workspace} of workspace, {plan.KvBudget} of KV cache" : $"{plan.KvBudget} of KV cache";
        return new MemoryBudgetException(
            $"The system refuses {asked}, although the plan takes at most {plan.HostBudget} of host memory ({parts}); {HostMemory.Free()} are free. "
            + $"Another process may have taken some since, or a limit may hold for this one{(OperatingSystem.IsWindows() ? "" : " (ulimit -v)")}: end it, raise it, or lower HeadInferOptions.HostMemory or SegmentTokens.");
    }

    private static MemoryBudgetException OfGpu(GpuPlan gpu)
    {
        var (free, total) = Compute.Gpu.Memory();
        return new MemoryBudgetException(
            $"The GPU has no memory left ({free} of {total} free), although the plan takes at most {gpu.Budget} of it: {gpu.Fixed} for weights and workspace, {gpu.Resident} for resident copies. "
            + "Another process may have taken some since: end it, or lower HeadInferOptions.GpuMemory, ResidentMemory or SegmentTokens. The session is as it was before.");
    }

    [GeneratedRegex("DefaultCPUAllocator|can't allocate memory|not enough memory|std::bad_alloc", RegexOptions.IgnoreCase)]
    private static partial Regex HostRefusal();

    [GeneratedRegex("tried to allocate ([0-9]+) bytes")]
    private static partial Regex Asked();
}
