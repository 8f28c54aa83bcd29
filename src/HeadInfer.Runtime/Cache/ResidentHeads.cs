using static TorchSharp.torch;

namespace HeadInfer.Runtime.Cache;

/// <summary>Full copies of some head groups of one sequence in device memory.</summary>
internal sealed class ResidentHeads(int headDim, ScalarType type, Device device) : IDisposable
{
    private const int FirstCapacity = 256;

    private long _bytes;
    private readonly Dictionary<(int Layer, int FirstHead), Tensor> _copies = []; // each [heads, 2, capacity, dim]

    /// <summary>Memory of all copies; may be read from any thread.</summary>
    public ByteSize Size => new(Interlocked.Read(ref _bytes));

    /// <summary>Writes rows of a group from token <paramref name="start"/> on.</summary>
    /// <param name="layer">the layer</param>
    /// <param name="group">the heads</param>
    /// <param name="start">first token; all before it have been written</param>
    /// <param name="keys">[tokens, kv_heads, dim]: all heads of the layer</param>
    /// <param name="values">like <paramref name="keys"/></param>
    public void Write(int layer, HeadGroup group, int start, Tensor keys, Tensor values)
    {
        var count = (int)keys.shape[0];
        var rows = Ensure(layer, group, start, start + count).narrow(2, start, count);
        rows.select(1, 0).copy_(keys.narrow(1, group.First, group.Count).transpose(0, 1));
        rows.select(1, 1).copy_(values.narrow(1, group.First, group.Count).transpose(0, 1));
    }

    /// <summary>A range of a group that has been written.</summary>
    public KvTile View(int layer, HeadGroup group, TokenRange range)
    {
        var rows = _copies[(layer, group.First)].narrow(2, range.Start, range.Count);
        return new KvTile(rows.select(1, 0), rows.select(1, 1), range);
    }

    public void Dispose()
    {
        foreach (var copy in _copies.Values)
        {
            copy.Dispose();
        }

        _copies.Clear();
        Interlocked.Exchange(ref _bytes, 0);
    }

    private Tensor Ensure(int layer, HeadGroup group, int kept, int needed)
    {
        var key = (layer, group.First);
        if (_copies.TryGetValue(key, out var copy) && copy.shape[2] >= needed)
        {
            return copy;
        }

        var capacity = Math.Max(FirstCapacity, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)needed));
        var larger = empty([group.Count, 2, capacity, headDim], type, device).DetachFromDisposeScope();
        if (copy is not null)
        {
            larger.narrow(2, 0, kept).copy_(copy.narrow(2, 0, kept));
            Interlocked.Add(ref _bytes, -copy.NumberOfElements * copy.ElementSize);
            copy.Dispose();
        }

        Interlocked.Add(ref _bytes, larger.NumberOfElements * larger.ElementSize);
        _copies[key] = larger;
        return larger;
    }
}
