using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Products of many rows, and attention of many queries, by our own tiles on the CPU: near to float64, and no row depends on its company.</summary>
/// <remarks>They are used where vectors have 512 bits, and compute the same where these are made of smaller ones.</remarks>
public sealed class HostTileTests : NativeTest
{
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(17, 31, 3)]
    [InlineData(24, 64, 256)]      // whole tiles and panels
    [InlineData(37, 97, 257)]      // a column beyond a block
    [InlineData(1100, 70, 2100)]   // x is packed in several pieces
    [InlineData(300, 33, 513)]     // few panels: rows are split too
    public void Many_rows_times_a_matrix_are_the_product_and_no_row_depends_on_the_others(int n, int rows, int columns)
    {
        Tensor x = randn(n, columns), w = randn(rows, columns), b = randn(rows);
        var wide = nn.functional.linear(x.to(ScalarType.Float64), w.to(ScalarType.Float64), b.to(ScalarType.Float64));
        var all = Multiply(2, x, w, b);
        Assert.True((wide - all.to(ScalarType.Float64)).abs().max().item<double>() < 4e-6 * Math.Sqrt(columns) * 4);
        Assert.Equal(Bytes(all), Bytes(Multiply(7, x, w, b)));
        foreach (var (start, count) in ((int, int)[])[(n / 2, 1), (n / 3, n - (n / 3))])
        {
            Assert.Equal(Bytes(all.narrow(0, start, count)), Bytes(Multiply(1, x.narrow(0, start, count).contiguous(), w, b)));
        }
    }

    [Theory]
    [InlineData(1, 64, null, null)]
    [InlineData(3, 64, null, null)]
    [InlineData(2, 80, null, 20.0)]
    [InlineData(3, 20, 40, null)]
    [InlineData(2, 512, 300, 5.0)]
    [InlineData(2, 33, 100, null, true)]
    public void Attention_of_many_queries_is_what_its_definition_says(int shared, int dim, int? window, double? softCap, bool areChunks = false)
    {
        const int kvHeads = 2;
        var view = areChunks ? new Visibility(null, window) : new Visibility(window);
        var scale = 1 / Math.Sqrt(dim);
        foreach (var (rows, columns) in ((TokenRange, TokenRange)[])[(new(0, 41), new(0, 41)), (new(500, 613), new(260, 613)), (new(300, 340), new(256, 290)), (new(70, 700), new(0, 700))])
        {
            // Keys and values as a tile has them, and a token's heads side by side.
            Tensor tile = randn(kvHeads, 2, columns.Count, dim), q = randn(rows.Count, kvHeads, shared, dim).permute(1, 2, 0, 3);
            var (k, v) = (tile.select(1, 0), tile.select(1, 1));
            var queries = new TokenRange(rows.Start, Math.Min(rows.End, view.Rows(rows, columns).End)); // who sees none has no part here
            if (queries.IsEmpty)
            {
                continue;
            }

            q = q.narrow(2, 0, queries.Count);
            using var team = new HostTeam(3);
            var kernel = new HostSegmentAttention(team, scale, softCap);
            var (output, lse) = kernel.Attend(q, k, v, queries, columns, view);

            var scores = matmul(q.to(ScalarType.Float64), k.to(ScalarType.Float64).unsqueeze(1).transpose(-1, -2)).mul_(scale);
            if (softCap is { } cap)
            {
                scores = scores.div_(cap).tanh_().mul_(cap);
            }

            scores.add_(view.Mask(queries, columns, CPU));
            Assert.True((scores.logsumexp(-1) - lse.to(ScalarType.Float64)).abs().max().item<double>() < 5e-6);
            Assert.True((matmul(scores.softmax(-1), v.to(ScalarType.Float64).unsqueeze(1)) - output.to(ScalarType.Float64)).abs().max().item<double>() < 5e-6);

            var some = new TokenRange(queries.Start + 7, queries.End - 3);
            var (alone, itsLse) = kernel.Attend(q.narrow(2, 7, some.Count), k, v, some, columns, view);
            Assert.Equal(Bytes(output.narrow(2, 7, some.Count)), Bytes(alone));
            Assert.Equal(Bytes(lse.narrow(2, 7, some.Count)), Bytes(itsLse));
        }
    }

    private static Tensor Multiply(int threads, Tensor x, Tensor weight, Tensor bias)
    {
        using var team = new HostTeam(threads);
        using var products = new HostMatrixProducts(team);
        var half = weight.shape[0] / 2; // in two parts that lie apart
        Tensor upper = weight.narrow(0, 0, half).clone(), lower = weight.narrow(0, half, weight.shape[0] - half).clone();
        WeightPart Part(Tensor of) => new(of.NumberOfElements > 0 ? TensorMemory.Pointer(of) : 0, new DensePacking(ScalarType.Float32), (int)of.shape[0]);
        var result = products.Multiply(x, new WeightMatrix([Part(upper), Part(lower)], TensorMemory.Pointer(bias), (int)weight.shape[1]));
        GC.KeepAlive((upper, lower, bias));
        return result;
    }

    private static byte[] Bytes(Tensor tensor) => tensor.contiguous().bytes.ToArray();
}
