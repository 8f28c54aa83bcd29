using System.Collections.Concurrent;
using System.Diagnostics;
using System.Reflection;
using System.Runtime.CompilerServices;
using Xunit.v3;

[assembly: HeadInfer.Tests.TimeLimit]

namespace HeadInfer.Tests;

/// <summary>Ends a run in which a test hangs, and names the test.</summary>
/// <remarks>
/// xunit's own timeout only stops waiting for asynchronous tests. A test that hangs in native code or in a loop can be
/// ended with its process alone. Construction and disposal are outside of what xunit tells, so silence counts too.
/// </remarks>
[AttributeUsage(AttributeTargets.Assembly)]
public sealed class TimeLimitAttribute : BeforeAfterTestAttribute
{
    internal static TimeWatch Watch { get; } = new(TimeSpan.FromMinutes(10), Environment.FailFast);

    public override void Before(MethodInfo methodUnderTest, IXunitTest test) => Watch.Begin(test.TestDisplayName);

    public override void After(MethodInfo methodUnderTest, IXunitTest test) => Watch.End(test.TestDisplayName);

#pragma warning disable CA2255 // a test assembly is the application
    [ModuleInitializer]
    internal static void Start()
    {
        // A thread of its own: a hanging test may hold all of the pool's.
        new Thread(() =>
        {
            for (; ; Thread.Sleep(TimeSpan.FromSeconds(5)))
            {
                Watch.Look(Stopwatch.GetTimestamp());
            }
        }) { IsBackground = true, Name = "time limit of tests" }.Start();
    }
#pragma warning restore CA2255
}

/// <summary>Knows which tests run, and since when.</summary>
/// <param name="limit">how long a test may take, and how long nothing may begin or end</param>
/// <param name="fail">is told what took longer</param>
internal sealed class TimeWatch(TimeSpan limit, Action<string> fail)
{
    private readonly ConcurrentDictionary<string, long> _running = new(StringComparer.Ordinal);
    private string _last = "the start";
    private long _changed = Stopwatch.GetTimestamp();

    public void Begin(string test)
    {
        _running[test] = Stopwatch.GetTimestamp();
        Changed(test);
    }

    public void End(string test)
    {
        _running.TryRemove(test, out _);
        Changed(test);
    }

    public bool IsRunning(string test) => _running.ContainsKey(test);

    public void Look(long now)
    {
        foreach (var (test, since) in _running)
        {
            if (Stopwatch.GetElapsedTime(since, now) > limit)
            {
                fail($"The test {test} has run for more than {limit.TotalMinutes} minutes.");
            }
        }

        if (Stopwatch.GetElapsedTime(Volatile.Read(ref _changed), now) > limit)
        {
            fail($"No test has begun or ended for more than {limit.TotalMinutes} minutes since {_last}.");
        }
    }

    private void Changed(string test) => (_last, _changed) = (test, Stopwatch.GetTimestamp());
}
