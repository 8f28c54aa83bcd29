using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Heads that the host attends beside a device.</summary>
public abstract class HostPartsTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class WithLateCopies() : HostPartsTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : HostPartsTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData(null, 256, 0, null)]
    [InlineData(null, 256, 2, null)]
    [InlineData(null, 8, 3, 5.0)]
    [InlineData(300, 256, 0, null)]
    [InlineData(21, 8, 0, null)]
    public void A_step_equals_dense_attention_and_a_row_has_the_same_bits_in_any_company(int? window, int page, int copiedBlocks, double? softCap)
    {
        const int kvHeads = 3, shared = 2, dim = 64;
        var random = new Random(page + copiedBlocks);
        foreach (var (type, hostHeads) in from type in Gpu is null ? (ScalarType[])[ScalarType.Float32] : [ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16] from heads in (int[])[1, 2, 3] select (type, heads))
        {
            using var scope = NewDisposeScope();
            Tensor Made(params long[] shape) => this.Made(shape).to(type);
            var resident = new ByteSize(2L * kvHeads * page * dim * DataTypes.Size(type) * copiedBlocks);
            using var attended = new AttentionCase(new AttentionLayout(kvHeads, shared, dim, [window], 2 * page), type, Open(), page, ByteSize.FromMiB(8), softCap, new ExplicitAttention(1 / Math.Sqrt(dim), softCap), _ => hostHeads, resident);
            var sequences = new[] { 7 * page, (5 * page) - 3, 5 }.Select(length =>
            {
                var (keys, values, sequence) = (Made(length, kvHeads, dim), Made(length, kvHeads, dim), attended.Empty());
                attended.Attend(Made(1, kvHeads * shared, dim), keys, values, sequence: sequence);
                return (Sequence: sequence, Keys: keys, Values: values);
            }).ToList();
            var alone = sequences.Select(s => s.Sequence.Fork()).ToList();
            for (var step = 0; step < 4; step++)
            {
                List<int> rows = [.. sequences.SelectMany((_, i) => Enumerable.Repeat(i, random.Next(4))), 2];
                var (q, k, v) = (Made(rows.Count, kvHeads * shared, dim), Made(rows.Count, kvHeads, dim), Made(rows.Count, kvHeads, dim));
                var together = attended.Step([.. rows.Select(r => sequences[r].Sequence)], q, k, v);
                for (var i = 0; i < rows.Count; i++)
                {
                    var (sequence, keys, values) = sequences[rows[i]];
                    (keys, values) = (cat([keys, k.narrow(0, i, 1)]), cat([values, v.narrow(0, i, 1)]));
                    sequences[rows[i]] = (sequence, keys, values);
                    var expected = DenseAttention.Attend(q.narrow(0, i, 1), keys, values, attended.Scale, window, softCap);
                    var worst = (expected - together.narrow(0, i, 1)).abs().max().item<double>();
                    Assert.True(worst < (type == ScalarType.Float32 ? 2e-5 : type == ScalarType.Float16 ? 2e-3 : 2e-2), $"{worst} at row {i}, {type}, {hostHeads} heads");
                    byte[] apart = [.. attended.Step([alone[rows[i]]], q.narrow(0, i, 1), k.narrow(0, i, 1), v.narrow(0, i, 1)).cpu().bytes];
                    Assert.Equal(apart, together.narrow(0, i, 1).contiguous().cpu().bytes.ToArray());
                }
            }

            Assert.True(attended.HostAttended);
            sequences.Select(s => s.Sequence).Concat(alone).ToList().ForEach(s => s.Dispose());
        }
    }

    [Fact]
    public void Answers_may_have_different_numbers_of_heads_on_the_host()
    {
        const int kvHeads = 4, shared = 2, dim = 64;
        using var scope = NewDisposeScope();
        var layout = new AttentionLayout(kvHeads, shared, dim, [null], 512);
        using var attended = new AttentionCase(layout, ScalarType.Float32, Open(), 256, ByteSize.FromMiB(8), hostHeads: answers => Math.Max(0, 4 - answers), resident: ByteSize.Zero);
        var sequences = new List<(Sequence Sequence, Tensor Keys, Tensor Values)>();
        for (var step = 0; step < 5; step++)
        {
            // One more begins with each step: of the first three heads are attended on the host, of the second two, of the last none.
            var (keys, values, added) = (Made(600 + step, kvHeads, dim), Made(600 + step, kvHeads, dim), attended.Empty());
            attended.Attend(Made(1, kvHeads * shared, dim), keys, values, sequence: added);
            sequences.Add((added, keys, values));
            var (q, k, v) = (Made(step + 1, kvHeads * shared, dim), Made(step + 1, kvHeads, dim), Made(step + 1, kvHeads, dim));
            var output = attended.Step([.. sequences.Select(s => s.Sequence)], q, k, v);
            for (var i = 0; i <= step; i++)
            {
                sequences[i] = (sequences[i].Sequence, cat([sequences[i].Keys, k.narrow(0, i, 1)]), cat([sequences[i].Values, v.narrow(0, i, 1)]));
                var expected = DenseAttention.Attend(q.narrow(0, i, 1), sequences[i].Keys, sequences[i].Values, attended.Scale, null, null);
                Assert.True((expected - output.narrow(0, i, 1)).abs().max().item<double>() < 2e-5);
            }
        }

        Assert.Equal([3, 2, 1, 0, 0], sequences.Select(s => s.Sequence.OnHost!.Value.Heads));
        Assert.True(attended.HostAttended);
        sequences.ForEach(s => s.Sequence.Dispose());
    }

    [Fact]
    public void Copies_that_come_to_be_later_are_not_attended_twice()
    {
        const int kvHeads = 2, shared = 2, dim = 64, page = 8;
        using var scope = NewDisposeScope();
        var layout = new AttentionLayout(kvHeads, shared, dim, [null], 2 * page);
        using var attended = new AttentionCase(layout, ScalarType.Float32, Open(), page, ByteSize.FromMiB(8), hostHeads: _ => 1, resident: new ByteSize(2L * kvHeads * page * dim * sizeof(float) * 4));
        Sequence Read(string key, Tensor keys, Tensor values)
        {
            var sequence = attended.Empty(key);
            attended.Attend(Made(1, kvHeads * shared, dim), keys, values, sequence: sequence);
            return sequence;
        }

        var first = Read("first", Made(4 * page, kvHeads, dim), Made(4 * page, kvHeads, dim)); // takes all copies that there is room for
        var (keys, values) = (Made(6 * page, kvHeads, dim), Made(6 * page, kvHeads, dim));
        using var second = Read("second", keys, values);
        for (var step = 0; step < 3; step++)
        {
            var (q, k, v) = (Made(1, kvHeads * shared, dim), Made(1, kvHeads, dim), Made(1, kvHeads, dim));
            (keys, values) = (cat([keys, k]), cat([values, v]));
            var output = attended.Step([second], q, k, v);
            Assert.True((DenseAttention.Attend(q, keys, values, attended.Scale, null, null) - output).abs().max().item<double>() < 2e-5, $"step {step}");
            if (step == 0)
            {
                first.Dispose(); // there is room now
            }
        }

        Assert.Equal((1, 0), second.OnHost);
        Assert.True(attended.CopiesOf(second) > ByteSize.Zero);
    }

    [Fact]
    public void Heads_may_be_placed_on_the_host()
    {
        using var scope = NewDisposeScope();
        var layout = new AttentionLayout(4, 2, 64, [null], 512) { Placement = head => (HeadPlacement)(head.Head % 3) };
        using var attended = new AttentionCase(layout, ScalarType.Float32, Open(), 256, ByteSize.FromMiB(8));
        var (keys, values) = (Made(900, 4, 64), Made(900, 4, 64));
        attended.Attend(Made(1, 8, 64), keys, values);
        var (q, k, v) = (Made(1, 8, 64), Made(1, 4, 64), Made(1, 4, 64));
        var output = attended.Step([attended.Sequence], q, k, v);
        Assert.True((DenseAttention.Attend(q, cat([keys, k]), cat([values, v]), attended.Scale, null, null) - output).abs().max().item<double>() < 2e-5);
        Assert.True(attended.HostAttended);
    }

    [Fact]
    public void A_job_that_fails_or_is_never_asked_for_keeps_nobody_waiting()
    {
        using var device = Open();
        using var parts = new HostParts(new RowTraits(ScalarType.Float32, 2, 1, 8, 1, null), 2, device);
        var failing = parts.Next(new HeadShape(2, 1, 8));
        failing.Add(0, 1).Spans.Add(new KeySpan(0, 1, 0, 1)); // of keys that there are none of
        var number = parts.Submit(failing, 1);
        HostParts.Raise(parts.Asked, number);
        parts.Await(number);
        Assert.Throws<InvalidOperationException>(parts.Check);
        parts.Check(); // told once

        for (var i = 0; i < 5; i++)
        {
            parts.Submit(parts.Next(new HeadShape(2, 1, 8)), 1);
        }

        parts.Drop();
        number = parts.Submit(parts.Next(new HeadShape(2, 1, 8)), 1);
        HostParts.Raise(parts.Asked, number);
        parts.Await(number); // it goes on
        parts.Submit(parts.Next(new HeadShape(2, 1, 8)), 1); // and ends with one that nobody asks for
    }

    private Tensor Made(params long[] shape) => randn(shape, ScalarType.Float32, TorchDevice);

    private Compute.Device Open() => Gpu is null ? new LateDevice(7, TimeSpan.FromMilliseconds(1)) : NewDevice();
}
