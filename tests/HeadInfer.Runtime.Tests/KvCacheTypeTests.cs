using HeadInfer.Reference;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Tests.Support;
using HeadInfer.Text;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests;

/// <summary>With keys and values of 16 bits the CPU computes what float64 attention does with them so rounded, however the work is cut.</summary>
public abstract class KvCacheTypeTests(ComputeDevice device) : NativeTest(device)
{
    private static readonly int[] Prompt = [.. Enumerable.Range(0, 120).Select(i => ((i * 53) + 7) % 320)];

    public sealed class OnCpu() : KvCacheTypeTests(ComputeDevice.Cpu)
    {
        // Layouts that attend in different ways; the others differ in where heads lie, which the reference's tests hold.
        public static TheoryData<string, string> Cases() => ReferenceTests.ModelCases("one-piece", "odd-mixed", "token-by-token");

        [Theory]
        [MemberData(nameof(Cases))]
        public async Task Logits_are_those_of_dense_attention_to_rounded_keys_and_values(string name, string layout)
        {
            foreach (var type in (ComputeType[])[ComputeType.BFloat16, ComputeType.Float16])
            {
                await using var model = await Load(Fixtures.Model(name), ModelReference.Layouts.Single(l => l.Name == layout).Options with { KvCacheType = type });
                using var session = model.CreateSession();
                var tiled = (await session.LogitsAsync(Prompt)).SelectMany(row => row).ToArray();
                var rounded = await model.Thread.RunAsync(() => DenseSequence.Logits(model, Prompt, model.Config.AttentionSoftCap, (layer, kv) => AsKept(session.Sequence, layer, kv)));
                var exact = await model.Thread.RunAsync(() => DenseSequence.Logits(model, Prompt, model.Config.AttentionSoftCap));
                var (worst, without) = (Worst(tiled, rounded), Worst(tiled, exact));
                Assert.True(worst < ModelReference.Tolerance, $"off by {worst} deviations in {type}");
                Assert.True(without > 5 * worst, $"only {without} deviations from attention without rounding in {type}, and {worst} from that with it: this shows nothing");
            }
        }

        [Fact]
        public async Task Pieces_reuse_and_forks_give_the_same_tokens()
        {
            List<int>? expected = null;
            foreach (var layout in ModelReference.Layouts)
            {
                await using var model = await Load(Fixtures.Model("qwen3"), layout.Options with { KvCacheType = ComputeType.BFloat16 });
                using var session = model.CreateSession();
                expected ??= await Generate(session, Prompt);
                session.Truncate(0);
                await session.PrefillAsync(Prompt[..13]);
                await session.PrefillAsync(Prompt[13..77]);
                using var fork = session.Fork();
                Assert.Equal(expected, await Generate(fork, Prompt[77..]));
                Assert.Equal(expected, await Generate(session, Prompt[77..]));
                using var other = model.CreateSession();
                Assert.Equal(expected, await Generate(other, Prompt));
                Assert.True(other.Reused > 100, $"{other.Reused} tokens were found");
                using var alone = model.CreateSession("alone");
                Assert.Equal(expected, await Generate(alone, Prompt));
            }
        }

        [Fact]
        public async Task Pages_are_half_as_large_and_the_plan_says_their_type()
        {
            var options = new HeadInferOptions { HostMemory = ByteSize.FromGiB(1), MaxContextTokens = 1 << 20 };
            await using var wide = await Load(Fixtures.DemoModel, options);
            await using var narrow = await Load(Fixtures.DemoModel, options with { KvCacheType = ComputeType.BFloat16 });
            Assert.Equal(wide.Plan.KvPerToken, narrow.Plan.KvPerToken * 2);
            Assert.InRange(narrow.Plan.LongestContext, wide.Plan.LongestContext * 1.9, wide.Plan.LongestContext * 2.1);
            Assert.Equal(("Float32", "BFloat16"), (narrow.Plan.ElementType, narrow.Plan.KvElementType));
            Assert.Contains("a token (BFloat16) in pages", narrow.Plan.ToString(), StringComparison.Ordinal);
            using var session = narrow.CreateSession();
            await session.PrefillAsync([.. Enumerable.Range(0, 1000)]);
            Assert.Equal(narrow.Plan.KvPerToken * 1024, narrow.Memory.HostCache);
        }

        [Fact]
        public async Task A_type_that_is_none_is_named() =>
            Assert.Contains("KvCacheType", (await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => Load(Fixtures.Model("qwen3"), new HeadInferOptions { KvCacheType = (ComputeType)7 }))).Message, StringComparison.Ordinal);

        // The reference's own keys and values, rounded. Where one is in the middle between two numbers of 16 bits, the last bits of
        // float32 decide, and those are not the same for all ways to cut the work: there the session's choice is taken.
        private static Tensor AsKept(Sequence sequence, int layer, Tensor kv)
        {
            Tensor[] runs = [.. sequence.Runs(layer, new TokenRange(0, (int)kv.shape[2])).Select(run => run.Memory.permute(1, 2, 0, 3, 4).flatten(2, 3))];
            var kept = cat(runs, 2);
            var type = kept.dtype;
            var (wide, rounded) = (kept.to(kv.dtype), kv.to(type).to(kv.dtype));
            Assert.True(wide.ne(rounded).to(ScalarType.Float64).mean().item<double>() < 0.01, $"layer {layer} keeps others than the reference");
            var most = (kv.abs() * (type == ScalarType.BFloat16 ? 1.01 / 256 : 1.01 / 2048)) + 1e-5; // half of the distance of neighbours
            Assert.True((wide - kv).abs().le(most).all().item<bool>(), $"layer {layer} keeps what is no rounding");
            return wide;
        }

        private static async Task<List<int>> Generate(HeadInferSession session, int[] prompt)
        {
            var tokens = new List<int>();
            await foreach (var step in session.GenerateAsync(prompt, new GenerationOptions { MaxTokens = 24, StopTokens = [] }))
            {
                tokens.Add(step.TokenId);
            }

            return tokens;
        }

        // The largest difference, in standard deviations of what is expected.
        private static double Worst(float[] got, float[] expected)
        {
            var mean = expected.Average(x => (double)x);
            var deviation = Math.Sqrt(expected.Average(x => (x - mean) * (x - mean)));
            return got.Zip(expected, (a, b) => double.IsNaN(a) ? double.PositiveInfinity : Math.Abs((double)a - b)).Max() / deviation;
        }
    }

    public sealed class OnCuda() : KvCacheTypeTests(ComputeDevice.Cuda)
    {
        [Fact]
        public async Task Another_type_than_the_computed_one_is_refused()
        {
            var error = await Assert.ThrowsAsync<ArgumentException>(() => Load(Fixtures.Model("qwen3"), new HeadInferOptions { KvCacheType = ComputeType.BFloat16 }));
            Assert.Contains("HeadInferOptions.KvCacheType", error.Message, StringComparison.Ordinal);
            await using var model = await Load(Fixtures.Model("qwen3"), new HeadInferOptions { KvCacheType = ComputeType.Float32 });
            Assert.Equal("Float32", model.Plan.KvElementType);
        }
    }
}
