using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HeadInfer.Runtime.Compute;

/// <summary>A tile of a product of float32, which stays in registers while products are added to it one after another.</summary>
/// <remarks>A number of it depends on its own row and column alone.</remarks>
internal static unsafe class HostTile
{
    /// <summary>Rows and columns: with 24 sums of 16 numbers each, 27 of 32 registers are in use.</summary>
    public const int Rows = 12, Columns = 32;

    /// <summary>Whether the processor has what this takes.</summary>
    public static bool IsSupported => Vector512.IsHardwareAccelerated;

    /// <summary>Turns rows into columns.</summary>
    /// <param name="from">[rows, stride]</param>
    /// <param name="stride">numbers from one row to the next</param>
    /// <param name="rows">how many</param>
    /// <param name="count">numbers of each</param>
    /// <param name="to">[count, width], of which the first columns are written</param>
    /// <param name="width">numbers from one of its rows to the next</param>
    public static void Transpose(float* from, long stride, int rows, int count, float* to, int width)
    {
        var row = 0;
        for (; Sse.IsSupported && row <= rows - 4; row += 4)
        {
            float* r0 = from + (row * stride), r1 = r0 + stride, r2 = r1 + stride, r3 = r2 + stride, target = to + row;
            var i = 0;
            for (; i <= count - 4; i += 4)
            {
                Vector128<float> v0 = Vector128.Load(r0 + i), v1 = Vector128.Load(r1 + i), v2 = Vector128.Load(r2 + i), v3 = Vector128.Load(r3 + i);
                Vector128<float> low01 = Sse.UnpackLow(v0, v1), low23 = Sse.UnpackLow(v2, v3), high01 = Sse.UnpackHigh(v0, v1), high23 = Sse.UnpackHigh(v2, v3);
                Sse.MoveLowToHigh(low01, low23).Store(target);
                Sse.MoveHighToLow(low23, low01).Store(target + width);
                Sse.MoveLowToHigh(high01, high23).Store(target + (2 * width));
                Sse.MoveHighToLow(high23, high01).Store(target + (3 * width));
                target += 4 * width;
            }

            for (; i < count; i++, target += width)
            {
                (target[0], target[1], target[2], target[3]) = (r0[i], r1[i], r2[i], r3[i]);
            }
        }

        for (; row < rows; row++)
        {
            for (var i = 0; i < count; i++)
            {
                to[(i * width) + row] = from[(row * stride) + i];
            }
        }
    }

    /// <summary>The product of 12 rows of x and 32 columns of weights.</summary>
    /// <param name="x">the rows</param>
    /// <param name="ofRow">numbers from one row to the next</param>
    /// <param name="ofColumn">numbers from one column to the next</param>
    /// <param name="weights">[count, 32]</param>
    /// <param name="result">[12, stride], of which 32 columns are written</param>
    /// <param name="stride">numbers from one of its rows to the next</param>
    /// <param name="count">columns of x</param>
    /// <param name="add">whether it is added to what is there</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Add(float* x, long ofRow, long ofColumn, float* weights, float* result, long stride, int count, bool add)
    {
        Vector512<float> a0, b0, c0, d0, e0, f0, g0, h0, i0, j0, k0, l0;
        Vector512<float> a1, b1, c1, d1, e1, f1, g1, h1, i1, j1, k1, l1;
        a0 = b0 = c0 = d0 = e0 = f0 = g0 = h0 = i0 = j0 = k0 = l0 = Vector512<float>.Zero;
        a1 = b1 = c1 = d1 = e1 = f1 = g1 = h1 = i1 = j1 = k1 = l1 = Vector512<float>.Zero;
        float* first = x, fourth = x + (3 * ofRow), seventh = x + (6 * ofRow), tenth = x + (9 * ofRow);
        var second = 2 * ofRow;
        for (var i = 0; i < count; i++)
        {
            Vector512<float> w0 = Vector512.Load(weights), w1 = Vector512.Load(weights + 16);
            var v = Vector512.Create(first[0]);
            a0 = Vector512.FusedMultiplyAdd(v, w0, a0);
            a1 = Vector512.FusedMultiplyAdd(v, w1, a1);
            v = Vector512.Create(first[ofRow]);
            b0 = Vector512.FusedMultiplyAdd(v, w0, b0);
            b1 = Vector512.FusedMultiplyAdd(v, w1, b1);
            v = Vector512.Create(first[second]);
            c0 = Vector512.FusedMultiplyAdd(v, w0, c0);
            c1 = Vector512.FusedMultiplyAdd(v, w1, c1);
            v = Vector512.Create(fourth[0]);
            d0 = Vector512.FusedMultiplyAdd(v, w0, d0);
            d1 = Vector512.FusedMultiplyAdd(v, w1, d1);
            v = Vector512.Create(fourth[ofRow]);
            e0 = Vector512.FusedMultiplyAdd(v, w0, e0);
            e1 = Vector512.FusedMultiplyAdd(v, w1, e1);
            v = Vector512.Create(fourth[second]);
            f0 = Vector512.FusedMultiplyAdd(v, w0, f0);
            f1 = Vector512.FusedMultiplyAdd(v, w1, f1);
            v = Vector512.Create(seventh[0]);
            g0 = Vector512.FusedMultiplyAdd(v, w0, g0);
            g1 = Vector512.FusedMultiplyAdd(v, w1, g1);
            v = Vector512.Create(seventh[ofRow]);
            h0 = Vector512.FusedMultiplyAdd(v, w0, h0);
            h1 = Vector512.FusedMultiplyAdd(v, w1, h1);
            v = Vector512.Create(seventh[second]);
            i0 = Vector512.FusedMultiplyAdd(v, w0, i0);
            i1 = Vector512.FusedMultiplyAdd(v, w1, i1);
            v = Vector512.Create(tenth[0]);
            j0 = Vector512.FusedMultiplyAdd(v, w0, j0);
            j1 = Vector512.FusedMultiplyAdd(v, w1, j1);
            v = Vector512.Create(tenth[ofRow]);
            k0 = Vector512.FusedMultiplyAdd(v, w0, k0);
            k1 = Vector512.FusedMultiplyAdd(v, w1, k1);
            v = Vector512.Create(tenth[second]);
            l0 = Vector512.FusedMultiplyAdd(v, w0, l0);
            l1 = Vector512.FusedMultiplyAdd(v, w1, l1);
            first += ofColumn;
            fourth += ofColumn;
            seventh += ofColumn;
            tenth += ofColumn;
            weights += Columns;
        }

        Put(result, add, a0, a1);
        Put(result += stride, add, b0, b1);
        Put(result += stride, add, c0, c1);
        Put(result += stride, add, d0, d1);
        Put(result += stride, add, e0, e1);
        Put(result += stride, add, f0, f1);
        Put(result += stride, add, g0, g1);
        Put(result += stride, add, h0, h1);
        Put(result += stride, add, i0, i1);
        Put(result += stride, add, j0, j1);
        Put(result += stride, add, k0, k1);
        Put(result + stride, add, l0, l1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(float* result, bool add, Vector512<float> first, Vector512<float> second)
    {
        if (add)
        {
            first += Vector512.Load(result);
            second += Vector512.Load(result + 16);
        }

        first.Store(result);
        second.Store(result + 16);
    }
}
