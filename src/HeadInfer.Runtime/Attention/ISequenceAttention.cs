using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Causal attention of one sequence's new tokens to itself and to all before them, and the memory of those.</summary>
internal interface ISequenceAttention : IDisposable
{
    /// <summary>Tokens that the sequence has.</summary>
    int Length { get; }

    /// <summary>Makes room for so many more tokens.</summary>
    /// <exception cref="MemoryBudgetException">There is none; nothing has changed.</exception>
    void Reserve(int tokens);

    /// <summary>Whether new keys and values must be written where <see cref="Stage"/> says; else any place will do.</summary>
    bool Stages { get; }

    /// <summary>Begins a forward pass.</summary>
    /// <param name="tokens">new tokens, which stand at <see cref="Length"/> and on</param>
    /// <param name="outputs">how many of them, the last ones, are asked for in the last layer; in the others all are</param>
    void Begin(int tokens, int outputs);

    /// <summary>Where one layer's new keys and values are written before <see cref="Attend"/>.</summary>
    /// <returns>[kv_heads, 2, tokens, dim], contiguous, valid until that call's end</returns>
    Tensor Stage();

    /// <summary>Attends one layer's new tokens, or the last of them, and keeps the keys and values of all.</summary>
    /// <param name="layer">the layer; they come in order</param>
    /// <param name="queries">[tokens asked for, heads, dim]</param>
    /// <param name="rows">[kv_heads, 2, tokens, dim]: keys and values; from <see cref="Stage"/> where it <see cref="Stages"/></param>
    /// <param name="output">[tokens asked for, heads, dim], written; may be <paramref name="queries"/> itself</param>
    /// <param name="work">told of the work done; may cancel</param>
    void Attend(int layer, Tensor queries, Tensor rows, Tensor output, WorkMeter work);

    /// <summary>Counts tokens that every layer has attended.</summary>
    void Advance(int tokens);

    /// <summary>Forgets the tokens from <paramref name="length"/> on.</summary>
    void Truncate(int length);
}
