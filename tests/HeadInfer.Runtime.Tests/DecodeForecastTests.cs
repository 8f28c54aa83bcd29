using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests;

public sealed class DecodeForecastTests
{
    private static readonly ModelConfig Config = ModelConfig.Load(Fixtures.Model("llama3"));

    [Fact]
    public void What_has_no_copy_takes_as_long_as_the_slower_of_link_and_host()
    {
        var plan = Plan(resident: 1000);
        var outside = (double)plan.KvPerToken.Bytes * 1000;
        double Seconds(double share, int tokens) => new DecodeForecast(0.005, new HostRates(50e9, 100e9, 400e9), share).Seconds(Config, plan, tokens);
        var alone = 0.005 * (1 + (plan.KvPerToken.Bytes * 1000.0 / plan.Weights.Bytes));
        Assert.Equal(alone, Seconds(0.5, 1000), 1e-12);
        Assert.Equal(alone + (outside / 50e9), Seconds(0, 2000), 1e-12);
        Assert.Equal(alone + (outside / 100e9), Seconds(1, 2000), 1e-12);
        Assert.Equal(alone + (0.75 * outside / 50e9), Seconds(0.25, 2000), 1e-12);
    }

    [Fact]
    public void The_plan_prints_it_for_its_contexts_and_the_longest()
    {
        var plan = Plan(resident: 1 << 20) with { LongestContext = 20_000 };
        Assert.DoesNotContain("predicted", plan.ToString(), StringComparison.Ordinal);
        var measured = plan.WithForecast(Config, new DecodeForecast(0.005, new HostRates(50e9, 100e9, 400e9), 0.6));
        Assert.Equal([1024, 8192, 20_000], measured.DecodeTimes.Keys.Order());
        Assert.Contains("the CPU attends 60% of what has no copy", measured.ToString(), StringComparison.Ordinal);
        Assert.Contains("ms at 20,000 tokens", measured.ToString(), StringComparison.Ordinal);
    }

    private static MemoryPlan Plan(int resident) =>
        MemoryPlanner.Plan(Config, new ByteSize(2 * 1_000_000), ScalarType.BFloat16, new HeadInferOptions(), new MemoryBudget(ByteSize.FromGiB(64), ByteSize.FromGiB(24))) with { ResidentTokens = resident };
}
