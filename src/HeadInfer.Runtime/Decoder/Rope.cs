using HeadInfer.Runtime.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>Rotary position embeddings, the half-split ("rotate half") form of all supported families.</summary>
/// <remarks>
/// Angles are formed in double precision: at a million positions a float32 product of position and frequency is off by
/// 0.06 rad, at four million by 0.24.
/// </remarks>
internal sealed class Rope
{
    private readonly double[] _frequencies; // [rotary / 2], radians a position
    private readonly double _magnitude;

    /// <param name="config">the embeddings</param>
    /// <param name="rotation">which of them, where there are several for sequences of different lengths</param>
    public Rope(RopeConfig config, int rotation = 0)
    {
        config = rotation == 0 ? config : config with { FrequencyDivisors = config.LongDivisors ?? config.FrequencyDivisors };
        RotaryDim = config.RotaryDim;
        _magnitude = config.Scaling.AttentionFactor ?? 1;
        _frequencies = Frequencies(config);
    }

    public int RotaryDim { get; }

    /// <summary>The embeddings of a model's layers.</summary>
    /// <param name="ropes">those that differ, added</param>
    /// <param name="rotation">which of them, where there are several for sequences of different lengths</param>
    /// <returns>[layers] which of them each has</returns>
    public static int[] Of(ModelConfig config, List<Rope> ropes, int rotation = 0)
    {
        var known = new List<RopeConfig>();
        var of = new int[config.Layers];
        for (var layer = 0; layer < config.Layers; layer++)
        {
            of[layer] = known.IndexOf(config.RopeOf(layer));
            if (of[layer] < 0)
            {
                of[layer] = known.Count;
                known.Add(config.RopeOf(layer));
                ropes.Add(new Rope(config.RopeOf(layer), rotation));
            }
        }

        return of;
    }

    /// <summary>Cosines and sines of positions <paramref name="start"/> and on.</summary>
    public RopeAngles HalfAngles(int start, int count, torch.Device device)
    {
        using var positions = arange(start, start + count, ScalarType.Float64, device);
        using var frequencies = tensor(_frequencies, dtype: ScalarType.Float64, device: device);
        using var angles = outer(positions, frequencies);
        return new RopeAngles(angles.cos().mul_(_magnitude), angles.sin().mul_(_magnitude));
    }

    /// <summary>Cosines and sines of one position.</summary>
    /// <param name="cosines">[rotary / 2], written</param>
    /// <param name="sines">[rotary / 2], written</param>
    public void HalfAngles(int position, Span<float> cosines, Span<float> sines)
    {
        for (var i = 0; i < _frequencies.Length; i++)
        {
            var (sine, cosine) = Math.SinCos(position * _frequencies[i]);
            (cosines[i], sines[i]) = ((float)(cosine * _magnitude), (float)(sine * _magnitude));
        }
    }

    private static double[] Frequencies(RopeConfig config)
    {
        var count = config.RotaryDim / 2;
        var plain = new double[count];
        for (var i = 0; i < count; i++)
        {
            plain[i] = Math.Pow(config.Theta, -2.0 * i / config.RotaryDim);
        }

        var scaling = config.Scaling;
        var scaled = scaling.Kind switch
        {
            RopeKind.Default or RopeKind.Long => plain,
            RopeKind.Linear => Array.ConvertAll(plain, f => f / scaling.Factor),
            RopeKind.Llama3 => Array.ConvertAll(plain, f => Llama3(f, scaling)),
            RopeKind.Yarn => Yarn(plain, config),
            _ => throw new ArgumentOutOfRangeException(nameof(config), scaling.Kind, null),
        };
        return config.FrequencyDivisors is { } divisors ? [.. scaled.Select((f, i) => f / divisors[i])] : scaled;
    }

    private static double Llama3(double frequency, RopeScaling scaling)
    {
        var turns = scaling.OriginalMaxPositions!.Value * frequency / (2 * Math.PI); // over the original length
        var (above, ramp) = (turns - scaling.LowFrequencyFactor, scaling.HighFrequencyFactor - scaling.LowFrequencyFactor);
        var kept = ramp == 0 ? (above < 0 ? 0 : 1) : Math.Clamp(above / ramp, 0, 1); // Llama 4 has no ramp
        return ((1 - kept) * frequency / scaling.Factor) + (kept * frequency);
    }

    private static double[] Yarn(double[] plain, RopeConfig config)
    {
        var scaling = config.Scaling;
        double DimensionOf(double turns) =>
            config.RotaryDim * Math.Log(scaling.OriginalMaxPositions!.Value / (turns * 2 * Math.PI)) / (2 * Math.Log(config.Theta));

        var (low, high) = (DimensionOf(scaling.BetaFast), DimensionOf(scaling.BetaSlow));
        if (scaling.Truncate)
        {
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        }

        (low, high) = (Math.Max(low, 0), Math.Min(high, config.RotaryDim - 1));
        var width = high == low ? 0.001 : high - low;
        return [.. plain.Select((f, i) =>
        {
            var divided = Math.Clamp((i - low) / width, 0, 1);
            return (f / scaling.Factor * divided) + (f * (1 - divided));
        })];
    }
}

/// <summary>Cosines and sines of positions, each once.</summary>
/// <param name="Cos">[positions, rotary / 2], float64</param>
/// <param name="Sin">like <paramref name="Cos"/></param>
internal readonly record struct RopeAngles(Tensor Cos, Tensor Sin)
{
    /// <summary>The same in another type, on a device.</summary>
    public (Tensor Cos, Tensor Sin) To(ScalarType type, torch.Device device) => (Cos.to(type).to(device), Sin.to(type).to(device));

    /// <summary>As <see cref="Compute.Device.Rotate"/> takes them.</summary>
    /// <returns>two tensors [positions, 1, rotary]: cosines twice side by side; sines with the first half negated</returns>
    public (Tensor Cos, Tensor Sin) Doubled(ScalarType type, torch.Device device)
    {
        var (cosines, sines) = To(type, device);
        return (cat([cosines, cosines], -1).unsqueeze(1), cat([sines.neg(), sines], -1).unsqueeze(1));
    }
}
