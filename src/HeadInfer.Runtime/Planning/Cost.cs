using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Planning;

/// <summary>Floating-point operations of the parts of a forward pass, a multiply and an add counted as two.</summary>
internal static class Cost
{
    /// <summary>Query, key and value projections of one layer that attends, with the gates where it has some, for one token.</summary>
    public static double Projections(ModelConfig config, int layer) => !config.Attends(layer) ? 0 : config.HeadsOf(layer) is var heads && config.Latent is { } latent
        ? (latent.QueryRank == 0 ? 2.0 * config.HiddenSize * heads.Queries : 2.0 * latent.QueryRank * (config.HiddenSize + heads.Queries)) + KeyValueProjections(config, layer)
        : (2.0 * config.HiddenSize * heads.Queries * (config.Family.GatedAttention ? 2 : 1)) + KeyValueProjections(config, layer);

    /// <summary>What a layer projects one token to, whether it attends, has a state, both or neither.</summary>
    public static double Before(ModelConfig config, int layer) =>
        (config.StateLayers.Contains(layer) ? 2.0 * config.HiddenSize * (config.Recurrent!.Projected + config.Recurrent.Gates) : 0) + Projections(config, layer);

    /// <summary>What a layer does to its state for one token, as if one came after another.</summary>
    public static double State(ModelConfig config, int layer) =>
        config.StateLayers.Contains(layer) ? ((config.Recurrent!.Space is null ? 6.0 : 5.0) * config.Recurrent.StateSize) + (2.0 * config.Recurrent.Channels * config.Recurrent.Taps) : 0;

    /// <summary>Output projection and MLP of one layer, for one token.</summary>
    public static double OutputAndMlp(ModelConfig config, int layer) =>
        (2.0 * config.HiddenSize * ((config.StateLayers.Contains(layer) ? config.Recurrent!.Values : 0) + (config.Attends(layer) ? config.HeadsOf(layer).Queries : 0)))
        + (config.ExpertLayers.Contains(layer)
            ? 2.0 * config.HiddenSize * (config.Experts + (Matrices(config) * ((config.ExpertIntermediateSize * config.ExpertsPerToken) + config.SharedExpertSize)))
            : 0)
        + (config.BareLayers.Contains(layer) || (config.ExpertLayers.Contains(layer) && !config.Family.ExpertsBeside) ? 0 : 2 * Matrices(config) * config.HiddenSize * config.IntermediateOf(layer))
        + (4.0 * config.HiddenSize * config.PerLayerSize);

    /// <summary>Elements of one layer's matrices, those of all experts among them.</summary>
    public static double Elements(ModelConfig config, int layer) =>
        ((Before(config, layer) + OutputAndMlp(config, layer)) / 2)
        + (config.ExpertLayers.Contains(layer) ? Matrices(config) * config.HiddenSize * config.ExpertIntermediateSize * (config.Experts - config.ExpertsPerToken) : 0);

    // Of an MLP.
    private static double Matrices(ModelConfig config) => config.Family.Ungated ? 2 : 3;

    /// <summary>Bytes of weights that a token of an answer reads: of a mixture's experts those that are chosen.</summary>
    public static ByteSize ReadPerToken(ModelConfig config, WeightNeeds weights) => weights.Always - weights.Unread + ReadOfLayers(config, weights, weights.Layers.Count);

    /// <summary>The same of the last layers alone, without what always lies on the device.</summary>
    public static ByteSize ReadOfLayers(ModelConfig config, WeightNeeds weights, int last) => new((long)Enumerable.Range(weights.Layers.Count - last, last)
        .Sum(layer => weights.Layers[layer].Bytes * (config.ExpertLayers.Contains(layer) ? (double)config.ExpertsPerToken / config.Experts : 1)));

    /// <summary>Key and value projections alone.</summary>
    public static double KeyValueProjections(ModelConfig config, int layer) => !config.KeepsKeys(layer) ? 0
        : config.Latent is { } latent ? 2.0 * latent.Kept * (config.HiddenSize + (2.0 * config.HeadsOf(layer).Keys)) : 4.0 * config.HiddenSize * config.HeadsOf(layer).Keys;

    /// <summary>Everything but the logits, for tokens at <paramref name="start"/> up to <paramref name="end"/> of which only the last one's logits are wanted.</summary>
    public static double Prefill(ModelConfig config, int start, int end) => Linear(config, end - start) + Attention(config, start, end);

    /// <summary>The linear layers' part of <see cref="Prefill"/>. The last layer's output is formed for the last token alone.</summary>
    public static double Linear(ModelConfig config, int tokens)
    {
        var last = config.Layers - 1;
        var total = config.StateLayers.Contains(last) && !config.Attends(last) ? (Before(config, last) + State(config, last) + OutputAndMlp(config, last)) * tokens
            : ((Before(config, last) - Projections(config, last) + State(config, last)) * tokens) + (KeyValueProjections(config, last) * (tokens - 1)) + Projections(config, last) + OutputAndMlp(config, last);
        for (var layer = 0; layer < last; layer++)
        {
            total += (Before(config, layer) + State(config, layer) + OutputAndMlp(config, layer)) * tokens;
        }

        return total;
    }

    /// <summary>Attention's part of <see cref="Prefill"/>.</summary>
    public static double Attention(ModelConfig config, int start, int end) => config.AttendingLayers.Sum(layer => Attention(config, layer, start, end));

    /// <summary>The same of one layer that attends.</summary>
    public static double Attention(ModelConfig config, int layer, int start, int end)
    {
        var queries = layer == config.Layers - 1 ? new TokenRange(end - 1, end) : new TokenRange(start, end);
        return 4.0 * config.HeadsOf(layer).Queries * config.ViewOf(layer).Pairs(queries, new TokenRange(0, end));
    }
}
