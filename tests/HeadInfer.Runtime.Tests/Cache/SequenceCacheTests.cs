using HeadInfer.Runtime.Cache;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Cache;

public abstract class SequenceCacheTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : SequenceCacheTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : SequenceCacheTests(ComputeDevice.Cuda);

    private static readonly PageShape Shape = new(2, 4, 3, ScalarType.Float32);

    [Fact]
    public void Rows_come_back_as_they_were_written_from_any_range()
    {
        using var link = NewLink();
        using var pool = new PagePool(Shape, new ByteSize(Shape.Size.Bytes * 5), ByteSize.FromMiB(1), link);
        using var cache = new SequenceCache(pool, 3, link);
        var random = new Random(5);
        var (keys, values) = (randn([50, 2, 3], device: TorchDevice), randn([50, 2, 3], device: TorchDevice));
        for (var at = 0; at < 50;)
        {
            var count = Math.Min(random.Next(1, 9), 50 - at);
            cache.Reserve(at + count);
            for (var layer = 0; layer < 3; layer++)
            {
                cache.Write(layer, at, stack([keys.narrow(0, at, count) * (layer + 1), values.narrow(0, at, count)], 0).permute(2, 0, 1, 3).contiguous());
                link.Drain();
            }

            cache.Advance(count);
            at += count;
        }

        for (var run = 0; run < 100; run++)
        {
            var start = random.Next(50);
            var range = new TokenRange(start, random.Next(start + 1, 51));
            var layer = random.Next(3);
            Assert.True(Gather(cache, layer, range, 0).equal(keys.cpu().narrow(0, start, range.Count) * (layer + 1)).all().item<bool>());
            Assert.True(Gather(cache, layer, range, 1).equal(values.cpu().narrow(0, start, range.Count)).all().item<bool>());
        }
    }

    [Fact]
    public void Pages_grown_one_at_a_time_are_still_few_pieces()
    {
        using var link = NewLink();
        using var pool = new PagePool(Shape, ByteSize.FromMiB(1), ByteSize.FromMiB(1), link);
        using var cache = new SequenceCache(pool, 3, link);
        for (var tokens = 1; tokens <= 40; tokens++)
        {
            cache.Reserve(tokens);
        }

        Assert.Single(cache.Runs(1, new TokenRange(0, 40)));
        Assert.Equal(3, cache.Runs(1, new TokenRange(1, 38)).Count());
    }

    [Fact]
    public void A_request_beyond_the_budget_changes_nothing()
    {
        using var link = NewLink();
        using var pool = new PagePool(Shape, new ByteSize(1), Shape.Size * 7, link);
        using var cache = new SequenceCache(pool, 2, link);
        cache.Reserve(9); // three pages a layer
        var error = Assert.Throws<MemoryBudgetException>(() => cache.Reserve(13));
        Assert.Contains("HostMemory", error.Message, StringComparison.Ordinal);
        Assert.Equal(Shape.Size * 6, pool.InUse);
        Assert.Equal(Shape.Size * 6, cache.Size);
    }

    [Fact]
    public void Returned_pages_are_used_again_and_empty_slabs_are_freed()
    {
        using var link = NewLink();
        using var pool = new PagePool(Shape, new ByteSize(Shape.Size.Bytes * 4), ByteSize.FromMiB(1), link);
        var before = Tensor.TotalCount;
        var first = new SequenceCache(pool, 1, link);
        var second = new SequenceCache(pool, 1, link);
        first.Reserve(8);
        second.Reserve(8);
        Assert.Equal(before + 1, Tensor.TotalCount);
        first.Dispose();
        Assert.Equal(Shape.Size * 2, pool.InUse);
        second.Reserve(16);
        Assert.Equal(before + 1, Tensor.TotalCount);
        second.Dispose();
        Assert.Equal(before, Tensor.TotalCount);
        Assert.Equal(ByteSize.Zero, pool.InUse);
    }

    private KvLink NewLink() => Gpu is null ? new HostLink() : new CudaLink(Gpu);

    // [tokens, kv_heads, dim]
    private static Tensor Gather(SequenceCache cache, int layer, TokenRange range, int part) =>
        cat([.. cache.Runs(layer, range).Select(r => r.Memory.select(2, part).transpose(1, 2).reshape(r.Tokens.Count, 2, 3))]);
}
