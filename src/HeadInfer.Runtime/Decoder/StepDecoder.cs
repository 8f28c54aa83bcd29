using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>The same decoder for a few new tokens of one or several sequences, by kernels for few rows.</summary>
/// <remarks>It takes no memory: what it writes lies in buffers that are made once.</remarks>
internal sealed class StepDecoder
{
    private readonly ModelConfig _config;
    private readonly DecoderWeights _weights;
    private readonly TiledAttention _attention;
    private readonly RowKernels _kernels;
    private readonly RowBuffers _buffers;
    private readonly Rope _rope;
    private readonly double _embeddingScale;
    private readonly LayerNorms[] _norms;
    private readonly RowNorm _finalNorm;

    /// <param name="config">the model</param>
    /// <param name="weights">its weights; not owned</param>
    /// <param name="attention">attends, and keeps keys and values; not owned</param>
    /// <param name="buffers">written; not owned</param>
    public StepDecoder(ModelConfig config, DecoderWeights weights, TiledAttention attention, RowBuffers buffers)
    {
        (_config, _weights, _attention, _kernels, _buffers, _rope) = (config, weights, attention, attention.Rows, buffers, new Rope(config.Rope));
        _norms = [.. weights.Layers.Select(l => new LayerNorms(
            Norm(l.AttentionNorm), Optional(l.QueryNorm), Optional(l.KeyNorm), Optional(l.PostAttentionNorm), Norm(l.MlpNorm), Optional(l.PostMlpNorm)))];
        _finalNorm = Norm(weights.FinalNorm);
        using var scale = tensor(Math.Sqrt(config.HiddenSize), dtype: weights.Type); // rounded as the families' own code does
        using var wide = scale.to(ScalarType.Float32);
        _embeddingScale = config.Family.ScaledEmbedding ? wide.item<float>() : 1;
    }

    /// <summary>Logits of a token.</summary>
    public int VocabularySize => _config.VocabularySize;

    /// <summary>Takes a step. The caller commits its tokens afterwards.</summary>
    /// <param name="batch">what is computed; its sequences have room</param>
    public void Step(Batch batch)
    {
        var rows = batch.Sequences.Count;
        using var scope = NewDisposeScope(); // of views, where rows are staged
        using var pass = _attention.BeginStep(batch);
        _weights.Embedding.Lookup(_kernels, batch.Tokens.Span, _embeddingScale, _buffers.Hidden);
        SetAngles(batch);
        for (var layer = 0; layer < _weights.Layers.Count; layer++)
        {
            var (weights, norms) = (_weights.Layers[layer], _norms[layer]);
            _weights.Enter(layer, _kernels);
            weights.Qkv.Multiply(_kernels, rows, _buffers.Hidden, norms.Attention, _buffers.Heads);
            _kernels.Rotate(rows, _buffers.Heads, norms.Query, norms.Key, pass.Targets(layer));
            pass.Attend(layer, _buffers.Heads, _buffers.Attended);
            _buffers.Add(_kernels, rows, weights.Output, _buffers.Attended, norms.PostAttention);
            weights.FeedForward.AddTo(_kernels, rows, _buffers, norms.Mlp, norms.PostMlp);
            _weights.Leave(layer, _kernels);
        }

        _weights.Output.Multiply(_kernels, rows, _buffers.Hidden, _finalNorm, _buffers.Logits);
    }

    /// <summary>Whether <see cref="ReadBest"/> is there.</summary>
    public bool FindsBest => _kernels.FindsBest && _config.LogitSoftCap is null; // a cap makes equals of what differs

    /// <summary>The best token after each of the last step's, and its logit. Waits for them.</summary>
    /// <param name="best">[tokens of the step], written</param>
    public void ReadBest(Span<(int Token, float Logit)> best)
    {
        _kernels.FindBest(best.Length, _buffers.Logits, best);
        _attention.Host?.Check();
    }

    /// <summary>The logits after a token of the last step. Waits for them.</summary>
    /// <param name="row">which</param>
    /// <param name="logits">[vocabulary], written</param>
    public void ReadLogits(int row, Span<float> logits)
    {
        _kernels.Read(_buffers.Logits, row, _config.LogitSoftCap, logits);
        _attention.Host?.Check();
    }

    private void SetAngles(Batch batch)
    {
        var half = _rope.RotaryDim / 2;
        Span<float> cosines = stackalloc float[RowKernels.MostRows * half], sines = stackalloc float[RowKernels.MostRows * half];
        for (var row = 0; row < batch.Sequences.Count; row++)
        {
            _rope.HalfAngles(batch.Position(row), cosines[(row * half)..], sines[(row * half)..]);
        }

        var all = batch.Sequences.Count * half;
        _kernels.SetAngles(cosines[..all], sines[..all], _rope.RotaryDim);
    }

    private RowNorm Norm(Tensor weight) => new(TensorMemory.Pointer(weight), _config.NormEpsilon);

    private RowNorm? Optional(Tensor? weight) => weight is null ? null : Norm(weight);

    private readonly record struct LayerNorms(RowNorm Attention, RowNorm? Query, RowNorm? Key, RowNorm? PostAttention, RowNorm Mlp, RowNorm? PostMlp);
}
