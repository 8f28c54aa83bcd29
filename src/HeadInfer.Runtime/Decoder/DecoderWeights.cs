using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>The frozen weights of a decoder, on the device and in the type they are computed in.</summary>
internal sealed class DecoderWeights : IDisposable
{
    private readonly IWeightSource _source;

    private DecoderWeights(IWeightSource source) => _source = source;

    /// <summary>The type that is computed in.</summary>
    public ScalarType Type => _source.Type;

    public required Linear Embedding { get; init; } // [vocabulary, hidden]

    public PerLayerInputs? PerLayer { get; init; } // what layers are told beside the stream

    public required NormWeights FinalNorm { get; init; }

    public required Linear Output { get; init; } // hidden -> vocabulary; the embedding itself where they are tied

    public required IReadOnlyList<LayerWeights> Layers { get; init; }

    /// <summary>Asks <paramref name="source"/> for every tensor that <paramref name="config"/> makes, each once.</summary>
    /// <param name="source">gives the tensors, and owns them until the weights are disposed</param>
    /// <param name="device">computes with them; null if nobody does</param>
    /// <param name="layerDone">called after each layer</param>
    public static DecoderWeights Read(ModelConfig config, IWeightSource source, Device? device, Action<int>? layerDone = null)
    {
        var embedding = source.Linear([TensorNames.Embedding], [config.VocabularySize], config.HiddenSize);
        var perLayer = PerLayerInputs.Read(config, source, device);
        var layers = new List<LayerWeights>();
        for (var layer = 0; layer < config.Layers; layer++)
        {
            source.Begin(config.ExpertLayers.Contains(layer) ? null : layer); // its experts alone come by turns
            layers.Add(LayerWeights.Read(config, source, device, layer));
            layerDone?.Invoke(layer + 1);
        }

        source.Begin(null);
        return new DecoderWeights(source)
        {
            Embedding = embedding,
            PerLayer = perLayer,
            Layers = layers,
            FinalNorm = NormWeights.Read(config, source, TensorNames.FinalNorm),
            Output = config.TiedEmbeddings ? embedding : source.Linear([TensorNames.Output], [config.VocabularySize], config.HiddenSize),
        };
    }

    /// <summary>A checkpoint that says its output layer is the embedding and has another one means that one, as in transformers 5; and one that does not say it and has none means the embedding.</summary>
    /// <exception cref="CheckpointException">The output layer has a shape that it cannot have.</exception>
    public static ModelConfig Untie(ModelConfig config, Checkpoint checkpoint)
    {
        if (!config.TiedEmbeddings || !checkpoint.Has(TensorNames.Output))
        {
            return config.TiedEmbeddings || checkpoint.Has(TensorNames.Output) || config.SaysWhetherTied ? config : config with { TiedEmbeddings = true };
        }

        foreach (var name in (string[])[TensorNames.Embedding, TensorNames.Output])
        {
            checkpoint.Require(name, [config.VocabularySize, config.HiddenSize]);
        }

        return checkpoint.AreSame(TensorNames.Embedding, TensorNames.Output) ? config : config with { TiedEmbeddings = false };
    }

    /// <summary>What is computed from now on is of a layer. To be called again after others may have computed.</summary>
    public void Enter(int layer) => _source.Stream?.Enter(layer);

    /// <summary>The same for kernels of few rows, who may read weights where they lie.</summary>
    public void Enter(int layer, RowKernels kernels)
    {
        if (!Layers[layer].FeedForward.IsReadAtRest(kernels))
        {
            Enter(layer);
        }
    }

    /// <summary>A pass is through with a layer.</summary>
    public void Leave(int layer) => _source.Stream?.Leave(layer);

    /// <summary>The same for kernels of few rows.</summary>
    public void Leave(int layer, RowKernels kernels)
    {
        if (!Layers[layer].FeedForward.IsReadAtRest(kernels))
        {
            Leave(layer);
        }
    }

    public void Dispose() => _source.Dispose();
}

/// <summary>The weights of one layer; optional parts are null where the family has none.</summary>
internal sealed record LayerWeights
{
    public NormWeights? AttentionNorm { get; init; } // of the attention's input

    public RecurrentLayer? Recurrent { get; init; } // what takes attention's place in a layer with a state, or stands beside it, up to its output

    public Linear? StateOutput { get; init; } // values -> hidden; of that

    public Linear? Qkv { get; init; } // hidden -> (heads + 2 kv_heads) * dim: queries, keys, values; of a layer that attends. Queries alone where keys are an earlier layer's

    public LatentProjections? Latent { get; init; } // what takes the place of that where attention is latent

    public Linear? AttentionGate { get; init; } // hidden -> heads * dim: of what is attended

    public Tensor? QueryNorm { get; init; } // [dim], or [heads * dim] of all together or of each

    public Tensor? KeyNorm { get; init; } // [dim], or [kv_heads * dim] of all together or of each

    public Tensor? QueryFactors { get; init; } // [dim], float32; of queries that are rotated

    public Tensor? ValueNorm { get; init; } // [dim]

    public Linear? Output { get; init; } // heads * dim -> hidden; of a layer that attends

    public NormWeights? PostAttentionNorm { get; init; } // of the attention's output

    public NormWeights? MlpNorm { get; init; } // of the MLP's input; the attention's, where the two are parallel

    public NormWeights? PostMlpNorm { get; init; } // of the MLP's output

    public Tensor? Sinks { get; init; } // [heads], float32; scores of what each head attends beside its keys

    public required FeedForward FeedForward { get; init; }

    public PerLayerInput? Told { get; init; } // what it does with what it is told beside the stream

    public float Scale { get; init; } = 1; // of the stream after the layer

    public static LayerWeights Read(ModelConfig config, IWeightSource source, Device? device, int layer)
    {
        var (family, offset) = (config.Family, config.NormOffset);
        string Name(string name) => TensorNames.Layer(layer, name);
        Tensor Norm(string name, int size) => source.Vector(Name(name), size, offset);
        NormWeights? Of(string? name) => name is null ? null : NormWeights.Read(config, source, Name(name));
        // Without weights a norm is the same before the rotation as after it; what keys have of weights after it, queries may have as well.
        Tensor? HeadNormOf(string name, int size) => config.QkNorm == HeadNorm.None ? null
            : family.NormsRotated ? source.Ones(size)
            : !family.BareHeadNorms ? Norm(name, size)
            : config.RopeOf(layer).IsStill ? null : source.Ones(size);

        var (whole, names, isBare) = (config.QkNorm is HeadNorm.Whole or HeadNorm.Own, family.Norms, config.BareLayers.Contains(layer));
        if (config.LoneMlps.Contains(layer))
        {
            return new LayerWeights { MlpNorm = Of(names.BeforeMlp), FeedForward = FeedForward.Read(config, source, device, layer) };
        }

        var before = Of(names.BeforeAttention);
        var recurrent = config.StateLayers.Contains(layer) ? RecurrentLayer.Read(config, source, device, config.Recurrent!, Name) : null;
        var stateOutput = recurrent is null ? null : source.Linear([Name(TensorNames.StateOutput)], [config.HiddenSize], config.Recurrent!.Values, config.Recurrent.ProjectionBias);
        if (!config.Attends(layer))
        {
            return new LayerWeights
            {
                AttentionNorm = before,
                Recurrent = recurrent,
                StateOutput = stateOutput,
                MlpNorm = isBare ? null : Of(names.BeforeMlp),
                FeedForward = FeedForward.Read(config, source, device, layer),
            };
        }

        var (shape, keeps) = (config.HeadsOf(layer), config.KeepsKeys(layer));
        long[] rows = keeps ? [shape.Queries, shape.Keys, shape.Keys] : [shape.Queries];
        var heads = shape.Queries;
        string[] parts = !keeps ? [TensorNames.Query] : family.FusedQkv ? [TensorNames.QkvFused] : [TensorNames.Query, TensorNames.Key, TensorNames.Value];
        if (family.FusedQkv)
        {
            rows = [rows.Sum()];
        }

        return new LayerWeights
        {
            AttentionNorm = before,
            Recurrent = recurrent,
            StateOutput = stateOutput,
            AttentionGate = family.GatedAttention ? source.Linear([Name(TensorNames.QueryGate)], [heads], config.HiddenSize) : null,
            Latent = config.Latent is null ? null : LatentProjections.Read(config, source, device, Name),
            Qkv = config.Latent is not null ? null : source.Linear([.. parts.Select(Name)], rows, config.HiddenSize, config.QkvBias),
            QueryNorm = HeadNormOf(TensorNames.QueryNorm, whole ? shape.Queries : shape.Dim),
            KeyNorm = keeps ? HeadNormOf(TensorNames.KeyNorm, whole ? shape.Keys : shape.Dim) : null,
            QueryFactors = family.NormsRotated ? source.Floats(Name(TensorNames.QueryNorm), shape.Dim).mul_(source.Floats(Name(TensorNames.KeyNorm), shape.Dim)) : null,
            ValueNorm = family.ValueNorm && keeps ? source.Ones(shape.Dim) : null,
            Output = source.Linear([Name(TensorNames.AttentionOutput)], [config.HiddenSize], heads, config.OutputBias),
            PostAttentionNorm = Of(names.AfterAttention),
            MlpNorm = isBare ? null : family.ParallelBlocks ? before : family.ExpertsBeside && config.ExpertLayers.Contains(layer) ? null : Of(names.BeforeMlp), // experts beside a dense MLP have norms of their own
            PostMlpNorm = Of(names.AfterMlp),
            Sinks = family.Sinks ? source.Floats(Name(TensorNames.Sinks), config.Heads) : null,
            Told = PerLayerInput.Read(config, source, device, layer, Name),
            Scale = family.LayerScale ? source.Numbers(Name(TensorNames.LayerScale), 1)[0] : 1,
            FeedForward = FeedForward.Read(config, source, device, layer),
        };
    }
}

/// <summary>A norm of the stream, or of what is added to it.</summary>
/// <param name="Weight">[hidden]</param>
/// <param name="Bias">[hidden], added afterwards; null for none</param>
internal sealed record NormWeights(Tensor Weight, Tensor? Bias)
{
    public static NormWeights Read(ModelConfig config, IWeightSource source, string name) =>
        new(source.Vector(name, config.HiddenSize, config.NormOffset), config.Family.NormBias ? source.Vector(TensorNames.BiasOf(name), config.HiddenSize) : null);
}
