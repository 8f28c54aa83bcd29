using System.Runtime.InteropServices;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Weights in tiles are the numbers that they were packed from, and products of them what float64 says.</summary>
public sealed class PackedWeightsTests : NativeTest
{
    private static readonly int[] Counts = [1, 2, 8, 9, 16];

    public static TheoryData<string> Names => [.. Types.Keys];

    private static Dictionary<string, Packing> Types { get; } = new(Enumerable.Range(0, 64).Select(i => GgmlPackings.Of((uint)i)).OfType<BlockPacking>().ToDictionary(p => p.Name, p => (Packing)p))
    {
        ["int4 of 128"] = new IntegerPacking(4, 128, ScalarType.Float16, zeros: true),
        ["int4 of 16"] = new IntegerPacking(4, 16, ScalarType.BFloat16, zeros: false),
        ["int8 of 32"] = new IntegerPacking(8, 32, ScalarType.Float32, zeros: true),
        ["int4 of rows"] = new IntegerPacking(4, GroupedPacking.WholeRow, ScalarType.Float32, zeros: false),
        ["MXFP4 of a folder"] = Float4Packing.Mx,
        ["NVFP4"] = Float4Packing.Nv,
        ["int4 of 32"] = new IntegerPacking(4, 32, ScalarType.Float16, zeros: true),
        ["int4 of 64"] = new IntegerPacking(4, 64, ScalarType.Float16, zeros: false),
        ["FP8 of 128"] = new Float8Packing(128, ScalarType.Float32),
        ["FP8 of rows"] = new Float8Packing(GroupedPacking.WholeRow, ScalarType.BFloat16),
        ["int8 of rows"] = new IntegerPacking(8, GroupedPacking.WholeRow, ScalarType.BFloat16, zeros: false),
    };

    // Taken apart as the kernels do, but for the arithmetic.
    [Theory]
    [MemberData(nameof(Names))]
    public void Tiles_have_every_number_in_its_place(string name)
    {
        const int rows = 32, columns = 512;
        var (stored, numbers) = Made(Types[name], rows, columns);
        var packing = new TiledPacking(Types[name].Form!.Value);
        var (codes, scales) = Tiled(packing, Types[name], stored, rows, columns);
        for (var row = 0; row < rows; row++)
        {
            for (var column = 0; column < columns; column++)
            {
                var (unit, step, quad, i) = (column / 64, column % 64 / 16, column % 16 / 4, column % 4);
                var (ofUnit, lane) = ((row / 16 * (columns / 64)) + unit, (row % 8 * 4) + quad);
                var kind = packing.Kind;
                var (code, group) = (0, step * packing.Groups / 4);
                if (kind.Bits == 4)
                {
                    var word = BitConverter.ToUInt32(codes, (ofUnit * 512) + (lane * 16) + (row % 16 / 8 * 8) + (step / 2 * 4));
                    code = (int)(word >> ((4 * ((step % 2 * 2) + (i / 2))) + (16 * (i % 2)))) & 15;
                    code = kind.Table is { } table ? table[code] : kind.HasOffsets ? code : code - 8;
                }
                else
                {
                    code = codes[(ofUnit * 1024) + (row % 16 / 8 * 512) + (lane * 16) + (step * 4) + i] - (kind.IsFloat ? 0 : 128);
                }

                var of = scales.AsSpan(((ofUnit * 16) + (row % 16)) * packing.ScaleBytes, packing.ScaleBytes).ToArray();
                double Nested(int factor, int at) => (double)BitConverter.ToHalf(of, factor) * (of[at] - 128);
                var (scale, offset) = kind.Scales switch
                {
                    CodeScales.Half => ((double)BitConverter.ToHalf(of, 2 * group), 0),
                    CodeScales.Brain => (BitConverter.UInt32BitsToSingle((uint)BitConverter.ToUInt16(of, 2 * group) << 16), 0),
                    CodeScales.Single => (BitConverter.ToSingle(of, 4 * group), 0),
                    CodeScales.Pair => (BitConverter.ToSingle(of, 8 * group), BitConverter.ToSingle(of, (8 * group) + 4)),
                    CodeScales.Nested => (Nested(0, (packing.Groups == 2 ? 2 : 4) + group), 0),
                    _ => (Nested(0, 4 + group), Nested(2, 4 + packing.Groups + group)),
                };
                var number = Math.FusedMultiplyAdd(scale, kind.IsFloat ? SmallFloats.E4M3[code] : code, offset);
                // An offset is rounded where scales have all bits of a float32.
                Assert.Equal(numbers[(row * columns) + column], (float)number, Types[name] is IntegerPacking { ScaleType: ScalarType.Float32 } ? 1e-7f : 0);
            }
        }
    }

    [Theory]
    [InlineData(3)]
    [InlineData(20)]
    [InlineData(61)]
    public void What_is_no_number_in_FP8_makes_none_of_its_group(int column)
    {
        const int rows = 16, columns = 64;
        var (type, (stored, _)) = (Types["FP8 of 128"], Made(Types["FP8 of 128"], rows, columns));
        stored[column] = 0xff;
        var (_, scales) = Tiled(new TiledPacking(type.Form!.Value), type, stored, rows, columns);
        Assert.Equal([column < 32, column >= 32], MemoryMarshal.Cast<byte, float>(scales)[..2].ToArray().Select(float.IsNaN));
        Assert.All(MemoryMarshal.Cast<byte, float>(scales)[2..].ToArray(), scale => Assert.True(float.IsFinite(scale)));
    }

    // However rows are shared among threads and however many rows of x there are, whatever these are. In planes they are exacter, which PlaneRowsTests says.
    [Theory]
    [MemberData(nameof(Names))]
    public unsafe void On_the_CPU_products_are_those_of_the_numbers_to_the_bit(string name)
    {
        const int rows = 23, columns = 1536; // rows not in fours; more columns than are unpacked at a time
        var (stored, numbers) = Made(Types[name], rows, columns);
        using var scope = NewDisposeScope();
        Tensor packed = tensor(stored), weight = tensor(numbers).view(rows, columns), x = randn(7, columns);
        x[1, 100] = 1e30f;
        x[2] = 0;
        x[3] = x[3] * 1e-42f; // below the normal numbers
        x[4] = x[4].abs();
        x[5, 700] = float.PositiveInfinity;
        x[6, 5] = float.NaN;
        var dense = new WeightMatrix(TensorMemory.Pointer(weight), ScalarType.Float32, 0, rows, columns);
        var matrix = new WeightMatrix([new WeightPart(TensorMemory.Pointer(packed), Types[name], rows)], 0, columns);
        using var planes = empty([7, PlaneRows.Width(columns)], ScalarType.Float32);
        var inPlanes = matrix.TakesPlanes ? PlaneRows.Of(HostMath.Address(x), 7, columns, HostMath.Address(planes)) : default;
        bool[] differ = [.. Enumerable.Range(0, 7).Select(row => IsThere(inPlanes, row))];
        Assert.Equal(matrix.TakesPlanes ? [true, false, false, false, true, false, false] : new bool[7], differ);
        Tensor? before = null;
        foreach (var threads in (int[])[1, 2, 3])
        {
            using var team = new HostTeam(threads);
            var (numbersOnly, got) = (HostProducts.Multiply(team, x, dense), HostProducts.Multiply(team, x, matrix));
            Same(before ??= got, got);
            for (var row = 0; row < x.shape[0]; row++)
            {
                Same(got.narrow(0, row, 1), HostProducts.Multiply(team, x.narrow(0, row, 1).contiguous(), matrix));
                if (!differ[row])
                {
                    Same(numbersOnly.narrow(0, row, 1), got.narrow(0, row, 1));
                }
            }

            Same(got.narrow(0, 3, 2), HostProducts.Multiply(team, x.narrow(0, 3, 2).contiguous(), matrix));
        }

        var exact = nn.functional.linear(x.narrow(0, 0, 5).to(ScalarType.Float64), weight.to(ScalarType.Float64));
        var sizes = nn.functional.linear(x.narrow(0, 0, 5).to(ScalarType.Float64).abs(), weight.to(ScalarType.Float64).abs());
        using var all = new HostTeam(2);
        var off = ((HostProducts.Multiply(all, x.narrow(0, 0, 5), matrix).to(ScalarType.Float64) - exact).abs() / (sizes + 1e-36)).max().item<double>();
        Assert.True(off < 2e-6, $"off by {off} of the sum of sizes");

        static void Same(Tensor expected, Tensor got) => Assert.Equal(expected.contiguous().data<float>().ToArray(), got.contiguous().data<float>().ToArray());

        static bool IsThere(PlaneRows rows, int row) => rows[row] is not null;
    }

    public sealed class OnCuda() : NativeTest(ComputeDevice.Cuda)
    {
        [Theory]
        [MemberData(nameof(Names), MemberType = typeof(PackedWeightsTests))]
        public void Products_are_their_definition_and_a_row_has_the_same_bits_in_any_company(string name)
        {
            foreach (var type in (ScalarType[])[ScalarType.BFloat16, ScalarType.Float16])
            {
                using var scope = NewDisposeScope();
                using var device = (CudaDevice)NewDevice();
                device.Prepare(type);
                using var kernels = device.CreateRows(new RowTraits(type, 1, 1, 8, 1, null));
                const int columns = 1280;
                var (first, second) = (Placed(device, type, name, 48, columns), Placed(device, type, name, 48, columns));
                Tensor bias = randn([96], ScalarType.Float32, device.Torch).to(type), norm = randn([columns], ScalarType.Float32, device.Torch).to(type);
                var matrix = new WeightMatrix([first.Part, second.Part], TensorMemory.Pointer(bias), columns);
                var weight = cat([first.Numbers, second.Numbers]).to(ScalarType.Float64).to(device.Torch);
                using RowBuffer x = new(columns, device.Torch), to = new(96, device.Torch), gated = new(48, device.Torch);
                x.Memory.normal_();
                var input = x.Memory.to(ScalarType.Float64);
                var normed = input / (input.square().mean([-1L], keepdim: true) + 1e-5).sqrt() * norm.to(ScalarType.Float64);
                var before = new RowNorm(TensorMemory.Pointer(norm), 1e-5);
                Compare(to, rows => kernels.Multiply(rows, x, null, matrix, to, add: false), nn.functional.linear(input, weight, bias.to(ScalarType.Float64)));
                Compare(to, rows => kernels.Multiply(rows, x, before, matrix, to, add: true), 1 + nn.functional.linear(normed, weight, bias.to(ScalarType.Float64)), fill: 1);
                var both = nn.functional.linear(normed, weight, bias.to(ScalarType.Float64));
                var (gate, up) = (both.narrow(1, 0, 48), both.narrow(1, 48, 48));
                Compare(gated, rows => kernels.Gate(rows, x, before, matrix, "silu", gated), gate * gate.sigmoid() * up);

                // Two experts, the second the better for every row.
                var (other, back) = (Placed(device, type, name, 48, columns), Placed(device, type, name, 1280, 256));
                var mixture = new Mixture([(new WeightMatrix([other.Part, first.Part], 0, columns), new WeightMatrix([back.Part], 0, 256)), (new WeightMatrix([first.Part, second.Part], 0, columns), new WeightMatrix([back.Part], 0, 256))], new Routing(1, true), "silu");
                Assert.False(kernels.Mixes(mixture)); // 48 is not 256
                var (gates, ups) = (Placed(device, type, name, 256, columns), Placed(device, type, name, 256, columns));
                WeightMatrix Down() => new([back.Part], 0, 256);
                mixture = new Mixture([(new WeightMatrix([ups.Part, gates.Part], 0, columns), Down()), (new WeightMatrix([gates.Part, ups.Part], 0, columns), Down())], new Routing(1, true), "silu");
                Assert.True(kernels.Mixes(mixture));
                using var between = new MixtureRows(new(2, device.Torch), new(256, device.Torch), new(columns, device.Torch));
                between.Logits.Memory.narrow(1, 1, 1).fill_(1);
                using var mixed = new RowBuffer(columns, device.Torch);
                Tensor Wide(Tensor numbers) => numbers.to(ScalarType.Float64).to(device.Torch);
                var (gated2, for2) = (nn.functional.linear(normed, Wide(gates.Numbers)), nn.functional.linear(normed, Wide(ups.Numbers)));
                Compare(mixed, rows => kernels.Mix(rows, x, before, mixture, between, mixed, add: false), nn.functional.linear(gated2 * gated2.sigmoid() * for2, Wide(back.Numbers)), relative: true);

                // Many rows and few, a slice of both parts, and rows by their numbers.
                var (many, some, added) = (randn([40, columns], ScalarType.Float32, device.Torch).to(type), matrix.Slice(32, 32, sizeof(ushort)), bias.narrow(0, 32, 32));
                var expected = nn.functional.linear(many.to(ScalarType.Float64), weight.narrow(0, 32, 32), added.to(ScalarType.Float64));
                var rounded = type == ScalarType.Float16 ? 5e-3 : 3e-2;
                Close(rounded, expected, device.Multiply(many, some, added));
                Close(rounded, expected.narrow(0, 0, 3), device.Multiply(many.narrow(0, 0, 3), some, added));
                var alone = new WeightMatrix([second.Part], 0, columns);
                long[] numbers = [47, 0, 16, 16];
                // But for the sign of zero, and for an offset that is rounded where scales have all bits of a float32.
                void Same(Tensor all, Tensor got) => Assert.True(
                    Types[name] is IntegerPacking { ScaleType: ScalarType.Float32 }
                        ? all.index_select(0, tensor(numbers)).allclose(got, got.dtype == ScalarType.Float32 ? 1e-6 : 1e-2, 1e-6)
                        : all.index_select(0, tensor(numbers)).eq(got).all().item<bool>());
                var looked = device.Lookup(alone, tensor(numbers, device: device.Torch));
                Same(second.Numbers.to(type), looked.cpu());
                using var found = new RowBuffer(columns, device.Torch);
                kernels.Lookup([.. numbers.Select(n => (int)n)], alone, 1, found);
                Same(second.Numbers, found.Memory.narrow(0, 0, 4).cpu());
            }
        }
    }

    private static (WeightPart Part, Tensor Numbers) Placed(CudaDevice device, ScalarType type, string name, int rows, int columns)
    {
        var (stored, numbers) = Made(Types[name], rows, columns);
        var packing = Assert.IsType<TiledPacking>(device.LayOut(Types[name], type, rows, columns));
        var (codes, scales) = Tiled(packing, Types[name], stored, rows, columns);
        Tensor first = tensor(codes).to(device.Torch), last = tensor(scales).to(device.Torch);
        return (new WeightPart(TensorMemory.Pointer(first), packing, rows, TensorMemory.Pointer(last)), tensor(numbers).view(rows, columns));
    }

    private static void Compare(RowBuffer to, Action<int> run, Tensor expected, float fill = 0, bool relative = false)
    {
        byte[] Rows(int count)
        {
            to.Memory.fill_(fill);
            run(count);
            return to.Memory.narrow(0, 0, count).cpu().bytes.ToArray();
        }

        var all = Rows(RowKernels.MostRows);
        Close(1e-3, expected, to.Memory, relative ? expected.abs().mean().item<double>() : 1); // nothing is rounded to the type
        foreach (var count in Counts)
        {
            Assert.Equal(all[..(count * to.Width * sizeof(float))], Rows(count));
        }
    }

    private static void Close(double tolerance, Tensor expected, Tensor got, double unit = 1)
    {
        var worst = ((got.to(ScalarType.Float64) - expected).abs() / (unit + expected.abs())).max().item<double>();
        Assert.True(worst < tolerance, $"off by {worst}");
    }

    private static unsafe (byte[] Codes, byte[] Scales) Tiled(TiledPacking packing, Packing from, byte[] stored, int rows, int columns)
    {
        var (codes, scales) = (new byte[rows * packing.CodeBytes(columns)], new byte[rows * columns / 64 * packing.ScaleBytes]);
        fixed (byte* s = stored, c = codes, f = scales)
        {
            packing.Tile(from, s, rows, columns, c, f);
        }

        return (codes, scales);
    }

    // Random blocks whose numbers are as large as weights are.
    internal static (byte[] Stored, float[] Numbers) Made(Packing packing, int rows, int columns)
    {
        var all = new float[rows * columns];
        if (packing is IntegerPacking or Float8Packing)
        {
            var bytes = MadeOfBytes((GroupedPacking)packing, rows, columns);
            packing.Unpack(bytes, columns, all);
            return (bytes, all);
        }

        if (packing is Float4Packing small)
        {
            var bytes = MadeOfSmallFloats(small, rows, columns);
            packing.Unpack(bytes, columns, all);
            return (bytes, all);
        }

        var (random, size, of) = (new Random(7), (int)packing.RowBytes(packing.BlockColumns), packing.BlockColumns);
        var (block, numbers) = (new byte[size], new float[of]);
        var blocks = new List<byte[]>();
        while (blocks.Count < 12)
        {
            random.NextBytes(block);
            packing.Unpack(block, of, numbers);
            if (numbers.All(n => float.IsFinite(n) && Math.Abs(n) < 0.25f) && numbers.Any(n => Math.Abs(n) > 1e-3f))
            {
                blocks.Add([.. block]);
            }
        }

        byte[] stored = [.. Enumerable.Range(0, rows * columns / of).SelectMany(_ => blocks[random.Next(blocks.Count)])];
        packing.Unpack(stored, columns, all);
        return (stored, all);
    }

    // Powers from 2^-12 to 2^-7; or E4M3 from 1/8 to 1 and one factor of a row.
    private static byte[] MadeOfSmallFloats(Float4Packing packing, int rows, int columns)
    {
        var (random, row) = (new Random(11), (int)packing.RowBytes(columns));
        var bytes = new byte[rows * row];
        random.NextBytes(bytes);
        for (var i = 0; i < rows; i++)
        {
            var tail = bytes.AsSpan((i * row) + (int)packing.CodeBytes(columns), (int)packing.Groups(columns));
            foreach (ref var scale in tail)
            {
                scale = (byte)(packing.HasPowers ? 115 + random.Next(6) : 32 + random.Next(24));
            }

            if (!packing.HasPowers)
            {
                BitConverter.TryWriteBytes(bytes.AsSpan((int)((i * row) + packing.CodeBytes(columns) + packing.Groups(columns))), 1f / 64);
            }
        }

        return bytes;
    }

    private static byte[] MadeOfBytes(GroupedPacking packing, int rows, int columns)
    {
        var (type, hasZeros) = packing is IntegerPacking integers ? (integers.ScaleType, integers.HasZeros) : (((Float8Packing)packing).ScaleType, false);
        var (random, bytes, size) = (new Random(9), new byte[rows * packing.RowBytes(columns)], DataTypes.Size(type));
        random.NextBytes(bytes);
        for (var row = 0; row < rows; row++)
        {
            var zeros = (int)((row * packing.RowBytes(columns)) + packing.CodeBytes(columns) + (packing.Groups(columns) * size));
            for (var at = 0; hasZeros && packing.Bits == 4 && at < packing.Groups(columns); at++)
            {
                bytes[zeros + at] &= 15;
            }

            for (var at = row * packing.RowBytes(columns); packing is Float8Packing && at < (row * packing.RowBytes(columns)) + columns; at++)
            {
                bytes[at] = (bytes[at] & 0x7f) == 0x7f ? (byte)0 : bytes[at]; // but what is no number
            }

            for (var group = 0; group < packing.Groups(columns); group++)
            {
                var (at, scale) = ((int)((row * packing.RowBytes(columns)) + packing.CodeBytes(columns)) + (group * size), (float)random.NextDouble() / 1000);
                _ = type switch
                {
                    ScalarType.Float32 => BitConverter.TryWriteBytes(bytes.AsSpan(at), scale),
                    ScalarType.Float16 => BitConverter.TryWriteBytes(bytes.AsSpan(at), (Half)scale),
                    _ => BitConverter.TryWriteBytes(bytes.AsSpan(at), (ushort)(BitConverter.SingleToUInt32Bits(scale) >> 16)),
                };
            }
        }

        return bytes;
    }
}
