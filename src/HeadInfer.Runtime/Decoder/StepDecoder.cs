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
    private readonly List<Rope> _ropes = [], _longRopes = []; // those that differ, of each rotation
    private readonly int[] _ropeOf; // [layer]
    private readonly IReadOnlyDictionary<int, int> _kvOf, _stateOf; // layer -> which of those that attend, or with a state
    private readonly List<StateRows> _stateRows = []; // of a layer
    private readonly double _embeddingScale;
    private readonly LayerNorms[] _norms;
    private readonly (RowBuffer Heads, RowBuffer Attended)[] _heads; // [layer] as wide as its heads
    private readonly RowNorm _finalNorm;

    /// <param name="weights">its weights; not owned</param>
    /// <param name="attention">attends, and keeps keys and values; not owned</param>
    /// <param name="buffers">written; not owned</param>
    public StepDecoder(ModelConfig config, DecoderWeights weights, TiledAttention attention, RowBuffers buffers)
    {
        (_config, _weights, _attention, _kernels, _buffers) = (config, weights, attention, attention.Rows, buffers);
        _ropeOf = Rope.Of(config, _ropes);
        (_kvOf, _stateOf) = (Numbered(config.AttendingLayers), Numbered(config.StateLayers.Order()));
        Rope.Of(config, _longRopes, rotation: 1);
        _norms = [.. weights.Layers.Select(l => new LayerNorms(
            Optional(l.AttentionNorm), OfHeads(l.QueryNorm), OfHeads(l.KeyNorm), Optional(l.PostAttentionNorm), Optional(l.MlpNorm), Optional(l.PostMlpNorm), OfHeads(l.ValueNorm)))];
        _heads = [.. Enumerable.Range(0, config.Layers).Select(l => (buffers.Heads.Narrow(config.KeepsKeys(l) ? config.HeadsOf(l).Width : config.HeadsOf(l).Queries), buffers.Attended.Narrow(config.HeadsOf(l).Queries)))];
        _finalNorm = Norm(weights.FinalNorm);
        using var scale = tensor(config.EmbeddingScale, dtype: weights.Type); // rounded as Gemma's own code does
        using var wide = scale.to(ScalarType.Float32);
        _embeddingScale = config.Family.ScaledEmbedding ? wide.item<float>() : config.EmbeddingScale;
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
        SetAngles(batch);
        _weights.Embedding.Lookup(_kernels, batch.Tokens.Span, _embeddingScale, _buffers.Hidden);
        _weights.PerLayer?.Of(_kernels, batch.Tokens.Span, _buffers);
        var states = States(batch);
        var family = _config.Family;
        Span<float> growth = stackalloc float[RowKernels.MostRows], scale = stackalloc float[RowKernels.MostRows];
        var grows = Growth(batch, growth[..rows]);
        for (var layer = 0; layer < _weights.Layers.Count; layer++)
        {
            var (weights, norms) = (_weights.Layers[layer], _norms[layer]);
            _weights.Enter(layer, _kernels);
            if (weights.Recurrent is { } recurrent)
            {
                recurrent.Forward(_kernels, rows, _buffers, norms.Attention, Rows(states, _stateOf[layer]));
                states.ForEach(s => s.State.Taken[_stateOf[layer]] = s.Sequence.Length);
            }

            if (!_config.Attends(layer))
            {
                AddState(weights, norms, rows);
                weights.FeedForward.AddTo(_kernels, rows, _buffers, norms.Mlp, norms.PostMlp);
                _weights.Leave(layer, _kernels);
                continue;
            }

            var (shape, (heads, attended)) = (_config.HeadsOf(layer), _heads[layer]);
            var (queries, keys) = (shape.Queries, shape.Keys);
            _kernels.Heads = shape;
            weights.Qkv?.Multiply(_kernels, rows, _buffers.Hidden, norms.Attention, heads);
            weights.Latent?.Multiply(_kernels, rows, _buffers.Hidden, norms.Attention, _buffers.Latent!, heads);
            weights.AttentionGate?.Multiply(_kernels, rows, _buffers.Hidden, norms.Attention, _buffers.AttentionGates!);
            if (_config.QkNorm == HeadNorm.Own)
            {
                for (var head = 0; head < shape.Count + shape.KvHeads; head++)
                {
                    var (its, at) = head < shape.Count ? (norms.Query!.Value, head) : (norms.Key!.Value, head - shape.Count);
                    _kernels.NormPart(rows, heads, head * shape.Dim, shape.Dim, its with { Weight = its.Weight + (at * shape.Dim * DataTypes.Size(_weights.Type)) });
                }

                norms = norms with { Query = null, Key = null };
            }
            else if (_config.QkNorm == HeadNorm.Whole)
            {
                _kernels.NormPart(rows, heads, 0, queries, norms.Query!.Value);
                _kernels.NormPart(rows, heads, queries, keys, norms.Key!.Value);
                norms = norms with { Query = null, Key = null };
            }

            _kernels.Rotate(rows, heads, _ropeOf[layer], norms.Query, norms.Key, _config.KeepsKeys(layer) ? pass.Targets(_kvOf[layer]) : [], norms.Value);
            if (grows && _config.GrowsQueries(layer))
            {
                _kernels.ScaleRows(heads, queries, growth[..rows]);
            }

            if (weights.QueryFactors is { } factors)
            {
                heads.Memory.narrow(0, 0, rows).narrow(1, 0, queries).view(rows, shape.Count, shape.Dim).mul_(factors);
            }

            pass.Attend(_kvOf[layer], heads, attended);
            if (weights.AttentionGate is not null)
            {
                _kernels.GateRows(rows, _buffers.AttentionGates!, attended, queries);
            }

            if (family.ParallelBlocks)
            {
                weights.FeedForward.AddTo(_kernels, rows, _buffers, norms.Mlp, norms.PostMlp); // of what attention has looked at
            }

            AddState(weights, norms, rows);
            if (_config.AttendedScale != 1)
            {
                scale[..rows].Fill((float)_config.AttendedScale);
                _kernels.ScaleRows(attended, queries, scale[..rows]);
            }

            _buffers.Add(_kernels, rows, weights.Output!, attended, norms.PostAttention);
            if (!family.ParallelBlocks)
            {
                weights.FeedForward.AddTo(_kernels, rows, _buffers, norms.Mlp, norms.PostMlp);
            }

            weights.Told?.AddTo(_kernels, rows, _buffers);
            if (weights.Scale != 1)
            {
                scale[..rows].Fill(weights.Scale);
                _kernels.ScaleRows(_buffers.Hidden, _config.HiddenSize, scale[..rows]);
            }

            _weights.Leave(layer, _kernels);
        }

        _weights.Output.Multiply(_kernels, rows, _buffers.Hidden, _finalNorm, _buffers.Logits);
        foreach (var (_, sequence, _, _) in states)
        {
            sequence.KeepAtEnd();
        }
    }

    /// <summary>Whether <see cref="ReadBest"/> is there.</summary>
    public bool FindsBest => _kernels.FindsBest && _config.LogitSoftCap is null && _config.LogitScale == 1; // a cap makes equals of what differs, and so does a factor

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
        _kernels.Read(_buffers.Logits, row, _config.LogitScale == 1 ? _config.LogitSoftCap : null, logits);
        if (_config.LogitScale != 1)
        {
            HostActivations.Scale(logits, (float)_config.LogitScale, (float?)_config.LogitSoftCap);
        }

        _attention.Host?.Check();
    }

    /// <summary>Numbers layers of a kind.</summary>
    internal static IReadOnlyDictionary<int, int> Numbered(IEnumerable<int> layers) => layers.Index().ToDictionary(l => l.Item, l => l.Index);

    // What a layer's state gives; attention has looked at the same.
    private void AddState(LayerWeights weights, LayerNorms norms, int rows)
    {
        if (weights.StateOutput is { } output)
        {
            _buffers.Add(_kernels, rows, output, _buffers.Recurrent!.Outputs, norms.PostAttention);
        }
    }

    // What is remembered of each sequence of a batch, and its rows.
    private List<(SequenceState State, Sequence Sequence, int First, int Count)> States(Batch batch)
    {
        var states = new List<(SequenceState, Sequence, int, int)>();
        for (int row = 0, end; _stateOf.Count > 0 && row < batch.Sequences.Count; row = end)
        {
            for (end = row + 1; end < batch.Sequences.Count && batch.FirstRow(end) == row; end++)
            {
            }

            states.Add((batch.Sequences[row].Remember(), batch.Sequences[row], row, end - row));
        }

        return states;
    }

    // The same of a layer, whose states take in all tokens that their sequences have.
    private List<StateRows> Rows(List<(SequenceState State, Sequence Sequence, int First, int Count)> states, int layer)
    {
        _stateRows.Clear();
        foreach (var (state, sequence, first, count) in states)
        {
            _stateRows.Add(new StateRows(first, count, TensorMemory.Pointer(state.Memory) + (nint)(layer * state.Memory.shape[1] * sizeof(float)), state.Taken[layer], sequence.Length));
        }

        return _stateRows;
    }

    private void SetAngles(Batch batch)
    {
        var most = RowKernels.MostRows * _ropes.Max(r => r.RotaryDim) / 2;
        Span<float> cosines = stackalloc float[most], sines = stackalloc float[most];
        for (var set = 0; set < _ropes.Count; set++)
        {
            var half = _ropes[set].RotaryDim / 2;
            for (var row = 0; row < batch.Sequences.Count; row++)
            {
                (batch.Sequences[row].Rotation == 0 ? _ropes : _longRopes)[set].HalfAngles(batch.Position(row), cosines[(row * half)..], sines[(row * half)..]);
            }

            var all = batch.Sequences.Count * half;
            _kernels.SetAngles(set, cosines[..all], sines[..all], _ropes[set].RotaryDim);
        }
    }

    // Factors of the rows' queries; whether any is none.
    private bool Growth(Batch batch, Span<float> factors)
    {
        for (var row = 0; row < factors.Length; row++)
        {
            factors[row] = (float)_config.QueryScale(batch.Position(row));
        }

        return factors.ContainsAnyExcept(1f);
    }

    private RowNorm Norm(NormWeights norm) => Norm(norm.Weight) with { Bias = norm.Bias is null ? 0 : TensorMemory.Pointer(norm.Bias) };

    private RowNorm Norm(Tensor weight) => new(TensorMemory.Pointer(weight), _config.NormEpsilon, _config.Family.CenteredNorms);

    private RowNorm? Optional(NormWeights? norm) => norm is null ? null : Norm(norm);

    private RowNorm? OfHeads(Tensor? weight) => weight is null ? null : Norm(weight);

    private readonly record struct LayerNorms(RowNorm? Attention, RowNorm? Query, RowNorm? Key, RowNorm? PostAttention, RowNorm? Mlp, RowNorm? PostMlp, RowNorm? Value);
}
