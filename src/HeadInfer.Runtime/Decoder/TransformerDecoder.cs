using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>The one decoder of all families, for many tokens of a sequence: what sets families apart is data.</summary>
/// <param name="weights">Its weights; not owned.</param>
/// <param name="chunkTokens">Tokens that go through the linear layers at once.</param>
/// <remarks>Holds no state of a sequence: that is the attention's.</remarks>
internal sealed class TransformerDecoder(ModelConfig config, DecoderWeights weights, int chunkTokens, Device device)
{
    private readonly List<Rope> _ropes = [], _longRopes = []; // those that differ, of each rotation
    private readonly bool _rotatesApart = config.CacheOf.Count == 0 && config.AttendingLayers.All(l => device.RotatesApart(config.HeadsOf(l).Dim, config.RopeOf(l).RotaryDim));
    private readonly ModelFamily _family = config.Family;
    private readonly IReadOnlyDictionary<int, int> _kvOf = StepDecoder.Numbered(config.AttendingLayers), _stateOf = StepDecoder.Numbered(config.StateLayers.Order()); // layer -> which of those that attend, or with a state
    private int[]? _ropeOf; // [layer]

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
        var tokens = TensorMemory.Indices(batch.Tokens.Span);
        var hidden = weights.Embedding.Lookup(tokens.to(torchDevice)); // [tokens, hidden]
        if (config.EmbeddingScale != 1)
        {
            // Gemma's own code rounds it to the type.
            _ = config.Family.ScaledEmbedding ? hidden.mul_(tensor(config.EmbeddingScale, dtype: type, device: torchDevice)) : hidden.mul_(config.EmbeddingScale);
        }

        var told = weights.PerLayer is { } perLayer ? Told(perLayer, tokens, hidden, batch.Sequences[0].Length) : null;
        using var pass = attention.Begin(batch, work);
        var fused = _rotatesApart && pass.Stages;
        var start = batch.Sequences[0].Length;
        if (_ropeOf is null)
        {
            _ropeOf = Rope.Of(config, _ropes);
            Rope.Of(config, _longRopes, rotation: 1);
        }

        (Tensor Cos, Tensor Sin)[] angles = [.. (batch.Sequences[0].Rotation == 0 ? _ropes : _longRopes).Select(r => r.HalfAngles(start, count, torchDevice)).Select(a => fused ? a.To(ScalarType.Float32, torchDevice) : a.Doubled(type, torchDevice))];
        var growth = Growth(start, count);
        var segment = new SegmentBuffers(config, pass, count, inOneChunk: outputs == count && Aligned(new TokenRange(0, count), start).Count() == 1, type, torchDevice);
        using var states = _stateOf.Count == 0 ? null : new RecurrentPass(batch.Sequences[0], count);
        for (var layer = 0; layer < weights.Layers.Count; layer++)
        {
            using var layerScope = NewDisposeScope();
            var layerWeights = weights.Layers[layer];
            var asked = new TokenRange(layer == weights.Layers.Count - 1 ? count - outputs : 0, count);
            using var scan = layerWeights.Recurrent is { } begins ? states!.Begin(begins, _stateOf[layer]) : null;
            Tensor OfState(TokenRange chunk) => layerWeights.StateOutput!.Apply(layerWeights.Recurrent!.Forward(scan!, Norm(Rows(hidden, chunk), layerWeights.AttentionNorm), states!.BlockTokens, states.AtEnd(_stateOf[layer])));
            if (!config.Attends(layer))
            {
                foreach (var chunk in Aligned(scan is null ? asked : new TokenRange(0, count), start))
                {
                    using var chunkScope = NewDisposeScope();
                    weights.Enter(layer);
                    Mix(layerWeights, Rows(hidden, chunk), null, scan is null ? null : OfState(chunk));
                    work.Add((Cost.Before(config, layer) + Cost.State(config, layer) + Cost.OutputAndMlp(config, layer)) * chunk.Count);
                }

                scan?.End();
                weights.Leave(layer);
                continue;
            }

            var (cos, sin) = angles[_ropeOf[layer]];
            var keeps = config.KeepsKeys(layer);
            var beside = scan is null ? null : empty_like(hidden); // what the layer's state adds: attention is to look at the same as it does
            segment.Begin(_kvOf[layer], config.HeadsOf(layer), keeps);
            foreach (var (chunk, withQueries) in Chunks(asked, start).Where(c => keeps || c.WithQueries))
            {
                using var chunkScope = NewDisposeScope();
                weights.Enter(layer);
                Project(layer, Rows(hidden, chunk), withQueries, Rows(cos, chunk), Rows(sin, chunk), segment, chunk.Start);
                if (beside is not null)
                {
                    Rows(beside, chunk).copy_(OfState(chunk));
                }

                work.Add(((withQueries ? Cost.Projections(config, layer) : Cost.KeyValueProjections(config, layer)) + Cost.Before(config, layer) - Cost.Projections(config, layer) + Cost.State(config, layer)) * chunk.Count);
            }

            scan?.End();

            var queries = Rows(segment.Queries, asked);
            if (growth is not null && config.GrowsQueries(layer))
            {
                queries.mul_(Rows(growth, asked));
            }

            if (layerWeights.QueryFactors is { } factors)
            {
                queries.mul_(factors);
            }

            pass.Attend(_kvOf[layer], queries, segment.KeyValues, output: queries);
            foreach (var chunk in Aligned(asked, start))
            {
                using var chunkScope = NewDisposeScope();
                weights.Enter(layer);
                Mix(layerWeights, Rows(hidden, chunk), Rows(segment.Queries, chunk).view(chunk.Count, config.HeadsOf(layer).Queries), beside is null ? null : Rows(beside, chunk), told is null ? null : Rows(told, chunk));
                work.Add(Cost.OutputAndMlp(config, layer) * chunk.Count);
            }

            weights.Leave(layer);
        }

        states?.Keep();

        // A view left alive would keep all of the segment.
        return outputs == count ? hidden.MoveToOuterDisposeScope() : Rows(hidden, new TokenRange(count - outputs, count)).clone().MoveToOuterDisposeScope();
    }

    /// <summary>Logits of some rows of what <see cref="Forward"/> returned.</summary>
    /// <param name="hidden">[rows, hidden]</param>
    /// <returns>[rows, vocabulary], float32, on the CPU</returns>
    public Tensor Logits(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var logits = weights.Output.Apply(Norm(hidden, weights.FinalNorm)).to(ScalarType.Float32).cpu();
        HostActivations.Scale(TensorMemory.Span(logits), (float)config.LogitScale, (float?)config.LogitSoftCap);

        return logits.MoveToOuterDisposeScope();
    }

    private static Tensor Rows(Tensor tensor, TokenRange range) => tensor.narrow(0, range.Start, range.Count);

    private IEnumerable<(TokenRange Chunk, bool WithQueries)> Chunks(TokenRange asked, int start) =>
        Aligned(new TokenRange(0, asked.Start), start).Select(c => (c, false)).Concat(Aligned(asked, start).Select(c => (c, true)));

    // Chunks of a segment that stands at a position; they are cut at the same positions wherever the segment begins.
    private IEnumerable<TokenRange> Aligned(TokenRange range, int start) =>
        new TokenRange(range.Start + start, range.End + start).SplitAligned(chunkTokens).Select(c => new TokenRange(c.Start - start, c.End - start));

    // Norm, query-key-value product, head norms and rope of a chunk.
    private void Project(int number, Tensor hidden, bool withQueries, Tensor cos, Tensor sin, SegmentBuffers segment, int start)
    {
        var (layer, shape, keeps) = (weights.Layers[number], config.HeadsOf(number), config.KeepsKeys(number));
        var (count, queries, keys) = (hidden.shape[0], withQueries ? shape.Count : 0, keeps ? shape.KvHeads : 0);
        var normed = Norm(hidden, layer.AttentionNorm);
        var all = layer.Latent?.Apply(normed, withQueries) ?? (withQueries ? layer.Qkv! : layer.Qkv!.Outputs(shape.Queries, 2L * shape.Keys)).Apply(normed);
        var heads = all.view(count, queries + (2 * keys), shape.Dim);
        if (config.QkNorm == HeadNorm.Own)
        {
            NormOwn(heads, 0, queries, layer.QueryNorm!);
            NormOwn(heads, queries, keys, layer.KeyNorm!);
        }
        else if (layer.QueryNorm is not null && layer.KeyNorm is not null && config.QkNorm == HeadNorm.Whole)
        {
            NormWhole(all, 0, queries * shape.Dim, layer.QueryNorm);
            NormWhole(all, queries * shape.Dim, shape.Keys, layer.KeyNorm);
        }
        else
        {
            NormHeads(heads, 0, queries, layer.QueryNorm);
            NormHeads(heads, queries, keys, layer.KeyNorm);
            NormHeads(heads, queries + keys, keys, layer.ValueNorm);
        }

        if (_rotatesApart && segment.IsStaged)
        {
            device.RotateApart(heads, segment.Queries.narrow(0, start, count).narrow(1, 0, queries), segment.KeyValues!, start, cos, sin);
            return;
        }

        device.Rotate(heads, queries + keys, cos, sin);
        segment.Take(heads, start);
    }

    // Output projection and MLP of a chunk, added to the residual stream in place; of a layer that has but one of them that. And what a state adds.
    private void Mix(LayerWeights layer, Tensor hidden, Tensor? attended, Tensor? ofState, Tensor? told = null)
    {
        if (config.AttendedScale != 1)
        {
            attended!.mul_(config.AttendedScale);
        }

        if (layer.AttentionGate is { } gate)
        {
            attended!.mul_(gate.Apply(Norm(hidden, layer.AttentionNorm)).sigmoid_());
        }

        var before = _family.ParallelBlocks ? Norm(hidden, layer.MlpNorm) : null; // of what attention has looked at
        if (ofState is not null)
        {
            Add(hidden, ofState, layer.PostAttentionNorm);
        }

        if (layer.Output is { } output)
        {
            AddOutput(layer, hidden, output, attended!);
        }

        var normed = before ?? Norm(hidden, layer.MlpNorm);
        if ((layer.PostMlpNorm is null && config.ResidualScale == 1) || layer.FeedForward is NoFeedForward)
        {
            layer.FeedForward.AddTo(hidden, normed);
        }
        else
        {
            Add(hidden, layer.FeedForward.Forward(normed), layer.PostMlpNorm);
        }

        layer.Told?.AddTo(hidden, told!);
        if (layer.Scale != 1)
        {
            hidden.mul_(layer.Scale);
        }
    }

    private void AddOutput(LayerWeights layer, Tensor hidden, Linear output, Tensor attended)
    {
        if (layer.PostAttentionNorm is null && config.ResidualScale == 1)
        {
            output.AddTo(hidden, attended);
        }
        else
        {
            Add(hidden, output.Apply(attended), layer.PostAttentionNorm);
        }
    }

    // [tokens, layers * size] of a segment
    private Tensor Told(PerLayerInputs perLayer, Tensor tokens, Tensor hidden, int start)
    {
        var told = empty([hidden.shape[0], (long)config.Layers * config.PerLayerSize], hidden.dtype, hidden.device);
        foreach (var chunk in Aligned(new TokenRange(0, (int)hidden.shape[0]), start))
        {
            using var scope = NewDisposeScope();
            Rows(told, chunk).copy_(perLayer.Of(Rows(tokens, chunk), Rows(hidden, chunk)));
        }

        return told;
    }

    private void NormHeads(Tensor heads, int first, int count, Tensor? norm)
    {
        if (norm is not null && count > 0)
        {
            device.NormHeads(heads, first, count, norm, config.NormEpsilon);
        }
    }

    private void Add(Tensor hidden, Tensor output, NormWeights? norm)
    {
        var normed = Norm(output, norm);
        hidden.add_(config.ResidualScale == 1 ? normed : normed * config.ResidualScale);
    }

    // What is normed is the caller's scope's.
    private Tensor Norm(Tensor x, NormWeights? norm)
    {
        if (norm is not var (weight, bias))
        {
            return x;
        }

        if (!_family.CenteredNorms)
        {
            return device.RmsNorm(x, weight, config.NormEpsilon);
        }

        var wide = x.to(ScalarType.Float32);
        var normed = device.RmsNorm(wide - wide.mean([-1L], keepdim: true), weight.to(ScalarType.Float32), config.NormEpsilon);
        return (bias is null ? normed : normed.add_(bias)).to(x.dtype); // rounded once
    }

    // Of Command R+ alone, whose norms are centred.
    private void NormOwn(Tensor heads, int first, int count, Tensor weight)
    {
        if (count > 0)
        {
            var some = heads.narrow(1, first, count);
            var wide = some.to(ScalarType.Float32);
            var centred = wide - wide.mean([-1L], keepdim: true);
            some.copy_(centred * (centred.square().mean([-1L], keepdim: true) + config.NormEpsilon).rsqrt_() * weight.view(count, -1));
        }
    }

    private void NormWhole(Tensor all, long first, long count, Tensor weight)
    {
        if (count > 0)
        {
            var some = all.narrow(1, first, count);
            some.copy_(device.RmsNorm(some.contiguous(), weight, config.NormEpsilon));
        }
    }

    // [tokens, 1, 1] factors of the queries; null where all are one.
    private Tensor? Growth(int start, int count) => config.QueryGrowth is null || config.QueryScale(start + count - 1) == 1 ? null
        : tensor(Enumerable.Range(start, count).Select(p => (float)config.QueryScale(p)).ToArray(), dtype: weights.Type, device: device.Torch).view(count, 1, 1);
}
