using System.Diagnostics;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Attention;

/// <summary>Keeps the work that is queued on a device short: without it a whole segment is queued at once, and then others wait for it, progress is told too early, and cancellation comes too late.</summary>
/// <remarks>
/// Work is queued in pieces, of which the device has two at most. A piece should take <see cref="Piece"/>: so many operations
/// as the pieces before say. Where copies are done at once nothing is queued, and nothing is paced.
/// </remarks>
internal sealed class Pacer(Device device) : IDisposable
{
    private const double Least = 1e9, Most = 1e14;

    private static readonly TimeSpan Piece = TimeSpan.FromMilliseconds(15), Waited = TimeSpan.FromMilliseconds(0.2);

    private readonly Fence[] _ends = [device.CreateFence(), device.CreateFence()];
    private double _limit = 1e12; // operations of a piece
    private double _queued;
    private int _next;
    private long _last;

    /// <summary>Counts operations that were queued. Waits when they are a piece, until the device has done the piece before the last.</summary>
    public void Add(double operations)
    {
        if (!device.IsAsynchronous || (_queued += operations) < _limit)
        {
            return;
        }

        var start = Stopwatch.GetTimestamp();
        device.Block(_ends[_next]);
        device.Record(WorkQueue.Compute, _ends[_next]);
        // A device that was waited for has worked all the time, so that is how long a piece takes. One that was not could do more.
        var fit = Stopwatch.GetElapsedTime(start) < Waited ? 2 : Math.Clamp(Piece / Stopwatch.GetElapsedTime(_last), 0.5, 2);
        (_limit, _queued, _next, _last) = (Math.Clamp(_limit * fit, Least, Most), 0, _next ^ 1, Stopwatch.GetTimestamp());
    }

    /// <summary>Waits for all that is queued, so that whoever computes next is not charged for it.</summary>
    public void Drain()
    {
        device.Record(WorkQueue.Compute, _ends[_next]);
        device.Block(_ends[_next]);
        (_queued, _last) = (0, Stopwatch.GetTimestamp());
    }

    public void Dispose() => Array.ForEach(_ends, e => e.Dispose());
}
