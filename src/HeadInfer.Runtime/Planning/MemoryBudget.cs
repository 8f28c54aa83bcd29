using System.Globalization;

namespace HeadInfer.Runtime.Planning;

/// <summary>The memory that a plan may use.</summary>
/// <param name="Host">Host memory, for everything.</param>
internal readonly record struct MemoryBudget(ByteSize Host)
{
    private const double Share = 0.9;

    /// <summary>Nine tenths of what this machine, or the container around the process, has free.</summary>
    public static MemoryBudget Detect()
    {
        var limit = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes; // knows containers
        var free = OperatingSystem.IsLinux() ? FreeOnLinux() ?? limit : limit;
        return new MemoryBudget(new ByteSize((long)(Math.Min(limit, free) * Share)));
    }

    private static long? FreeOnLinux()
    {
        const string field = "MemAvailable:";
        var line = File.ReadLines("/proc/meminfo").FirstOrDefault(l => l.StartsWith(field, StringComparison.Ordinal));
        return line is not null && long.TryParse(line[field.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), CultureInfo.InvariantCulture, out var kilobytes)
            ? kilobytes << 10
            : null;
    }
}
