using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Native;

/// <summary>Float32 kernels on host memory that are bound by reading it.</summary>
/// <remarks>
/// Written because libtorch's product of a matrix and one row reads cold weights at 14 GB/s where all cores together
/// read 45 (two cores, AVX-512), and its norm passes over its input six times.
/// </remarks>
internal static unsafe class HostMath
{
    /// <summary>Whether a tensor is what these kernels take.</summary>
    public static bool Takes(Tensor tensor) => tensor.dtype == ScalarType.Float32 && tensor.device_type == TorchSharp.DeviceType.CPU;

    /// <summary>The address of a contiguous float32 CPU tensor.</summary>
    public static float* Address(Tensor tensor) => (float*)TensorMemory.Address(tensor);

    /// <summary>The product of a matrix and one row.</summary>
    /// <param name="x">[1, columns], contiguous</param>
    /// <param name="weight">[rows, columns], contiguous</param>
    /// <param name="bias">[rows] or null</param>
    /// <returns>[1, rows]</returns>
    public static Tensor MatrixRow(Tensor x, Tensor weight, Tensor? bias)
    {
        var (rows, columns) = ((int)weight.shape[0], (int)weight.shape[1]);
        var result = empty([1, rows], ScalarType.Float32);
        float* w = Address(weight), input = Address(x), output = Address(result), b = bias is null ? null : Address(bias);
        var team = HostTeam.Shared;
        team.Run(member =>
        {
            var (start, end) = team.Share(member, rows);
            if (Vector512.IsHardwareAccelerated)
            {
                MultiplyRows<WideLane>(w, input, b, output, columns, start, end);
            }
            else
            {
                MultiplyRows<PlainLane>(w, input, b, output, columns, start, end);
            }
        });
        return result;
    }

    /// <summary>Root-mean-square norm over the last dimension, on the calling thread: beside libtorch's products, whose threads still spin, a second team costs more than it saves.</summary>
    /// <param name="x">[..., size], contiguous</param>
    /// <param name="weight">[size]</param>
    /// <param name="epsilon">added to the mean square</param>
    public static Tensor RmsNorm(Tensor x, Tensor weight, double epsilon)
    {
        var size = (int)weight.shape[0];
        var rows = (int)(x.NumberOfElements / size);
        var result = empty_like(x);
        NormRows<PlainLane>(Address(x), Address(result), Address(weight), size, rows, epsilon);
        return result;
    }

    /// <summary>The same norm of some heads of each token, in place.</summary>
    /// <param name="heads">[tokens, heads, dim], contiguous</param>
    /// <param name="first">first of the heads</param>
    /// <param name="count">how many</param>
    /// <param name="weight">[dim]</param>
    /// <param name="epsilon">added to the mean square</param>
    public static void NormHeads(Tensor heads, int first, int count, Tensor weight, double epsilon)
    {
        var shape = heads.shape;
        var dim = (int)shape[2];
        float* start = Address(heads) + ((long)first * dim), w = Address(weight);
        for (var token = 0L; token < shape[0]; token++)
        {
            var rows = start + (token * shape[1] * dim);
            NormRows<PlainLane>(rows, rows, w, dim, count, epsilon);
        }
    }

    /// <summary>Rotates the first heads of each token by its position, in place.</summary>
    /// <param name="heads">[tokens, heads, dim], contiguous</param>
    /// <param name="count">how many of the heads</param>
    /// <param name="cos">[tokens, 1, rotary], contiguous</param>
    /// <param name="sin">[tokens, 1, rotary], contiguous, the first half negated</param>
    public static void Rotate(Tensor heads, int count, Tensor cos, Tensor sin)
    {
        var shape = heads.shape;
        var (dim, half) = ((int)shape[2], (int)cos.shape[2] / 2);
        float* start = Address(heads), c = Address(cos), s = Address(sin);
        for (var token = 0L; token < shape[0]; token++, c += 2 * half, s += 2 * half)
        {
            for (var head = 0; head < count; head++)
            {
                RotateRow<PlainLane>(start + (((token * shape[1]) + head) * dim), c, s, half);
            }
        }
    }

    /// <summary>The inner product of two vectors.</summary>
    public static float Dot<TLane>(float* a, float* b, int count)
        where TLane : struct, ILane<TLane>
    {
        var sum = default(TLane);
        var i = 0;
        for (; i <= count - TLane.Count; i += TLane.Count)
        {
            sum = TLane.MultiplyAdd(TLane.Load(a + i), TLane.Load(b + i), sum);
        }

        var total = TLane.Sum(sum);
        for (; i < count; i++)
        {
            total += a[i] * b[i];
        }

        return total;
    }

    /// <summary>The inner products of four rows that lie end to end with one vector.</summary>
    public static void Dot4<TLane>(float* rows, float* x, int count, float* result)
        where TLane : struct, ILane<TLane>
    {
        float* r0 = rows, r1 = rows + count, r2 = r1 + count, r3 = r2 + count;
        TLane s0 = default, s1 = default, s2 = default, s3 = default;
        var i = 0;
        for (; i <= count - TLane.Count; i += TLane.Count)
        {
            var v = TLane.Load(x + i);
            s0 = TLane.MultiplyAdd(TLane.Load(r0 + i), v, s0);
            s1 = TLane.MultiplyAdd(TLane.Load(r1 + i), v, s1);
            s2 = TLane.MultiplyAdd(TLane.Load(r2 + i), v, s2);
            s3 = TLane.MultiplyAdd(TLane.Load(r3 + i), v, s3);
        }

        TLane.Sum4(s0, s1, s2, s3).Store(result);
        for (; i < count; i++)
        {
            result[0] += r0[i] * x[i];
            result[1] += r1[i] * x[i];
            result[2] += r2[i] * x[i];
            result[3] += r3[i] * x[i];
        }
    }

    /// <summary>The inner products of four rows that lie end to end with two vectors: each row is loaded once for both.</summary>
    public static void Dot4x2<TLane>(float* rows, float* x, float* y, int count, float* withX, float* withY)
        where TLane : struct, ILane<TLane>
    {
        float* r0 = rows, r1 = rows + count, r2 = r1 + count, r3 = r2 + count;
        TLane x0 = default, x1 = default, x2 = default, x3 = default, y0 = default, y1 = default, y2 = default, y3 = default;
        var i = 0;
        for (; i <= count - TLane.Count; i += TLane.Count)
        {
            TLane v = TLane.Load(x + i), w = TLane.Load(y + i);
            TLane row0 = TLane.Load(r0 + i), row1 = TLane.Load(r1 + i), row2 = TLane.Load(r2 + i), row3 = TLane.Load(r3 + i);
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
        for (; i < count; i++)
        {
            for (var row = 0; row < 4; row++)
            {
                withX[row] += rows[((long)row * count) + i] * x[i];
                withY[row] += rows[((long)row * count) + i] * y[i];
            }
        }
    }

    /// <summary>Asks for memory that will be read soon, sixteen floats a line; harmless wherever it points.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(float* start, int count)
    {
        if (Sse.IsSupported)
        {
            for (var end = start + count; start < end; start += 64)
            {
                Sse.Prefetch0(start);
                Sse.Prefetch0(start + 16);
                Sse.Prefetch0(start + 32);
                Sse.Prefetch0(start + 48);
            }
        }
    }

    private static void MultiplyRows<TLane>(float* weight, float* x, float* bias, float* output, int columns, int start, int end)
        where TLane : struct, ILane<TLane>
    {
        var row = start;
        for (; row <= end - 4; row += 4)
        {
            Dot4<TLane>(weight + ((long)row * columns), x, columns, output + row);
        }

        for (; row < end; row++)
        {
            output[row] = Dot<TLane>(weight + ((long)row * columns), x, columns);
        }

        for (row = start; bias is not null && row < end; row++)
        {
            output[row] += bias[row];
        }
    }

    private static void RotateRow<TLane>(float* row, float* cos, float* sin, int half)
        where TLane : struct, ILane<TLane>
    {
        var i = 0;
        for (; i <= half - TLane.Count; i += TLane.Count)
        {
            TLane a = TLane.Load(row + i), b = TLane.Load(row + half + i);
            TLane.MultiplyAdd(a, TLane.Load(cos + i), TLane.Multiply(b, TLane.Load(sin + i))).Store(row + i);
            TLane.MultiplyAdd(b, TLane.Load(cos + half + i), TLane.Multiply(a, TLane.Load(sin + half + i))).Store(row + half + i);
        }

        for (; i < half; i++)
        {
            var (a, b) = (row[i], row[half + i]);
            row[i] = (a * cos[i]) + (b * sin[i]);
            row[half + i] = (b * cos[half + i]) + (a * sin[half + i]);
        }
    }

    private static void NormRows<TLane>(float* input, float* output, float* weight, int size, int rows, double epsilon)
        where TLane : struct, ILane<TLane>
    {
        for (var row = 0; row < rows; row++)
        {
            float* x = input + ((long)row * size), y = output + ((long)row * size);
            var scale = (float)(1 / Math.Sqrt((Dot<TLane>(x, x, size) / (double)size) + epsilon));
            var scales = TLane.All(scale);
            var i = 0;
            for (; i <= size - TLane.Count; i += TLane.Count)
            {
                TLane.Multiply(TLane.Multiply(TLane.Load(x + i), scales), TLane.Load(weight + i)).Store(y + i);
            }

            for (; i < size; i++)
            {
                y[i] = x[i] * scale * weight[i];
            }
        }
    }
}
