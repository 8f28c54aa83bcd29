using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Copies of what windowed layers see: a step has the bits that it has without them, and streams nothing.</summary>
public abstract class WindowCopiesTests(ComputeDevice device) : NativeTest(device)
{
    private const int KvHeads = 2, Shared = 2, Dim = 64;

    public sealed class WithLateCopies() : WindowCopiesTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : WindowCopiesTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData(300, 256, 16)]
    [InlineData(300, 256, 2)] // rings make way for others
    [InlineData(21, 8, 16)]
    [InlineData(21, 8, 1)]
    [InlineData(5, 4, 3)]
    [InlineData(100_000, 8, 4)] // rings grow with their sequences
    [InlineData(300, 256, 16, true)]
    [InlineData(21, 8, 1, true)]
    [InlineData(3, 4, 3, true)]
    public void Whatever_becomes_of_sequences_a_step_has_the_same_bits(int window, int page, int rings, bool areChunks = false)
    {
        foreach (var type in Gpu is null ? (ScalarType[])[ScalarType.Float32] : [ScalarType.Float32, ScalarType.BFloat16])
        {
            using var scope = NewDisposeScope();
            var random = new Random(window + rings);
            var ring = WindowCopies.TokensFor(window, 4 * page, page) * 2 * KvHeads * Dim * DataTypes.Size(type);
            using AttentionCase copied = Case(type, window, page, new ByteSize(rings * ring), areChunks), streamed = Case(type, window, page, ByteSize.Zero, areChunks);
            List<(Sequence Copied, Sequence Streamed, Tensor Keys, Tensor Values)> all = [(copied.Empty(), streamed.Empty(), Made(type, 0), Made(type, 0))];
            var steps = 0;
            for (var turn = 0; turn < 60; turn++)
            {
                var at = random.Next(all.Count);
                var (a, b, keys, values) = all[at];
                switch (random.Next(8))
                {
                    case 0: // a prompt
                        var (more, moreValues) = (Made(type, random.Next(1, 3 * page)), Made(type, 0));
                        moreValues = randn_like(more);
                        var asked = randn([1, KvHeads * Shared, Dim], device: TorchDevice).to(type);
                        copied.Attend(asked.clone(), more, moreValues, sequence: a);
                        streamed.Attend(asked, more, moreValues, sequence: b);
                        all[at] = (a, b, cat([keys, more]), cat([values, moreValues]));
                        break;
                    case 1:
                        var length = random.Next(a.Length + 1);
                        a.Truncate(length);
                        b.Truncate(length);
                        all[at] = (a, b, keys.narrow(0, 0, length), values.narrow(0, 0, length));
                        break;
                    case 2 when all.Count < 5:
                        all.Add((a.Fork(), b.Fork(), keys, values));
                        break;
                    default:
                        Step(copied, streamed, all, random, type, window);
                        steps++;
                        break;
                }
            }

            Assert.True(steps > 20);
            Assert.True(copied.Windows > ByteSize.Zero);
            all.ForEach(s => s.Copied.Dispose());
            all.ForEach(s => s.Streamed.Dispose());
        }
    }

    [Fact]
    public void A_step_of_a_sequence_with_a_ring_uploads_nothing()
    {
        using var scope = NewDisposeScope();
        using var attended = Case(ScalarType.Float32, 300, 256, ByteSize.FromMiB(8));
        using var sequence = attended.Empty();
        attended.Attend(randn([1, KvHeads * Shared, Dim], device: TorchDevice), Made(ScalarType.Float32, 900), Made(ScalarType.Float32, 900), sequence: sequence);
        long Step(Sequence sequence)
        {
            var before = attended.Uploaded;
            attended.Step([sequence], randn([1, KvHeads * Shared, Dim], device: TorchDevice), Made(ScalarType.Float32, 1), Made(ScalarType.Float32, 1));
            return attended.Uploaded - before;
        }

        Assert.NotEqual(0, Step(sequence)); // what the window has, once
        for (var step = 0; step < 600; step++)
        {
            Assert.Equal(0, Step(sequence)); // more than once around
        }
    }

    [Fact]
    public void Answers_that_take_turns_keep_their_rings()
    {
        // Two of three have room.
        using var scope = NewDisposeScope();
        var ring = WindowCopies.TokensFor(300, 100_000, 256) * 2 * KvHeads * Dim * sizeof(float);
        using var attended = Case(ScalarType.Float32, 300, 256, new ByteSize(2 * ring));
        List<Sequence> sequences = [attended.Empty(), attended.Empty(), attended.Empty()];
        foreach (var sequence in sequences)
        {
            attended.Attend(randn([1, KvHeads * Shared, Dim], device: TorchDevice), Made(ScalarType.Float32, 900), Made(ScalarType.Float32, 900), sequence: sequence);
        }

        for (var round = 0; round < 10; round++)
        {
            var uploads = sequences.Select(sequence =>
            {
                var before = attended.Uploaded;
                attended.Step([sequence], randn([1, KvHeads * Shared, Dim], device: TorchDevice), Made(ScalarType.Float32, 1), Made(ScalarType.Float32, 1));
                return attended.Uploaded > before;
            }).ToList();
            Assert.Equal(round == 0 ? [true, true, true] : [false, false, true], uploads);
        }

        sequences.ForEach(s => s.Dispose());
    }

    [Theory]
    [InlineData(true, new[] { 0, 3, 0, 4 })]
    [InlineData(false, new[] { 1, 2, 2, 2 })] // without room for a window it may as well
    public void Beside_copies_of_windows_the_host_attends_the_other_layers(bool room, int[] heads)
    {
        var layout = new AttentionLayout(8, 1, Dim, [300, null, 300, null], 512);
        using var device = new LateDevice(7, TimeSpan.Zero);
        var pool = new BlockPool(new PageShape(8, 256, Dim, ScalarType.Float32), 4, ByteSize.FromMiB(64), ByteSize.Zero, device);
        using var attention = new TiledAttention(layout, pool, device.Attention(new AttentionTraits(1, null, Dim, 1, ScalarType.Float32), null), device.CreateRows(new RowTraits(ScalarType.Float32, 8, 8, Dim, 1, null)), ByteSize.Zero, 8, 4, windowSize: room ? ByteSize.FromMiB(8) : ByteSize.Zero);
        using var sequence = new Sequence(pool, "") { OnHost = (7, 0) };
        Assert.Equal(heads, Enumerable.Range(0, 4).Select(layer => attention.HostHeadsOf(layer, sequence)));
    }

    // One step of some tokens of some sequences, of which each keeps some.
    private void Step(AttentionCase copied, AttentionCase streamed, List<(Sequence Copied, Sequence Streamed, Tensor Keys, Tensor Values)> all, Random random, ScalarType type, int window)
    {
        List<int> rows = [.. all.SelectMany((_, i) => Enumerable.Repeat(i, random.Next(4)))];
        if (rows.Count == 0)
        {
            return;
        }

        var (q, k, v) = (randn([rows.Count, KvHeads * Shared, Dim], device: TorchDevice).to(type), Made(type, rows.Count), Made(type, rows.Count));
        var with = copied.Step([.. rows.Select(r => all[r].Copied)], q, k, v, keep: false);
        var without = streamed.Step([.. rows.Select(r => all[r].Streamed)], q, k, v, keep: false);
        Assert.Equal(without.cpu().bytes.ToArray(), with.cpu().bytes.ToArray());
        foreach (var group in rows.Index().GroupBy(r => r.Item, r => r.Index))
        {
            var (a, b, keys, values) = all[group.Key];
            var (first, kept) = (group.First(), random.Next(1, group.Count() + 1)); // an answer goes on with one token at least
            var expected = DenseAttention.Attend(q.narrow(0, first, 1), cat([keys, k.narrow(0, first, 1)]), cat([values, v.narrow(0, first, 1)]), copied.Scale, window, null, isChunk: copied.Layout.Chunked);
            Assert.True((expected - with.narrow(0, first, 1)).abs().max().item<double>() < (type == ScalarType.Float32 ? 2e-5 : 2e-2));
            a.Commit(new int[kept]);
            b.Commit(new int[kept]);
            all[group.Key] = (a, b, cat([keys, k.narrow(0, first, kept)]), cat([values, v.narrow(0, first, kept)]));
        }
    }

    private AttentionCase Case(ScalarType type, int window, int page, ByteSize windows, bool areChunks = false) => new(
        new AttentionLayout(KvHeads, Shared, Dim, [window], 2 * page) { Chunked = areChunks }, type, Gpu is null ? new LateDevice(7, TimeSpan.FromMilliseconds(0.2)) : NewDevice(), page, ByteSize.FromMiB(8), windows: windows);

    private Tensor Made(ScalarType type, int tokens) => randn([tokens, KvHeads, Dim], device: TorchDevice).to(type);
}
