using System.Runtime.Intrinsics;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Products of a few rows and a matrix in host memory, whose rows are read once for all, as they lie.</summary>
/// <remarks>
/// Each row's result is the same, to the bit, whatever the others are; and but for <see cref="PlaneRows"/> it is that of the same weights
/// in float32, since to widen or to unpack them is exact and sums keep their order. One row of x takes numbers from packed rows as they
/// are made, where there are vectors of 256 or 512 bits. For several rows, packed rows are unpacked four at a time, as many columns as
/// stay in the first cache.
///
/// Written because libtorch's product of a matrix and one row reads cold weights at 14 GB/s where all cores together read 45
/// (two cores, AVX-512).
/// </remarks>
internal static unsafe class HostProducts
{
    private const int Chunk = 1024; // columns that are unpacked at a time
    private const int Line = 16;    // floats of a cache line: lanes that cross lines take twice as long

    /// <summary>The product of all rows of the matrix.</summary>
    /// <param name="team">who shares the work</param>
    /// <param name="x">[n, columns], contiguous</param>
    /// <param name="weight">the matrix</param>
    /// <returns>[n, rows]</returns>
    public static Tensor Multiply(HostTeam team, Tensor x, WeightMatrix weight)
    {
        var n = (int)x.shape[0];
        var result = empty([n, weight.Rows], ScalarType.Float32);
        float* input = HostMath.Address(x), output = HostMath.Address(result);
        using var memory = weight.TakesPlanes ? empty([n, PlaneRows.Width(weight.Columns)], ScalarType.Float32) : null;
        var planes = memory is null ? default : PlaneRows.Of(input, n, weight.Columns, HostMath.Address(memory));
        team.Run(member =>
        {
            var (start, end) = team.Share(member, weight.Rows);
            Multiply(weight, input, planes, n, output, start, end);
        });
        return result;
    }

    /// <summary>The same for some rows of the matrix.</summary>
    /// <param name="weight">the matrix</param>
    /// <param name="x">[n, columns]</param>
    /// <param name="planes">the same, where the matrix takes them</param>
    /// <param name="n">how many rows of x</param>
    /// <param name="output">[n, rows], written from <paramref name="start"/> to <paramref name="end"/></param>
    /// <param name="start">the first</param>
    /// <param name="end">behind the last</param>
    public static void Multiply(WeightMatrix weight, float* x, PlaneRows planes, int n, float* output, int start, int end)
    {
        var at = 0;
        foreach (var part in weight.Parts)
        {
            var (first, last) = (Math.Max(start, at) - at, Math.Min(end, at + part.Rows) - at);
            if (first < last)
            {
                var product = new Product(part, x, planes, n, weight.Columns, output + at, weight.Rows, first, last);
                if (Vector512.IsHardwareAccelerated)
                {
                    Multiply<WideLane>(product);
                }
                else
                {
                    Multiply<PlainLane>(product);
                }
            }

            at += part.Rows;
        }

        var bias = (float*)weight.Bias;
        for (var i = 0; bias is not null && i < n; i++)
        {
            for (var row = start; row < end; row++)
            {
                output[((long)i * weight.Rows) + row] += bias[row];
            }
        }
    }

    /// <summary>Some rows of the matrix in float32.</summary>
    /// <param name="weight">the matrix</param>
    /// <param name="start">the first</param>
    /// <param name="end">behind the last</param>
    /// <param name="to">[end - start, columns], written</param>
    public static void Unpack(WeightMatrix weight, int start, int end, float* to)
    {
        var at = 0;
        foreach (var part in weight.Parts)
        {
            var bytes = part.Packing.RowBytes(weight.Columns);
            for (var row = Math.Max(start, at); row < Math.Min(end, at + part.Rows); row++)
            {
                part.Packing.UnpackPart((byte*)part.Address + ((row - at) * bytes), weight.Columns, 0, weight.Columns, to + ((long)(row - start) * weight.Columns));
            }

            at += part.Rows;
        }
    }

    private static void Multiply<TLane>(in Product product)
        where TLane : struct, ILane<TLane>
    {
        switch ((product.Part.Packing as DensePacking)?.Type)
        {
            case ScalarType.Float32:
                MultiplyDense<TLane, Float32>(product);
                break;
            case ScalarType.BFloat16:
                MultiplyDense<TLane, BFloat16>(product);
                break;
            case ScalarType.Float16:
                MultiplyDense<TLane, Float16>(product);
                break;
            default:
                if (product.N == 1 && product.Part.Packing.Multiplies(product.Columns))
                {
                    MultiplyAsTheyLie(product);
                }
                else if (PlaneRows.Suit(product.Part.Packing, product.Columns))
                {
                    MultiplyByPlanes(product);
                }
                else
                {
                    MultiplyPacked<TLane>(product);
                }

                break;
        }
    }

    private static void MultiplyDense<TLane, TElement>(in Product product)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        TElement* weight = (TElement*)product.Part.Address;
        float* x = product.X, output = product.Output;
        var (n, columns, rows) = (product.N, product.Columns, product.Stride);
        var row = product.Start;
        for (; row <= product.End - 4; row += 4)
        {
            var four = weight + ((long)row * columns);
            InnerProducts.Prefetch<TElement>((byte*)four + HostAttentionMath.BytesAhead, 4 * columns * sizeof(TElement));
            var i = 0;
            for (; i <= n - 2; i += 2)
            {
                float* input = x + ((long)i * columns), result = output + ((long)i * rows) + row;
                InnerProducts.Dot4x2<TLane, TElement>(four, input, input + columns, columns, result, result + rows);
            }

            if (i < n)
            {
                InnerProducts.Dot4<TLane, TElement>(four, x + ((long)i * columns), columns, output + ((long)i * rows) + row);
            }
        }

        for (; row < product.End; row++)
        {
            for (var i = 0; i < n; i++)
            {
                output[((long)i * rows) + row] = InnerProducts.Dot<TLane, TElement>(weight + ((long)row * columns), x + ((long)i * columns), columns);
            }
        }
    }

    private static void MultiplyAsTheyLie(in Product product, int i = 0)
    {
        var (packing, columns, row) = (product.Part.Packing, product.Columns, product.Start);
        var (start, bytes) = (product.Part.Address, packing.RowBytes(columns));
        float* x = product.X + ((long)i * columns), output = product.Output + ((long)i * product.Stride);
        var planes = PlaneRows.Suit(packing, columns) ? product.Planes[i] : null;
        var one = stackalloc float[4];
        for (; row <= product.End - 4; row += 4)
        {
            InnerProducts.Prefetch<byte>((byte*)start + (row * bytes) + HostAttentionMath.BytesAhead, (int)(4 * bytes));
            Multiply4((byte*)start + (row * bytes), bytes, output + row);
        }

        for (; row < product.End; row++)
        {
            Multiply4((byte*)start + (row * bytes), 0, one); // four times the same
            output[row] = *one;
        }

        void Multiply4(byte* rows, long stride, float* result)
        {
            if (planes is null)
            {
                packing.Multiply4(rows, stride, columns, x, result);
            }
            else
            {
                packing.MultiplyPlanes4(rows, stride, columns, planes, result);
            }
        }
    }

    // Codes are unpacked once for all rows of x; those that are not in planes take them as they lie.
    private static void MultiplyByPlanes(in Product product)
    {
        const int ofRow = 4 * 8;
        var (packing, n, columns) = (product.Part.Packing, product.N, product.Columns);
        var (bytes, stride) = (packing.RowBytes(columns), Chunk / PlaneRows.Columns * PlaneProducts.CodeBytes);
        var codes = stackalloc byte[4 * stride];
        float* sums = stackalloc float[n * ofRow], four = stackalloc float[4];
        for (var row = product.Start; row < product.End; row += 4)
        {
            var some = Math.Min(4, product.End - row);
            new Span<float>(sums, n * ofRow).Clear();
            InnerProducts.Prefetch<byte>((byte*)product.Part.Address + (row * bytes) + HostAttentionMath.BytesAhead, (int)(4 * bytes));
            for (var start = 0; start < columns; start += Chunk)
            {
                var count = Math.Min(Chunk, columns - start);
                for (var i = 0; i < some; i++)
                {
                    packing.UnpackForPlanes((byte*)product.Part.Address + ((row + i) * bytes), columns, start, count, codes + (i * stride));
                }

                for (var i = 0; i < n; i++)
                {
                    if (product.Planes[i] is not null)
                    {
                        PlaneProducts.Add4(codes, stride, packing.HasSmallGroups, product.Planes[i] + (start / PlaneRows.Columns * PlaneRows.Bytes), count, sums + (i * ofRow));
                    }
                }
            }

            for (var i = 0; i < n; i++)
            {
                var of = sums + (i * ofRow);
                PlainLane.Sum4(PlainLane.Load(of), PlainLane.Load(of + 8), PlainLane.Load(of + 16), PlainLane.Load(of + 24)).Store(four);
                new ReadOnlySpan<float>(four, some).CopyTo(new Span<float>(product.Output + ((long)i * product.Stride) + row, some));
            }
        }

        for (var i = 0; i < n; i++)
        {
            if (product.Planes[i] is null)
            {
                MultiplyAsTheyLie(product, i);
            }
        }
    }

    private static void MultiplyPacked<TLane>(in Product product)
        where TLane : struct, ILane<TLane>
    {
        var x = product.X;
        var (packing, n, columns) = (product.Part.Packing, product.N, product.Columns);
        var (bytes, chunk, ofRow) = (packing.RowBytes(columns), ChunkFor(packing.BlockColumns), 4 * TLane.Count);
        var taken = stackalloc float[(4 * chunk) + (RowKernels.MostRows * ofRow) + Line];
        float* unpacked = (float*)(((nuint)taken + (Line * sizeof(float)) - 1) / (Line * sizeof(float)) * (Line * sizeof(float))), sums = unpacked + (4 * chunk), four = stackalloc float[4];
        for (var row = product.Start; row < product.End; row += 4)
        {
            var (some, start, count) = (Math.Min(4, product.End - row), 0, 0);
            new Span<float>(sums, n * ofRow).Clear();
            InnerProducts.Prefetch<byte>((byte*)product.Part.Address + (row * bytes) + HostAttentionMath.BytesAhead, (int)(4 * bytes));
            for (; start < columns; start += count)
            {
                count = Math.Min(chunk, columns - start);
                for (var i = 0; i < some; i++)
                {
                    packing.UnpackPart((byte*)product.Part.Address + ((row + i) * bytes), columns, start, count, unpacked + (i * chunk));
                }

                var at = 0;
                for (; at <= n - 2; at += 2)
                {
                    var input = x + ((long)at * columns) + start;
                    InnerProducts.Add4x2<TLane>(unpacked, chunk, input, input + columns, count, sums + (at * ofRow), sums + ((at + 1) * ofRow));
                }

                if (at < n)
                {
                    InnerProducts.Add4<TLane>(unpacked, chunk, x + ((long)at * columns) + start, count, sums + (at * ofRow));
                }
            }

            for (var i = 0; i < n; i++)
            {
                InnerProducts.Finish4<TLane>(sums + (i * ofRow), unpacked, chunk, x + ((long)i * columns) + columns - count, count, four);
                new ReadOnlySpan<float>(four, some).CopyTo(new Span<float>(product.Output + ((long)i * product.Stride) + row, some));
            }
        }
    }

    // Whole blocks, and whole lanes of any width.
    private static int ChunkFor(int blockColumns)
    {
        var least = blockColumns;
        while (least % Vector512<float>.Count != 0)
        {
            least *= 2;
        }

        return Math.Max(1, Chunk / least) * least;
    }

    /// <summary>What is multiplied: rows of a part from a first to a last, and where the results go.</summary>
    private readonly struct Product(WeightPart part, float* x, PlaneRows planes, int n, int columns, float* output, int stride, int start, int end)
    {
        public readonly WeightPart Part = part;
        public readonly float* X = x, Output = output;
        public readonly PlaneRows Planes = planes;
        public readonly int N = n, Columns = columns, Stride = stride, Start = start, End = end;
    }
}
