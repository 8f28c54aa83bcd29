using System.Runtime.InteropServices;
using HeadInfer.Runtime.Compute;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Device memory for resident copies, taken once.</summary>
/// <remarks>One allocation, so that growing copies leave no holes in libtorch's allocator, which would exceed the plan.</remarks>
internal sealed class ResidentArena : IDisposable
{
    private readonly ScalarType _type;
    private readonly torch.Device _device;
    private readonly SortedDictionary<long, long> _taken = []; // start -> length, in elements
    private long _elements;
    private long _rented; // in elements; read from any thread
    private Tensor? _memory;

    public ResidentArena(ByteSize size, ScalarType type, torch.Device device)
    {
        (_type, _device) = (type, device);
        _elements = size.Bytes / DataTypes.Size(type);
    }

    public ByteSize Size => new(_elements * DataTypes.Size(_type));

    /// <summary>Elements of the largest piece that nobody has.</summary>
    public long LargestPiece
    {
        get
        {
            var (largest, start) = (0L, 0L);
            foreach (var (taken, length) in _taken)
            {
                (largest, start) = (Math.Max(largest, taken - start), taken + length);
            }

            return Math.Max(largest, _elements - start);
        }
    }

    /// <summary>Elements of the piece that there would be if a block was given back.</summary>
    public long PieceAround(Tensor block)
    {
        var (start, at) = (0L, block.storage_offset());
        foreach (var (taken, length) in _taken)
        {
            if (taken > at)
            {
                return taken - start;
            }

            start = taken < at ? taken + length : start;
        }

        return _elements - start;
    }

    /// <summary>Memory of the blocks that are taken. May be read from any thread.</summary>
    public ByteSize InUse => new(Volatile.Read(ref _rented) * DataTypes.Size(_type));

    /// <summary>Takes a block.</summary>
    /// <returns>[elements], or null if no free piece is large enough; give it back with <see cref="Return"/></returns>
    public Tensor? TryRent(long elements)
    {
        var start = 0L;
        foreach (var (taken, length) in _taken)
        {
            if (taken - start >= elements)
            {
                break;
            }

            start = taken + length;
        }

        if (start + elements > _elements || (_memory is null && !TryAllocate(elements)))
        {
            return null;
        }

        _taken.Add(start, elements);
        Volatile.Write(ref _rented, _rented + elements);
        return _memory!.narrow(0, start, elements).DetachFromDisposeScope();
    }

    // Resident heads are a gain and no need: where the device refuses, such as to a model loaded after others, less will do.
    private bool TryAllocate(long wanted)
    {
        for (; _elements >= wanted; _elements /= 2)
        {
            try
            {
                _memory = empty([_elements], _type, _device).DetachFromDisposeScope();
                return true;
            }
            catch (ExternalException)
            {
            }
        }

        return false;
    }

    /// <summary>Gives a block back, and disposes its view.</summary>
    public void Return(Tensor block)
    {
        _taken.Remove(block.storage_offset(), out var length);
        Volatile.Write(ref _rented, _rented - length);
        block.Dispose();
    }

    public void Dispose() => _memory?.Dispose();
}
