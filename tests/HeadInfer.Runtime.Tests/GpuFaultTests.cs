using System.Runtime.InteropServices;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Weights;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests;

/// <summary>What can be wrong with a GPU, and what is said and saved then.</summary>
public abstract partial class GpuFaultTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class WithoutGpu() : GpuFaultTests(ComputeDevice.Cpu)
    {
        [Fact]
        public async Task A_gpu_that_is_not_there_is_named_with_what_to_do()
        {
            Assert.SkipWhen(Compute.Gpu.IsAvailable(out _), "there is a GPU");
            var error = await Assert.ThrowsAsync<DeviceException>(() => HeadInferModel.LoadAsync(Fixtures.Model("llama3"), new HeadInferOptions { Device = ComputeDevice.Cuda }));
            Assert.Contains("HeadInferOptions.Device", error.Message, StringComparison.Ordinal);
        }

        [Fact]
        public void Every_reason_says_what_to_do()
        {
            Assert.Contains("Install NVIDIA's driver", Compute.Gpu.Explain(false, null, false, 0, ""), StringComparison.Ordinal);
            Assert.Contains("CUDA_VISIBLE_DEVICES", Compute.Gpu.Explain(true, "no CUDA-capable device is detected", false, 0, ""), StringComparison.Ordinal);
            var old = Compute.Gpu.Explain(true, null, false, 12_040, "libtorch loaded from here");
            Assert.Contains("CUDA 12.4", old, StringComparison.Ordinal);
            Assert.Contains("update the driver", old, StringComparison.Ordinal);
            Assert.Contains("libtorch loaded from here", old, StringComparison.Ordinal);
            Assert.Null(Compute.Gpu.Explain(true, null, true, 13_000, ""));
            Assert.Contains("There is no GPU 2: this process sees 2", Compute.Gpu.Explain(2, 2, default), StringComparison.Ordinal);
            var early = Compute.Gpu.Explain(1, 2, (7, 5));
            Assert.Contains("GPU 1 has compute capability 7.5, and 8.0 is needed", early, StringComparison.Ordinal);
            Assert.Contains("HeadInferOptions.Device to Cpu", early, StringComparison.Ordinal);
            Assert.Null(Compute.Gpu.Explain(0, 1, (8, 0)));
        }

        [Fact]
        public async Task Options_for_a_gpu_are_refused_on_the_cpu()
        {
            foreach (var options in (HeadInferOptions[])
                [
                    new() { GpuMemory = ByteSize.FromGiB(1) }, new() { ResidentMemory = ByteSize.Zero }, new() { GpuIndex = 0 },
                    new() { ComputeType = ComputeType.BFloat16 }, new() { FusedAttention = FusedAttention.Flash },
                ])
            {
                var error = await Assert.ThrowsAsync<ArgumentException>(() => HeadInferModel.LoadAsync(Fixtures.Model("llama3"), options with { Device = ComputeDevice.Cpu }));
                Assert.Contains("HeadInferOptions.", error.Message, StringComparison.Ordinal);
            }

            await using var model = await HeadInferModel.LoadAsync(Fixtures.Model("llama3"), new HeadInferOptions { Device = ComputeDevice.Cpu, ComputeType = ComputeType.Float32 });
            Assert.Equal("CPU", model.Device);
        }
    }

    public sealed partial class OnCuda() : GpuFaultTests(ComputeDevice.Cuda)
    {
        private static readonly int[] Prompt = [.. Enumerable.Range(0, 200).Select(i => (i * 37) % 320)];

        [Fact]
        public async Task Memory_that_others_take_fails_the_operation_and_not_the_session()
        {
            // Wide, so that a segment needs far more than libtorch may have kept from other tests.
            var config = ModelConfigReader.Parse("""
                {"architectures": ["LlamaForCausalLM"], "vocab_size": 320, "hidden_size": 8192, "num_hidden_layers": 2,
                 "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 8192, "max_position_embeddings": 131072}
                """, "wide");
            var options = new HeadInferOptions { Device = ComputeDevice.Cuda, GpuMemory = ByteSize.FromGiB(24), ResidentMemory = ByteSize.Zero, SegmentTokens = 65_536 };
            await using var model = ModelLoading.Create(config, 1, ScalarType.BFloat16, (type, device) => new RandomWeights(type, device), options);
            using var session = model.CreateSession();
            await session.PrefillAsync(Prompt);
            var many = Enumerable.Range(0, 65_536).Select(i => i % 320).ToArray();
            var (free, _) = Compute.Gpu.Memory();
            Assert.Equal(0, TakeMemory(out var taken, (nuint)(free - ByteSize.FromMiB(64)).Bytes));
            try
            {
                var error = await Assert.ThrowsAsync<MemoryBudgetException>(() => session.PrefillAsync(many));
                Assert.Contains("Another process may have taken some", error.Message, StringComparison.Ordinal);
                Assert.Contains(model.Plan.Gpu!.Budget.ToString(), error.Message, StringComparison.Ordinal);
                Assert.Equal(Prompt.Length, session.Length);
            }
            finally
            {
                Assert.Equal(0, GiveMemory(taken));
            }

            await session.PrefillAsync(many);
            Assert.Equal(Prompt.Length + many.Length, session.Length);
        }

        [Fact]
        public void Memory_that_cannot_be_pinned_is_copied_all_the_same_with_one_warning()
        {
            var warnings = new List<string>();
            using var device = new WithoutPins(warnings.Add);
            var shape = new PageShape(2, 64, 64, ScalarType.Float32);
            using var pool = new BlockPool(shape, 1, ByteSize.FromMiB(64), ByteSize.Zero, device, shape.Size * 4);
            using var cache = new Sequence(pool, "");
            cache.Reserve(1000);
            var rows = randn([2, 2, 1000, 64], ScalarType.Float32, TorchDevice);
            cache.Write(0, rows);
            device.Drain();
            var back = cat([.. cache.Runs(0, new TokenRange(0, 1000)).Select(r => r.Memory.permute(1, 2, 0, 3, 4).reshape(2, 2, r.Tokens.Count, 64))], 2);
            Assert.True(back.equal(rows.cpu()).all().item<bool>());
            var warning = Assert.Single(warnings);
            Assert.Contains("ulimit -l", warning, StringComparison.Ordinal);
        }

        private sealed class WithoutPins(Action<string> warn) : CudaDevice(Compute.Gpu.Open(0), warn)
        {
            protected override IDisposable? TryPin(nint address, long bytes, out string error)
            {
                error = "refused for a test";
                return null;
            }
        }

        [Fact]
        public async Task Heads_in_host_memory_are_refused_where_it_cannot_be_locked()
        {
            var error = await Assert.ThrowsAsync<ArgumentException>(() => HeadInferModel.LoadAsync(Fixtures.Model("llama3"), new HeadInferOptions { Placement = _ => HeadPlacement.Host }, _ => new WithoutPins(_ => { })));
            Assert.Contains("Placement", error.Message, StringComparison.Ordinal);
        }

        [Fact]
        public async Task A_model_that_does_not_fit_says_the_numbers_and_the_knobs()
        {
            var error = await Assert.ThrowsAsync<MemoryBudgetException>(() => Load(Fixtures.Model("llama3"), new HeadInferOptions { GpuMemory = ByteSize.FromMiB(900) }));
            Assert.Contains("900 MiB", error.Message, StringComparison.Ordinal);
            Assert.Contains("GpuMemory", error.Message, StringComparison.Ordinal);
            var resident = await Assert.ThrowsAsync<MemoryBudgetException>(() => Load(Fixtures.Model("llama3"), new HeadInferOptions { GpuMemory = ByteSize.FromGiB(4), ResidentMemory = ByteSize.FromGiB(8) }));
            Assert.Contains("ResidentMemory", resident.Message, StringComparison.Ordinal);
            await Assert.ThrowsAsync<DeviceException>(() => Load(Fixtures.Model("llama3"), new HeadInferOptions { GpuIndex = 99 }));
        }

        // Past libtorch's allocator, as another process would.
        [LibraryImport("libcuda.so.1", EntryPoint = "cuMemAlloc_v2")]
        private static partial int TakeMemory(out nint address, nuint bytes);

        [LibraryImport("libcuda.so.1", EntryPoint = "cuMemFree_v2")]
        private static partial int GiveMemory(nint address);
    }
}
