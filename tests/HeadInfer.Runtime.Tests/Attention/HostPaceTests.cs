using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>What the host attends of the next answer follows how fast it was with the last.</summary>
public sealed class HostPaceTests : NativeTest
{
    [Fact]
    public void A_busy_host_is_reckoned_with_as_it_is_and_small_differences_are_not()
    {
        var pace = new HostPace(warmUp: 0.1);
        pace.Add(expected: 0.01, taken: 0.1); // before its code is compiled well
        pace.Add(expected: 0.9, taken: 1);
        Assert.Equal(1, pace.Follow());
        pace.Add(0.5, 1);
        pace.Add(0.3, 1);
        Assert.Equal(0.4, pace.Follow(), 6);
        pace.Add(0.42, 1);
        Assert.Equal(0.4, pace.Follow(), 6);
        pace.Add(0.01, 0.02); // too little to tell
        Assert.Equal(0.4, pace.Follow(), 6);
        pace.Add(1, 1.01);
        Assert.Equal(1.01 / 1.03, pace.Follow(), 6); // as before, when it is idle again
        pace.Add(1, 1000);
        Assert.Equal(0.1, pace.Follow(), 6); // and always something, so that it is seen to be idle again
        pace.Add(9, 1);
        Assert.Equal(1.5, pace.Follow(), 6);
    }

    [Fact]
    public void A_share_of_less_rate_is_smaller()
    {
        var rates = new HostRates(Link: 50e9, Host: 100e9, Rows: 400e9);
        Assert.Equal(2.0 / 3, rates.ShareFor(1), 6);
        Assert.Equal(0.5, rates.At(0.5).ShareFor(1), 6);
        Assert.Equal(1.0 / 3, rates.At(0.5).ShareFor(8), 6);
    }

    [Theory]
    [InlineData(1, 1, null, 171)] // two thirds of 256
    [InlineData(8, 1, null, 128)] // its arithmetic bounds it: half the rate
    [InlineData(1, 0.5, null, 128)]
    [InlineData(1, 0.5, 0.75, 192)] // the caller's word, whatever the pace
    [InlineData(8, 1, 0.75, 144)]
    [InlineData(1, 0.0001, null, 1)]
    [InlineData(1, 1, 0.0, 0)]
    public void Heads_are_a_share_of_all(int answers, double pace, double? given, int heads) =>
        Assert.Equal(heads, new HostRates(Link: 50e9, Host: 100e9, Rows: 400e9).HeadsFor(256, answers, pace, given));

    [Fact]
    public void An_answer_that_the_host_was_slow_with_leaves_it_less_of_the_next()
    {
        using var scope = NewDisposeScope();
        var paces = new List<double>();
        var layout = new AttentionLayout(2, 1, 64, [null], 512);
        using var device = new LateDevice(7, TimeSpan.Zero);
        var pool = new BlockPool(new PageShape(2, 256, 64, ScalarType.Float32), 1, ByteSize.FromMiB(64), ByteSize.Zero, device);
        var traits = new RowTraits(ScalarType.Float32, 2, 2, 64, 1, null);
        using var attention = new TiledAttention(layout, pool, device.Attention(new AttentionTraits(1, null, 64, 1, ScalarType.Float32), null), device.CreateRows(traits), ByteSize.Zero, 1024, 1)
        {
            Host = new HostParts(traits, 2, device) { Rates = new HostRates(1e9, 1e15, 1e15), Pace = new HostPace(least: 0, warmUp: 0) }, // a rate that no host has
            LeastHostTokens = 0,
            HostHeads = (_, pace) =>
            {
                paces.Add(pace);
                return 1;
            },
        };
        using var heads = new RowBuffer(6 * 64, CPU);
        using var attended = new RowBuffer(2 * 64, CPU);
        for (var answer = 0; answer < 2; answer++)
        {
            using var sequence = new Sequence(pool, "");
            sequence.Reserve(1000);
            attention.Keep(sequence, 0, 1000, kv => kv.normal_());
            sequence.Commit(new int[1000]);
            sequence.Reserve(1);
            using var pass = attention.BeginStep(Batch.Decode([sequence], new int[1]));
            heads.Memory.normal_();
            attention.Rows.SetAngles(0, Enumerable.Repeat(1f, 32).ToArray(), new float[32], 64);
            attention.Rows.Rotate(1, heads, 0, null, null, pass.Targets(0));
            pass.Attend(0, heads, attended);
        }

        Assert.Equal([1, 0.1], paces);
    }
}
