using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Sequences;

public abstract class SequenceTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : SequenceTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : SequenceTests(ComputeDevice.Cuda);

    private static readonly PageShape Shape = new(2, 4, 3, ScalarType.Float32);

    [Fact]
    public void Rows_come_back_as_they_were_written_from_any_range()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 3, slabPages: 5);
        using var sequence = new Sequence(pool, "");
        var random = new Random(5);
        var (keys, values) = (randn([50, 2, 3], device: TorchDevice), randn([50, 2, 3], device: TorchDevice));
        while (sequence.Length < 50)
        {
            var (at, count) = (sequence.Length, Math.Min(random.Next(1, 9), 50 - sequence.Length));
            sequence.Reserve(count);
            for (var layer = 0; layer < 3; layer++)
            {
                sequence.Write(layer, stack([keys.narrow(0, at, count) * (layer + 1), values.narrow(0, at, count)], 0).permute(2, 0, 1, 3).contiguous());
                device.Drain();
            }

            sequence.Commit([.. Enumerable.Range(at, count)]);
        }

        Assert.Equal(Enumerable.Range(0, 50), sequence);
        for (var run = 0; run < 100; run++)
        {
            var start = random.Next(50);
            var range = new TokenRange(start, random.Next(start + 1, 51));
            var layer = random.Next(3);
            Assert.True(Gather(sequence, layer, range, 0).equal(keys.cpu().narrow(0, start, range.Count) * (layer + 1)).all().item<bool>());
            Assert.True(Gather(sequence, layer, range, 1).equal(values.cpu().narrow(0, start, range.Count)).all().item<bool>());
        }
    }

    [Fact]
    public void Blocks_grown_one_at_a_time_are_still_few_pieces()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 3, slabPages: 1000);
        using var sequence = new Sequence(pool, "");
        for (var i = 0; i < 40; i++)
        {
            Add(sequence, i);
        }

        Assert.Single(sequence.Runs(1, new TokenRange(0, 40)));
        Assert.Equal(3, sequence.Runs(1, new TokenRange(1, 38)).Count());
    }

    [Fact]
    public void A_request_beyond_the_budget_changes_nothing()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 2, slabPages: 1, blocks: 3);
        using var sequence = new Sequence(pool, "");
        sequence.Reserve(9);
        var error = Assert.Throws<MemoryBudgetException>(() => sequence.Reserve(13));
        Assert.Contains("HostMemory", error.Message, StringComparison.Ordinal);
        Assert.Equal(new BlockCount(3, 0, 3), pool.Count);
        Assert.Equal(3, sequence.Blocks.Count);
    }

    [Fact]
    public void Returned_pages_are_used_again_and_empty_slabs_are_freed()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 1, slabPages: 4);
        var before = Tensor.TotalCount;
        var (first, second) = (new Sequence(pool, ""), new Sequence(pool, ""));
        first.Reserve(8);
        second.Reserve(8);
        Assert.Equal(before + 1, Tensor.TotalCount);
        first.Dispose();
        Assert.Equal(2, pool.Count.InUse);
        second.Reserve(16);
        Assert.Equal(before + 1, Tensor.TotalCount);
        second.Dispose();
        pool.Trim();
        Assert.Equal(before, Tensor.TotalCount);
        Assert.Equal(default, pool.Count with { Most = 0 });
    }

    [Fact]
    public void Rotations_of_one_caller_are_told_from_other_callers_of_any_name()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 1, slabPages: 16);
        using (var rotated = new Sequence(pool, "a"))
        {
            rotated.Rotate(1);
            for (var i = 0; i < 9; i++)
            {
                Add(rotated, i);
            }
        }

        using var other = new Sequence(pool, "a\u001f1");
        Assert.Equal(0, other.Adopt([.. Enumerable.Range(0, 9)]));
        Assert.Equal([9], pool.Known("a").Select(k => k.Tokens));
        Assert.Empty(pool.Known("a\u001f1"));
    }

    [Fact]
    public void A_caller_of_whom_nothing_is_known_any_more_is_forgotten()
    {
        var (index, key) = (new PrefixIndex(), new CacheKey("a", 0));
        var root = index.Place(key, null);
        var block = new Block(1, 4, []);
        block.Append([1, 2]);
        PrefixIndex.Add(root, block);
        Assert.Same(root, index.Place(key, null));
        index.SetIdle(block, true);
        Assert.Same(block, index.TakeOldest());
        Assert.NotSame(root, index.Place(key, null));
    }

    [Fact]
    public void What_any_sequence_had_is_found_to_the_token_and_shared()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 2, slabPages: 16);
        var first = new Sequence(pool, "");
        Add(first, [.. Enumerable.Range(0, 10)]);
        using var second = new Sequence(pool, "");
        Assert.Equal(9, second.Adopt([.. Enumerable.Range(0, 9), 77, 78])); // the third block in part
        Assert.Equal(first.Blocks, second.Blocks);
        Assert.Equal(3, pool.Count.InUse);
        Add(second, 77, 78); // which is copied now
        Assert.Equal(4, pool.Count.InUse);
        Assert.Equal([.. Enumerable.Range(0, 9), 77, 78], second);
        Assert.Equal(Rows(first, 9), Rows(second, 9));
        first.Dispose();
        using var third = new Sequence(pool, "");
        Assert.Equal(9, third.Adopt([.. Enumerable.Range(0, 10)])); // the last token always remains
        using var other = new Sequence(pool, "somebody else");
        Assert.Equal(0, other.Adopt([.. Enumerable.Range(0, 10)]));
        using var continued = new Sequence(pool, "");
        Add(continued, 0, 1, 2);
        Assert.Equal(8, continued.Adopt([3, 4, 5, 6, 7, 8, 77, 78, 79])); // beyond what it had itself
        Assert.Equal([.. Enumerable.Range(0, 9), 77, 78], continued);
    }

    [Fact]
    public void A_fork_costs_nothing_until_one_of_the_two_goes_on()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 2, slabPages: 16);
        using var sequence = new Sequence(pool, "");
        Add(sequence, [.. Enumerable.Range(0, 6)]);
        using var fork = sequence.Fork();
        Assert.Equal(2, pool.Count.InUse);
        Assert.Equal((0, 2), pool.CountShared(fork));
        Add(fork, 10);
        Add(sequence, 20);
        Assert.Equal([0, 1, 2, 3, 4, 5, 10], fork);
        Assert.Equal([0, 1, 2, 3, 4, 5, 20], sequence);
        Assert.Equal(Rows(sequence, 6), Rows(fork, 6));
        Assert.NotEqual(Rows(sequence, 7), Rows(fork, 7));
        Assert.Equal((1, 1), pool.CountShared(fork));
    }

    [Fact]
    public void A_list_of_blocks_stays_as_it_is_for_whoever_looks_at_it()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 1, slabPages: 8);
        using var sequence = new Sequence(pool, "");
        Add(sequence, [.. Enumerable.Range(0, 10)]);
        using var other = new Sequence(pool, "");
        Assert.Equal(9, other.Adopt([.. Enumerable.Range(0, 9), 99]));
        var (three, before) = (other.Blocks, (Block[])[.. other.Blocks]);
        other.Reserve(4); // copies the last block, and takes another one
        Assert.Equal(before, three);
        var (four, after) = (other.Blocks, (Block[])[.. other.Blocks]);
        Assert.Equal(4, after.Length);
        Assert.NotEqual(before[2], after[2]);
        Assert.Equal((2, 2), pool.CountShared(other));
        other.Truncate(0);
        Assert.Equal(before, three);
        Assert.Equal(after, four);
        Assert.Equal((0, 0), pool.CountShared(other));
    }

    [Fact]
    public void Of_what_nobody_has_the_oldest_makes_room_and_what_is_in_use_never()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 1, slabPages: 4, blocks: 6);
        Remember(pool, 0, 8);
        Remember(pool, 100, 8);
        using var inUse = new Sequence(pool, "");
        Add(inUse, [.. Enumerable.Range(200, 8)]);
        Assert.Equal(new BlockCount(2, 4, 6), pool.Count);
        Assert.Equal(8, Known(pool, [.. Enumerable.Range(0, 9)])); // now wanted later than the other
        using var another = new Sequence(pool, "");
        Add(another, [.. Enumerable.Range(300, 8)]);
        Assert.Equal(0, Known(pool, [.. Enumerable.Range(100, 9)]));
        Assert.Equal(8, Known(pool, [.. Enumerable.Range(0, 9)]));
        Assert.Equal(8, Known(pool, [.. Enumerable.Range(200, 9)]));
        using var last = new Sequence(pool, "");
        Assert.Throws<MemoryBudgetException>(() => last.Reserve(12));
        pool.Clear();
        Assert.Equal(new BlockCount(4, 0, 6), pool.Count);
    }

    [Fact]
    public void Sequences_that_read_the_same_keep_their_own_rows_and_one_is_known()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 1, slabPages: 8);
        var (first, second) = (new Sequence(pool, ""), new Sequence(pool, ""));
        first.Reserve(6);
        second.Reserve(6);
        Add(first, [.. Enumerable.Range(0, 6)]);
        Add(second, [.. Enumerable.Range(0, 6)]);
        Assert.NotEqual(first.Blocks[0], second.Blocks[0]);
        second.Dispose();
        first.Dispose();
        Assert.Equal(0, pool.Count.InUse);
        using var third = new Sequence(pool, "");
        Assert.Equal(6, third.Adopt([.. Enumerable.Range(0, 7)]));
        Assert.Equal(2, third.Blocks.Count);
    }

    [Fact]
    public void A_block_that_is_full_of_what_nobody_has_any_more_takes_its_place()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 1, slabPages: 8);
        using var second = new Sequence(pool, "");
        Add(second, 0, 1, 2);
        Remember(pool, 0, 8); // two blocks are kept
        Assert.Equal((1, 2), (pool.Count.InUse, pool.Count.Kept));
        Add(second, 3);
        Assert.Equal((1, 1), (pool.Count.InUse, pool.Count.Kept)); // no more are in use than the sequence has
        using var third = new Sequence(pool, "");
        Assert.Equal(8, third.Adopt([.. Enumerable.Range(0, 9)])); // what follows is still found
        Assert.Equal(second.Blocks[0], third.Blocks[0]);
    }

    [Fact]
    public void A_block_by_which_an_own_one_is_known_goes_after_those_that_follow_it()
    {
        using var device = NewDevice();
        using var pool = new BlockPool(Shape, 1, Shape.Size * 10, ByteSize.Zero, device, Shape.Size * 8); // keeps none
        var (first, second) = (new Sequence(pool, ""), new Sequence(pool, ""));
        Add(first, 0, 1, 2, 3);
        Add(second, 0, 1, 2, 3);
        first.Dispose(); // its block is the one that is known, and the second sequence's next one follows it
        Add(second, 4, 5);
        second.Dispose();
        Assert.Equal(new BlockCount(0, 0, 10), pool.Count);
    }

    [Fact]
    public void Random_use_finds_what_a_plain_list_of_all_texts_would()
    {
        using var device = NewDevice();
        using var pool = NewPool(device, layers: 1, slabPages: 1000, blocks: 100_000);
        var random = new Random(3);
        var (texts, diverged) = (new List<int[]>(), 0);
        var sequences = new List<Sequence>();
        for (var step = 0; step < 2000; step++)
        {
            if (sequences.Count > 0 && random.Next(5) == 0)
            {
                var gone = random.Next(sequences.Count);
                sequences[gone].Dispose();
                sequences.RemoveAt(gone);
                continue;
            }

            var text = Enumerable.Range(0, random.Next(2, 30)).Select(_ => random.Next(3) == 0 ? 1 : 0).ToArray();
            var known = texts.Count == 0 ? 0 : texts.Max(t => t.AsSpan().CommonPrefixLength(text.AsSpan(0, text.Length - 1)));
            var sequence = random.Next(4) == 0 && sequences.Count > 0 ? sequences[random.Next(sequences.Count)].Fork() : new Sequence(pool, "");
            sequence.Truncate(random.Next(2) == 0 ? 0 : sequence.Length);
            var start = sequence.ToArray();
            if (start.Length == 0)
            {
                Assert.Equal(known, sequence.Adopt(text));
                Assert.Equal(texts.Exists(t => t.Length > known && t.AsSpan().StartsWith(text.AsSpan(0, known))) && known < text.Length - 1, sequence.Diverged);
                diverged += sequence.Diverged ? 1 : 0;
                Add(sequence, text[known..]);
            }
            else
            {
                var adopted = sequence.Adopt(text);
                Add(sequence, text[adopted..]);
            }

            Assert.Equal([.. start, .. text], sequence);
            Assert.Equal(Expected([.. start, .. text]), Rows(sequence, sequence.Length));
            texts.Add([.. sequence]);
            sequences.Add(sequence);
        }

        Assert.InRange(diverged, 10, 1000);
        sequences.ForEach(s => s.Dispose());
        Assert.Equal(0, pool.Count.InUse);
        pool.Clear();
        pool.Trim();
        Assert.Equal(0, pool.Count.Kept);
    }

    [Fact]
    public void A_copied_block_waits_for_rows_that_are_on_their_way_to_its_pages()
    {
        Assert.SkipUnless(Gpu is null, "a device of the CPU whose copies are late");
        for (var seed = 0; seed < 40; seed++)
        {
            using var device = new LateDevice(seed, TimeSpan.FromMilliseconds(5));
            using var pool = new BlockPool(Shape, 2, Shape.Size * 2 * 2, ByteSize.Zero, device, Shape.Size * 4); // two blocks
            var (first, left) = (new Sequence(pool, ""), new Sequence(pool, ""));
            Add(first, 0, 1);
            left.Reserve(4);
            left.Write(0, full([2, 2, 4, 3], 99f)); // of a pass that ends here, as its caller has cancelled
            left.Dispose();
            var second = first.Fork();
            first.Reserve(1); // so that the other must copy
            second.Reserve(1);
            device.Drain();
            Assert.NotEqual(first.Blocks[0], second.Blocks[0]);
            Assert.Equal(Expected([0, 1]), Gather(second, 0, new TokenRange(0, 2), 1).select(1, 1).select(1, 2).contiguous().data<float>().ToArray());
            first.Dispose();
            second.Dispose();
        }
    }

    private static BlockPool NewPool(Compute.Device device, int layers, int slabPages, int blocks = 1000) =>
        new(Shape, layers, Shape.Size * layers * blocks, Shape.Size * layers * blocks, device, Shape.Size * slabPages);

    private void Remember(BlockPool pool, int first, int count)
    {
        using var sequence = new Sequence(pool, "");
        Add(sequence, [.. Enumerable.Range(first, count)]);
    }

    private static int Known(BlockPool pool, int[] tokens)
    {
        using var sequence = new Sequence(pool, "");
        return sequence.Adopt(tokens);
    }

    // A token's rows are its own number and all before it, as a transformer's would be.
    private void Add(Sequence sequence, params int[] tokens)
    {
        sequence.Reserve(tokens.Length);
        var rows = Expected([.. sequence, .. tokens])[sequence.Length..];
        var kv = tensor(rows, device: TorchDevice).view(1, 1, -1, 1).expand(2, 2, -1, 3).contiguous();
        for (var layer = 0; layer < sequence.Pool.Layers; layer++)
        {
            sequence.Write(layer, kv);
            sequence.Pool.Drain();
        }

        sequence.Commit(tokens);
    }

    private static float[] Expected(int[] tokens)
    {
        var (rows, sum) = (new float[tokens.Length], 0);
        for (var i = 0; i < tokens.Length; i++)
        {
            rows[i] = sum = ((sum * 7) + tokens[i]) % 65_521;
        }

        return rows;
    }

    private static float[] Rows(Sequence sequence, int count) =>
        Gather(sequence, sequence.Pool.Layers - 1, new TokenRange(0, count), 1).select(1, 1).select(1, 2).contiguous().data<float>().ToArray();

    // [tokens, kv_heads, dim]
    private static Tensor Gather(Sequence sequence, int layer, TokenRange range, int part) =>
        cat([.. sequence.Runs(layer, range).Select(r => r.Memory.select(2, part).transpose(1, 2).reshape(r.Tokens.Count, 2, 3))]);
}
