using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Where a layer's new keys and values stand, head-major, while they are attended and copied to their pages.</summary>
/// <remarks>
/// Two buffers in turn: a layer writes one while the other's rows are still on their way. A layer whose keys and values later
/// ones attend too has a buffer of its own, whose rows stay until the next pass.
/// </remarks>
internal sealed class RowStaging : IDisposable
{
    private const int Turns = 2;

    private readonly Device _device;
    private readonly AttentionLayout _layout;
    private readonly (Tensor Memory, Fence Sent)[] _buffers;
    private readonly int[] _lenders;
    private int _turn, _current;

    /// <param name="pool">has the pages; not owned</param>
    /// <param name="tokens">tokens of a segment at most</param>
    public RowStaging(BlockPool pool, AttentionLayout layout, int tokens)
    {
        (_device, _layout) = (pool.Device, layout);
        _lenders = [.. Enumerable.Range(0, layout.Layers).Where(layer => layout.Keeps(layer) && layout.Lends(layer))];
        // If one is refused, the scope takes back those before it.
        var sizes = Enumerable.Repeat(Enumerable.Range(0, layout.Layers).Max(layer => layout.HeadsOf(layer).Keys), Turns).Concat(_lenders.Select(layer => layout.HeadsOf(layer).Keys));
        var memory = sizes.Select(keys => empty([2L * keys * tokens], pool.Shape.Type, _device.Torch)).ToList();
        _buffers = [.. memory.Select(m => (m.DetachFromDisposeScope(), _device.CreateFence()))];
    }

    /// <summary>Memory of the buffers.</summary>
    /// <param name="keys">numbers of a token's keys in the layer that has most</param>
    /// <param name="lent">the same of layers whose keys later ones attend, added</param>
    /// <param name="type">of the pages</param>
    /// <param name="tokens">tokens of a segment at most</param>
    public static ByteSize SizeFor(int keys, int lent, ScalarType type, int tokens) => new(2L * ((Turns * (long)keys) + lent) * tokens * DataTypes.Size(type));

    /// <summary>The next buffer, free to be written.</summary>
    /// <param name="tokens">new tokens</param>
    /// <param name="layer">the layer; it keeps them</param>
    /// <returns>[kv_heads, 2, tokens, dim], contiguous, a view</returns>
    public Tensor Next(int tokens, int layer)
    {
        var (lender, heads) = (Array.IndexOf(_lenders, layer), _layout.HeadsOf(layer));
        _current = lender >= 0 ? Turns + lender : _turn ^= 1;
        var (memory, sent) = _buffers[_current];
        _device.Wait(WorkQueue.Compute, sent);
        return memory.narrow(0, 0, 2L * heads.Keys * tokens).view(heads.KvHeads, 2, tokens, heads.Dim);
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
