using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Cache;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Planning;

/// <summary>Floating-point operations of the parts of a forward pass, a multiply and an add counted as two.</summary>
internal static class Cost
{
    /// <summary>Query, key and value projections of one layer, for one token.</summary>
    public static double Projections(ModelConfig config) =>
        2.0 * config.HiddenSize * (config.Heads + (2 * config.KvHeads)) * config.HeadDim;

    /// <summary>Output projection and MLP of one layer, for one token.</summary>
    public static double OutputAndMlp(ModelConfig config, int layer) =>
        (2.0 * config.HiddenSize * config.Heads * config.HeadDim)
        + (config.ExpertLayers.Contains(layer)
            ? 2.0 * config.HiddenSize * (config.Experts + (3.0 * config.ExpertIntermediateSize * config.ExpertsPerToken))
            : 6.0 * config.HiddenSize * config.IntermediateSize);

    /// <summary>Everything but the logits, for tokens at <paramref name="start"/> up to <paramref name="end"/>.</summary>
    public static double Prefill(ModelConfig config, int start, int end)
    {
        var total = 0.0;
        for (var layer = 0; layer < config.Layers; layer++)
        {
            var pairs = new Visibility(config.Windows[layer]).Pairs(new TokenRange(start, end), new TokenRange(0, end));
            total += ((Projections(config) + OutputAndMlp(config, layer)) * (end - start)) + (4.0 * config.HeadDim * config.Heads * pairs);
        }

        return total;
    }
}
