using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Which runs the copies of a sequence are in.</summary>
public sealed class ResidentCopiesTests : NativeTest
{
    private const int Page = 4;

    private static readonly PageShape Shape = new(2, Page, 3, ScalarType.Float32);

    private static readonly AttentionLayout Layout = new(2, 1, 3, [null, null], Page);

    private static ByteSize BlockSize => Shape.Size * Layout.Layers;

    [Fact]
    public void Steps_that_come_to_nothing_leave_a_sequence_in_one_run()
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device);
        using var copies = new ResidentCopies(Layout, pool, BlockSize * 1000);
        using var sequence = new Sequence(pool, "");
        Grow(sequence, copies, 6);
        for (var time = 0; time < 20; time++)
        {
            sequence.Reserve(9);
            copies.Place(sequence, 15);
            sequence.Truncate(6); // as a pass that is cancelled
        }

        var extent = Assert.Single(Grow(sequence, copies, 9));
        Assert.Equal((new TokenRange(0, 15), 0), (extent.Tokens, extent.First));
        Assert.Equal(BlockSize * 4, copies.SizeOf(sequence.Blocks));
    }

    [Fact]
    public void Sequences_that_share_blocks_share_their_copies()
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device);
        using var copies = new ResidentCopies(Layout, pool, BlockSize * 1000);
        using var sequence = new Sequence(pool, "");
        var first = Assert.Single(Grow(sequence, copies, 10));
        using var fork = sequence.Fork();
        var forked = Grow(fork, copies, 5); // its last block was shared and is its own now
        Assert.Equal([new TokenRange(0, 8), new TokenRange(8, 15)], forked.Select(e => e.Tokens));
        Assert.Same(first.Run, forked[0].Run);
        Assert.NotSame(first.Run, forked[1].Run);
    }

    [Fact]
    public void A_prompt_that_is_read_in_segments_has_one_run_from_the_beginning()
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device);
        using var copies = new ResidentCopies(Layout, pool, BlockSize * 2000);
        using var sequence = new Sequence(pool, "") { Coming = 300 };
        var first = Assert.Single(Grow(sequence, copies, 100));
        Assert.InRange(first.Run.Capacity, 300 + 1024, 300 + 1024 + Page);
        Grow(sequence, copies, 100);
        Assert.Same(first.Run, Assert.Single(Grow(sequence, copies, 100)).Run);
    }

    [Fact]
    public void A_run_that_fills_the_device_stays_where_it_is()
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device);
        using var copies = new ResidentCopies(Layout, pool, BlockSize * 3);
        using var sequence = new Sequence(pool, "");
        var first = Assert.Single(Grow(sequence, copies, 18));
        Assert.Equal(new TokenRange(0, 12), first.Tokens); // what follows is streamed
        for (var step = 0; step < 10; step++)
        {
            Assert.Equal(first, Assert.Single(Grow(sequence, copies, 1)));
        }
    }

    private static BlockPool NewPool(CpuDevice device) => new(Shape, Layout.Layers, BlockSize * 100, BlockSize * 100, device);

    private static IReadOnlyList<ResidentExtent> Grow(Sequence sequence, ResidentCopies copies, int tokens)
    {
        sequence.Reserve(tokens);
        var extents = copies.Place(sequence, sequence.Length + tokens);
        for (var layer = 0; layer < Layout.Layers; layer++)
        {
            sequence.Write(layer, randn(Shape.KvHeads, 2, tokens, Shape.HeadDim));
        }

        sequence.Commit(new int[tokens]);
        return extents;
    }
}
