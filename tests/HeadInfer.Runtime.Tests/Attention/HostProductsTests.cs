using System.Runtime.InteropServices;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Products of a few rows and a matrix, however it lies, are those of the same numbers in float32, to the bit.</summary>
public sealed class HostProductsTests : NativeTest
{
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(2, 3, 17)]
    [InlineData(5, 64, 31)]
    [InlineData(16, 1001, 384)]
    public void A_matrix_times_a_few_rows_is_the_product_and_no_row_depends_on_the_others(int n, int rows, int columns)
    {
        using var team = new HostTeam(2);
        Tensor x = randn(n, columns), w = randn(rows, columns), b = randn(rows);
        var wide = x.to(ScalarType.Float64);
        Close(nn.functional.linear(wide, w.to(ScalarType.Float64), b.to(ScalarType.Float64)), HostProducts.Multiply(team, x, Dense(w, b)), 1e-4);
        var all = HostProducts.Multiply(team, x, Dense(w));
        Close(nn.functional.linear(wide, w.to(ScalarType.Float64)), all, 1e-4);
        for (var i = 0; i < n; i++)
        {
            Same(all.narrow(0, i, 1), HostProducts.Multiply(team, x.narrow(0, i, 1), Dense(w)));
        }
    }

    [Theory]
    [InlineData(ScalarType.BFloat16, 1)]
    [InlineData(ScalarType.BFloat16, 7)]
    [InlineData(ScalarType.BFloat16, 40)]  // more than kernels for few rows take
    [InlineData(ScalarType.Float16, 2)]
    [InlineData(ScalarType.Float16, 40)]
    public void Weights_of_16_bits_give_the_bits_of_their_copy_in_float32(ScalarType type, int n)
    {
        using var device = new CpuDevice();
        foreach (var (rows, columns) in ((int, int)[])[(9, 24), (2000, 700)]) // the latter in pieces
        {
            Tensor x = randn(n, columns), w = randn(rows, columns).to(type), b = randn(rows);
            Same(device.Multiply(x, w.to(ScalarType.Float32), b), device.Multiply(x, Dense(w, b), b));
            var numbers = tensor(new long[] { rows - 1, 0, rows / 2 });
            Same(w.index_select(0, numbers).to(ScalarType.Float32), device.Lookup(Dense(w), numbers));
        }
    }

    [Theory]
    [InlineData(1, 1, 8)]
    [InlineData(2, 6, 24)]
    [InlineData(5, 7, 1048)]   // beyond one chunk, and no whole lanes
    [InlineData(16, 130, 2056)]
    [InlineData(33, 12, 96)]
    public void Packed_weights_give_the_bits_of_what_they_unpack_to(int n, int rows, int columns)
    {
        using var device = new CpuDevice();
        var (first, second) = (Made(rows, columns), Made(5, columns));
        Tensor x = randn(n, columns), b = randn(rows + 5);
        using GCMemory one = new(first), two = new(second);
        var packing = new Scaled();
        var matrix = new WeightMatrix([new WeightPart(one.Address, packing, rows), new WeightPart(two.Address, packing, 5)], TensorMemory.Pointer(b), columns);
        var weight = cat([Unpacked(first, rows, columns), Unpacked(second, 5, columns)]);
        Same(device.Multiply(x, weight, b), device.Multiply(x, matrix, b));

        var (from, count) = (rows / 2, (rows / 2) + 3); // of both parts
        Same(device.Multiply(x, weight.narrow(0, from, count).contiguous(), b.narrow(0, from, count)), device.Multiply(x, matrix.Slice(from, count, sizeof(float)), b.narrow(0, from, count)));
        Same(weight, device.Lookup(matrix, arange(rows + 5, ScalarType.Int64)));
    }

    private static WeightMatrix Dense(Tensor weight, Tensor? bias = null) =>
        new(TensorMemory.Pointer(weight), weight.dtype, bias is null ? 0 : TensorMemory.Pointer(bias), (int)weight.shape[0], (int)weight.shape[1]);

    private static void Same(Tensor expected, Tensor got)
    {
        Assert.Equal(expected.shape, got.shape);
        Assert.Equal(expected.contiguous().bytes.ToArray(), got.contiguous().bytes.ToArray());
    }

    private static void Close(Tensor expected, Tensor got, double tolerance) =>
        Assert.True((expected - got.to(ScalarType.Float64)).abs().max().item<double>() < tolerance);

    private static byte[] Made(int rows, int columns)
    {
        var (random, bytes) = (new Random(rows + columns), new byte[rows * new Scaled().RowBytes(columns)]);
        random.NextBytes(bytes);
        for (var at = 8; at < bytes.Length; at += 12)
        {
            BitConverter.TryWriteBytes(bytes.AsSpan(at), (float)random.NextDouble() / 100);
        }

        return bytes;
    }

    private static Tensor Unpacked(byte[] bytes, int rows, int columns)
    {
        var numbers = new float[rows * columns];
        new Scaled().Unpack(bytes, columns, numbers);
        return tensor(numbers).view(rows, columns);
    }

    /// <summary>Blocks of eight signed bytes and a factor.</summary>
    private sealed class Scaled : Packing
    {
        public override string Name => "scaled";

        public override int BlockColumns => 8;

        public override long RowBytes(long columns) => columns / 8 * 12;

        public override void Unpack(ReadOnlySpan<byte> rows, int columns, Span<float> to)
        {
            for (var i = 0; i < to.Length; i++)
            {
                to[i] = (sbyte)rows[(i / 8 * 12) + (i % 8)] * BitConverter.ToSingle(rows[((i / 8 * 12) + 8)..]);
            }
        }
    }

    /// <summary>Bytes that stay where they are.</summary>
    private sealed class GCMemory(byte[] bytes) : IDisposable
    {
        private GCHandle _handle = GCHandle.Alloc(bytes, GCHandleType.Pinned);

        public nint Address => _handle.AddrOfPinnedObject();

        public void Dispose() => _handle.Free();
    }
}
