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
        File.WriteAllText("/proc/self/clear_refs", "5"); // the peak begins anew, from here
        (_rest, _clock) = (Kilobytes("VmRSS:"), Stopwatch.StartNew());
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
            MiB = (Kilobytes("VmHWM:") - _rest) / 1024.0;
        }
    }

    private static long Kilobytes(string name) =>
        long.Parse(File.ReadLines("/proc/self/status").First(l => l.StartsWith(name, StringComparison.Ordinal)).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1], System.Globalization.CultureInfo.InvariantCulture);
}
