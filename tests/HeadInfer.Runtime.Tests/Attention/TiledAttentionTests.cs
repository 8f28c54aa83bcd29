using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>However a sequence is cut, placed and merged, attention is what its definition says.</summary>
public abstract class TiledAttentionTests(ComputeDevice device) : NativeTest(device)
{
    // Against float64: what float32 arithmetic loses, and what rounding keys, weights and outputs to bfloat16 does.
    private const double FloatTolerance = 2e-5, HalfTolerance = 4e-2;

    public sealed class OnCpu() : TiledAttentionTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : TiledAttentionTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData(null, null)]
    [InlineData(9, null)]
    [InlineData(null, 5.0)]
    [InlineData(33, 3.0)]
    [InlineData(7, null, true)]
    [InlineData(24, 3.0, true)]
    public void Random_cuts_equal_dense_attention(int? window, double? softCap, bool areChunks = false)
    {
        // With a GPU 2,000 cases in all, half of them in bfloat16. On the CPU half of them with pages of 16 bits.
        var random = new Random(7 + (100 * (window ?? 0)) + (int)(softCap ?? 0));
        for (var run = 0; run < (Gpu is null ? 40 : 500); run++)
        {
            var type = Gpu is not null && run % 2 == 1 ? ScalarType.BFloat16 : ScalarType.Float32;
            var kvType = Gpu is not null || run % 2 == 0 ? type : run % 4 == 1 ? ScalarType.BFloat16 : ScalarType.Float16;
            var (kvHeads, shared, dim) = (random.Next(1, 5), random.Next(1, 4), (type == ScalarType.Float32 ? 4 : 8) * random.Next(1, 20));
            var placements = Enumerable.Range(0, kvHeads).Select(_ => (HeadPlacement)random.Next(3)).ToArray();
            var layout = new AttentionLayout(kvHeads, shared, dim, [window], random.Next(1, 40))
            {
                Placement = random.Next(4) == 0 && Gpu is not null ? null : head => placements[head.Head],
                GroupSize = random.Next(4) == 0 ? null : random.Next(1, kvHeads + 1),
                Chunked = areChunks,
            };
            using var attended = new AttentionCase(layout, type, NewDevice(), random.Next(1, 20), new ByteSize(random.Next(1, 1 << 16)), softCap, kvType: kvType);
            CompareInSteps(random, attended, type, window, softCap, kvType: kvType);
        }
    }

    [Theory]
    [InlineData(null, 1, 64)]
    [InlineData(70, 3, 64)]
    [InlineData(null, 2, 192)] // fewer pieces of keys in a GPU's ring than a split has
    [InlineData(300, 2, 256)]
    [InlineData(350, 2, 64, true)] // three sequences begin a chunk, or have begun one
    public void A_row_of_a_step_has_the_same_bits_in_any_company_and_wherever_its_keys_lie(int? window, int shared, int dim, bool areChunks = false)
    {
        // Three sequences with a common beginning, one of them at a split's end, and one of its own.
        const int kvHeads = 2, common = 700;
        var lengths = new[] { 700, 768, 1100, 5 };
        foreach (var kvType in (ScalarType[])[ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16])
        {
            var type = Gpu is null ? ScalarType.Float32 : kvType;
            using var scope = NewDisposeScope();
            Tensor Made(params long[] shape) => Random(shape).to(type);
            var (beginning, rests) = ((Made(common, kvHeads, dim), Made(common, kvHeads, dim)), lengths.Select(n => (Made(1500, kvHeads, dim), Made(1500, kvHeads, dim))).ToArray());
            var steps = Enumerable.Range(0, 3).Select(_ => (Q: Made(4, kvHeads * shared, dim), K: Made(4, kvHeads, dim), V: Made(4, kvHeads, dim))).ToArray();
            byte[]? first = null;
            foreach (var placement in (HeadPlacement[])(Gpu is null ? [HeadPlacement.Streamed, HeadPlacement.Resident, HeadPlacement.Host] : [HeadPlacement.Streamed, HeadPlacement.Resident]))
            {
                var layout = new AttentionLayout(kvHeads, shared, dim, [window], 512) { Placement = _ => placement, Chunked = areChunks };
                using var attended = new AttentionCase(layout, type, NewDevice(), page: 256, ByteSize.FromMiB(8), kvType: kvType);
                attended.Attend(Made(1, kvHeads * shared, dim), beginning.Item1, beginning.Item2);
                var sequences = lengths.Select((n, i) => i < 3 ? attended.Sequence.Fork() : attended.Empty()).ToList();
                for (var i = 0; i < 4; i++)
                {
                    var more = lengths[i] - sequences[i].Length;
                    attended.Attend(Made(1, kvHeads * shared, dim), rests[i].Item1.narrow(0, 0, more), rests[i].Item2.narrow(0, 0, more), sequence: sequences[i]);
                }

                var alone = sequences.Select(s => s.Fork()).ToList();
                var all = new List<byte>();
                foreach (var (q, k, v) in steps)
                {
                    byte[] together = attended.Step(sequences, q, k, v).cpu().bytes.ToArray();
                    byte[] apart = [.. alone.SelectMany((s, i) => attended.Step([s], q.narrow(0, i, 1), k.narrow(0, i, 1), v.narrow(0, i, 1)).cpu().bytes.ToArray())];
                    Assert.Equal(apart, together);
                    all.AddRange(together);
                }

                first ??= [.. all];
                Assert.Equal(first, all);
                sequences.Concat(alone).ToList().ForEach(s => s.Dispose());
            }
        }
    }

    [Theory]
    [InlineData(null, 256)]
    [InlineData(null, 8)]
    [InlineData(300, 256)]
    [InlineData(5, 8)]
    [InlineData(3, 4)]
    [InlineData(300, 256, true)]
    [InlineData(5, 8, true)] // a step's rows are of several chunks
    [InlineData(2, 4, true)]
    public void A_row_of_a_step_has_the_same_bits_behind_others_of_its_sequence(int? window, int page, bool areChunks = false)
    {
        // What a step of several tokens gives is what as many steps give, also after one whose tokens were not kept.
        const int kvHeads = 2, shared = 2, dim = 64;
        var random = new Random(3);
        foreach (var type in Gpu is null ? (ScalarType[])[ScalarType.Float32] : [ScalarType.Float32, ScalarType.BFloat16])
        {
            foreach (var placement in (HeadPlacement[])(Gpu is null ? [HeadPlacement.Streamed, HeadPlacement.Resident, HeadPlacement.Host] : [HeadPlacement.Streamed, HeadPlacement.Resident]))
            {
                using var scope = NewDisposeScope();
                Tensor Made(params long[] shape) => Random(shape).to(type);
                var layout = new AttentionLayout(kvHeads, shared, dim, [window], 2 * page) { Placement = _ => placement, Chunked = areChunks };
                using var attended = new AttentionCase(layout, type, NewDevice(), page, ByteSize.FromMiB(8));
                var sequences = new[] { 0, (2 * page) - 3, (3 * page) - 1, 2 * page }.Select(length =>
                {
                    var sequence = attended.Empty();
                    attended.Attend(Made(1, kvHeads * shared, dim), Made(length, kvHeads, dim), Made(length, kvHeads, dim), sequence: sequence);
                    return sequence;
                }).ToList();
                var alone = sequences.Select(s => s.Fork()).ToList();
                for (var step = 0; step < 6; step++)
                {
                    List<int> rows = [.. sequences.SelectMany((_, i) => Enumerable.Repeat(i, random.Next(5)))];
                    if (rows.Count == 0)
                    {
                        continue;
                    }

                    var (q, k, v) = (Made(rows.Count, kvHeads * shared, dim), Made(rows.Count, kvHeads, dim), Made(rows.Count, kvHeads, dim));
                    if (step % 2 == 0)
                    {
                        attended.Step([.. rows.Select(r => sequences[r])], Made(q.shape), Made(k.shape), Made(v.shape), keep: false);
                    }

                    byte[] together = attended.Step([.. rows.Select(r => sequences[r])], q, k, v).cpu().bytes.ToArray();
                    byte[] apart = [.. rows.SelectMany((r, i) => attended.Step([alone[r]], q.narrow(0, i, 1), k.narrow(0, i, 1), v.narrow(0, i, 1)).cpu().bytes.ToArray())];
                    Assert.Equal(apart, together);
                }

                sequences.Concat(alone).ToList().ForEach(s => s.Dispose());
            }
        }
    }

    [Fact]
    public void A_pass_whose_copies_do_not_fit_has_not_begun()
    {
        using var device = NewDevice();
        device.Prepare(ScalarType.Float32);
        var layout = new AttentionLayout(1, 1, 4, [null], 4) { Placement = _ => HeadPlacement.Resident };
        var pool = new BlockPool(new PageShape(1, 4, 4, ScalarType.Float32), 1, ByteSize.FromMiB(1), ByteSize.Zero, device);
        using var attention = new TiledAttention(layout, pool, device.Attention(new AttentionTraits(1, null, 4, 1, ScalarType.Float32), null), device.CreateRows(new RowTraits(ScalarType.Float32, 1, 1, 4, 1, null)), ByteSize.Zero, stagedTokens: 8, gapTokens: 4);
        using var sequence = new Sequence(pool, "");
        sequence.Reserve(8);
        for (var time = 0; time < 3; time++) // more than there are lanes
        {
            Assert.Throws<MemoryBudgetException>(() => attention.Begin(Batch.Prefill(sequence, new int[8], 1), WorkMeter.None));
            attention.Reset();
        }
    }

    [Fact]
    public void Late_copies_are_waited_for()
    {
        Assert.SkipUnless(Gpu is null, "a device of the CPU whose copies are late");
        void Run(bool ignoreWaits, int seed)
        {
            var layout = new AttentionLayout(3, 2, 16, [null], 9) { Placement = head => head.Head == 0 ? HeadPlacement.Resident : HeadPlacement.Streamed, GroupSize = 1 };
            using var attended = new AttentionCase(layout, ScalarType.Float32, new LateDevice(seed, TimeSpan.FromMilliseconds(2)) { IgnoreWaits = ignoreWaits }, 4, new ByteSize(1 << 12));
            CompareInSteps(new Random(seed), attended, ScalarType.Float32, null, null, counts: [40, 1, 23, 1, 1, 17]);
        }

        for (var seed = 0; seed < 5; seed++)
        {
            Run(ignoreWaits: false, seed);
        }

        // Without waits the same must fail, or it shows nothing.
        Assert.ThrowsAny<Exception>(() =>
        {
            for (var seed = 0; seed < 20; seed++)
            {
                Run(ignoreWaits: true, seed);
            }
        });
    }

    [Fact]
    public void Parts_merge_whatever_their_magnitude()
    {
        // Scores of the second part are far above those of the first, then far below; the third part matters as much as the winner.
        foreach (var (first, second) in ((float, float)[])[(-200f, 200f), (200f, -200f), (0f, 0f)])
        {
            using var device = NewDevice();
            using var merge = new AttentionMerge([1, 1, 1, 4], device);
            Tensor Part(float value) => tensor([value, value + 1, 0, 0], device: TorchDevice).view(1, 1, 1, 4);
            Tensor Weight(float value) => tensor([value], device: TorchDevice).view(1, 1, 1);
            merge.Add(0, Part(1), Weight(first));
            merge.Add(0, Part(3), Weight(second));
            merge.Add(0, Part(5), Weight(Math.Max(first, second)));
            var expected = first > second ? [3f, 4f, 0, 0] : first < second ? [4f, 5f, 0, 0] : new[] { 3f, 4f, 0, 0 };
            var whole = empty([1, 1, 1, 4], ScalarType.Float32, TorchDevice);
            merge.WriteTo(whole);
            Assert.All(whole.cpu().data<float>().ToArray().Zip(expected), pair => Assert.Equal(pair.Second, pair.First, 1e-5f));
        }
    }

    [Fact]
    public void Work_is_counted_to_the_last_operation()
    {
        var layout = new AttentionLayout(2, 3, 8, [6], 5) { Placement = _ => HeadPlacement.Streamed, GroupSize = 1 };
        using var attended = new AttentionCase(layout, ScalarType.Float32, NewDevice(), page: 4, new ByteSize(1));
        var work = new WorkMeter(1, null, null, null, CancellationToken.None);
        foreach (var count in (int[])[7, 1, 9])
        {
            attended.Attend(Random(count, 6, 8), Random(count, 2, 8), Random(count, 2, 8), work);
        }

        var pairs = Enumerable.Range(0, 17).Sum(i => Math.Min(i + 1, 6));
        Assert.Equal(4.0 * 8 * 6 * pairs, work.Done);
    }

    public static TheoryData<int, int?> Fused => new() { { 64, null }, { 128, null }, { 128, 600 }, { 256, null }, { 256, 600 } };

    [Theory]
    [MemberData(nameof(Fused))]
    public void FlashAttention_equals_dense_attention(int dim, int? window) => CompareFused(dim, window, cuDnn: false);

    [Theory]
    [MemberData(nameof(Fused))]
    public void CuDnn_equals_dense_attention(int dim, int? window) => CompareFused(dim, window, cuDnn: true);

    [Fact]
    public void Nothing_is_read_while_it_is_still_written()
    {
        // Large enough that copies take long beside what is computed meanwhile. Without waits the same case must fail, or it shows nothing.
        Assert.SkipWhen(Gpu is null, "copies run beside the computation on a GPU only");
        var with = WorstOfLargeCase(ignoreWaits: false);
        Assert.True(with < HalfTolerance, $"off by {with}");
        Assert.True(Enumerable.Range(0, 5).Any(_ => WorstOfLargeCase(ignoreWaits: true) > HalfTolerance), "without waits nothing is wrong either: the case shows nothing");
    }

    private void CompareFused(int dim, int? window, bool cuDnn)
    {
        Assert.SkipWhen(Gpu is null, "fused kernels of the GPU");
        var layout = new AttentionLayout(2, 4, dim, [window], 512) { Placement = _ => HeadPlacement.Streamed };
        var kernel = new CudaAttention(1 / Math.Sqrt(dim), cuDnn, cuDnnPairs: 1);
        using var attended = new AttentionCase(layout, ScalarType.BFloat16, NewDevice(), 64, ByteSize.FromMiB(1), kernel: kernel);
        CompareInSteps(new Random(11), attended, ScalarType.BFloat16, window, null, counts: [700, 512, 1, 300, 1]);
    }

    private double WorstOfLargeCase(bool ignoreWaits)
    {
        using var scope = NewDisposeScope();
        const int kvHeads = 4, shared = 2, dim = 128, tokens = 16_384;
        var layout = new AttentionLayout(kvHeads, shared, dim, [null], 2048) { Placement = _ => HeadPlacement.Streamed, GroupSize = 2 };
        using var attended = new AttentionCase(layout, ScalarType.BFloat16, ignoreWaits ? new CarelessGpu(Compute.Gpu.Open(0)) : NewDevice(), 256, ByteSize.FromMiB(64));
        // Values tell where they stand: rows of another tile, or none, then show even in the mean of many.
        var place = (arange(tokens, dtype: ScalarType.Float32, device: TorchDevice) / 2048).floor().reshape(tokens, 1, 1);
        var (keys, values) = (Random(tokens, kvHeads, dim).to(ScalarType.BFloat16), (Random(tokens, kvHeads, dim) + place).to(ScalarType.BFloat16));
        var attends = new List<(int Tokens, Tensor Queries, Tensor Attended)>();
        for (var at = 0; at < tokens; at += 2048)
        {
            // One after the other, with copies that are late.
            var queries = Random(2048, kvHeads * shared, dim).to(ScalarType.BFloat16);
            attends.Add((at + 2048, queries[^16..].clone(), queries));
            attended.Delay();
            attended.Attend(queries, keys.narrow(0, at, 2048), values.narrow(0, at, 2048));
        }

        var worst = 0.0;
        foreach (var (count, queries, output) in attends)
        {
            var expected = DenseAttention.Attend(queries, keys.narrow(0, 0, count), values.narrow(0, 0, count), attended.Scale, null, null);
            worst = Math.Max(worst, Worst(output[^16..], expected));
        }

        return worst;
    }

    private void CompareInSteps(Random random, AttentionCase attended, ScalarType type, int? window, double? softCap, int[]? counts = null, ScalarType? kvType = null)
    {
        var (layout, sequence) = (attended.Layout, attended.Sequence);
        List<Tensor> allKeys = [], allValues = [];
        for (var step = 0; step < (counts?.Length ?? 5); step++)
        {
            using var scope = NewDisposeScope();
            var count = counts?[step] ?? (random.Next(2) == 0 ? 1 : random.Next(1, 60));
            var asked = random.Next(3) == 0 ? random.Next(1, count + 1) : count;
            var q = (Random(asked, layout.KvHeads * layout.HeadsPerKvHead, layout.HeadDim) * 3).to(type);
            var (k, v) = (Random(count, layout.KvHeads, layout.HeadDim).to(type), Random(count, layout.KvHeads, layout.HeadDim).to(type));
            Tensor Kept(Tensor rows) => rows.to(kvType ?? type).to(type).MoveToOuterDisposeScope(); // also for the tokens that are new
            allKeys.Add(Kept(k));
            allValues.Add(Kept(v));
            var expected = DenseAttention.Attend(q, cat(allKeys), cat(allValues), attended.Scale, window, softCap, isChunk: attended.Layout.Chunked);
            if (count == 1)
            {
                q = attended.Step([sequence], q, k, v);
            }
            else
            {
                attended.Attend(q, k, v);
            }

            var worst = Worst(q, expected);
            Assert.True(worst < (type == ScalarType.Float32 ? FloatTolerance : HalfTolerance), $"off by {worst} with {asked} of {count} new after {sequence.Length} tokens in {type}, {kvType}, {layout}");
            if (random.Next(4) == 0)
            {
                // Forgetting and going on must leave nothing of what was forgotten.
                var kept = random.Next(sequence.Length + 1);
                sequence.Truncate(kept);
                (allKeys, allValues) = ([cat(allKeys).narrow(0, 0, kept).MoveToOuterDisposeScope()], [cat(allValues).narrow(0, 0, kept).MoveToOuterDisposeScope()]);
            }
        }
    }

    private Tensor Random(params long[] shape) => randn(shape, ScalarType.Float32, TorchDevice);

    private static double Worst(Tensor got, Tensor expected)
    {
        var worst = (got.to(ScalarType.Float64) - expected).abs().max().item<double>();
        return double.IsNaN(worst) ? double.PositiveInfinity : worst;
    }

    /// <summary>A GPU that never waits for a copy: copies and computation must be seen to collide.</summary>
    private sealed class CarelessGpu(Gpu gpu) : CudaDevice(gpu)
    {
        public override void Wait(WorkQueue queue, Fence fence)
        {
        }
    }
}
