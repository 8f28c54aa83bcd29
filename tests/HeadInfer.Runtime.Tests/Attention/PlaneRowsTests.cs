using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Activations as whole numbers are what they were made from, and products of them are nearer to float64 than sums in float32.</summary>
public sealed unsafe class PlaneRowsTests
{
    private const string NoVectors = "The processor has no AVX2.";

    public static bool HasVectors => Avx2.IsSupported;

    public static TheoryData<string> Names => [.. Types.Keys];

    private static Dictionary<string, Packing> Types { get; } = new(Enumerable.Range(0, 64).Select(i => GgmlPackings.Of((uint)i)).OfType<BlockPacking>().Where(p => p.TakesPlanes(256)).ToDictionary(p => p.Name, p => (Packing)p))
    {
        ["int4 of 128"] = new IntegerPacking(4, 128, ScalarType.Float16, zeros: true),
        ["int4 of 32"] = new IntegerPacking(4, 32, ScalarType.BFloat16, zeros: true),
        ["int4 of rows"] = new IntegerPacking(4, GroupedPacking.WholeRow, ScalarType.Float32, zeros: false),
    };

    [Fact]
    public void Types_of_up_to_six_bits_take_them() => Assert.Equal(
        ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "MXFP4", "int4 of 128", "int4 of 32", "int4 of rows"], Types.Keys);

    [Fact(Skip = NoVectors, SkipUnless = nameof(HasVectors))]
    public void Three_digits_and_a_unit_are_the_number_to_half_a_unit()
    {
        const int columns = 512;
        var (random, x) = (new Random(3), new float[columns]);
        for (var i = 0; i < columns; i++)
        {
            x[i] = (float)((random.NextDouble() - 0.5) * Math.Pow(2, i / 64 * 3)); // each sixty-four are larger
        }

        (x[0], x[70], x[140], x[300]) = (1, -1.9999999f, float.MinValue / 1e24f, float.Epsilon);
        var planes = new byte[columns / PlaneRows.Columns * PlaneRows.Bytes];
        fixed (float* from = x)
        fixed (byte* to = planes)
        {
            PlaneRows.Make(from, columns, to);
        }

        for (var unit = 0; unit < columns / 64; unit++)
        {
            var floats = MemoryMarshal.Cast<byte, float>(planes.AsSpan(unit * PlaneRows.Bytes, PlaneRows.Bytes));
            var (size, sums) = (floats[72], new double[16]);
            Assert.All(floats[72..80].ToArray(), u => Assert.Equal(size, u));
            Assert.True(size <= x.AsSpan(unit * 64, 64).ToArray().Max(Math.Abs) * 1.01 / (1 << 23), "Bits are lost.");
            for (var column = 0; column < 64; column++)
            {
                var place = (column / 16 % 2 * 32) + (column / 32 * 16) + (column % 16);
                int Digit(int plane) => (sbyte)planes[(unit * PlaneRows.Bytes) + (plane * 64) + place];
                var whole = (((Digit(0) * 256) + Digit(1)) * 256) + Digit(2);
                Assert.Equal(x[(unit * 64) + column], whole * (double)size, (size / 2.0) + (Math.Abs(x[(unit * 64) + column]) * Math.Pow(2, -23)));
                sums[place / 4] += whole;
            }

            for (var lane = 0; lane < 8; lane++)
            {
                Assert.Equal([(float)sums[lane], (float)sums[lane + 8], (float)(sums[lane] + sums[lane + 8])], [floats[48 + lane], floats[56 + lane], floats[64 + lane]]);
            }
        }
    }

    [Fact(Skip = NoVectors, SkipUnless = nameof(HasVectors))]
    public void Rows_that_would_be_less_exact_or_are_not_finite_are_not_made()
    {
        var x = Numbers(4096, new Random(1), heavy: false);
        Assert.True(IsMade(x));
        Assert.True(IsMade(Numbers(896, new Random(2), heavy: false)));
        Assert.True(IsMade(Numbers(2048, new Random(2), heavy: true)));
        Assert.True(IsMade([.. x.Select(v => v * 1e-12f)]));
        Assert.True(IsMade([.. x.Select((v, i) => i == 77 ? 60 : v)]));
        foreach (var wrong in (float[])[float.NaN, float.PositiveInfinity, float.NegativeInfinity, 1e30f, float.MaxValue])
        {
            foreach (var place in (int[])[0, 100, 4095])
            {
                Assert.False(IsMade([.. x.Select((v, i) => i == place ? wrong : v)]), $"{wrong} at {place}");
            }
        }

        Assert.True(IsMade([.. x.Take(896).Select((v, i) => i == 77 ? 20 : v)]));
        Assert.False(IsMade([.. x.Take(896).Select((v, i) => i == 77 ? 30 : v)]));
        Assert.False(IsMade([.. x.Select((v, i) => i == 77 ? 200 : v)]));
        Assert.False(IsMade([.. x.Select(v => v * 1e-38f)]));
        Assert.False(IsMade(new float[4096]));
        Assert.False(IsMade([.. x.Take(256).Select((v, i) => i % 64 == 7 ? 100 : v * 1e-4f)]));
    }

    [Theory(Skip = NoVectors, SkipUnless = nameof(HasVectors))]
    [InlineData(1.9f)]
    [InlineData(-1.9f)]
    public void The_largest_sums_are_exact(float value)
    {
        float[] x = [.. Enumerable.Repeat(value, PlaneRows.Columns)];
        var planes = new byte[PlaneRows.Bytes];
        fixed (float* from = x)
        fixed (byte* to = planes)
        {
            PlaneRows.Make(from, x.Length, to);
            var whole = (((((sbyte)to[0]) * 256) + (sbyte)to[64]) * 256) + (sbyte)to[128];
            Assert.Equal(Math.Sign(value) * 8_355_700.0, whole, 2.0);
            var (five, six) = (Vector256.Create((byte)31), Vector256.Create((byte)63));
            Assert.Equal(Vector256.Create((float)(whole * 8L * 31)), PlaneProducts.Products(five, five, to));
            Assert.Equal(Vector256.Create((float)(whole * 4L * 63)), PlaneProducts.Products(six, to));
            Assert.Equal(Vector256.Create((float)(whole * 4L * 63)), PlaneProducts.Products(six, to + 32));
        }
    }

    [Theory(Skip = NoVectors, SkipUnless = nameof(HasVectors))]
    [MemberData(nameof(Names))]
    public void Products_are_nearer_to_float64_than_those_in_float32(string name)
    {
        const int rows = 256;
        foreach (var columns in (int[])[1280, 2048, 4096])
        {
            var (stored, numbers) = PackedWeightsTests.Made(Types[name], rows, columns);
            foreach (var (heavy, outlier) in ((bool, float)[])[(false, 0), (true, 0), (false, columns / 140), (false, columns / 40)])
            {
                var x = Numbers(columns, new Random(columns), heavy);
                x[^1] = outlier == 0 ? x[^1] : outlier; // where sums in float32 lose least by it
                Assert.True(IsMade(x));
                var exact = Exact(Types[name], stored, x, rows);
                var (inParts, inOne) = (new float[rows], new float[rows]);
                fixed (float* from = numbers, vector = x)
                {
                    for (var row = 0; row < rows; row++)
                    {
                        inParts[row] = InnerProducts.Dot<PlainLane, Float32>((Float32*)from + (row * columns), vector, columns);
                        for (var i = 0; i < columns; i++)
                        {
                            inOne[row] = MathF.FusedMultiplyAdd(from[(row * columns) + i], vector[i], inOne[row]);
                        }
                    }
                }

                var off = Error(Multiply(Types[name], stored, x, rows), exact);
                Assert.True(off <= Error(inOne, exact) , $"{columns} columns, heavy {heavy}, outlier {outlier}: off by {off}, in float32 by {Error(inOne, exact)}");
                if (columns > 1280 && outlier == 0)
                {
                    Assert.True(off <= Error(inParts, exact), $"{columns} columns, heavy {heavy}, outlier {outlier}: off by {off}, in eight parts by {Error(inParts, exact)}");
                }
            }
        }
    }

    private static double Error(float[] got, double[] exact) => Math.Sqrt(got.Zip(exact, (a, b) => (a - b) * (a - b)).Average());

    // Normal; or products of two, of which a few are far larger than most.
    private static float[] Numbers(int count, Random random, bool heavy)
    {
        double Normal() => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
        return [.. Enumerable.Range(0, count).Select(_ => (float)(Normal() * (heavy ? Normal() : 1)))];
    }

    private static bool IsMade(float[] x)
    {
        var to = new float[PlaneRows.Width(x.Length)];
        fixed (float* from = x, planes = to)
        {
            return PlaneRows.Make(from, x.Length, (byte*)planes);
        }
    }

    private static float[] Multiply(Packing packing, byte[] stored, float[] x, int rows)
    {
        var (planes, result) = (new float[PlaneRows.Width(x.Length)], new float[rows]);
        fixed (byte* at = stored)
        fixed (float* from = x, to = planes, products = result)
        {
            PlaneRows.Make(from, x.Length, (byte*)to);
            for (var row = 0; row < rows; row += 4)
            {
                packing.MultiplyPlanes4(at + (row * packing.RowBytes(x.Length)), packing.RowBytes(x.Length), x.Length, (byte*)to, products + row);
            }
        }

        return result;
    }

    private static double[] Exact(Packing packing, byte[] stored, float[] x, int rows)
    {
        var numbers = new float[rows * x.Length];
        packing.Unpack(stored, x.Length, numbers);
        return [.. Enumerable.Range(0, rows).Select(row => Enumerable.Range(0, x.Length).Sum(i => (double)numbers[(row * x.Length) + i] * x[i]))];
    }
}
