using System.Numerics;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Float32 kernels on host memory that are bound by reading it.</summary>
/// <remarks>Written because libtorch's norm passes over its input six times.</remarks>
internal static unsafe class HostMath
{
    /// <summary>The address of a contiguous float32 CPU tensor.</summary>
    public static float* Address(Tensor tensor) => (float*)TensorMemory.Address(tensor);

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

    /// <summary>The same by address.</summary>
    /// <param name="x">[rows, size]</param>
    /// <param name="result">[rows, size], written; may be <paramref name="x"/></param>
    /// <param name="weight">[size]</param>
    /// <param name="size">of a row</param>
    /// <param name="epsilon">added to the mean square</param>
    public static void RmsNorm(float* x, float* result, float* weight, int size, int rows, double epsilon) => NormRows<PlainLane>(x, result, weight, size, rows, epsilon);

    /// <summary>The same, and without the mean where that is taken off, and with a bias where there is one.</summary>
    public static void Norm(float* x, float* result, RowNorm norm, int size, int rows)
    {
        for (var row = 0L; norm.IsCentered && row < rows; row++)
        {
            var mean = 0.0;
            for (var i = 0; i < size; i++)
            {
                mean += x[(row * size) + i];
            }

            for (var i = 0; i < size; i++)
            {
                result[(row * size) + i] = (float)(x[(row * size) + i] - (mean / size));
            }
        }

        RmsNorm(norm.IsCentered ? result : x, result, (float*)norm.Weight, size, rows, norm.Epsilon);
        for (var i = 0L; norm.Bias != 0 && i < (long)rows * size; i++)
        {
            result[i] += ((float*)norm.Bias)[i % size];
        }
    }

    /// <summary>The same norm of some heads of each token, in place.</summary>
    /// <param name="heads">[tokens, heads, dim], contiguous</param>
    /// <param name="first">first of the heads</param>
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

    /// <param name="head">[dim], changed</param>
    /// <param name="cos">[2 * half]</param>
    /// <param name="sin">[2 * half], the first half negated</param>
    /// <param name="half">half of the dimensions that are rotated</param>
    public static void Rotate(float* head, float* cos, float* sin, int half) => RotateRow<PlainLane>(head, cos, sin, half);

    /// <summary>Joins two parts of attention in one pass, on the calling thread as norms are; see <see cref="FusedKernels.Merge"/>.</summary>
    /// <param name="sum">[batch, group, rows, dim], each row contiguous</param>
    /// <param name="sumLse">[batch, group, rows]; minus infinity where nothing was added yet</param>
    /// <param name="part">like <paramref name="sum"/></param>
    /// <param name="partLse">like <paramref name="sumLse"/></param>
    /// <param name="output">like <paramref name="sum"/>, written; may be that itself</param>
    /// <param name="outputLse">like <paramref name="sumLse"/>, written; null if nothing follows</param>
    public static void Merge(Tensor sum, Tensor sumLse, Tensor part, Tensor partLse, Tensor output, Tensor? outputLse)
    {
        var shape = part.shape;
        var (groups, count, dim, all) = (shape[1], shape[2], (int)shape[3], shape[0] * shape[1] * shape[2]);
        Rows a = new(sum), la = new(sumLse), b = new(part), lb = new(partLse), to = new(output), toLse = outputLse is null ? default : new(outputLse);
        for (var row = 0L; row < all; row++)
        {
            var (batch, group, at) = (row / count / groups, row / count % groups, row % count);
            float x = *la.At(batch, group, at), y = *lb.At(batch, group, at), most = Math.Max(x, y);
            var total = most + MathF.Log(MathF.Exp(x - most) + MathF.Exp(y - most));
            MergeRow(a.At(batch, group, at), MathF.Exp(x - total), b.At(batch, group, at), MathF.Exp(y - total), to.At(batch, group, at), dim);
            if (!toLse.IsEmpty)
            {
                *toLse.At(batch, group, at) = total;
            }
        }
    }

    private static void MergeRow(float* a, float withA, float* b, float withB, float* to, int dim)
    {
        var i = 0;
        for (; i <= dim - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector.Store((Vector.Load(a + i) * withA) + (Vector.Load(b + i) * withB), to + i);
        }

        for (; i < dim; i++)
        {
            to[i] = (a[i] * withA) + (b[i] * withB);
        }
    }

    /// <summary>Where the rows of a float32 CPU tensor are, by its first three dimensions.</summary>
    private readonly struct Rows(Tensor tensor)
    {
        private readonly float* _start = (float*)TensorMemory.Pointer(tensor);
        private readonly long _batch = tensor.stride(0), _group = tensor.stride(1), _row = tensor.stride(2);

        public bool IsEmpty => _start is null;

        public float* At(long batch, long group, long row) => _start + (batch * _batch) + (group * _group) + (row * _row);
    }

    /// <summary><c>sum += x</c>.</summary>
    public static void Add(float* x, float* sum, long count)
    {
        var i = 0L;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector.Store(Vector.Load(x + i) + Vector.Load(sum + i), sum + i);
        }

        for (; i < count; i++)
        {
            sum[i] += x[i];
        }
    }

    /// <summary><c>sum += factor * x</c>; or <c>sum = factor * x</c>, if it begins.</summary>
    public static void AddScaled(float* x, float factor, float* sum, int count, bool begins)
    {
        for (var i = 0; i < count; i++)
        {
            sum[i] = begins ? factor * x[i] : MathF.FusedMultiplyAdd(factor, x[i], sum[i]);
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
            var scale = (float)(1 / Math.Sqrt((InnerProducts.Dot<TLane, Float32>((Float32*)x, x, size) / (double)size) + epsilon));
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
