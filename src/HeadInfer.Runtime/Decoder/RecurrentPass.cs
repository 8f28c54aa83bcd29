using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>What layers come to remember in a forward pass of many tokens. It counts when their sequence commits them.</summary>
internal sealed class RecurrentPass : IDisposable
{
    private const int Slots = 8;

    private readonly Sequence _sequence;
    private readonly SequenceState _before, _next;
    private readonly SortedDictionary<int, SequenceState> _ends = []; // by where blocks end that the pass fills
    private readonly List<Slot> _slots = []; // on the way from a device with memory of its own, which nothing waits for
    private readonly Queue<(int Slot, Tensor To)> _coming = [];
    private Tensor? _leaving; // a layer's on the device, before its copy is queued
    private int _sent;
    private bool _kept;

    /// <param name="sequence">has room for the tokens</param>
    /// <param name="tokens">of the pass</param>
    public RecurrentPass(Sequence sequence, int tokens)
    {
        (_sequence, _before) = (sequence, sequence.Remember());
        _next = new SequenceState(sequence.Pool.State, Device.Torch);
        Finish(_next, sequence.Length + tokens);
    }

    public int BlockTokens => _sequence.Pool.BlockTokens;

    private Compute.Device Device => _sequence.Pool.Device;

    /// <summary>Begins a layer.</summary>
    /// <param name="layer">its weights</param>
    /// <param name="number">which of the layers with states it is</param>
    public RecurrentScan Begin(RecurrentLayer layer, int number) => layer.Begin(_before, _next, number);

    /// <summary>What keeps a layer's state at the ends of blocks.</summary>
    public Action<int, RecurrentScan> AtEnd(int number) => (length, scan) =>
    {
        if (!_ends.TryGetValue(length, out var end))
        {
            _ends[length] = end = new SequenceState(_sequence.Pool.State, CPU);
            Finish(end, length);
        }

        if (!Device.HasOwnMemory)
        {
            using var own = end.Memory.select(0, number);
            scan.Write(own);
            return;
        }

        if (_coming.Count == Slots)
        {
            Receive();
        }

        if (_slots.Count < Slots)
        {
            _slots.Add(new Slot(_sequence.Pool.State.Numbers, Device));
        }

        var slot = _sent++ % Slots;
        scan.Write(_leaving ??= zeros([_sequence.Pool.State.Numbers], ScalarType.Float32, Device.Torch).DetachFromDisposeScope());
        Device.CopyToHost(_leaving, _slots[slot].Memory);
        Device.Record(WorkQueue.Compute, _slots[slot].Arrived);
        _coming.Enqueue((slot, end.Memory.select(0, number).DetachFromDisposeScope()));
    };

    /// <summary>Gives it to the sequence.</summary>
    public void Keep()
    {
        while (_coming.Count > 0)
        {
            Receive();
        }

        _sequence.Prepare(_next, _ends.Select(e => (e.Key, e.Value)));
        _kept = true;
    }

    public void Dispose()
    {
        try
        {
            foreach (var (slot, _) in _coming)
            {
                Device.Block(_slots[slot].Arrived); // it is written to until then
            }
        }
        finally
        {
            foreach (var (_, to) in _coming)
            {
                to.Dispose();
            }

            _slots.ForEach(s => s.Dispose());
            _leaving?.Dispose();
            if (!_kept)
            {
                _next.Dispose();
                _ends.Values.ToList().ForEach(e => e.Dispose());
            }
        }
    }

    private void Receive()
    {
        var (slot, to) = _coming.Peek(); // ours until it is there
        Device.Block(_slots[slot].Arrived);
        to.copy_(_slots[slot].Memory);
        _coming.Dequeue();
        to.Dispose();
    }

    private static void Finish(SequenceState state, int length)
    {
        state.Length = length;
        Array.Fill(state.Taken, length);
    }

    /// <summary>Host memory that a layer's numbers come to, pinned where the system locks it.</summary>
    private sealed class Slot : IDisposable
    {
        private readonly IDisposable? _pin;

        public Slot(int numbers, Compute.Device device)
        {
            Arrived = device.CreateFence();
            Memory = empty([numbers], ScalarType.Float32).DetachFromDisposeScope();
            _pin = device.Pin(TensorMemory.Pointer(Memory), numbers * sizeof(float));
        }

        public Tensor Memory { get; }

        public Fence Arrived { get; }

        public void Dispose()
        {
            Arrived.Dispose();
            _pin?.Dispose();
            Memory.Dispose();
        }
    }
}
