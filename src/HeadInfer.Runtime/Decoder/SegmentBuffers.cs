using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
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
    private readonly IAttentionPass _attention;
    private readonly int _tokens;
    private readonly Tensor? _all;     // room for [tokens, heads + 2 kv_heads, dim], for a segment of several chunks that is not staged
    private readonly Tensor? _queries; // room for [tokens, heads, dim], for a staged segment
    private HeadShape _heads;          // of the layer
    private bool _keeps;               // whether its keys and values are its own
    private Tensor? _seen;             // [tokens, heads + 2 kv_heads, dim] of the layer, where not staged
    private Tensor? _rows;             // [kv_heads, 2, tokens, dim] of the layer

    /// <param name="attention">the forward pass's</param>
    /// <param name="tokens">tokens of the segment</param>
    /// <param name="inOneChunk">whether every layer projects all of them at once</param>
    /// <param name="device">where they are computed</param>
    public SegmentBuffers(ModelConfig config, IAttentionPass attention, int tokens, bool inOneChunk, ScalarType type, torch.Device device)
    {
        (_attention, _tokens) = (attention, tokens);
        if (attention.Stages)
        {
            _queries = empty([(long)tokens * config.HeadKinds.Max(h => h.Queries)], type, device);
        }
        else if (!inOneChunk)
        {
            _all = empty([(long)tokens * config.HeadKinds.Max(h => h.Width)], type, device);
        }
    }

    /// <summary>Whether keys and values go where attention wants them.</summary>
    public bool IsStaged => _queries is not null;

    /// <summary>[tokens, heads, dim]; attention's output takes their place.</summary>
    public Tensor Queries => IsStaged ? Of(_queries!, _heads.Count) : _seen!.narrow(1, 0, _heads.Count);

    /// <summary>[kv_heads, 2, tokens, dim]; null where they are an earlier layer's.</summary>
    public Tensor? KeyValues => !_keeps ? null : _rows ?? Rows(_seen!.narrow(1, _heads.Count, 2 * _heads.KvHeads));

    /// <param name="number">which of those that attend it is</param>
    /// <param name="keeps">whether its keys and values are its own</param>
    public void Begin(int number, HeadShape heads, bool keeps)
    {
        (_heads, _keeps) = (heads, keeps);
        _rows = IsStaged && keeps ? _attention.Stage(number) : null;
        _seen = _all is null ? null : Of(_all, heads.Count + (keeps ? 2 * heads.KvHeads : 0));
    }

    /// <summary>Takes a chunk of projected heads, rotated.</summary>
    /// <param name="heads">[tokens of the chunk, heads + 2 kv_heads or 2 kv_heads, dim]; heads alone where keys are an earlier layer's</param>
    /// <param name="start">where the chunk begins in the segment</param>
    public void Take(Tensor heads, int start)
    {
        var (count, queries) = (heads.shape[0], (int)heads.shape[1] - (_keeps ? 2 * _heads.KvHeads : 0));
        if (IsStaged)
        {
            Queries.narrow(0, start, count).narrow(1, 0, queries).copy_(heads.narrow(1, 0, queries));
            if (_keeps)
            {
                _rows!.narrow(2, start, count).copy_(Rows(heads.narrow(1, queries, 2 * _heads.KvHeads)));
            }
        }
        else if (_all is not null)
        {
            _seen!.narrow(0, start, count).narrow(1, _heads.Count - queries, heads.shape[1]).copy_(heads);
        }
        else
        {
            _seen = heads.MoveToOuterDisposeScope();
        }
    }

    // [tokens, 2 kv_heads, dim] -> [kv_heads, 2, tokens, dim], a view
    private Tensor Rows(Tensor keysAndValues) => keysAndValues.unflatten(1, [2, _heads.KvHeads]).permute(2, 1, 0, 3);

    private Tensor Of(Tensor room, int heads) => room.narrow(0, 0, (long)_tokens * heads * _heads.Dim).view(_tokens, heads, _heads.Dim);
}
