using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Where a layer's new keys and values stand, head-major, while they are attended and copied to their pages.</summary>
/// <remarks>Two buffers in turn: a layer writes one while the other's rows are still on their way.</remarks>
internal sealed class RowStaging : IDisposable
{
    private readonly Device _device;
    private readonly PageShape _shape;
    private readonly (Tensor Memory, Fence Sent)[] _buffers;
    private int _current;

    /// <param name="device">takes the rows to their pages</param>
    /// <param name="shape">heads, dimensions and type</param>
    /// <param name="tokens">tokens of a segment at most</param>
    public RowStaging(Device device, PageShape shape, int tokens)
    {
        (_device, _shape) = (device, shape);
        // If one is refused, the scope takes back the one before it.
        var memory = Enumerable.Range(0, 2).Select(_ => empty([2L * shape.KvHeads * tokens * shape.HeadDim], shape.Type, device.Torch)).ToList();
        _buffers = [.. memory.Select(m => (m.DetachFromDisposeScope(), device.CreateFence()))];
    }

    /// <summary>Memory of the buffers.</summary>
    public static ByteSize SizeFor(PageShape shape, int tokens) => new(4L * shape.KvHeads * tokens * shape.HeadDim * DataTypes.Size(shape.Type));

    /// <summary>The next buffer, free to be written.</summary>
    /// <returns>[kv_heads, 2, tokens, dim], contiguous, a view</returns>
    public Tensor Next(int tokens)
    {
        _current ^= 1;
        var (memory, sent) = _buffers[_current];
        _device.Wait(WorkQueue.Compute, sent);
        return memory.narrow(0, 0, 2L * _shape.KvHeads * tokens * _shape.HeadDim).view(_shape.KvHeads, 2, tokens, _shape.HeadDim);
    }

    /// <summary>Says that the downloads queued so far are the last to read the current buffer.</summary>
    public void Sent() => _device.Record(WorkQueue.Download, _buffers[_current].Sent);

    public void Dispose()
    {
        foreach (var (memory, sent) in _buffers)
        {
            memory.Dispose();
            sent.Dispose();
        }
    }
}
