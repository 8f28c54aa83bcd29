namespace HeadInfer.Runtime.Sequences;

/// <summary>The pages of all layers for one run of tokens: the unit that sequences share.</summary>
/// <remarks>
/// Rows are only ever added: those below <see cref="Filled"/> never change, so any number of sequences may read them. A
/// sequence that wants to go on otherwise takes a copy. All but the rows is guarded by the <see cref="BlockPool"/>.
/// </remarks>
internal sealed class Block(long number, int capacity, Page[] pages)
{
    private readonly int[] _tokens = new int[capacity];

    /// <summary>Tells blocks apart; later ones have greater numbers.</summary>
    public long Number => number;

    /// <summary>[layer]</summary>
    public IReadOnlyList<Page> Pages => pages;

    /// <summary>Tokens whose rows every layer has.</summary>
    public int Filled { get; private set; }

    public bool IsFull => Filled == capacity;

    /// <summary>The tokens that the rows were computed from.</summary>
    public ReadOnlySpan<int> Tokens => _tokens.AsSpan(0, Filled);

    /// <summary>Sequences that have it.</summary>
    public int Users { get; set; }

    /// <summary>The one sequence that may add rows. Others that have them all must copy the block to go on.</summary>
    public Sequence? Writer { get; set; }

    /// <summary>What layers without keys and values remember after some of its tokens or all, in host memory; null if that is not kept. Owned.</summary>
    public SequenceState? State { get; set; }

    /// <summary>Its place in the index; null while it has no tokens, or where another block there has the same ones.</summary>
    public PrefixNode? Node { get; set; }

    /// <summary>Counts rows that every layer has written.</summary>
    public void Append(ReadOnlySpan<int> tokens)
    {
        tokens.CopyTo(_tokens.AsSpan(Filled));
        Filled += tokens.Length;
    }
}
