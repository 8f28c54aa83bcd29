using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Cache;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>However a sequence is cut, placed and merged, attention is what its definition says.</summary>
public sealed class TiledAttentionTests : NativeTest
{
    [Theory]
    [InlineData(null, null)]
    [InlineData(9, null)]
    [InlineData(null, 5.0)]
    [InlineData(33, 3.0)]
    public void Random_cuts_equal_dense_attention(int? window, double? softCap)
    {
        var random = new Random(HashCode.Combine(7, window ?? 0, (int)(softCap ?? 0)));
        for (var run = 0; run < 40; run++)
        {
            var (kvHeads, shared, dim) = (random.Next(1, 5), random.Next(1, 4), 4 * random.Next(1, 20));
            var scale = 1 / Math.Sqrt(dim);
            var (tile, page) = (random.Next(1, 40), random.Next(1, 20));
            using var pool = new PagePool(new PageShape(kvHeads, page, dim, ScalarType.Float32), new ByteSize(random.Next(1, 1 << 16)), ByteSize.FromMiB(64));
            using var ring = new TileRing(2, kvHeads, tile, dim, ScalarType.Float32, CPU);
            var groups = AttentionLayout.Group(0, kvHeads, random.Next(1, kvHeads + 1), _ => (HeadPlacement)random.Next(3));
            var layout = new AttentionLayout(kvHeads, shared, dim, [window], [groups]);
            using var attention = new TiledAttention(layout, new AttentionKernel(scale, softCap), new HostAttention(scale, softCap), pool, ring, CPU);
            CompareInSteps(random, attention, kvHeads, shared, dim, scale, window, softCap);
        }
    }

    [Fact]
    public void Parts_merge_whatever_their_magnitude()
    {
        // Scores of the second part are far above those of the first, then far below.
        foreach (var (first, second) in ((float, float)[])[(-200f, 200f), (200f, -200f), (0f, 0f)])
        {
            using var merge = new AttentionMerge([1, 1, 1, 2]);
            merge.Add(0, tensor([1f, 2f]).view(1, 1, 1, 2), tensor(first).view(1, 1, 1));
            merge.Add(0, tensor([3f, 4f]).view(1, 1, 1, 2), tensor(second).view(1, 1, 1));
            var expected = first > second ? [1f, 2f] : first < second ? [3f, 4f] : new[] { 2f, 3f };
            Assert.Equal(expected, merge.Output.data<float>().ToArray());
        }
    }

    [Fact]
    public void Work_is_counted_to_the_last_operation()
    {
        using var pool = new PagePool(new PageShape(2, 4, 8, ScalarType.Float32), new ByteSize(1), ByteSize.FromMiB(1));
        using var ring = new TileRing(2, 2, 5, 8, ScalarType.Float32, CPU);
        var layout = new AttentionLayout(2, 3, 8, [6], [AttentionLayout.Group(0, 2, 1, _ => HeadPlacement.Streamed)]);
        using var attention = new TiledAttention(layout, new AttentionKernel(1, null), new HostAttention(1, null), pool, ring, CPU);
        var work = new WorkMeter(1, null, CancellationToken.None);
        foreach (var count in (int[])[7, 1, 9])
        {
            attention.Reserve(count);
            attention.Attend(0, randn(count, 6, 8), randn(count, 2, 8), randn(count, 2, 8), empty(count, 6, 8), work);
            attention.Advance(count);
        }

        var pairs = Enumerable.Range(0, 17).Sum(i => Math.Min(i + 1, 6));
        Assert.Equal(4.0 * 8 * 6 * pairs, work.Done);
    }

    private static void CompareInSteps(Random random, TiledAttention attention, int kvHeads, int shared, int dim, double scale, int? window, double? softCap)
    {
        List<Tensor> allKeys = [], allValues = [];
        for (var step = 0; step < 5; step++)
        {
            var count = random.Next(2) == 0 ? 1 : random.Next(1, 60);
            var (q, k, v) = (randn(count, kvHeads * shared, dim) * 3, randn(count, kvHeads, dim), randn(count, kvHeads, dim));
            allKeys.Add(k);
            allValues.Add(v);
            var expected = DenseAttention.Attend(q, cat(allKeys), cat(allValues), scale, window, softCap);
            attention.Reserve(count);
            attention.Attend(0, q, k, v, output: q, WorkMeter.None);
            var worst = (q.to(ScalarType.Float64) - expected).abs().max().item<double>();
            Assert.True(worst < 2e-5, $"off by {worst} with {count} new after {attention.Length} tokens");
            attention.Advance(count);
            if (random.Next(4) == 0)
            {
                // Forgetting and going on must leave nothing of what was forgotten.
                var kept = random.Next(attention.Length + 1);
                attention.Truncate(kept);
                (allKeys, allValues) = ([cat(allKeys).narrow(0, 0, kept)], [cat(allValues).narrow(0, 0, kept)]);
            }
        }
    }
}
