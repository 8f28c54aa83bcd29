using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Decoder;

/// <summary>What layers come to remember in a forward pass of many tokens. It counts when their sequence commits them.</summary>
internal sealed class DeltaPass : IDisposable
{
    private readonly Sequence _sequence;
    private readonly SequenceState _before, _next;
    private readonly SortedDictionary<int, SequenceState> _ends = []; // by where blocks end that the pass fills
    private readonly int _end;
    private bool _kept;

    /// <param name="sequence">has room for the tokens</param>
    /// <param name="tokens">of the pass</param>
    public DeltaPass(Sequence sequence, int tokens)
    {
        (_sequence, _before, _end) = (sequence, sequence.Remember(), sequence.Length + tokens);
        _next = new SequenceState(sequence.Pool.State, sequence.Pool.Device.Torch);
        Finish(_next, _end);
    }

    public int BlockTokens => _sequence.Pool.BlockTokens;

    /// <summary>Begins a layer.</summary>
    /// <param name="layer">its weights</param>
    /// <param name="number">which of the layers with states it is</param>
    public DeltaScan Begin(DeltaLayer layer, int number) => layer.Begin(_before, _next, number);

    /// <summary>What keeps a layer's state at the ends of blocks.</summary>
    public Action<int, DeltaScan> AtEnd(int number) => (length, scan) =>
    {
        if (!_ends.TryGetValue(length, out var end))
        {
            _ends[length] = end = new SequenceState(_sequence.Pool.State, TorchSharp.torch.CPU);
            Finish(end, length);
        }

        using var memory = end.Memory.select(0, number);
        scan.Write(memory);
    };

    /// <summary>Gives it to the sequence.</summary>
    public void Keep()
    {
        _sequence.Prepare(_next, _ends.Select(e => (e.Key, e.Value)));
        _kept = true;
    }

    public void Dispose()
    {
        if (!_kept)
        {
            _next.Dispose();
            _ends.Values.ToList().ForEach(e => e.Dispose());
        }
    }

    private static void Finish(SequenceState state, int length)
    {
        state.Length = length;
        Array.Fill(state.Taken, length);
    }
}
