using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Native;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Planning;

/// <summary>Chooses the attention of a device; on a GPU by a short measurement, remembered for the process.</summary>
internal static class AttentionChoice
{
    private const int Rows = 4096, Keys = 8192, Repeats = 3;
    private const int FlashHeadDim = 256, FlashCapability = 8;

    private static readonly ConcurrentDictionary<(string Gpu, ScalarType Type, int HeadDim), bool> Measured = [];

    /// <summary>Refuses an option that the device, the type or the model cannot honour.</summary>
    /// <exception cref="ArgumentException">FusedAttention is such a one.</exception>
    public static void Check(ModelConfig config, HeadInferOptions options, ScalarType type, CudaDevice? gpu)
    {
        if (options.FusedAttention is not null && !MayFuse(config, options, type, gpu?.Major ?? 0))
        {
            throw new ArgumentException($"HeadInferOptions.FusedAttention cannot be {options.FusedAttention}: fused attention is for bfloat16 and float16, heads of up to {FlashHeadDim} dimensions, no soft cap, and a GPU of compute capability {FlashCapability}.0 or above. Leave it out.", nameof(options));
        }
    }

    /// <summary>Takes what the options say, else the faster one.</summary>
    public static AttentionKernel Choose(ModelConfig config, HeadInferOptions options, ScalarType type, CudaDevice? gpu)
    {
        var softCap = SoftCap(config, options);
        if (gpu is null)
        {
            return softCap is null ? new CpuAttention(config.AttentionScale) : new ExplicitAttention(config.AttentionScale, softCap);
        }

        if (!MayFuse(config, options, type, gpu.Major))
        {
            return new ExplicitAttention(config.AttentionScale, softCap);
        }

        var useCuDnn = options.FusedAttention is { } chosen
            ? chosen == FusedAttention.CuDnn
            : Measured.GetOrAdd((gpu.Name, type, config.HeadDim), _ => CuDnnIsFaster(config, type, gpu.Device));
        return new CudaAttention(config.AttentionScale, useCuDnn);
    }

    /// <param name="config">the model</param>
    /// <param name="options">whether its soft cap is kept</param>
    /// <param name="type">what it computes in</param>
    /// <param name="major">the GPU's compute capability before the dot; 0 for the CPU</param>
    internal static bool MayFuse(ModelConfig config, HeadInferOptions options, ScalarType type, int major) =>
        SoftCap(config, options) is null && type != ScalarType.Float32 && config.HeadDim <= FlashHeadDim && config.HeadDim % 8 == 0 && major >= FlashCapability;

    private static double? SoftCap(ModelConfig config, HeadInferOptions options) => options.IgnoreAttentionSoftCap ? null : config.AttentionSoftCap;

    // Where cuDNN has no kernel for the GPU or the shape it throws, and FlashAttention it is.
    private static bool CuDnnIsFaster(ModelConfig config, ScalarType type, Device device)
    {
        if (config.HeadDim > CudaAttention.CuDnnHeadDim)
        {
            return false;
        }

        using var scope = NewDisposeScope();
        var kernel = new CudaAttention(config.AttentionScale, useCuDnn: true);
        var group = config.Heads / config.KvHeads;
        var queries = randn([Rows, group, config.HeadDim], type, device).view(Rows, 1, group, config.HeadDim).permute(1, 2, 0, 3);
        var tile = randn([1, 2, Keys, config.HeadDim], type, device);
        var (keys, values) = (tile.select(1, 0), tile.select(1, 1));
        try
        {
            var cudnn = Time(() => kernel.CuDnn(queries, keys, values, causal: false));
            return cudnn < Time(() => kernel.Flash(queries, keys, values, (-1, -1)));
        }
        catch (ExternalException)
        {
            return false;
        }
    }

    private static TimeSpan Time(Func<(Tensor, Tensor)> attend)
    {
        var best = TimeSpan.MaxValue;
        for (var run = 0; run <= Repeats; run++)
        {
            using var scope = NewDisposeScope();
            CudaDevice.Synchronize();
            var start = Stopwatch.GetTimestamp();
            attend();
            CudaDevice.Synchronize();
            var time = Stopwatch.GetElapsedTime(start);
            best = run > 0 && time < best ? time : best; // the first prepares the kernel
        }

        return best;
    }
}
