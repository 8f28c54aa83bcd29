using System.Diagnostics;

namespace HeadInfer.Runtime.Tests.Support;

public sealed class TimeLimitTests
{
    [Fact]
    public void A_test_that_runs_too_long_is_named_and_so_is_silence()
    {
        var told = new List<string>();
        var watch = new TimeWatch(TimeSpan.FromMinutes(1), told.Add);
        long After(int seconds) => Stopwatch.GetTimestamp() + (seconds * Stopwatch.Frequency);
        watch.Begin("slow");
        watch.Begin("quick");
        watch.End("quick");
        watch.Look(After(50));
        Assert.Empty(told);
        watch.Look(After(70));
        Assert.Contains("slow", told[0], StringComparison.Ordinal);
        Assert.DoesNotContain(told, t => t.Contains("quick has run", StringComparison.Ordinal));
        watch.End("slow");
        told.Clear();
        watch.Look(After(70));
        Assert.Contains("since slow", Assert.Single(told), StringComparison.Ordinal);
    }

    [Fact]
    public void Every_test_of_this_assembly_is_watched()
    {
        Assert.True(TimeLimitAttribute.Watch.IsRunning(TestContext.Current.Test!.TestDisplayName));
    }
}
