using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using TorchSharp;
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
    private readonly IAttentionPass _attention;
    private readonly Tensor? _all;     // [tokens, heads + 2 kv_heads, dim], for a segment of several chunks that is not staged
    private readonly Tensor? _queries; // [tokens, heads, dim], for a staged segment
    private Tensor? _seen;             // [tokens, heads + 2 kv_heads, dim] of the layer, where not staged
    private Tensor? _rows;             // [kv_heads, 2, tokens, dim] of the layer

    /// <param name="config">the model</param>
    /// <param name="attention">the forward pass's</param>
    /// <param name="tokens">tokens of the segment</param>
    /// <param name="inOneChunk">whether every layer projects all of them at once</param>
    /// <param name="type">element type</param>
    /// <param name="device">where they are computed</param>
    public SegmentBuffers(ModelConfig config, IAttentionPass attention, int tokens, bool inOneChunk, ScalarType type, torch.Device device)
    {
        (_config, _attention) = (config, attention);
        if (attention.Stages)
        {
            _queries = empty([tokens, config.Heads, config.HeadDim], type, device);
        }
        else if (!inOneChunk)
        {
            _all = empty([tokens, config.Heads + (2 * config.KvHeads), config.HeadDim], type, device);
        }
    }

    /// <summary>Whether keys and values go where attention wants them.</summary>
    public bool IsStaged => _queries is not null;

    /// <summary>[tokens, heads, dim]; attention's output takes their place.</summary>
    public Tensor Queries => _queries ?? _seen!.narrow(1, 0, _config.Heads);

    /// <summary>[kv_heads, 2, tokens, dim].</summary>
    public Tensor KeyValues => _rows ?? Rows(_seen!.narrow(1, _config.Heads, 2 * _config.KvHeads));

    /// <summary>Begins a layer.</summary>
    public void Begin() => (_seen, _rows) = (_all, IsStaged ? _attention.Stage() : null);

    /// <summary>Takes a chunk of projected heads, rotated.</summary>
    /// <param name="heads">[tokens of the chunk, heads + 2 kv_heads or 2 kv_heads, dim]</param>
    /// <param name="start">where the chunk begins in the segment</param>
    public void Take(Tensor heads, int start)
    {
        var (count, queries) = (heads.shape[0], (int)heads.shape[1] - (2 * _config.KvHeads));
        if (IsStaged)
        {
            _queries!.narrow(0, start, count).narrow(1, 0, queries).copy_(heads.narrow(1, 0, queries));
            KeyValues.narrow(2, start, count).copy_(Rows(heads.narrow(1, queries, 2 * _config.KvHeads)));
        }
        else if (_all is not null)
        {
            _all.narrow(0, start, count).narrow(1, _config.Heads - queries, heads.shape[1]).copy_(heads);
        }
        else
        {
            _seen = heads.MoveToOuterDisposeScope();
        }
    }

    // [tokens, 2 kv_heads, dim] -> [kv_heads, 2, tokens, dim], a view
    private Tensor Rows(Tensor keysAndValues) => keysAndValues.unflatten(1, [2, _config.KvHeads]).permute(2, 1, 0, 3);
}
