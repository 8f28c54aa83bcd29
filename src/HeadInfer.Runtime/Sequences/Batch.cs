namespace HeadInfer.Runtime.Sequences;

/// <summary>What a forward pass does.</summary>
internal enum Phase
{
    /// <summary>Reads many tokens of one sequence.</summary>
    Prefill,

    /// <summary>Computes one new token of each of several sequences.</summary>
    Decode,
}

/// <summary>What one forward pass takes. New tokens stand at their sequences' lengths; the caller commits them afterwards.</summary>
internal sealed class Batch
{
    private Batch(Phase phase, IReadOnlyList<Sequence> sequences, ReadOnlyMemory<int> tokens, int outputs) =>
        (Phase, Sequences, Tokens, Outputs) = (phase, sequences, tokens, outputs);

    public Phase Phase { get; }

    /// <summary>One in prefill; in decode one for each token.</summary>
    public IReadOnlyList<Sequence> Sequences { get; }

    public ReadOnlyMemory<int> Tokens { get; }

    /// <summary>How many of the tokens, the last ones, are wanted at the end. In the last layer the others leave keys and values alone.</summary>
    public int Outputs { get; }

    /// <summary>Reads tokens of a sequence.</summary>
    public static Batch Prefill(Sequence sequence, ReadOnlyMemory<int> tokens, int outputs) => new(Phase.Prefill, [sequence], tokens, outputs);

    /// <summary>Takes a step of sequences, each with a token of its own.</summary>
    public static Batch Decode(IReadOnlyList<Sequence> sequences, ReadOnlyMemory<int> tokens) => new(Phase.Decode, sequences, tokens, tokens.Length);
}
