using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>The one decoder of all families, for many tokens of a sequence: what sets families apart is data.</summary>
/// <param name="config">The model.</param>
/// <param name="weights">Its weights; not owned.</param>
/// <param name="chunkTokens">Tokens that go through the linear layers at once.</param>
/// <param name="device">Computes.</param>
/// <remarks>Holds no state of a sequence: that is the attention's.</remarks>
internal sealed class TransformerDecoder(ModelConfig config, DecoderWeights weights, int chunkTokens, Device device)
{
    private readonly Rope _rope = new(config.Rope);
    private readonly bool _rotatesApart = device.RotatesApart(config.HeadDim, config.Rope.RotaryDim);
    private readonly int _queryWidth = config.Heads * config.HeadDim;
    private readonly double _embeddingScale = config.Family.ScaledEmbedding ? Math.Sqrt(config.HiddenSize) : 1;

    /// <summary>Runs a batch's new tokens through all layers. The caller commits them afterwards.</summary>
    /// <param name="batch">what is computed; its sequences have room</param>
    /// <param name="attention">attends, and keeps keys and values</param>
    /// <param name="work">told of the work done; may cancel, and may let others compute in between</param>
    /// <returns>the residual stream after the last layer, [outputs, hidden]</returns>
    /// <remarks>In the last layer the tokens that are not wanted leave nothing but their keys and values.</remarks>
    public Tensor Forward(Batch batch, IBatchAttention attention, WorkMeter work)
    {
        using var scope = NewDisposeScope();
        var (torchDevice, type, count, outputs) = (device.Torch, weights.Type, batch.Tokens.Length, batch.Outputs);
        var hidden = weights.Embedding.Lookup(TensorMemory.Indices(batch.Tokens.Span).to(torchDevice)); // [tokens, hidden]
        if (_embeddingScale != 1)
        {
            hidden.mul_(tensor(_embeddingScale, dtype: type, device: torchDevice));
        }

        using var pass = attention.Begin(batch, work);
        var fused = _rotatesApart && pass.Stages;
        var start = batch.Sequences[0].Length;
        var angles = _rope.HalfAngles(start, count, torchDevice);
        var (cos, sin) = fused ? angles.To(ScalarType.Float32, torchDevice) : angles.Doubled(type, torchDevice);
        var segment = new SegmentBuffers(config, pass, count, inOneChunk: outputs == count && Aligned(new TokenRange(0, count), start).Count() == 1, type, torchDevice);
        for (var layer = 0; layer < weights.Layers.Count; layer++)
        {
            using var layerScope = NewDisposeScope();
            var layerWeights = weights.Layers[layer];
            var asked = new TokenRange(layer == weights.Layers.Count - 1 ? count - outputs : 0, count);
            segment.Begin();
            foreach (var (chunk, withQueries) in Chunks(asked, start))
            {
                using var chunkScope = NewDisposeScope();
                weights.Enter(layer);
                Project(layerWeights, Rows(hidden, chunk), withQueries, Rows(cos, chunk), Rows(sin, chunk), segment, chunk.Start);
                work.Add((withQueries ? Cost.Projections(config) : Cost.KeyValueProjections(config)) * chunk.Count);
            }

            var queries = Rows(segment.Queries, asked);
            pass.Attend(layer, queries, segment.KeyValues, output: queries);
            foreach (var chunk in Aligned(asked, start))
            {
                using var chunkScope = NewDisposeScope();
                weights.Enter(layer);
                Mix(layerWeights, Rows(hidden, chunk), Rows(segment.Queries, chunk).view(chunk.Count, _queryWidth));
                work.Add(Cost.OutputAndMlp(config, layer) * chunk.Count);
            }

            weights.Leave(layer);
        }

        // A view left alive would keep all of the segment.
        return outputs == count ? hidden.MoveToOuterDisposeScope() : Rows(hidden, new TokenRange(count - outputs, count)).clone().MoveToOuterDisposeScope();
    }

    /// <summary>Logits of some rows of what <see cref="Forward"/> returned.</summary>
    /// <param name="hidden">[rows, hidden]</param>
    /// <returns>[rows, vocabulary], float32, on the CPU</returns>
    public Tensor Logits(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var logits = weights.Output.Apply(device.RmsNorm(hidden, weights.FinalNorm, config.NormEpsilon)).to(ScalarType.Float32).cpu();
        if (config.LogitSoftCap is { } cap)
        {
            HostActivations.Cap(TensorMemory.Span(logits), (float)cap);
        }

        return logits.MoveToOuterDisposeScope();
    }

    private static Tensor Rows(Tensor tensor, TokenRange range) => tensor.narrow(0, range.Start, range.Count);

    private IEnumerable<(TokenRange Chunk, bool WithQueries)> Chunks(TokenRange asked, int start) =>
        Aligned(new TokenRange(0, asked.Start), start).Select(c => (c, false)).Concat(Aligned(asked, start).Select(c => (c, true)));

    // Chunks of a segment that stands at a position; they are cut at the same positions wherever the segment begins.
    private IEnumerable<TokenRange> Aligned(TokenRange range, int start) =>
        new TokenRange(range.Start + start, range.End + start).SplitAligned(chunkTokens).Select(c => new TokenRange(c.Start - start, c.End - start));

    // Norm, query-key-value product, head norms and rope of a chunk.
    private void Project(LayerWeights layer, Tensor hidden, bool withQueries, Tensor cos, Tensor sin, SegmentBuffers segment, int start)
    {
        var (count, queries) = (hidden.shape[0], withQueries ? config.Heads : 0);
        var normed = device.RmsNorm(hidden, layer.AttentionNorm, config.NormEpsilon);
        var projection = withQueries ? layer.Qkv : layer.Qkv.Outputs(_queryWidth, 2L * config.KvHeads * config.HeadDim);
        var all = projection.Apply(normed);
        var heads = all.view(count, queries + (2 * config.KvHeads), config.HeadDim);
        if (layer.QueryNorm is not null && layer.KeyNorm is not null)
        {
            device.NormHeads(heads, 0, queries, layer.QueryNorm, config.NormEpsilon);
            device.NormHeads(heads, queries, config.KvHeads, layer.KeyNorm, config.NormEpsilon);
        }

        if (_rotatesApart && segment.IsStaged)
        {
            device.RotateApart(heads, segment.Queries.narrow(0, start, count).narrow(1, 0, queries), segment.KeyValues, start, cos, sin);
            return;
        }

        device.Rotate(heads, queries + config.KvHeads, cos, sin);
        segment.Take(heads, start);
    }

    // Output projection and MLP of a chunk, added to the residual stream in place.
    private void Mix(LayerWeights layer, Tensor hidden, Tensor attended)
    {
        if (layer.PostAttentionNorm is { } after)
        {
            hidden.add_(device.RmsNorm(layer.Output.Apply(attended), after, config.NormEpsilon));
        }
        else
        {
            layer.Output.AddTo(hidden, attended);
        }

        var normed = device.RmsNorm(hidden, layer.MlpNorm, config.NormEpsilon);
        if (layer.PostMlpNorm is { } last)
        {
            hidden.add_(device.RmsNorm(layer.FeedForward.Forward(normed), last, config.NormEpsilon));
        }
        else
        {
            layer.FeedForward.AddTo(hidden, normed);
        }
    }
}
