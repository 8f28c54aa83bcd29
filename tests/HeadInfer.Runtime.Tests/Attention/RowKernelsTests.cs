using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Operators on few rows are what float64 says, and no row depends on the others, in any number of them.</summary>
public abstract class RowKernelsTests(ComputeDevice device) : NativeTest(device)
{
    private const double Epsilon = 1e-5;

    private static readonly int[] Counts = [1, 2, 7, 8, 9, 16];

    public sealed class OnCpu() : RowKernelsTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : RowKernelsTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData(37, 24)]     // no whole tiles
    [InlineData(512, 64)]
    [InlineData(300, 1000)]
    [InlineData(9000, 72)]   // more blocks than a large GPU takes at once
    [InlineData(20, 33)]     // no whole packs
    public void A_product_is_its_definition_and_a_row_has_the_same_bits_in_any_company(int outputs, int columns)
    {
        foreach (var type in Types())
        {
            using var scope = NewDisposeScope();
            using var device = NewDevice();
            device.Prepare(type);
            using var kernels = device.CreateRows(new RowTraits(type, 1, 1, 8, 1, null));
            using RowBuffer x = new(columns, device.Torch), to = new(outputs, device.Torch);
            var (weight, bias, norm) = (Made(type, outputs, columns), Made(type, outputs), Made(type, columns));
            var matrix = new WeightMatrix(TensorMemory.Pointer(weight), type, TensorMemory.Pointer(bias), outputs, columns);
            x.Memory.normal_();
            foreach (var before in (RowNorm?[])[null, new RowNorm(TensorMemory.Pointer(norm), Epsilon)])
            {
                var input = before is null ? x.Memory.to(ScalarType.Float64) : Normed(x.Memory, norm);
                var expected = nn.functional.linear(input, weight.to(ScalarType.Float64), bias.to(ScalarType.Float64));
                Compare(type, to, rows => kernels.Multiply(rows, x, before, matrix, to, add: false), x, expected);
                Compare(type, to, rows => kernels.Multiply(rows, x, before, matrix, to, add: true), x, expected + 1, fill: 1);
            }
        }
    }

    [Theory]
    [InlineData("silu", 40, 64)]
    [InlineData("gelu", 21, 72)]
    [InlineData("gelu_pytorch_tanh", 300, 33)]
    public void A_gate_is_its_definition_and_a_row_has_the_same_bits_in_any_company(string activation, int width, int columns)
    {
        foreach (var type in Types())
        {
            using var scope = NewDisposeScope();
            using var device = NewDevice();
            device.Prepare(type);
            using var kernels = device.CreateRows(new RowTraits(type, 1, 1, 8, 1, null));
            using RowBuffer x = new(columns, device.Torch), to = new(width, device.Torch);
            var (weight, norm) = (Made(type, 2 * width, columns), Made(type, columns));
            x.Memory.normal_();
            var both = nn.functional.linear(Normed(x.Memory, norm), weight.to(ScalarType.Float64));
            var (gate, up) = (both.narrow(1, 0, width), both.narrow(1, width, width));
            var active = activation == "silu" ? gate * gate.sigmoid()
                : activation == "gelu" ? gate * (1 + (gate / Math.Sqrt(2)).erf()) / 2
                : gate * (1 + (Math.Sqrt(2 / Math.PI) * (gate + (0.044715 * gate.pow(3)))).tanh()) / 2;
            var matrix = new WeightMatrix(TensorMemory.Pointer(weight), type, 0, 2 * width, columns);
            Compare(type, to, rows => kernels.Gate(rows, x, new RowNorm(TensorMemory.Pointer(norm), Epsilon), matrix, activation, to), x, active * up);
        }
    }

    [Theory]
    [InlineData(5, 2, 24, 40, false)]
    [InlineData(40, 8, 64, 128, true)] // more than a warp's lanes
    public void A_mixture_is_its_definition_and_a_row_has_the_same_bits_in_any_company(int experts, int perToken, int width, int hidden, bool ofChosen)
    {
        foreach (var type in Types())
        {
            using var scope = NewDisposeScope();
            using var device = NewDevice();
            device.Prepare(type);
            using var kernels = device.CreateRows(new RowTraits(type, 1, 1, 8, 1, null));
            using RowBuffer x = new(hidden, device.Torch), to = new(hidden, device.Torch);
            using var between = new MixtureRows(new(experts, device.Torch), new(perToken * width, device.Torch), new(perToken * hidden, device.Torch));
            var (gateUps, downs, norm) = (Made(type, experts, 2 * width, hidden), Made(type, experts, hidden, width), Made(type, hidden));
            WeightMatrix Expert(Tensor all, int i) => new(TensorMemory.Pointer(all[i]), type, 0, (int)all.shape[1], (int)all.shape[2]);
            var mixture = new Mixture([.. Enumerable.Range(0, experts).Select(i => (Expert(gateUps, i), Expert(downs, i)))], new Routing(perToken, ofChosen), "silu");
            if (!kernels.Mixes(mixture))
            {
                Assert.True(Gpu is not null && type == ScalarType.Float32, "kernels refuse plain experts");
                continue;
            }

            x.Memory.normal_();
            between.Logits.Memory.normal_();
            between.Logits.Memory.narrow(1, 1, 1).copy_(between.Logits.Memory.narrow(1, 0, 1)); // two alike: the first is the better
            var (shares, input, expected) = (between.Logits.Memory.to(ScalarType.Float64).softmax(-1).cpu(), Normed(x.Memory, norm), new List<Tensor>());
            for (var row = 0; row < RowKernels.MostRows; row++)
            {
                var all = shares[row].data<double>().ToArray();
                int[] chosen = [.. Enumerable.Range(0, experts).OrderByDescending(i => all[i]).Take(perToken)]; // stable
                var whole = ofChosen ? chosen.Sum(i => all[i]) : 1;
                var sum = zeros([hidden], ScalarType.Float64, device.Torch);
                foreach (var i in chosen)
                {
                    var both = gateUps[i].to(ScalarType.Float64).mv(input[row]);
                    var (gate, up) = (both.narrow(0, 0, width), both.narrow(0, width, width));
                    sum += all[i] / whole * downs[i].to(ScalarType.Float64).mv(gate * gate.sigmoid() * up);
                }

                expected.Add(sum);
            }

            var before = new RowNorm(TensorMemory.Pointer(norm), Epsilon);
            var logits = between.Logits.Memory.clone();
            CompareFirst(type, to, rows => kernels.Mix(rows, x, before, mixture, between, to, add: false), stack(expected));
            CompareFirst(type, to, rows => kernels.Mix(rows, x, before, mixture, between, to, add: true), stack(expected) + 1, fill: 1);
            Assert.True(logits.eq(between.Logits.Memory).all().item<bool>());
        }
    }

    // All rows, then the first of them in other numbers, then each alone in the first place.
    private static void Compare(ScalarType type, RowBuffer to, Action<int> run, RowBuffer x, Tensor expected, float fill = 0)
    {
        var (all, rows) = CompareFirst(type, to, run, expected, fill);
        var kept = x.Memory.clone();
        for (var row = 0; row < RowKernels.MostRows; row++)
        {
            x.Memory.narrow(0, 0, 1).copy_(kept.narrow(0, row, 1));
            Assert.Equal(all[(row * to.Width * sizeof(float))..((row + 1) * to.Width * sizeof(float))], rows(1));
        }

        x.Memory.copy_(kept);
    }

    private static (byte[] All, Func<int, byte[]> Rows) CompareFirst(ScalarType type, RowBuffer to, Action<int> run, Tensor expected, float fill = 0)
    {
        byte[] Rows(int count)
        {
            to.Memory.fill_(fill);
            run(count);
            return to.Memory.narrow(0, 0, count).cpu().bytes.ToArray();
        }

        var all = Rows(RowKernels.MostRows);
        var worst = ((to.Memory.to(ScalarType.Float64) - expected).abs() / (1 + expected.abs())).max().item<double>();
        Assert.True(worst < (type == ScalarType.Float32 ? 1e-5 : type == ScalarType.Float16 ? 2e-3 : 2e-2), $"off by {worst} in {type}");
        foreach (var count in Counts)
        {
            Assert.Equal(all[..(count * to.Width * sizeof(float))], Rows(count));
        }

        return (all, Rows);
    }

    private static Tensor Normed(Tensor x, Tensor weight)
    {
        var wide = x.to(ScalarType.Float64);
        return wide / (wide.square().mean([-1L], keepdim: true) + Epsilon).sqrt() * weight.to(ScalarType.Float64);
    }

    private ScalarType[] Types() => Gpu is null ? [ScalarType.Float32] : [ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16];

    private Tensor Made(ScalarType type, params long[] shape) => (randn(shape, ScalarType.Float32, TorchDevice) / Math.Sqrt(shape[^1])).to(type);
}
