using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Full copies of some head groups of one sequence in device memory.</summary>
/// <remarks>The pages have everything, so copies may be dropped at any time, and are filled from there when they grow.</remarks>
internal sealed class ResidentHeads(ResidentArena arena, int headDim, Device device) : IDisposable
{
    private readonly Dictionary<(int Layer, int FirstHead), Tensor> _copies = []; // each [heads, 2, capacity, dim]
    private readonly Fence _computed = device.CreateFence(), _filled = device.CreateFence();
    private long _bytes;

    /// <summary>Memory of all copies; may be read from any thread.</summary>
    public ByteSize Size => new(Interlocked.Read(ref _bytes));

    /// <summary>Tokens that the copies have room for.</summary>
    public int Capacity { get; private set; }

    /// <summary>Heads that have copies, over all layers, where that is not given.</summary>
    public int Heads { get; set; }

    /// <summary>Heads that the arena could hold with room for so many tokens, were all copies of this sequence given back.</summary>
    public int Affordable(int capacity) => (int)((arena.FreeElements + OwnElements()) / (2L * capacity * headDim));

    /// <summary>Makes room for so many tokens of these groups, in place of the copies there were.</summary>
    /// <param name="capacity">tokens</param>
    /// <param name="groups">layers and heads</param>
    /// <param name="sequence">whose rows they are</param>
    /// <returns>false if the arena has no room for one of the groups; there are then no copies</returns>
    public bool TryResize(int capacity, IEnumerable<(int Layer, HeadGroup Group)> groups, Sequence sequence)
    {
        Drop();
        device.Record(WorkQueue.Compute, _computed);
        device.Wait(WorkQueue.Upload, _computed);
        foreach (var (layer, group) in groups)
        {
            if (arena.TryRent([group.Count, 2, capacity, headDim]) is not { } copy)
            {
                Drop();
                return false;
            }

            _copies.Add((layer, group.First), copy);
            Interlocked.Add(ref _bytes, copy.NumberOfElements * copy.ElementSize);
            device.Wait(WorkQueue.Upload, sequence.Pool.Written(layer));
            using var scope = TorchSharp.torch.NewDisposeScope();
            foreach (var run in sequence.Runs(layer, new TokenRange(0, Math.Min(sequence.Length, capacity))))
            {
                device.Upload(run.Memory.narrow(1, group.First, group.Count), copy, run.Tokens.Start);
            }
        }

        device.Record(WorkQueue.Upload, _filled);
        device.Wait(WorkQueue.Compute, _filled);
        Capacity = capacity;
        return true;
    }

    /// <summary>Writes rows of a group from token <paramref name="start"/> on.</summary>
    /// <param name="layer">the layer</param>
    /// <param name="group">the heads</param>
    /// <param name="start">first token; all before it have been written</param>
    /// <param name="rows">[kv_heads, 2, tokens, dim]: all heads of the layer</param>
    public void Write(int layer, HeadGroup group, int start, Tensor rows)
    {
        using var target = _copies[(layer, group.First)].narrow(2, start, rows.shape[2]);
        using var source = rows.narrow(0, group.First, group.Count);
        target.copy_(source);
    }

    /// <summary>A range of a group that has been written.</summary>
    public KvTile View(int layer, HeadGroup group, TokenRange range)
    {
        var rows = _copies[(layer, group.First)].narrow(2, range.Start, range.Count);
        return new KvTile(rows.select(1, 0), rows.select(1, 1), range);
    }

    /// <summary>Gives all copies back.</summary>
    public void Drop()
    {
        foreach (var copy in _copies.Values)
        {
            arena.Return(copy);
        }

        _copies.Clear();
        Capacity = 0;
        Interlocked.Exchange(ref _bytes, 0);
    }

    public void Dispose()
    {
        Drop();
        _computed.Dispose();
        _filled.Dispose();
    }

    private long OwnElements() => _copies.Values.Sum(c => c.NumberOfElements);
}
