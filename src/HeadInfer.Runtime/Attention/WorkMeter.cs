using System.Diagnostics;

namespace HeadInfer.Runtime.Attention;

/// <summary>Counts the floating-point operations of a prefill as they are done, reports them and carries the cancellation.</summary>
/// <remarks>Operations, not tokens: attention grows with the square of the length, so tokens would mislead about the time left.</remarks>
internal sealed class WorkMeter(double total, Action<double>? report, CancellationToken cancellationToken)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(50);

    private double _done;
    private long _lastReport;

    /// <summary>A meter that reports nothing and is never cancelled.</summary>
    public static WorkMeter None => new(1, null, CancellationToken.None);

    /// <summary>Operations done so far.</summary>
    public double Done => _done;

    /// <summary>Adds operations that were just done.</summary>
    /// <exception cref="OperationCanceledException">The caller has cancelled.</exception>
    public void Add(double operations)
    {
        _done += operations;
        cancellationToken.ThrowIfCancellationRequested();
        if (report is not null && Stopwatch.GetElapsedTime(_lastReport) >= Interval)
        {
            _lastReport = Stopwatch.GetTimestamp();
            report(Math.Min(_done / total, 1));
        }
    }
}
