using System.Globalization;
using System.Runtime.InteropServices;

namespace HeadInfer.Runtime.Compute;

/// <summary>Host memory that is free: what the machine has, and what every container around the process leaves of its limit.</summary>
/// <remarks>
/// On Linux a pure function of the system's files. A limit of control groups holds for everything below it, so that of every folder
/// on the way up counts. Their usage has the page cache in it; its inactive files are given up before anything fails.
/// </remarks>
internal static partial class HostMemory
{
    private const string Mounts = "/proc/self/mountinfo", Groups = "/proc/self/cgroup", Machine = "/proc/meminfo";

    /// <summary>What is free now. Where the system does not say, all memory that .NET may use.</summary>
    public static ByteSize Free() => (OperatingSystem.IsLinux() ? Free(ReadFile) : null) ?? new ByteSize(Math.Min(FreeElsewhere(), GC.GetGCMemoryInfo().TotalAvailableMemoryBytes));

    // The machine's alone; .NET knows the limit of a Windows container.
    private static unsafe long FreeElsewhere()
    {
        try
        {
            var status = stackalloc ulong[8]; // MEMORYSTATUSEX: its length and the load, then physical memory and what of it is available
            status[0] = 8 * sizeof(ulong);
            return OperatingSystem.IsWindows() && GlobalMemoryStatus(status) != 0 ? (long)status[2]
                : OperatingSystem.IsMacOS() && SystemNumber("hw.memsize") is { } total && SystemNumber("kern.memorystatus_level") is { } percent ? total / 100 * percent
                : long.MaxValue;
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return long.MaxValue;
        }
    }

    // Numbers of four and of eight bytes, with the low bytes first.
    private static unsafe long? SystemNumber(string name)
    {
        var (value, size) = (0L, (nuint)sizeof(long));
        return SystemControl(name, &value, &size, null, 0) == 0 ? value : null;
    }

    [LibraryImport("kernel32", EntryPoint = "GlobalMemoryStatusEx")]
    private static unsafe partial int GlobalMemoryStatus(ulong* status);

    [LibraryImport("libc", EntryPoint = "sysctlbyname", StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int SystemControl(string name, long* value, nuint* size, void* newValue, nuint newSize);

    /// <param name="read">the text of a file, or null where there is none</param>
    /// <returns>null if the files say nothing</returns>
    public static ByteSize? Free(Func<string, string?> read)
    {
        var free = Field(read(Machine), "MemAvailable:") is { } kilobytes ? kilobytes << 10 : (long?)null;
        foreach (var (folder, isSecond) in Folders(read(Mounts) ?? "", read(Groups) ?? ""))
        {
            if (LeftOf(folder, isSecond, read) is { } left)
            {
                free = Math.Min(free ?? left, left);
            }
        }

        return free is { } bytes ? new ByteSize(Math.Max(0, bytes)) : null;
    }

    // The process's folder in each hierarchy that counts memory, and those above it.
    private static IEnumerable<(string Folder, bool IsSecond)> Folders(string mounts, string groups)
    {
        foreach (var line in Lines(mounts))
        {
            // id parent device root mount-point options [tags] - type source options
            var fields = line.Split(' ');
            var dash = Array.IndexOf(fields, "-");
            if (dash < 5 || fields.Length < dash + 4)
            {
                continue;
            }

            var isSecond = fields[dash + 1] == "cgroup2";
            if (!isSecond && (fields[dash + 1] != "cgroup" || !fields[dash + 3].Split(',').Contains("memory")))
            {
                continue;
            }

            var (root, mount) = (Unescape(fields[3]).TrimEnd('/'), Unescape(fields[4]).TrimEnd('/'));
            for (var below = Below(root, PathIn(groups, isSecond)); ; below = below[..below.LastIndexOf('/')])
            {
                yield return (mount + below, isSecond);
                if (below.Length == 0)
                {
                    break;
                }
            }
        }
    }

    // A line is "number:controllers:path"; the second version's has no controllers.
    private static string PathIn(string groups, bool isSecond) => Lines(groups).Select(l => l.Split(':', 3))
        .FirstOrDefault(l => l.Length == 3 && (isSecond ? l[1].Length == 0 : l[1].Split(',').Contains("memory")))?[2].TrimEnd('/') ?? "";

    // The part of a path below what is mounted; nothing where the process lies outside of it, as a container may see it.
    private static string Below(string root, string path) =>
        !path.Contains("/..", StringComparison.Ordinal) && path.StartsWith(root + "/", StringComparison.Ordinal) ? path[root.Length..] : "";

    private static long? LeftOf(string folder, bool isSecond, Func<string, string?> read)
    {
        var limit = isSecond
            ? Least(Number(read(folder + "/memory.max")), Number(read(folder + "/memory.high")))
            : Number(read(folder + "/memory.limit_in_bytes"));
        if (limit is null || Number(read(folder + (isSecond ? "/memory.current" : "/memory.usage_in_bytes"))) is not { } used)
        {
            return limit;
        }

        var reclaimable = Field(read(folder + "/memory.stat"), isSecond ? "inactive_file " : "total_inactive_file ") ?? 0;
        return limit - Math.Max(0, used - reclaimable);
    }

    private static long? Least(long? a, long? b) => a is null || b is null ? a ?? b : Math.Min(a.Value, b.Value);

    // "max" is no limit, and so is no number; the first version writes a number near the largest one instead.
    private static long? Number(string? text) => long.TryParse(text?.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;

    private static long? Field(string? text, string name) => Lines(text ?? "").FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal)) is { } line
        ? Number(line[name.Length..].Replace("kB", "", StringComparison.Ordinal))
        : null;

    // Spaces in paths are written as \040.
    private static string Unescape(string path) => path.Replace(@"\040", " ", StringComparison.Ordinal).Replace(@"\134", @"\", StringComparison.Ordinal);

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    private static string? ReadFile(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllText(path) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
