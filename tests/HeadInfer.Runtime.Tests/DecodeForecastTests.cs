using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Tests.Support;
using HeadInfer.Runtime.Weights;
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
        double Seconds(double share, int tokens) => DecodeForecast.OfStep(0.005, plan, new HostRates(50e9, 100e9, 400e9), share).Seconds(Config, plan, tokens);
        var alone = 0.005 * (1 + (plan.KvPerToken.Bytes * 1000.0 / plan.Weights.Bytes));
        Assert.Equal(alone, Seconds(0.5, 1000), 1e-12);
        Assert.Equal(alone + (outside / 50e9), Seconds(0, 2000), 1e-12);
        Assert.Equal(alone + (outside / 100e9), Seconds(1, 2000), 1e-12);
        Assert.Equal(alone + (0.75 * outside / 50e9), Seconds(0.25, 2000), 1e-12);
    }

    [Fact]
    public void Copies_are_read_at_the_rate_of_a_step_less_the_layers_that_come_by_turns()
    {
        var plan = Plan(resident: 1000) with { StreamedLayers = 1, ComingPerToken = new ByteSize(100_000_000) }; // 2 of 5 ms
        var copied = (double)plan.KvPerToken.Bytes * 1000;
        Assert.Equal(0.005 + (0.003 * copied / plan.ReadPerToken.Bytes), DecodeForecast.OfStep(0.005, plan, new HostRates(50e9, 100e9, 400e9), 0.5).Seconds(Config, plan, 1000), 1e-12);
        Assert.Equal(0.005, DecodeForecast.OfStep(0.005, plan, null, 0).Seconds(Config, plan, 1000), 1e-12); // the link's rate is not known
    }

    [Fact]
    public void Copies_beside_packed_weights_are_read_at_the_memorys_rate()
    {
        var plan = Plan(resident: 1000);
        var copied = (double)plan.KvPerToken.Bytes * 1000;
        Assert.Equal(0.005 + (copied / (Reach.GpuAttending * 4e12)), DecodeForecast.OfStep(0.005, plan, null, 0, memoryRate: 4e12).Seconds(Config, plan, 1000), 1e-12);
        Assert.Equal(0.005 * (1 + (copied / plan.ReadPerToken.Bytes)), DecodeForecast.OfStep(0.005, plan, null, 0, memoryRate: 1e3).Seconds(Config, plan, 1000), 1e-12); // weights show that it reads faster
    }

    // Tied, and not: then the embedding's rows are looked up.
    [Theory]
    [InlineData("llama3")]
    [InlineData("qwen2")]
    public void A_step_reads_all_weights_but_a_table_of_its_own(string model)
    {
        var config = ModelConfig.Load(Fixtures.Model(model));
        LibTorch.EnsureLoaded();
        using var checkpoint = Checkpoint.Open(Fixtures.Model(model));
        using var check = new WeightCheck(checkpoint);
        DecoderWeights.Read(config, check, device: null);
        var needs = check.NeedsOn(new GpuLayout(8), ScalarType.BFloat16);
        var elements = checkpoint.Tensors.Values.Sum(t => t.Shape.Aggregate(1L, (product, n) => product * n));
        var table = config.TiedEmbeddings ? 0 : (long)config.VocabularySize * config.HiddenSize;
        Assert.Equal(2 * (elements - table), Cost.ReadPerToken(config, needs).Bytes, 1024.0 * config.Layers);
        Assert.False(needs.ArePacked);
    }

    [Fact]
    public void The_plan_prints_it_for_its_contexts_and_the_longest()
    {
        var plan = Plan(resident: 1 << 20) with { LongestContext = 20_000 };
        Assert.DoesNotContain("predicted", plan.ToString(), StringComparison.Ordinal);
        var measured = plan.WithForecast(Config, DecodeForecast.OfStep(0.005, plan, new HostRates(50e9, 100e9, 400e9), 0.6));
        Assert.Equal([1024, 8192, 20_000], measured.DecodeTimes.Keys.Order());
        Assert.Contains("the CPU attends 60% of what has no copy", measured.ToString(), StringComparison.Ordinal);
        Assert.Contains("ms at 20,000 tokens", measured.ToString(), StringComparison.Ordinal);
    }

    private static MemoryPlan Plan(int resident) =>
        MemoryPlanner.Plan(Config, WeightNeeds.Of(new ByteSize(2 * 1_000_000)), ScalarType.BFloat16, new HeadInferOptions(), new MemoryBudget(ByteSize.FromGiB(64), ByteSize.FromGiB(24))) with { ResidentTokens = resident };
}
