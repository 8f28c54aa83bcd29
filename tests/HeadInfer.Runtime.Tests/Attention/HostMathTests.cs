using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

public sealed class HostMathTests : NativeTest
{
    [Theory]
    [InlineData(64)]
    [InlineData(37)]
    public unsafe void The_gate_is_silu(int width)
    {
        Tensor both = randn(2 * width) * 5, got = empty(width);
        var (gate, up) = (both.narrow(0, 0, width).to(ScalarType.Float64), both.narrow(0, width, width).to(ScalarType.Float64));
        HostActivations.GateBySilu(HostMath.Address(both), HostMath.Address(got), width);
        Close(gate * gate.sigmoid() * up, got, 1e-5);
    }

    [Fact]
    public unsafe void The_gate_takes_any_number()
    {
        Tensor gate = tensor([-1e30f, -1e4f, -100, -88, -87, -20, -1e-3f, 0, 1e-3f, 20, 87, 88, 1e4f, float.PositiveInfinity, 1e30f, 3, -3]), got = empty(gate.shape[0]);
        HostActivations.GateBySilu(HostMath.Address(cat([gate, ones_like(gate)])), HostMath.Address(got), (int)gate.shape[0]);
        var expected = gate.to(ScalarType.Float64).sigmoid() * gate;
        for (var i = 0; i < gate.shape[0]; i++)
        {
            var (wanted, given) = (expected[i].item<double>(), (double)got[i].item<float>());
            Assert.True(Math.Abs(wanted - given) <= (5e-7 * Math.Abs(wanted)) + 1e-7 || wanted == given, $"{gate[i].item<float>()}: {given}");
        }

        HostActivations.GateBySilu(HostMath.Address(full(34, float.NaN)), HostMath.Address(got), 17);
        Assert.True(got.isnan().all().item<bool>());
    }

    [Theory]
    [InlineData(64)]
    [InlineData(37)]
    public void A_cap_is_a_tanh(int count)
    {
        var x = cat([randn(count) * 40, tensor([0f, 1e-3f, 1e4f, -1e4f])]);
        var got = x.clone();
        HostActivations.Cap(TensorMemory.Span(got), 30);
        Close((x.to(ScalarType.Float64) / 30).tanh() * 30, got, 1e-5);
    }

    [Theory]
    [InlineData(1, 5)]
    [InlineData(40, 64)]
    [InlineData(7, 100)]
    public void Norm_divides_by_the_root_mean_square(int rows, int size)
    {
        Tensor x = randn(rows, size) * 5, w = randn(size);
        var wide = x.to(ScalarType.Float64);
        var expected = wide / (wide.square().mean([-1L], keepdim: true) + 1e-5).sqrt() * w.to(ScalarType.Float64);
        Close(expected, HostMath.RmsNorm(x, w, 1e-5), 1e-5);
    }

    [Fact]
    public void Both_widths_sum_alike()
    {
        Tensor rows = randn(4, 45), x = randn(45), y = randn(45);
        float[] wide = new float[8], plain = new float[8];
        Dots<WideLane>(rows, x, y, wide);
        Dots<PlainLane>(rows, x, y, plain);
        var expected = cat([mv(rows, x), mv(rows, y)]).data<float>().ToArray();
        for (var i = 0; i < 8; i++)
        {
            Assert.Equal(expected[i], wide[i], 1e-4f);
            Assert.Equal(expected[i], plain[i], 1e-4f);
        }
    }

    [Fact]
    public void A_team_runs_every_member_and_passes_failures_on()
    {
        using var team = new HostTeam(3);
        for (var round = 0; round < 2000; round++)
        {
            var ran = new int[team.Size];
            team.Run(member => ran[member]++);
            Assert.All(ran, count => Assert.Equal(1, count));
        }

        Thread.Sleep(20); // members sleep now, and must wake
        var woken = 0;
        team.Run(_ => Interlocked.Increment(ref woken));
        Assert.Equal(team.Size, woken);
        Assert.ThrowsAny<InvalidOperationException>(() => team.Run(member => throw new InvalidOperationException("no")));
        team.Run(_ => Interlocked.Increment(ref woken));
        Assert.Equal(2 * team.Size, woken);
    }

    private static unsafe void Dots<TLane>(Tensor rows, Tensor x, Tensor y, float[] result)
        where TLane : struct, ILane<TLane>
    {
        fixed (float* to = result)
        {
            InnerProducts.Dot4x2<TLane, Float32>((Float32*)HostMath.Address(rows), HostMath.Address(x), HostMath.Address(y), 45, to, to + 4);
            var again = stackalloc float[4];
            InnerProducts.Dot4<TLane, Float32>((Float32*)HostMath.Address(rows), HostMath.Address(x), 45, again);
            Assert.Equal(to[1], again[1], 1e-4f);
        }
    }

    private static void Close(Tensor expected, Tensor got, double tolerance) =>
        Assert.True((expected - got.to(ScalarType.Float64)).abs().max().item<double>() < tolerance);
}
