using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Weights;

/// <summary>Layers whose weights lie in host memory, and come to the device one after another, ahead of their use. Of a mixture it is the experts.</summary>
/// <remarks>
/// Two slots of device memory take turns: a layer's place in the order says which is its own, so its matrices have one address.
/// A pass enters a layer before it computes with it, and again after others may have computed, who may have needed the slot.
/// What is queued on the device before a slot is filled has ended when the copy begins. Belongs to the engine's thread.
/// </remarks>
internal sealed class WeightStream : IDisposable
{
    private const int Slots = WeightNeeds.Slots;
    private const int Alignment = 256; // bytes, of every matrix

    private readonly Device _device;
    private readonly ScalarType _type;
    private readonly Slot[] _slots;
    private readonly SortedDictionary<int, Layer> _layers = []; // by their numbers
    private readonly List<int> _order = [];

    /// <param name="type">the type that is computed in</param>
    /// <param name="slot">the most that a layer takes</param>
    public WeightStream(Device device, ScalarType type, ByteSize slot)
    {
        (_device, _type) = (device, type);
        var made = new Parts();
        try
        {
            _slots = [.. Enumerable.Range(0, Slots).Select(_ => made.Add(new Slot(empty([Elements(slot.Bytes)], type, device.Torch).DetachFromDisposeScope(), device)))];
        }
        catch
        {
            made.TakeBack();
            throw;
        }
    }

    /// <summary>Bytes of a matrix in a layer's memory.</summary>
    public static long Padded(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;

    /// <summary>Begins a layer; they come in order. Its memory is taken piece by piece.</summary>
    /// <param name="number">the layer</param>
    /// <param name="size">what its matrices take, each padded</param>
    public void Begin(int number, ByteSize size)
    {
        var layer = new Layer(_order.Count % Slots, empty([Elements(size.Bytes)], _type).DetachFromDisposeScope());
        _layers.Add(number, layer);
        _order.Add(number);
        layer.Pin = _device.Pin(TensorMemory.Pointer(layer.Host), layer.Host.NumberOfElements * layer.Host.ElementSize); // before it is read: pinning touches every page
    }

    /// <summary>Memory for a matrix of the layer that was begun last.</summary>
    /// <returns>where it is read to, on the host, and where it will lie when it is computed with; both of the type that is computed in</returns>
    public (Tensor Host, Tensor Device) Take(long bytes)
    {
        var layer = _layers[_order[^1]];
        var (start, count) = (layer.Taken, Elements(bytes));
        layer.Taken += Elements(Padded(bytes));
        return (layer.Host.narrow(0, start, count), _slots[layer.Slot].Memory.narrow(0, start, count));
    }

    /// <summary>Whether the device sees the memory of the layer that was begun last by its addresses.</summary>
    public bool IsSeen => !_device.HasOwnMemory || (_device.WritesHostMemory && _layers[_order[^1]].Pin is not null);

    /// <summary>What was begun is read: fetches the first layers.</summary>
    public void Start()
    {
        foreach (var number in _order.Take(Slots))
        {
            Fill(number);
        }
    }

    /// <summary>What is queued from now on computes with a layer. Nothing to do for one that always lies on the device.</summary>
    public void Enter(int number)
    {
        if (!_layers.TryGetValue(number, out var layer))
        {
            return;
        }

        var slot = _slots[layer.Slot];
        if (slot.Holds != number)
        {
            Fill(number);
        }

        _device.Wait(WorkQueue.Compute, slot.Filled);
    }

    /// <summary>A pass is through with a layer: its slot is for the next one that has the same.</summary>
    public void Leave(int number)
    {
        if (_layers.ContainsKey(number) && _order.Count > Slots)
        {
            var place = _order.IndexOf(number);
            Fill(_order[place + Slots < _order.Count ? place + Slots : place % Slots]);
        }
    }

    public void Dispose()
    {
        Layer[] layers = [.. _layers.Values];
        _layers.Clear();
        Parts.Dispose([_device.Drain, .. layers.SelectMany(l => (Action[])[() => l.Pin?.Dispose(), l.Host.Dispose]), .. _slots.Select(s => (Action)s.Dispose)]);
    }

    private long Elements(long bytes) => (bytes + DataTypes.Size(_type) - 1) / DataTypes.Size(_type);

    private void Fill(int number)
    {
        var layer = _layers[number];
        var slot = _slots[layer.Slot];
        if (slot.Holds == number)
        {
            return;
        }

        _device.Record(WorkQueue.Compute, slot.Free);
        _device.Wait(WorkQueue.Upload, slot.Free);
        using var to = slot.Memory.narrow(0, 0, layer.Host.NumberOfElements);
        _device.UploadWeights(layer.Host, to);
        _device.Record(WorkQueue.Upload, slot.Filled);
        slot.Holds = number;
    }

    private sealed class Slot(Tensor memory, Device device) : IDisposable
    {
        public Tensor Memory { get; } = memory;

        public Fence Filled { get; } = device.CreateFence();

        public Fence Free { get; } = device.CreateFence();

        /// <summary>The layer whose weights are there or on their way; less than none at first.</summary>
        public int Holds { get; set; } = -1;

        public void Dispose()
        {
            Filled.Dispose();
            Free.Dispose();
            Memory.Dispose();
        }
    }

    private sealed class Layer(int slot, Tensor host)
    {
        public int Slot { get; } = slot;

        public Tensor Host { get; } = host; // [elements]

        public long Taken { get; set; } // elements

        public IDisposable? Pin { get; set; }
    }
}
