using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HeadInfer.Runtime.Compute;

/// <summary>Inner products of rows in memory with float32 vectors.</summary>
/// <remarks>
/// However many rows and vectors go together, a product is summed in one accumulator from its beginning to its end, and the
/// parts of that are added up in one order. So the company of a row or a vector does not show in a bit of the result.
/// </remarks>
internal static unsafe class InnerProducts
{
    private const int Line = 64; // bytes

    /// <summary>Of one row and one vector.</summary>
    public static float Dot<TLane, TElement>(TElement* row, float* x, int count)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var sum = default(TLane);
        var i = 0;
        for (; i <= count - TLane.Count; i += TLane.Count)
        {
            sum = TLane.MultiplyAdd(TElement.Load<TLane>(row + i), TLane.Load(x + i), sum);
        }

        var total = TLane.Sum(sum);
        for (; i < count; i++)
        {
            total += TElement.Widen(row[i]) * x[i];
        }

        return total;
    }

    /// <summary>Of four rows that lie end to end, and one vector.</summary>
    public static void Dot4<TLane, TElement>(TElement* rows, float* x, int count, float* result)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        TElement* r0 = rows, r1 = rows + count, r2 = r1 + count, r3 = r2 + count;
        TLane s0 = default, s1 = default, s2 = default, s3 = default;
        var i = 0;
        for (; i <= count - TLane.Count; i += TLane.Count)
        {
            var v = TLane.Load(x + i);
            s0 = TLane.MultiplyAdd(TElement.Load<TLane>(r0 + i), v, s0);
            s1 = TLane.MultiplyAdd(TElement.Load<TLane>(r1 + i), v, s1);
            s2 = TLane.MultiplyAdd(TElement.Load<TLane>(r2 + i), v, s2);
            s3 = TLane.MultiplyAdd(TElement.Load<TLane>(r3 + i), v, s3);
        }

        TLane.Sum4(s0, s1, s2, s3).Store(result);
        AddRest(rows, x, i, count, result);
    }

    /// <summary>Of four rows that lie end to end, and two vectors: each row is loaded once for both.</summary>
    public static void Dot4x2<TLane, TElement>(TElement* rows, float* x, float* y, int count, float* withX, float* withY)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        TElement* r0 = rows, r1 = rows + count, r2 = r1 + count, r3 = r2 + count;
        TLane x0 = default, x1 = default, x2 = default, x3 = default, y0 = default, y1 = default, y2 = default, y3 = default;
        var i = 0;
        for (; i <= count - TLane.Count; i += TLane.Count)
        {
            TLane v = TLane.Load(x + i), w = TLane.Load(y + i);
            TLane row0 = TElement.Load<TLane>(r0 + i), row1 = TElement.Load<TLane>(r1 + i), row2 = TElement.Load<TLane>(r2 + i), row3 = TElement.Load<TLane>(r3 + i);
            x0 = TLane.MultiplyAdd(row0, v, x0);
            y0 = TLane.MultiplyAdd(row0, w, y0);
            x1 = TLane.MultiplyAdd(row1, v, x1);
            y1 = TLane.MultiplyAdd(row1, w, y1);
            x2 = TLane.MultiplyAdd(row2, v, x2);
            y2 = TLane.MultiplyAdd(row2, w, y2);
            x3 = TLane.MultiplyAdd(row3, v, x3);
            y3 = TLane.MultiplyAdd(row3, w, y3);
        }

        TLane.Sum4(x0, x1, x2, x3).Store(withX);
        TLane.Sum4(y0, y1, y2, y3).Store(withY);
        AddRest(rows, x, i, count, withX);
        AddRest(rows, y, i, count, withY);
    }

    /// <summary>Of a part of four rows and of a vector: added to what the parts before gave. <see cref="Finish4"/> ends it.</summary>
    /// <param name="rows">[4, of stride]</param>
    /// <param name="stride">from one row to the next</param>
    /// <param name="x">[count]</param>
    /// <param name="count">whole lanes, but for what is left at the end of a row</param>
    /// <param name="sums">[4, lane], changed</param>
    public static void Add4<TLane>(float* rows, int stride, float* x, int count, float* sums)
        where TLane : struct, ILane<TLane>
    {
        float* r1 = rows + stride, r2 = r1 + stride, r3 = r2 + stride;
        TLane s0 = TLane.Load(sums), s1 = TLane.Load(sums + TLane.Count), s2 = TLane.Load(sums + (2 * TLane.Count)), s3 = TLane.Load(sums + (3 * TLane.Count));
        for (var i = 0; i <= count - TLane.Count; i += TLane.Count)
        {
            var v = TLane.Load(x + i);
            s0 = TLane.MultiplyAdd(TLane.Load(rows + i), v, s0);
            s1 = TLane.MultiplyAdd(TLane.Load(r1 + i), v, s1);
            s2 = TLane.MultiplyAdd(TLane.Load(r2 + i), v, s2);
            s3 = TLane.MultiplyAdd(TLane.Load(r3 + i), v, s3);
        }

        s0.Store(sums);
        s1.Store(sums + TLane.Count);
        s2.Store(sums + (2 * TLane.Count));
        s3.Store(sums + (3 * TLane.Count));
    }

    /// <summary>The same of two vectors: each number of the rows is loaded once for both.</summary>
    public static void Add4x2<TLane>(float* rows, int stride, float* x, float* y, int count, float* forX, float* forY)
        where TLane : struct, ILane<TLane>
    {
        float* r1 = rows + stride, r2 = r1 + stride, r3 = r2 + stride;
        TLane x0 = TLane.Load(forX), x1 = TLane.Load(forX + TLane.Count), x2 = TLane.Load(forX + (2 * TLane.Count)), x3 = TLane.Load(forX + (3 * TLane.Count));
        TLane y0 = TLane.Load(forY), y1 = TLane.Load(forY + TLane.Count), y2 = TLane.Load(forY + (2 * TLane.Count)), y3 = TLane.Load(forY + (3 * TLane.Count));
        for (var i = 0; i <= count - TLane.Count; i += TLane.Count)
        {
            TLane v = TLane.Load(x + i), w = TLane.Load(y + i), row = TLane.Load(rows + i);
            x0 = TLane.MultiplyAdd(row, v, x0);
            y0 = TLane.MultiplyAdd(row, w, y0);
            row = TLane.Load(r1 + i);
            x1 = TLane.MultiplyAdd(row, v, x1);
            y1 = TLane.MultiplyAdd(row, w, y1);
            row = TLane.Load(r2 + i);
            x2 = TLane.MultiplyAdd(row, v, x2);
            y2 = TLane.MultiplyAdd(row, w, y2);
            row = TLane.Load(r3 + i);
            x3 = TLane.MultiplyAdd(row, v, x3);
            y3 = TLane.MultiplyAdd(row, w, y3);
        }

        x0.Store(forX);
        x1.Store(forX + TLane.Count);
        x2.Store(forX + (2 * TLane.Count));
        x3.Store(forX + (3 * TLane.Count));
        y0.Store(forY);
        y1.Store(forY + TLane.Count);
        y2.Store(forY + (2 * TLane.Count));
        y3.Store(forY + (3 * TLane.Count));
    }

    /// <summary>The four products, as <see cref="Dot4"/> would give them.</summary>
    /// <param name="sums">[4, lane]</param>
    /// <param name="rows">[4, of stride]: the last part</param>
    /// <param name="stride">from one row to the next</param>
    /// <param name="x">[count]: of the last part</param>
    /// <param name="count">numbers of the last part</param>
    /// <param name="result">[4], written</param>
    public static void Finish4<TLane>(float* sums, float* rows, int stride, float* x, int count, float* result)
        where TLane : struct, ILane<TLane>
    {
        TLane.Sum4(TLane.Load(sums), TLane.Load(sums + TLane.Count), TLane.Load(sums + (2 * TLane.Count)), TLane.Load(sums + (3 * TLane.Count))).Store(result);
        for (var i = count - (count % TLane.Count); i < count; i++)
        {
            for (var row = 0; row < 4; row++)
            {
                result[row] += rows[(row * stride) + i] * x[i];
            }
        }
    }

    /// <summary>Of four rows that lie end to end, and four vectors that do: sixteen sums, for processors with 32 registers.</summary>
    /// <param name="rows">[4, count]</param>
    /// <param name="x">[4, count]</param>
    /// <param name="count">of a row</param>
    /// <param name="result">[vector, row]</param>
    /// <param name="stride">from one vector's results to the next</param>
    public static void Dot4x4<TLane, TElement>(TElement* rows, float* x, int count, float* result, int stride)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        TElement* r0 = rows, r1 = rows + count, r2 = r1 + count, r3 = r2 + count;
        float* a = x, b = x + count, c = b + count, d = c + count;
        TLane a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
        TLane c0 = default, c1 = default, c2 = default, c3 = default, d0 = default, d1 = default, d2 = default, d3 = default;
        var i = 0;
        for (; i <= count - TLane.Count; i += TLane.Count)
        {
            TLane row0 = TElement.Load<TLane>(r0 + i), row1 = TElement.Load<TLane>(r1 + i), row2 = TElement.Load<TLane>(r2 + i), row3 = TElement.Load<TLane>(r3 + i);
            var v = TLane.Load(a + i);
            a0 = TLane.MultiplyAdd(row0, v, a0);
            a1 = TLane.MultiplyAdd(row1, v, a1);
            a2 = TLane.MultiplyAdd(row2, v, a2);
            a3 = TLane.MultiplyAdd(row3, v, a3);
            v = TLane.Load(b + i);
            b0 = TLane.MultiplyAdd(row0, v, b0);
            b1 = TLane.MultiplyAdd(row1, v, b1);
            b2 = TLane.MultiplyAdd(row2, v, b2);
            b3 = TLane.MultiplyAdd(row3, v, b3);
            v = TLane.Load(c + i);
            c0 = TLane.MultiplyAdd(row0, v, c0);
            c1 = TLane.MultiplyAdd(row1, v, c1);
            c2 = TLane.MultiplyAdd(row2, v, c2);
            c3 = TLane.MultiplyAdd(row3, v, c3);
            v = TLane.Load(d + i);
            d0 = TLane.MultiplyAdd(row0, v, d0);
            d1 = TLane.MultiplyAdd(row1, v, d1);
            d2 = TLane.MultiplyAdd(row2, v, d2);
            d3 = TLane.MultiplyAdd(row3, v, d3);
        }

        float* forB = result + stride, forC = forB + stride, forD = forC + stride;
        TLane.Sum4(a0, a1, a2, a3).Store(result);
        TLane.Sum4(b0, b1, b2, b3).Store(forB);
        TLane.Sum4(c0, c1, c2, c3).Store(forC);
        TLane.Sum4(d0, d1, d2, d3).Store(forD);
        AddRest(rows, a, i, count, result);
        AddRest(rows, b, i, count, forB);
        AddRest(rows, c, i, count, forC);
        AddRest(rows, d, i, count, forD);
    }

    /// <summary>Asks for memory that will be read soon; harmless wherever it points.</summary>
    /// <remarks>
    /// Into the second cache where numbers have 16 bits: 16 cores attend 97 GB/s so, and 87 by way of the first. Two cores
    /// attend 42 GB/s of float32 by way of the first, and 40 else.
    /// </remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch<TElement>(byte* start, int bytes)
        where TElement : unmanaged
    {
        for (var end = start + bytes; Sse.IsSupported && start < end; start += Line)
        {
            if (sizeof(TElement) == sizeof(ushort))
            {
                Sse.Prefetch1(start);
            }
            else
            {
                Sse.Prefetch0(start);
            }
        }
    }

    // What is behind the last whole lane.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddRest<TElement>(TElement* rows, float* x, int from, int count, float* result)
        where TElement : unmanaged, IElement<TElement>
    {
        for (var i = from; i < count; i++)
        {
            for (var row = 0; row < 4; row++)
            {
                result[row] += TElement.Widen(rows[((long)row * count) + i]) * x[i];
            }
        }
    }
}
