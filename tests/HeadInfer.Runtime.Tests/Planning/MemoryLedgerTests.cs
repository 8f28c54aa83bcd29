using System.Runtime.InteropServices;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Tests.Support;
using TorchSharp;

namespace HeadInfer.Runtime.Tests.Planning;

/// <summary>Models of one process share what is left, by device.</summary>
public sealed class MemoryLedgerTests : NativeTest
{
    private const long Elements = 500_000_000; // 2 GB in float32

    [Fact]
    public void A_second_model_counts_only_on_what_the_first_has_not_been_promised()
    {
        var free = ByteSize.FromGiB(20);
        var ledger = new MemoryLedger(() => free, NoGpu);
        var (first, promise) = OnCpu(ledger, new HeadInferOptions());
        Assert.Equal(MemoryBudget.OfHost(ByteSize.FromGiB(20)), first.HostBudget);
        Assert.True(promise.Host < first.HostBudget); // a longest context is less than all there is
        var (second, other) = OnCpu(ledger, new HeadInferOptions());
        Assert.Equal(MemoryBudget.OfHost(free - promise.Host), second.HostBudget);

        // What the first has taken is no longer free, and so is not counted twice.
        promise.Counts(() => ByteSize.FromGiB(2));
        free -= ByteSize.FromGiB(2);
        other.Dispose();
        Assert.Equal(second.HostBudget, OnCpu(ledger, new HeadInferOptions()).Plan.HostBudget);
    }

    [Fact]
    public void What_is_promised_is_named_when_the_rest_is_too_little()
    {
        var ledger = new MemoryLedger(() => ByteSize.FromGiB(5), NoGpu);
        var (_, promise) = OnCpu(ledger, new HeadInferOptions { MaxContextTokens = 1 << 20 });
        var error = Assert.Throws<MemoryBudgetException>(() => OnCpu(ledger, new HeadInferOptions()));
        Assert.Contains("Other models of this process (1)", error.Message, StringComparison.Ordinal);
        Assert.Contains("HeadInferOptions.HostMemory", error.Message, StringComparison.Ordinal);
        Assert.Equal(1, ledger.Promises);
        promise.Dispose();
        promise.Dispose();
        Assert.Equal(0, ledger.Promises);
        OnCpu(ledger, new HeadInferOptions());
    }

    [Fact]
    public void Each_gpu_has_a_ledger_of_its_own()
    {
        var used = new Dictionary<int, ByteSize> { [0] = ByteSize.FromGiB(1), [1] = ByteSize.FromGiB(1) };
        var current = 0;
        var ledger = new MemoryLedger(() => ByteSize.FromGiB(100), () => (ByteSize.FromGiB(24) - used[current], ByteSize.FromGiB(24)));
        (MemoryPlan Plan, MemoryPromise Promise) On(int gpu, HeadInferOptions options)
        {
            current = gpu;
            return ledger.Plan(options, gpu, budget => MemoryPlanner.Plan(Config, WeightNeeds.Of(new ByteSize(2 * Elements)), torch.ScalarType.BFloat16, options, budget));
        }

        var small = new HeadInferOptions { ResidentMemory = ByteSize.FromGiB(1) };
        var all = MemoryBudget.OfGpu(ByteSize.FromGiB(23));
        var (first, promise) = On(0, small);
        Assert.Equal(all, first.Gpu!.Budget);
        Assert.Equal(all, On(1, small).Plan.Gpu!.Budget);

        // Promised but not taken yet.
        Assert.Equal(MemoryBudget.OfGpu(ByteSize.FromGiB(23) - promise.OnGpu), On(0, new HeadInferOptions()).Plan.Gpu!.Budget);
    }

    [Fact]
    public void What_libtorch_keeps_of_disposed_models_is_free_and_what_others_take_is_not()
    {
        var used = ByteSize.FromGiB(1);
        var ledger = new MemoryLedger(() => ByteSize.FromGiB(100), () => (ByteSize.FromGiB(24) - used, ByteSize.FromGiB(24)));
        var options = new HeadInferOptions { ResidentMemory = ByteSize.FromGiB(1) };
        (MemoryPlan Plan, MemoryPromise Promise) Next() => ledger.Plan(options, 0, budget => MemoryPlanner.Plan(Config, WeightNeeds.Of(new ByteSize(2 * Elements)), torch.ScalarType.BFloat16, options, budget));
        var (_, promise) = Next();
        used += promise.OnGpu;
        promise.Dispose();
        var (again, kept) = Next();
        Assert.Equal(MemoryBudget.OfGpu(ByteSize.FromGiB(23)), again.Gpu!.Budget);
        kept.Dispose();
        used += ByteSize.FromGiB(5); // another process
        Assert.Equal(MemoryBudget.OfGpu(ByteSize.FromGiB(18)), Next().Plan.Gpu!.Budget);
    }

    [Fact]
    public async Task Loaded_models_share_and_disposed_ones_give_back()
    {
        var before = MemoryLedger.OfProcess;
        var ledger = MemoryLedger.OfProcess = new MemoryLedger(() => ByteSize.FromGiB(1), NoGpu);
        try
        {
            ByteSize alone;
            await using (var first = await Load(Fixtures.Model("qwen2")))
            {
                alone = first.Plan.HostBudget;
                await using var second = await Load(Fixtures.Model("qwen2"));
                Assert.Equal(2, ledger.Promises);
                Assert.Equal(MemoryBudget.OfHost(ByteSize.FromGiB(1)), alone);
                Assert.True(second.Plan.HostBudget < alone);
            }

            Assert.Equal(0, ledger.Promises);
            await using var third = await Load(Fixtures.Model("qwen2"));
            Assert.Equal(alone, third.Plan.HostBudget);
        }
        finally
        {
            MemoryLedger.OfProcess = before;
        }
    }

    [Fact]
    public void A_refused_allocation_is_told_in_numbers_and_without_frames()
    {
        var plan = OnCpu(new MemoryLedger(() => ByteSize.FromGiB(20), NoGpu), new HeadInferOptions()).Plan;
        var refused = Assert.ThrowsAny<ExternalException>(() => torch.empty([1L << 50], torch.ScalarType.Float32));
        Assert.Contains("DefaultCPUAllocator", refused.Message, StringComparison.OrdinalIgnoreCase);
        var error = MemoryFault.Explain(refused, plan)!;
        Assert.Contains("4096 TiB", error.Message, StringComparison.Ordinal);
        Assert.Contains(plan.HostBudget.ToString(), error.Message, StringComparison.Ordinal);
        Assert.Contains("HeadInferOptions.HostMemory", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("frame #", error.ToString(), StringComparison.Ordinal);
        Assert.NotNull(MemoryFault.Explain(new InsufficientMemoryException(), plan));
        Assert.Null(MemoryFault.Explain(Assert.ThrowsAny<ExternalException>(() => torch.zeros(2).view(3)), plan));
        Assert.Null(MemoryFault.Explain(new InvalidOperationException("out of memory"), plan));
    }

    [Theory]
    [InlineData("Max locked memory         8388608              8388608              bytes", "may lock 8 MiB", "--ulimit memlock=-1")]
    [InlineData("Max locked memory         unlimited            unlimited            bytes", "(out of memory)", "LimitMEMLOCK")]
    [InlineData(null, "20 GiB of host memory are free", "ulimit -l unlimited")]
    public void A_failed_pin_says_why_and_what_to_do(string? limits, string says, string advises)
    {
        var text = PinnedMemory.Explain(ByteSize.FromMiB(256), "out of memory", "Limit  Soft  Hard  Units\n" + limits, ByteSize.FromGiB(20));
        Assert.Contains("256 MiB", text, StringComparison.Ordinal);
        Assert.Contains(says, text, StringComparison.Ordinal);
        Assert.Contains(OperatingSystem.IsWindows() ? "HostMemory" : advises, text, StringComparison.Ordinal);
        Assert.Contains("HostMemory", PinnedMemory.Explain(ByteSize.FromGiB(2), "out of memory", limits, ByteSize.FromGiB(1)), StringComparison.Ordinal);
    }

    private static ModelConfig Config { get; } = ModelConfigReader.Parse(
        """
        {"architectures": ["LlamaForCausalLM"], "vocab_size": 32000, "hidden_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 16,
         "num_key_value_heads": 4, "intermediate_size": 4096, "max_position_embeddings": 8192}
        """,
        "shape");

    private static (ByteSize Free, ByteSize Total) NoGpu() => throw new InvalidOperationException("the CPU's plan asks for no GPU");

    private static (MemoryPlan Plan, MemoryPromise Promise) OnCpu(MemoryLedger ledger, HeadInferOptions options) =>
        ledger.Plan(options, null, budget => MemoryPlanner.Plan(Config, WeightNeeds.Of(new ByteSize(4 * Elements)), torch.ScalarType.Float32, options, budget));
}
