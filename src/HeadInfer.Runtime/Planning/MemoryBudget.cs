using System.Globalization;

namespace HeadInfer.Runtime.Planning;

/// <summary>The memory that a plan may use.</summary>
/// <param name="Host">Host memory, for everything that is there.</param>
/// <param name="Gpu">GPU memory, for everything that is there; null to compute on the CPU.</param>
internal readonly record struct MemoryBudget(ByteSize Host, ByteSize? Gpu = null)
{
    private const double HostShare = 0.9, GpuShare = 0.95;

    /// <summary>Nine tenths of what this machine, or the container around the process, has free.</summary>
    public static ByteSize DetectHost()
    {
        var limit = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes; // knows containers
        var free = OperatingSystem.IsLinux() ? FreeOnLinux() ?? limit : limit;
        return new ByteSize((long)(Math.Min(limit, free) * HostShare));
    }

    /// <summary>Nineteen twentieths of what a GPU has free.</summary>
    public static ByteSize OfGpu(ByteSize free) => new((long)(free.Bytes * GpuShare));

    private static long? FreeOnLinux()
    {
        const string field = "MemAvailable:";
        var line = File.ReadLines("/proc/meminfo").FirstOrDefault(l => l.StartsWith(field, StringComparison.Ordinal));
        return line is not null && long.TryParse(line[field.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), CultureInfo.InvariantCulture, out var kilobytes)
            ? kilobytes << 10
            : null;
    }
}
