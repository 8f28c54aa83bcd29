namespace HeadInfer;

/// <summary>Counts the work and the memory that somebody else's input asks for. Ends it when it is too much, or when nobody waits any more.</summary>
/// <param name="steps">steps that may be taken; one takes some tens of nanoseconds</param>
/// <param name="bytes">bytes that may be held</param>
/// <param name="refuse">makes the exception, from "steps" or "bytes" and how many were allowed</param>
/// <param name="cancellationToken">looked at every few thousand steps</param>
/// <remarks>It counts steps, not seconds: an input is refused on every machine or on none. One thread uses it at a time.</remarks>
internal sealed class WorkBudget(long steps, long bytes, Func<string, long, Exception> refuse, CancellationToken cancellationToken = default)
{
    private const long Interval = 4096;

    private long _steps;
    private long _bytes;
    private long _nextLook;

    /// <summary>Steps taken so far.</summary>
    public long Steps => _steps;

    /// <summary>Counts steps before they are taken.</summary>
    /// <exception cref="OperationCanceledException">The caller has cancelled.</exception>
    public void Spend(long count = 1)
    {
        _steps += count;
        if (_steps >= _nextLook)
        {
            cancellationToken.ThrowIfCancellationRequested();
            _nextLook = _steps + Interval;
            if (_steps > steps || count < 0)
            {
                throw refuse("steps", steps);
            }
        }
    }

    /// <summary>Counts bytes before they are allocated. They count as steps too: memory must be written.</summary>
    public void Hold(long size)
    {
        if (size < 0 || (_bytes += size) > bytes)
        {
            throw refuse("bytes", bytes);
        }

        Spend(size >> 4);
    }

    /// <summary>Gives back bytes that are certain to be free.</summary>
    public void Release(long size) => _bytes -= size;
}
