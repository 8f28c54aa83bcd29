using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>Where a layer's queries, keys and values of a whole segment stand, from its projections to its output.</summary>
/// <remarks>
/// Where attention stages new rows, keys and values go there head-major; else they stay beside the queries as the
/// projection made them, and a segment of one chunk is not copied at all.
/// </remarks>
internal sealed class SegmentBuffers
{
    private readonly ModelConfig _config;
    private readonly ISequenceAttention _attention;
    private readonly int _tokens;
    private readonly Tensor? _all; // [tokens, heads + 2 kv_heads, dim], for a segment of several chunks that is not staged
    private readonly Tensor? _staged; // [tokens, heads, dim]: the queries of a staged segment
    private Tensor? _queries, _keyValues;

    public SegmentBuffers(ModelConfig config, ISequenceAttention attention, int tokens, int chunkTokens, ScalarType type, Device device)
    {
        (_config, _attention, _tokens) = (config, attention, tokens);
        IsStaged = attention.Stages;
        if (IsStaged)
        {
            _staged = empty([tokens, config.Heads, config.HeadDim], type, device);
        }
        else if (tokens > chunkTokens)
        {
            _all = empty([tokens, config.Heads + (2 * config.KvHeads), config.HeadDim], type, device);
        }
    }

    /// <summary>Whether keys and values go where attention wants them.</summary>
    public bool IsStaged { get; }

    /// <summary>[tokens, heads, dim]; attention's output takes their place.</summary>
    public Tensor Queries => _queries!;

    /// <summary>[kv_heads, 2, tokens, dim].</summary>
    public Tensor KeyValues => _keyValues!;

    /// <summary>Begins a layer.</summary>
    public void Begin()
    {
        if (IsStaged)
        {
            (_queries, _keyValues) = (_staged, _attention.Stage(_tokens));
        }
        else if (_all is not null)
        {
            See(_all);
        }
    }

    /// <summary>Takes a chunk of projected heads, rotated.</summary>
    /// <param name="all">[tokens of the chunk, heads + 2 kv_heads, dim]; the segment's own where that is one chunk</param>
    /// <param name="start">where the chunk begins in the segment</param>
    public void Take(Tensor all, int start)
    {
        var count = all.shape[0];
        if (IsStaged)
        {
            Queries.narrow(0, start, count).copy_(all.narrow(1, 0, _config.Heads));
            KeyValues.narrow(2, start, count).copy_(Rows(all));
        }
        else if (_all is not null)
        {
            _all.narrow(0, start, count).copy_(all);
        }
        else
        {
            See(all.MoveToOuterDisposeScope());
            _queries!.MoveToOuterDisposeScope();
            _keyValues!.MoveToOuterDisposeScope();
        }
    }

    private void See(Tensor all) => (_queries, _keyValues) = (all.narrow(1, 0, _config.Heads), Rows(all));

    // [tokens, heads + 2 kv_heads, dim] -> [kv_heads, 2, tokens, dim], a view
    private Tensor Rows(Tensor all) =>
        all.narrow(1, _config.Heads, 2 * _config.KvHeads).unflatten(1, [2, _config.KvHeads]).permute(2, 1, 0, 3);
}
