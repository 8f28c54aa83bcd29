using System.Diagnostics;

namespace HeadInfer.Runtime.Attention;

/// <summary>Counts the floating-point operations of a pass as they are done, reports them, carries the cancellation, and lets others compute in between.</summary>
/// <param name="total">operations of all</param>
/// <param name="report">told the share that is done, some times a second; null tells nobody</param>
/// <param name="pacer">keeps what is queued short; null for a pass that is</param>
/// <param name="gap">called between pieces of work; another pass may run there, whole; null for a pass that does not give way</param>
/// <param name="cancellationToken">cancels between pieces of work</param>
/// <remarks>Operations, not tokens: attention grows with the square of the length, so tokens would mislead about the time left.</remarks>
internal sealed class WorkMeter(double total, Action<double>? report, Pacer? pacer, Action? gap, CancellationToken cancellationToken)
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(50);

    private double _done;
    private long _lastReport;

    /// <summary>A meter that reports nothing, is never cancelled and never gives way.</summary>
    public static WorkMeter None => new(1, null, null, null, CancellationToken.None);

    /// <summary>Operations done so far.</summary>
    public double Done => _done;

    /// <summary>Adds operations that were just done.</summary>
    /// <exception cref="OperationCanceledException">The caller has cancelled.</exception>
    public void Add(double operations)
    {
        _done += operations;
        pacer?.Add(operations);
        cancellationToken.ThrowIfCancellationRequested();
        if (report is not null && Stopwatch.GetElapsedTime(_lastReport) >= Interval)
        {
            _lastReport = Stopwatch.GetTimestamp();
            report(Math.Min(_done / total, 1));
        }

        gap?.Invoke();
    }
}
