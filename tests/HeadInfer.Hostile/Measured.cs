using System.Diagnostics;

namespace HeadInfer.Hostile;

/// <summary>Time and memory of a piece of work, begun with the process at rest.</summary>
internal sealed class Measured
{
    private readonly long _rest;
    private readonly Stopwatch _clock;
    private double? _seconds;

    public Measured()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        if (OperatingSystem.IsLinux())
        {
            File.WriteAllText("/proc/self/clear_refs", "5"); // the peak begins anew, from here
        }

        (_rest, _clock) = (Kilobytes("VmRSS:", p => p.WorkingSet64), Stopwatch.StartNew());
    }

    public double Seconds => _seconds ?? _clock.Elapsed.TotalSeconds;

    /// <summary>Most memory up to the stop, above that at rest.</summary>
    public double MiB { get; private set; }

    /// <summary>Ends the measurement; a second time does nothing.</summary>
    public void Stop()
    {
        if (_seconds is null)
        {
            _seconds = _clock.Elapsed.TotalSeconds;
            MiB = (Kilobytes("VmHWM:", p => p.PeakWorkingSet64) - _rest) / 1024.0;
        }
    }

    // Elsewhere than on Linux the peak is the process's from its beginning; each case has a process of its own.
    private static long Kilobytes(string name, Func<Process, long> elsewhere)
    {
        if (!OperatingSystem.IsLinux())
        {
            using var process = Process.GetCurrentProcess();
            return elsewhere(process) / 1024;
        }

        return long.Parse(File.ReadLines("/proc/self/status").First(l => l.StartsWith(name, StringComparison.Ordinal)).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1], System.Globalization.CultureInfo.InvariantCulture);
    }
}
