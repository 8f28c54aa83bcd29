using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Weights;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Tests.Support;
using TorchSharp;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>A load that fails leaves nothing: no tensor, no thread, no open file, no promise of memory.</summary>
public abstract class FailedLoadTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : FailedLoadTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : FailedLoadTests(ComputeDevice.Cuda)
    {
        [Fact]
        public async Task Attention_that_cannot_be_fused_is_refused_before_weights_are_read()
        {
            var progress = new Direct<LoadProgress>(_ => Assert.Fail("a layer was read"));
            var options = new HeadInferOptions { Device = Device, FusedAttention = FusedAttention.Flash, ComputeType = ComputeType.Float32 };
            Assert.Contains("FusedAttention", (await Assert.ThrowsAsync<ArgumentException>(() => HeadInferModel.LoadAsync(Fixtures.Model("qwen2"), options, progress))).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task By_cancelling() => await LeavesNothing<OperationCanceledException>(async folder =>
    {
        using var cancel = new CancellationTokenSource();
        await HeadInferModel.LoadAsync(folder, Options(), new Direct<LoadProgress>(_ => cancel.Cancel()), cancel.Token);
    });

    [Fact]
    public async Task By_a_progress_that_throws() => await LeavesNothing<InvalidTimeZoneException>(folder =>
        HeadInferModel.LoadAsync(folder, Options(), new Direct<LoadProgress>(_ => throw new InvalidTimeZoneException())));

    [Fact]
    public async Task By_weights_that_are_shortened()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), Fixtures.OpenFilesStay);
        await LeavesNothing<CheckpointException>(folder => HeadInferModel.LoadAsync(folder, Options(), new Direct<LoadProgress>(_ => Shorten(folder))));
    }

    [Fact]
    public async Task By_a_budget_that_is_too_small() => await LeavesNothing<MemoryBudgetException>(folder =>
        HeadInferModel.LoadAsync(folder, Options() with { HostMemory = ByteSize.FromMiB(1) }));

    [Fact]
    public async Task By_a_placement_that_is_none()
    {
        await LeavesNothing<ArgumentException>(folder => HeadInferModel.LoadAsync(folder, Options() with { Placement = _ => (HeadPlacement)9 }, new Direct<LoadProgress>(_ => Assert.Fail("a layer was read"))));
        await LeavesNothing<InvalidTimeZoneException>(folder => HeadInferModel.LoadAsync(folder, Options() with { Placement = _ => throw new InvalidTimeZoneException() }));
    }

    // The first failure is told, and what comes after the part that throws is taken back all the same.
    [Fact]
    public async Task By_a_device_that_fails_again_when_parts_are_disposed()
    {
        Assert.SkipWhen(Device == ComputeDevice.Cuda, "a device of the test's own");
        await LeavesNothing<InvalidTimeZoneException>(folder => HeadInferModel.LoadAsync(folder, Options(), _ => new Failing()));
    }

    private sealed class Failing : CpuDevice
    {
        public override RowKernels CreateRows(RowTraits traits) => throw new InvalidTimeZoneException();

        public override void Drain() => throw new FormatException();
    }

    [Fact]
    public async Task By_memory_that_the_system_refuses()
    {
        Assert.SkipWhen(Device == ComputeDevice.Cuda, "the CPU's weights are in host memory");
        var config = ModelConfigReader.Parse(
            """
            {"architectures": ["LlamaForCausalLM"], "vocab_size": 1073741824, "hidden_size": 1048576, "num_hidden_layers": 1, "num_attention_heads": 1,
             "num_key_value_heads": 1, "head_dim": 64, "intermediate_size": 64, "max_position_embeddings": 64}
            """,
            "shape");
        await LeavesNothing<MemoryBudgetException>(_ => Task.FromResult(ModelLoading.Create(
            config, 1, torch.ScalarType.Float32, (type, device) => new RandomWeights(type, device), Options() with { HostMemory = ByteSize.FromGiB(1 << 20) })));
    }

    private static async Task LeavesNothing<T>(Func<string, Task> load)
        where T : Exception
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        var (ledger, tensors, threads) = (MemoryLedger.OfProcess.Promises, torch.Tensor.TotalCount, EngineThreads());
        var error = await Assert.ThrowsAnyAsync<T>(() => load(folder.Path));
        Assert.DoesNotContain("frame #", error.ToString(), StringComparison.Ordinal);
        Assert.Equal((ledger, tensors), (MemoryLedger.OfProcess.Promises, torch.Tensor.TotalCount));
        Assert.True(SpinWait.SpinUntil(() => EngineThreads() <= threads, TimeSpan.FromMinutes(1)), "a thread is left"); // the system ends a thread a little after it is joined; one of before may end too
        if (OperatingSystem.IsLinux())
        {
            Assert.DoesNotContain(Directory.GetFiles("/proc/self/fd"), link => new FileInfo(link).LinkTarget?.StartsWith(folder.Path, StringComparison.Ordinal) == true);
        }
    }

    private HeadInferOptions Options() => new() { Device = Device };

    // Names of threads are cut to fifteen characters.
    private static int EngineThreads() => !OperatingSystem.IsLinux() ? 0
        : Directory.GetDirectories("/proc/self/task").Count(t => NameOf(t).StartsWith("HeadInfer engin", StringComparison.Ordinal));

    private static string NameOf(string task)
    {
        try
        {
            return File.ReadAllText(task + "/comm");
        }
        catch (IOException)
        {
            return ""; // it ended since the folder was listed
        }
    }

    private static void Shorten(string folder)
    {
        using var file = new FileStream(Path.Combine(folder, "model.safetensors"), FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        file.SetLength(4096);
    }
}
