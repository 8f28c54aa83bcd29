namespace HeadInfer.Runtime.Sequences;

/// <summary>What a forward pass does.</summary>
internal enum Phase
{
    /// <summary>Reads many tokens of one sequence.</summary>
    Prefill,

    /// <summary>Computes a few new tokens, of one or several sequences.</summary>
    Decode,
}

/// <summary>What one forward pass takes. New tokens stand at their sequences' lengths; the caller commits them afterwards.</summary>
internal sealed class Batch
{
    private readonly int[] _firstRows; // of the same sequence

    private Batch(Phase phase, IReadOnlyList<Sequence> sequences, ReadOnlyMemory<int> tokens, int outputs)
    {
        (Phase, Sequences, Tokens, Outputs, _firstRows) = (phase, sequences, tokens, outputs, new int[sequences.Count]);
        for (var row = 1; row < sequences.Count; row++)
        {
            _firstRows[row] = sequences[row] == sequences[row - 1] ? _firstRows[row - 1] : row;
        }
    }

    public Phase Phase { get; }

    /// <summary>One in prefill; in decode one for each token. That is a row.</summary>
    public IReadOnlyList<Sequence> Sequences { get; }

    public ReadOnlyMemory<int> Tokens { get; }

    /// <summary>How many of the tokens, the last ones, are wanted at the end. In the last layer the others leave keys and values alone.</summary>
    public int Outputs { get; }

    /// <summary>The first row of a row's sequence.</summary>
    public int FirstRow(int row) => _firstRows[row];

    /// <summary>Where a row's token stands: behind the tokens of its sequence, and behind the rows of it that come before.</summary>
    public int Position(int row) => Sequences[row].Length + row - _firstRows[row];

    public static Batch Prefill(Sequence sequence, ReadOnlyMemory<int> tokens, int outputs) => new(Phase.Prefill, [sequence], tokens, outputs);

    /// <summary>Takes a step of sequences, each with one token or several in their order.</summary>
    /// <param name="sequences">of each token the one that it is of; those of one are neighbours</param>
    /// <param name="tokens">of a sequence the next one, and perhaps a draft of those that follow it</param>
    public static Batch Decode(IReadOnlyList<Sequence> sequences, ReadOnlyMemory<int> tokens) => new(Phase.Decode, sequences, tokens, tokens.Length);
}
