using HeadInfer.Runtime.Checkpoints;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>The frozen weights of a decoder, on the device and in the type they are computed in.</summary>
internal sealed class DecoderWeights : IDisposable
{
    private readonly IWeightSource _source;

    private DecoderWeights(IWeightSource source) => _source = source;

    public required Tensor Embedding { get; init; } // [vocabulary, hidden]

    public required Tensor FinalNorm { get; init; } // [hidden]

    public required Tensor Output { get; init; } // [vocabulary, hidden]; the embedding itself where they are tied

    public required IReadOnlyList<LayerWeights> Layers { get; init; }

    /// <summary>Asks <paramref name="source"/> for every tensor that <paramref name="config"/> makes, each once.</summary>
    /// <param name="config">the model</param>
    /// <param name="source">gives the tensors, and owns them until the weights are disposed</param>
    /// <param name="layerDone">called after each layer</param>
    public static DecoderWeights Read(ModelConfig config, IWeightSource source, Action<int>? layerDone = null)
    {
        var embedding = source.Matrix([TensorNames.Embedding], [config.VocabularySize], config.HiddenSize);
        var layers = new List<LayerWeights>();
        for (var layer = 0; layer < config.Layers; layer++)
        {
            layers.Add(LayerWeights.Read(config, source, layer));
            layerDone?.Invoke(layer + 1);
        }

        return new DecoderWeights(source)
        {
            Embedding = embedding,
            Layers = layers,
            FinalNorm = source.Vector([TensorNames.FinalNorm], [config.HiddenSize], config.Family.NormOffset),
            Output = config.TiedEmbeddings ? embedding : source.Matrix([TensorNames.Output], [config.VocabularySize], config.HiddenSize),
        };
    }

    /// <summary>A checkpoint that says its output layer is the embedding and has another one means that one, as in transformers 5.</summary>
    /// <exception cref="CheckpointException">The output layer has a shape that it cannot have.</exception>
    public static ModelConfig Untie(ModelConfig config, Checkpoint checkpoint)
    {
        if (!config.TiedEmbeddings || !checkpoint.Has(TensorNames.Output))
        {
            return config;
        }

        foreach (var name in (string[])[TensorNames.Embedding, TensorNames.Output])
        {
            checkpoint.Require(name, [config.VocabularySize, config.HiddenSize]);
        }

        return checkpoint.AreSame(TensorNames.Embedding, TensorNames.Output) ? config : config with { TiedEmbeddings = false };
    }

    public void Dispose() => _source.Dispose();
}

/// <summary>The weights of one layer; optional parts are null where the family has none.</summary>
internal sealed record LayerWeights
{
    public required Tensor AttentionNorm { get; init; } // [hidden]

    public required Tensor Qkv { get; init; } // [(heads + 2 kv_heads) * dim, hidden]: queries, keys, values

    public Tensor? QkvBias { get; init; }

    public Tensor? QueryNorm { get; init; } // [dim]

    public Tensor? KeyNorm { get; init; } // [dim]

    public required Tensor Output { get; init; } // [hidden, heads * dim]

    public Tensor? OutputBias { get; init; }

    public Tensor? PostAttentionNorm { get; init; } // [hidden]; of the attention's output

    public required Tensor MlpNorm { get; init; } // [hidden]

    public Tensor? PostMlpNorm { get; init; } // [hidden]; of the MLP's output

    public required FeedForward FeedForward { get; init; }

    public static LayerWeights Read(ModelConfig config, IWeightSource source, int layer)
    {
        var (family, offset) = (config.Family, config.Family.NormOffset);
        string Name(string name) => TensorNames.Layer(layer, name);
        Tensor Norm(string name, int size) => source.Vector([Name(name)], [size], offset);

        long[] rows = [config.Heads * config.HeadDim, config.KvHeads * config.HeadDim, config.KvHeads * config.HeadDim];
        var heads = rows[0];
        string[] parts = family.FusedProjections ? [TensorNames.QkvFused] : [TensorNames.Query, TensorNames.Key, TensorNames.Value];
        if (family.FusedProjections)
        {
            rows = [rows.Sum()];
        }

        return new LayerWeights
        {
            AttentionNorm = Norm(TensorNames.InputNorm, config.HiddenSize),
            Qkv = source.Matrix([.. parts.Select(p => Name(p + ".weight"))], rows, config.HiddenSize),
            QkvBias = config.QkvBias ? source.Vector([.. parts.Select(p => Name(p + ".bias"))], rows) : null,
            QueryNorm = family.QkNorm ? Norm(TensorNames.QueryNorm, config.HeadDim) : null,
            KeyNorm = family.QkNorm ? Norm(TensorNames.KeyNorm, config.HeadDim) : null,
            Output = source.Matrix([Name(TensorNames.AttentionOutput + ".weight")], [config.HiddenSize], heads),
            OutputBias = config.OutputBias ? source.Vector([Name(TensorNames.AttentionOutput + ".bias")], [config.HiddenSize]) : null,
            PostAttentionNorm = family.FourNorms ? Norm(TensorNames.PostAttentionNorm, config.HiddenSize) : null,
            MlpNorm = Norm(family.FourNorms ? TensorNames.PreMlpNorm : TensorNames.PostAttentionNorm, config.HiddenSize),
            PostMlpNorm = family.FourNorms ? Norm(TensorNames.PostMlpNorm, config.HiddenSize) : null,
            FeedForward = FeedForward.Read(config, source, layer),
        };
    }
}
