using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Our own fused attention of many rows against its definition in float64.</summary>
public static class SegmentAttentionTests
{
    private const int Consumer = 99 << 10, Server = 227 << 10; // shared memory that a block may have

    public sealed class OnCpu
    {
        [Theory]
        [InlineData(256, Server, 128, 64)]
        [InlineData(256, Consumer, 64, 32)]
        [InlineData(512, Server, 64, 32)]
        [InlineData(512, Consumer, 32, 16)]
        [InlineData(80, Consumer, 128, 64)]
        public void A_block_is_as_large_as_shared_memory_allows(int dim, int shared, int rows, int keys) =>
            Assert.Equal((rows, keys), SegmentAttention.BlockFor(dim, shared));

        [Fact]
        public void All_heads_that_it_takes_have_a_block_on_any_GPU_that_it_takes()
        {
            foreach (var dim in Enumerable.Range(1, 1024).Where(SegmentAttention.Takes))
            {
                Assert.InRange(SegmentAttention.SharedBytes(dim, SegmentAttention.BlockFor(dim, Consumer)), 1, Consumer);
            }
        }

        [Theory]
        [InlineData(16, true)]
        [InlineData(256, true)]
        [InlineData(512, true)]
        [InlineData(320, true)]
        [InlineData(72, false)]  // no whole steps of 16
        [InlineData(272, false)] // halves have none
        [InlineData(544, false)]
        public void Heads_it_takes(int dim, bool taken) => Assert.Equal(taken, SegmentAttention.Takes(dim));
    }

    public sealed class OnCuda() : NativeTest(ComputeDevice.Cuda)
    {
        [Theory]
        [InlineData(256)]
        [InlineData(512)]
        [InlineData(128)]
        [InlineData(80)]
        [InlineData(320)]
        public void Any_part_is_its_definition(int dim)
        {
            var random = new Random(dim);
            foreach (var type in (ScalarType[])[ScalarType.BFloat16, ScalarType.Float16])
            {
                using var gpu = Compute.Gpu.Open(0);
                using var module = SegmentAttention.Compile(gpu, type, dim);
                for (var run = 0; run < 60; run++)
                {
                    using var scope = NewDisposeScope();
                    var view = new Visibility(random.Next(2) == 0 ? null : random.Next(1, 400));
                    double? softCap = random.Next(2) == 0 ? null : 5 + (45 * random.NextDouble());
                    var (batch, group, start) = (random.Next(1, 3), random.Next(1, 4), random.Next(500));
                    var keys = new TokenRange(start, start + random.Next(1, 400));
                    var rows = view.Rows(new TokenRange(start + random.Next(400), start + 400 + random.Next(400)), keys);
                    if (rows.IsEmpty)
                    {
                        continue;
                    }

                    // Strides as a layer's: a token's heads side by side, keys beside values.
                    var traits = new AttentionTraits(random.NextDouble() / Math.Sqrt(dim), softCap, dim, group, type);
                    var queries = (4 * randn([rows.Count, batch * group * dim], device: TorchDevice)).to(type).view(rows.Count, batch, group, dim).permute(1, 2, 0, 3);
                    var kv = randn([batch, 2, keys.Count + 3, dim], device: TorchDevice).to(type);
                    var (k, v) = (kv.select(1, 0).narrow(1, 3, keys.Count), kv.select(1, 1).narrow(1, 3, keys.Count));
                    var (output, lse) = new SegmentAttention(module, traits).Attend(queries, k, v, rows, keys, view);

                    var scores = queries.to(ScalarType.Float64).matmul(k.to(ScalarType.Float64).unsqueeze(1).transpose(2, 3)) * traits.Scale;
                    scores = (softCap is { } cap ? cap * (scores / cap).tanh() : scores) + view.Mask(rows, keys, TorchDevice);
                    var sums = scores.logsumexp(-1);
                    AssertNear(sums, lse.to(ScalarType.Float64), 1e-4);
                    AssertNear((scores - sums.unsqueeze(-1)).exp().matmul(v.to(ScalarType.Float64).unsqueeze(1)), output.to(ScalarType.Float64), type == ScalarType.BFloat16 ? 2.5e-2 : 4e-3);
                }
            }
        }

        private static void AssertNear(Tensor expected, Tensor actual, double tolerance) =>
            Assert.InRange((expected - actual).abs().max().item<double>(), 0, tolerance);
    }
}
