using System.Diagnostics;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>What a GPU can do at best, measured in the same run as what is compared with it.</summary>
/// <param name="Product">Operations a second of a bfloat16 matrix product, 8192 cubed.</param>
/// <param name="Attention">Operations a second of the faster fused attention without a mask.</param>
/// <param name="Upload">Bytes a second from pinned memory to the GPU.</param>
/// <param name="Memory">Bytes a second that the GPU reads of its own memory.</param>
internal readonly record struct GpuRates(double Product, double Attention, double Upload, double Memory)
{
    private const int Size = 8192, Rows = 8192, Keys = 32_768, Repeats = 5;

    public static GpuRates Measure(ModelConfig config, bool forDecode)
    {
        using var scope = NewDisposeScope();
        return forDecode ? new GpuRates(0, 0, Uploading(), Reading()) : new GpuRates(Multiplying(), Attending(config), 0, 0);
    }

    private static double Multiplying()
    {
        var (a, b) = (randn([Size, Size], ScalarType.BFloat16, CUDA), randn([Size, Size], ScalarType.BFloat16, CUDA));
        return 2.0 * Size * Size * Size / Median(() => a.mm(b).Dispose());
    }

    private static double Attending(ModelConfig config)
    {
        var group = config.Heads / config.KvHeads;
        var queries = randn([Rows, group, config.HeadDim], ScalarType.BFloat16, CUDA).view(Rows, 1, group, config.HeadDim).permute(1, 2, 0, 3);
        var tile = randn([1, 2, Keys, config.HeadDim], ScalarType.BFloat16, CUDA);
        var (keys, values) = (tile.select(1, 0), tile.select(1, 1));
        var operations = 4.0 * config.HeadDim * group * Rows * Keys;
        var kernel = new CudaAttention(config.AttentionScale, useCuDnn: true);
        var flash = Median(() => kernel.Flash(queries, keys, values, (-1, -1)));
        var best = config.HeadDim <= CudaAttention.CuDnnHeadDim ? Math.Min(flash, Median(() => kernel.CuDnn(queries, keys, values, causal: false))) : flash;
        return operations / best;
    }

    private static double Reading()
    {
        var data = ones([1L << 30], ScalarType.BFloat16, CUDA);
        return 2.0 * (1L << 30) / Median(() => data.max().Dispose());
    }

    private static double Uploading()
    {
        const long bytes = 1L << 30;
        using var device = new CudaDevice(Gpu.Open(0));
        var (host, rows) = (zeros([1, 1, 2, bytes / 512, 128], ScalarType.BFloat16), empty([1, 2, bytes / 512, 128], ScalarType.BFloat16, CUDA));
        using var pinned = device.Pin(TensorMemory.Pointer(host), bytes);
        return bytes / Median(() => device.Upload(host, rows, 0));
    }

    private static double Median(Action action)
    {
        var times = new double[Repeats];
        for (var i = -2; i < Repeats; i++)
        {
            using var scope = NewDisposeScope();
            Gpu.Synchronize();
            var start = Stopwatch.GetTimestamp();
            action();
            Gpu.Synchronize();
            times[Math.Max(i, 0)] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        return times.Order().ElementAt(Repeats / 2);
    }
}
