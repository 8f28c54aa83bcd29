using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Causal attention of new tokens to themselves and to all that their sequences have.</summary>
internal interface IBatchAttention
{
    /// <summary>Begins a forward pass. Passes nest: one that begins in a gap of another ends before that goes on.</summary>
    /// <param name="batch">sequences, with room for their new tokens</param>
    /// <param name="work">told of the work done; may cancel</param>
    IAttentionPass Begin(Batch batch, WorkMeter work);
}

/// <summary>Attention of one forward pass. Disposed before the batch is committed.</summary>
internal interface IAttentionPass : IDisposable
{
    /// <summary>Whether new keys and values must be written where <see cref="Stage"/> says; else any place will do.</summary>
    bool Stages { get; }

    /// <summary>Where one layer's new keys and values are written before <see cref="Attend"/>.</summary>
    /// <param name="layer">the layer; it keeps them</param>
    /// <returns>[kv_heads, 2, tokens, dim], contiguous, valid until that call's end</returns>
    Tensor Stage(int layer);

    /// <summary>Attends one layer's new tokens, or the last of them, and keeps the keys and values of all.</summary>
    /// <param name="layer">the layer; they come in order</param>
    /// <param name="queries">[tokens asked for, heads, dim]; in the last layer the batch's outputs are asked for, in others all tokens</param>
    /// <param name="kv">[kv_heads, 2, tokens, dim]; from <see cref="Stage"/> where it <see cref="Stages"/>. Null for a layer that attends what an earlier one keeps</param>
    /// <param name="output">[tokens asked for, heads, dim], written; may be <paramref name="queries"/> itself</param>
    void Attend(int layer, Tensor queries, Tensor? kv, Tensor output);
}
