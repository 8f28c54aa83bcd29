using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Cache;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Native;
using HeadInfer.Runtime.Planning;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>The one decoder of all families: what sets them apart is data.</summary>
/// <param name="config">The model.</param>
/// <param name="weights">Its weights; not owned.</param>
/// <param name="chunkTokens">Tokens that go through the linear layers at once.</param>
/// <remarks>Holds no state of a sequence: that is the attention's.</remarks>
internal sealed class TransformerDecoder(ModelConfig config, DecoderWeights weights, int chunkTokens)
{
    private readonly Rope _rope = new(config.Rope);
    private readonly int _queryWidth = config.Heads * config.HeadDim;
    private readonly double _embeddingScale = config.Family.ScaledEmbedding ? Math.Sqrt(config.HiddenSize) : 1;

    /// <summary>Runs new tokens, one segment, through all layers. The caller advances the attention afterwards.</summary>
    /// <param name="tokens">the new tokens, which stand at <c>attention.Length</c> and on</param>
    /// <param name="attention">the sequence; has room for them</param>
    /// <param name="work">told of the work done; may cancel</param>
    /// <returns>the residual stream after the last layer, [tokens, hidden]</returns>
    public Tensor Forward(ReadOnlySpan<int> tokens, ISequenceAttention attention, WorkMeter work)
    {
        using var scope = NewDisposeScope();
        var (device, type, count) = (weights.Embedding.device, weights.Embedding.dtype, tokens.Length);
        var hidden = weights.Embedding.index_select(0, TensorMemory.Indices(tokens).to(device)); // [tokens, hidden]
        if (_embeddingScale != 1)
        {
            hidden.mul_(tensor(_embeddingScale, dtype: type, device: device));
        }

        var (cos, sin) = _rope.Angles(attention.Length, count, type, device);
        var buffer = count > chunkTokens ? empty([count, config.Heads + (2 * config.KvHeads), config.HeadDim], type, device) : null;
        for (var layer = 0; layer < weights.Layers.Count; layer++)
        {
            using var layerScope = NewDisposeScope();
            var layerWeights = weights.Layers[layer];
            var heads = ProjectSegment(layerWeights, hidden, cos, sin, buffer, work); // [tokens, heads + 2 kv_heads, dim]
            var queries = heads.narrow(1, 0, config.Heads);
            attention.Attend(layer, queries, heads.narrow(1, config.Heads, config.KvHeads), heads.narrow(1, config.Heads + config.KvHeads, config.KvHeads), output: queries, work);
            foreach (var chunk in new TokenRange(0, count).Split(chunkTokens))
            {
                using var chunkScope = NewDisposeScope();
                Mix(layerWeights, Rows(hidden, chunk), Rows(queries, chunk).view(chunk.Count, _queryWidth));
                work.Add(Cost.OutputAndMlp(config, layer) * chunk.Count);
            }
        }

        return hidden.MoveToOuterDisposeScope();
    }

    /// <summary>Logits of some rows of what <see cref="Forward"/> returned.</summary>
    /// <param name="hidden">[rows, hidden]</param>
    /// <returns>[rows, vocabulary], float32, on the CPU</returns>
    public Tensor Logits(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var logits = Aten.Linear(Aten.RmsNorm(hidden, weights.FinalNorm, config.NormEpsilon), weights.Output).to(ScalarType.Float32);
        if (config.LogitSoftCap is { } cap)
        {
            logits.div_(cap).tanh_().mul_(cap);
        }

        return logits.cpu().MoveToOuterDisposeScope();
    }

    private static Tensor Rows(Tensor tensor, TokenRange range) => tensor.narrow(0, range.Start, range.Count);

    // A segment of one chunk as it comes; a longer one into the buffer, chunk by chunk.
    private Tensor ProjectSegment(LayerWeights layer, Tensor hidden, Tensor cos, Tensor sin, Tensor? buffer, WorkMeter work)
    {
        var count = (int)hidden.shape[0];
        if (buffer is null)
        {
            work.Add(Cost.Projections(config) * count);
            return Project(layer, hidden, cos, sin);
        }

        foreach (var chunk in new TokenRange(0, count).Split(chunkTokens))
        {
            using var chunkScope = NewDisposeScope();
            Rows(buffer, chunk).copy_(Project(layer, Rows(hidden, chunk), Rows(cos, chunk), Rows(sin, chunk)));
            work.Add(Cost.Projections(config) * chunk.Count);
        }

        return buffer;
    }

    // Norm, query-key-value product, head norms and rope of a chunk: [tokens, heads + 2 kv_heads, dim].
    private Tensor Project(LayerWeights layer, Tensor hidden, Tensor cos, Tensor sin)
    {
        var normed = Aten.RmsNorm(hidden, layer.AttentionNorm, config.NormEpsilon);
        var all = Aten.Linear(normed, layer.Qkv, layer.QkvBias).view(hidden.shape[0], config.Heads + (2 * config.KvHeads), config.HeadDim);
        if (layer.QueryNorm is not null && layer.KeyNorm is not null)
        {
            Aten.NormHeads(all, 0, config.Heads, layer.QueryNorm, config.NormEpsilon);
            Aten.NormHeads(all, config.Heads, config.KvHeads, layer.KeyNorm, config.NormEpsilon);
        }

        _rope.Apply(all, config.Heads + config.KvHeads, cos, sin);
        return all;
    }

    // Output projection and MLP of a chunk, added to the residual stream in place.
    private void Mix(LayerWeights layer, Tensor hidden, Tensor attended)
    {
        var output = Aten.Linear(attended, layer.Output, layer.OutputBias);
        hidden.add_(layer.PostAttentionNorm is { } after ? Aten.RmsNorm(output, after, config.NormEpsilon) : output);
        var fed = layer.FeedForward.Forward(Aten.RmsNorm(hidden, layer.MlpNorm, config.NormEpsilon));
        hidden.add_(layer.PostMlpNorm is { } last ? Aten.RmsNorm(fed, last, config.NormEpsilon) : fed);
    }
}
