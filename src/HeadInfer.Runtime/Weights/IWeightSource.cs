using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Weights;

/// <summary>Where a decoder's weights come from; owns what it gives.</summary>
internal interface IWeightSource : IDisposable
{
    /// <summary>The type in which a decoder computes with them.</summary>
    ScalarType Type { get; }

    /// <summary>Linear layers of the same input, stacked into one.</summary>
    /// <param name="names">of their weights</param>
    /// <param name="rows">outputs of each</param>
    /// <param name="columns">inputs</param>
    /// <param name="bias">whether they have one, named like the weight</param>
    Linear Linear(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns, bool bias = false);

    /// <summary>A vector, with <paramref name="offset"/> added.</summary>
    Tensor Vector(string name, long size, double offset = 0);
}

/// <summary>Weights of a checkpoint, converted to the type and device they are computed on.</summary>
internal sealed class CheckpointWeights(Checkpoint checkpoint, ScalarType type, Device device) : IWeightSource
{
    private const long TileBytes = 16 << 20; // of codes that are brought into tiles at a time

    private readonly List<Tensor> _owned = [];

    public ScalarType Type => type;

    public Linear Linear(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns, bool bias = false)
    {
        var added = bias ? Read([.. names.Select(TensorNames.BiasOf)], rows, []) : null;
        return LayOut(checkpoint, device, type, names, rows, columns) is { } packings
            ? new StoredLinear(device, new WeightMatrix([.. names.Select((n, i) => ReadStored(n, packings[i], (int)rows[i], (int)columns))], added is null ? 0 : TensorMemory.Pointer(added), (int)columns), added)
            : new DenseLinear(device, Read(names, rows, [columns]), added);
    }

    /// <summary>How stacked matrices lie where they are computed with; null if dense, in the type that is computed in.</summary>
    public static IReadOnlyList<Packing>? LayOut(Checkpoint checkpoint, Device device, ScalarType type, IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns)
    {
        Packing[] all = [.. names.Select((n, i) => device.LayOut(checkpoint.Tensors[n].Packing, type, rows[i], columns))];
        var dense = all.Count(p => p is DensePacking { Type: var its } && its == type);
        return dense == all.Length || (device.HasOwnMemory && dense > 0) ? null : all;
    }

    public Tensor Vector(string name, long size, double offset = 0)
    {
        var vector = Read([name], [size], []);
        return offset == 0 ? vector : vector.add_(offset);
    }

    public void Dispose()
    {
        _owned.ForEach(t => t.Dispose());
        _owned.Clear();
    }

    private Tensor Read(IReadOnlyList<string> names, IReadOnlyList<long> rows, long[] inner)
    {
        var whole = empty([rows.Sum(), .. inner], type, device.Torch).DetachFromDisposeScope();
        _owned.Add(whole);
        var start = 0L;
        for (var i = 0; i < names.Count; i++)
        {
            using var part = whole.narrow(0, start, rows[i]);
            checkpoint.Read(names[i], part);
            start += rows[i];
        }

        return whole;
    }

    private WeightPart ReadStored(string name, Packing packing, int rows, int columns)
    {
        var memory = empty([rows * packing.RowBytes(columns)], ScalarType.Byte, device.Torch).DetachFromDisposeScope();
        _owned.Add(memory);
        var address = TensorMemory.Pointer(memory);
        if (packing is not TiledPacking tiled)
        {
            checkpoint.ReadStored(name, [rows, columns], memory);
            return new WeightPart(address, packing, rows);
        }

        var codes = rows * tiled.CodeBytes(columns);
        checkpoint.Require(name, [rows, columns]);
        var most = (int)Math.Clamp(TileBytes / (tiled.CodeBytes(columns) * TiledPacking.TileRows), 1, rows / TiledPacking.TileRows) * TiledPacking.TileRows;
        for (var row = 0; row < rows; row += most)
        {
            ReadTiles(checkpoint.Tensors[name], tiled, row, Math.Min(most, rows - row), columns, memory, codes);
        }

        return new WeightPart(address, packing, rows, address + (nint)codes);
    }

    private unsafe void ReadTiles(StoredTensor tensor, TiledPacking packing, int row, int count, int columns, Tensor memory, long firstScale)
    {
        using var scope = NewDisposeScope();
        var (bytes, scaleBytes) = (tensor.Packing.RowBytes(columns), packing.RowBytes(columns) - packing.CodeBytes(columns));
        var (stored, codes, scales) = (empty([count * bytes], ScalarType.Byte), empty([count * packing.CodeBytes(columns)], ScalarType.Byte), empty([count * scaleBytes], ScalarType.Byte));
        checkpoint.ReadBytes(tensor, row * bytes, new Span<byte>(TensorMemory.Address(stored), checked((int)(count * bytes))));
        packing.Tile(tensor.Packing, (byte*)TensorMemory.Address(stored), count, columns, (byte*)TensorMemory.Address(codes), (byte*)TensorMemory.Address(scales));
        memory.narrow(0, row * packing.CodeBytes(columns), codes.NumberOfElements).copy_(codes);
        memory.narrow(0, firstScale + (row * scaleBytes), scales.NumberOfElements).copy_(scales);
    }
}

/// <summary>Reads nothing: checks that a checkpoint has every tensor that is asked for, in its shape, and no other.</summary>
internal sealed class WeightCheck(Checkpoint checkpoint) : IWeightSource
{
    private static readonly Linear Unread = new UnreadLinear();

    private readonly HashSet<string> _asked = new(StringComparer.Ordinal);
    private readonly List<(IReadOnlyList<string> Names, IReadOnlyList<long> Rows, long Columns)> _matrices = [];
    private long _vectors; // elements of them
    private readonly Tensor _nothing = empty(0).DetachFromDisposeScope();

    public ScalarType Type => checkpoint.Type;

    /// <summary>What all tensors that were asked for take where a device computes with them, and memory in which packed ones are unpacked.</summary>
    public ByteSize SizeOn(Device device, ScalarType type)
    {
        var (bytes, largest) = (_vectors * DataTypes.Size(type), 0L);
        foreach (var (names, rows, columns) in _matrices)
        {
            if (CheckpointWeights.LayOut(checkpoint, device, type, names, rows, columns) is { } packings)
            {
                bytes += packings.Select((p, i) => rows[i] * p.RowBytes(columns)).Sum();
                largest = Math.Max(largest, rows.Sum() * columns);
            }
            else
            {
                bytes += rows.Sum() * columns * DataTypes.Size(type);
            }
        }

        return new ByteSize(bytes) + device.UnpackedSize(largest);
    }

    public Linear Linear(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns, bool bias = false)
    {
        for (var i = 0; i < names.Count; i++)
        {
            Check(names[i], [rows[i], columns]);
            if (bias)
            {
                Check(TensorNames.BiasOf(names[i]), [rows[i]]);
                _vectors += rows[i];
            }
        }

        _matrices.Add((names, rows, columns));
        return Unread;
    }

    public Tensor Vector(string name, long size, double offset = 0)
    {
        Check(name, [size]);
        _vectors += size;
        return _nothing;
    }

    /// <summary>Refuses tensors that nothing asked for: a model that has them is not the one that would be computed.</summary>
    /// <exception cref="CheckpointException">There are some.</exception>
    public void RefuseOthers()
    {
        var others = checkpoint.Names.Where(n => !_asked.Contains(n) && n != TensorNames.Output && !TensorNames.IsRedundant(n)).Order(StringComparer.Ordinal).ToList();
        if (others.Count > 0)
        {
            throw new CheckpointException($"'{checkpoint.Path}' has {others.Count} tensors that its architecture and configuration have no place for, such as '{others[0]}'.");
        }
    }

    public void Dispose() => _nothing.Dispose();

    private void Check(string name, long[] shape)
    {
        checkpoint.Require(name, shape);
        _asked.Add(name);
    }
}
