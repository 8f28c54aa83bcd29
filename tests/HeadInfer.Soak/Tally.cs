using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;

namespace HeadInfer.Soak;

/// <summary>What came of the requests so far, and who is at what.</summary>
internal sealed class Tally
{
    private readonly ConcurrentDictionary<string, long> _counts = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, long> _failures = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, (string What, long Since)> _doing = new(StringComparer.Ordinal);
    private long _changed = Stopwatch.GetTimestamp();
    private int _faults;

    /// <summary>Whether something went wrong.</summary>
    public bool HasFaults => Volatile.Read(ref _faults) > 0;

    /// <summary>Since when nothing has gone on.</summary>
    public TimeSpan Silence => Stopwatch.GetElapsedTime(Interlocked.Read(ref _changed));

    public void Add(string what)
    {
        _counts.AddOrUpdate(what, 1, (_, n) => n + 1);
        Moved();
    }

    /// <summary>Says that something goes on, such as a step of an answer.</summary>
    public void Moved() => Interlocked.Exchange(ref _changed, Stopwatch.GetTimestamp());

    /// <summary>Counts a failure that was asked for.</summary>
    public void AddExpected(Exception e)
    {
        _failures.AddOrUpdate(e.GetType().Name, 1, (_, n) => n + 1);
        Moved();
    }

    /// <summary>Says what is wrong.</summary>
    public void Fault(string what)
    {
        if (Interlocked.Increment(ref _faults) <= 20) // one fault may bring on thousands
        {
            Console.Error.WriteLine("FAULT " + what);
        }
    }

    public void Does(string who, string what) => _doing[who] = (what, Stopwatch.GetTimestamp());

    public void Rests(string who) => _doing.TryRemove(who, out _);

    /// <summary>Who is at what, and for how long, a line each.</summary>
    public string State() => string.Join('\n', _doing.OrderBy(d => d.Key, StringComparer.Ordinal).Select(d =>
        string.Create(CultureInfo.InvariantCulture, $"  {d.Key}: {d.Value.What}, for {Stopwatch.GetElapsedTime(d.Value.Since).TotalSeconds:F1} s")));

    public override string ToString()
    {
        long Count(string what) => _counts.GetValueOrDefault(what);
        var failed = string.Join(", ", _failures.OrderBy(f => f.Key, StringComparer.Ordinal).Select(f => string.Create(CultureInfo.InvariantCulture, $"{f.Key} {f.Value:N0}")));
        return string.Create(CultureInfo.InvariantCulture,
            $"{Count("request"):N0} requests, {Count("finished"):N0} finished, {Count("cancelled"):N0} cancelled, {Count("abandoned"):N0} abandoned, {Count("gave way"):N0} left while they gave way, {_failures.Values.Sum():N0} failed as expected ({failed}), {Count("compared"):N0} compared, {Count("mismatch"):N0} mismatches, {Volatile.Read(ref _faults):N0} faults");
    }
}
