using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Weights;

namespace HeadInfer.Runtime.Decoder;

/// <summary>What a step of a few tokens writes, layer after layer.</summary>
internal sealed class RowBuffers(ModelConfig config, TorchSharp.torch.Device device) : IDisposable
{
    /// <summary>[rows, hidden]: the residual stream.</summary>
    public RowBuffer Hidden { get; } = new(config.HiddenSize, device);

    /// <summary>[rows, (heads + 2 kv_heads) * dim]: queries, keys, values; as wide as the layer with most.</summary>
    public RowBuffer Heads { get; } = new(config.HeadKinds.Max(h => h.Width), device);

    /// <summary>[rows, heads * dim]: attention's output.</summary>
    public RowBuffer Attended { get; } = new(config.HeadKinds.Max(h => h.Queries), device);

    /// <summary>[rows, heads * dim]: gates of that; null where it has none.</summary>
    public RowBuffer? AttentionGates { get; } = config.Family.GatedAttention ? new(config.Heads * config.HeadDim, device) : null;

    /// <summary>Of latent attention; null where there is none.</summary>
    public LatentRows? Latent { get; } = config.Latent is { } latent ? new(latent, config.Heads * config.HeadDim, device) : null;

    /// <summary>Of a layer with a state; null where there is none.</summary>
    public RecurrentRows? Recurrent { get; } = config.Recurrent is { } shape ? new(shape, device) : null;

    /// <summary>[rows, 1]: gates of the expert that sees every token.</summary>
    public RowBuffer? SharedGate { get; } = config.Family.SharedExpertGate ? new(1, device) : null;

    /// <summary>[rows, intermediate].</summary>
    public RowBuffer Active { get; } = new(Math.Max(Enumerable.Range(0, config.Layers).Max(config.IntermediateOf), config.SharedExpertSize), device);

    /// <summary>[rows, 2 * intermediate]: of an MLP with factors, gates and what they are for; null where it has none.</summary>
    public RowBuffer? Both { get; } = config.MlpScales is null ? null : new(2 * config.IntermediateSize, device);

    /// <summary>[rows, hidden]: what has a norm of its own before it is added.</summary>
    public RowBuffer Output { get; } = new(config.HiddenSize, device);

    /// <summary>[rows, hidden]: what experts beside a dense MLP give; null where there are none.</summary>
    public RowBuffer? Beside { get; } = config.Family.ExpertsBeside && config.Experts > 0 ? new(config.HiddenSize, device) : null;

    /// <summary>[rows, layers * size]: what layers are told beside the stream; null where they are told nothing.</summary>
    public RowBuffer? Told { get; } = config.PerLayerSize > 0 ? new(config.Layers * config.PerLayerSize, device) : null;

    /// <summary>A part of that on its way.</summary>
    public RowBuffer? ToldOther { get; } = config.PerLayerSize > 0 ? new(config.Layers * config.PerLayerSize, device) : null;

    /// <summary>[rows, size].</summary>
    public RowBuffer? ToldGate { get; } = config.PerLayerSize > 0 ? new(config.PerLayerSize, device) : null;

    /// <summary>[rows, vocabulary].</summary>
    public RowBuffer Logits { get; } = new(config.VocabularySize, device);

    /// <summary>Of a mixture; null for a dense model.</summary>
    public MixtureRows? Mixture { get; } = config.Experts == 0 ? null
        : new(new(config.Experts, device), new(config.ExpertsPerToken * config.ExpertIntermediateSize, device), new(config.ExpertsPerToken * config.HiddenSize, device));

    /// <summary>Factor of what layers add.</summary>
    public double ResidualScale => config.ResidualScale;

    /// <summary><c>hidden += norm(linear(x))</c>, by the factor of what layers add.</summary>
    public void Add(RowKernels kernels, int rows, Linear linear, RowBuffer x, RowNorm? norm)
    {
        if (norm is null && ResidualScale == 1)
        {
            linear.Multiply(kernels, rows, x, null, Hidden, add: true);
            return;
        }

        linear.Multiply(kernels, rows, x, null, Output);
        AddOutput(kernels, rows, norm);
    }

    /// <summary><c>hidden += norm(output)</c>, by the factor of what layers add.</summary>
    public void AddOutput(RowKernels kernels, int rows, RowNorm? norm)
    {
        if (norm is { } after)
        {
            kernels.Norm(rows, Output, after, Hidden, add: true);
        }
        else
        {
            kernels.AddScaled(rows, Output, ResidualScale, Hidden);
        }
    }

    public void Dispose()
    {
        foreach (var buffer in (RowBuffer?[])[Hidden, Heads, Attended, AttentionGates, SharedGate, Active, Both, Output, Beside, Told, ToldOther, ToldGate, Logits])
        {
            buffer?.Dispose();
        }

        Mixture?.Dispose();
        Recurrent?.Dispose();
        Latent?.Dispose();
    }
}
