using System.Diagnostics;
using System.Numerics;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>What the machine can do at best, measured in the same run as what is compared with it.</summary>
internal static class MachineRates
{
    /// <summary>Operations a second of a float32 matrix product: libtorch's or our own, whichever is faster.</summary>
    public static double MatrixProduct(int size = 2048, int repeats = 15)
    {
        using var a = randn(size, size);
        using var b = randn(size, size);
        using var device = new CpuDevice();
        var best = Math.Min(Median(repeats, () => a.mm(b).Dispose()), Median(repeats, () => device.Multiply(a, b, null).Dispose()));
        return 2.0 * size * size * size / best;
    }

    /// <summary>Bytes a second at which all threads together read a buffer.</summary>
    public static unsafe double Reading(float[] data, int repeats = 21)
    {
        var threads = Environment.ProcessorCount;
        var share = data.Length / threads / Vector<int>.Count / 4 * Vector<int>.Count * 4;
        var sums = new int[threads * 16];
        fixed (float* start = data)
        {
            var address = (nint)start;
            return (double)share * threads * sizeof(float) / Median(repeats, () => Parallel.For(0, threads, t => sums[t * 16] = Sum((int*)address + (t * (long)share), share)));
        }
    }

    /// <summary>The median of some times, in seconds, after a few that warm up.</summary>
    public static double Median(int repeats, Action action)
    {
        var times = new double[repeats];
        for (var i = -3; i < repeats; i++)
        {
            var start = Stopwatch.GetTimestamp();
            action();
            times[Math.Max(i, 0)] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        return times.Order().ElementAt(repeats / 2);
    }

    private static unsafe int Sum(int* data, long count)
    {
        var width = Vector<int>.Count;
        Vector<int> a = default, b = default, c = default, d = default;
        for (var i = 0L; i < count; i += 4 * width)
        {
            a += Vector.Load(data + i);
            b += Vector.Load(data + i + width);
            c += Vector.Load(data + i + (2 * width));
            d += Vector.Load(data + i + (3 * width));
        }

        return Vector.Sum(a + b + c + d);
    }
}
