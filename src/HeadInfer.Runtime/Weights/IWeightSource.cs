using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Weights;

/// <summary>Where a decoder's weights come from; owns what it gives.</summary>
internal interface IWeightSource : IDisposable
{
    /// <summary>The type in which a decoder computes with them.</summary>
    ScalarType Type { get; }

    /// <summary>Layers that come to the device by turns; null if all lie there. Owned by the source.</summary>
    WeightStream? Stream => null;

    /// <summary>What is asked for from now on comes to the device by turns, if the layer's does; or it stays there.</summary>
    /// <param name="layer">whose it is; null for what stays</param>
    void Begin(int? layer)
    {
    }

    /// <summary>Linear layers of the same input, stacked into one.</summary>
    /// <param name="names">of their weights</param>
    /// <param name="rows">outputs of each</param>
    /// <param name="columns">inputs</param>
    /// <param name="bias">whether they have one, named like the weight</param>
    Linear Linear(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns, bool bias = false);

    /// <summary>A matrix of which rows are looked up.</summary>
    RowTable Table(string name, long rows, long columns);

    /// <summary>A vector, with <paramref name="offset"/> added.</summary>
    Tensor Vector(string name, long size, double offset = 0);

    /// <summary>A vector of ones: the weight of a norm without one.</summary>
    Tensor Ones(long size);

    /// <summary>Numbers of a shape in float32, whatever is computed in.</summary>
    Tensor Floats(string name, params long[] shape);

    /// <summary>The same for the host.</summary>
    float[] Numbers(string name, long size);
}

/// <summary>Weights of a checkpoint, as a device lays them out.</summary>
/// <param name="checkpoint">has them</param>
/// <param name="type">the type that is computed in</param>
/// <param name="needs">what they take there</param>
/// <param name="streamed">the last layers that come by turns, how many</param>
internal sealed class CheckpointWeights(Checkpoint checkpoint, ScalarType type, Device device, WeightNeeds needs, int streamed) : IWeightSource
{
    private const long TileBytes = 16 << 20; // of codes that are brought into tiles at a time

    private readonly List<Tensor> _owned = [];
    private readonly List<RowTable> _tables = [];
    private WeightStream? _stream;
    private bool _streams; // what is asked for

    public ScalarType Type => type;

    public WeightStream? Stream => _stream;

    public void Begin(int? layer)
    {
        _streams = layer >= needs.Layers.Count - streamed;
        if (_streams)
        {
            _stream ??= new WeightStream(device, type, needs.Slot(streamed));
            _stream.Begin(layer!.Value, needs.Layers[layer.Value]);
        }
        else if (layer is null)
        {
            _stream?.Start();
        }
    }

    public Linear Linear(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns, bool bias = false)
    {
        var added = bias ? Read([.. names.Select(TensorNames.BiasOf)], rows, [], resides: true).At : null;
        var biases = added is null ? 0 : TensorMemory.Pointer(added);
        if (LayOut(checkpoint, device, type, names, rows, columns) is not { } packings)
        {
            var (host, weight) = Read(names, rows, [columns]);
            return new DenseLinear(device, weight, added) { Host = IsSeen ? new WeightMatrix(TensorMemory.Pointer(host), type, biases, (int)rows.Sum(), (int)columns) : null };
        }

        // What lies alike lies end to end, and is multiplied at once.
        var parts = new List<(WeightPart Host, WeightPart At)>();
        for (int i = 0, end; i < names.Count; i = end)
        {
            for (end = i + 1; end < names.Count && packings[i] is TiledPacking && packings[end].LiesAs(packings[i]); end++)
            {
            }

            parts.Add(ReadStored([.. names.Skip(i).Take(end - i)], packings[i], [.. rows.Skip(i).Take(end - i)], (int)columns));
        }

        WeightMatrix Of(Func<(WeightPart Host, WeightPart At), WeightPart> place) => new([.. parts.Select(place)], biases, (int)columns);
        return new StoredLinear(device, Of(p => p.At), added) { Host = IsSeen ? Of(p => p.Host) : null };
    }

    /// <summary>How stacked matrices lie where they are computed with; null if dense, in the type that is computed in.</summary>
    public static IReadOnlyList<Packing>? LayOut(Checkpoint checkpoint, IWeightLayout device, ScalarType type, IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns)
    {
        Packing[] all = [.. names.Select((n, i) => device.LayOut(checkpoint.Tensors[n].Packing, type, rows[i], columns))];
        var dense = all.Count(p => p is DensePacking { Type: var its } && its == type);
        return dense == all.Length || (device.HasOwnMemory && dense > 0) ? null : all;
    }

    public RowTable Table(string name, long rows, long columns)
    {
        _tables.Add(RowTable.Read(checkpoint, name, rows, columns, device, type));
        return _tables[^1];
    }

    public Tensor Vector(string name, long size, double offset = 0)
    {
        var vector = Read([name], [size], [], resides: true).At;
        return offset == 0 ? vector : vector.add_(offset);
    }

    public Tensor Ones(long size) => Own(ones([size], type, device.Torch));

    public Tensor Floats(string name, params long[] shape)
    {
        var floats = Own(empty(shape, ScalarType.Float32, device.Torch));
        checkpoint.Read(name, floats);
        return floats;
    }

    public float[] Numbers(string name, long size)
    {
        using var numbers = empty([size], ScalarType.Float32);
        checkpoint.Read(name, numbers);
        return TensorMemory.Span(numbers).ToArray();
    }

    public void Dispose()
    {
        _stream?.Dispose();
        _stream = null;
        _tables.ForEach(t => t.Dispose());
        _tables.Clear();
        _owned.ForEach(t => t.Dispose());
        _owned.Clear();
    }

    // Whether kernels may read what is asked for where it lies in host memory.
    private bool IsSeen => _streams && _stream!.IsSeen;

    private (Tensor To, Tensor At) Read(IReadOnlyList<string> names, IReadOnlyList<long> rows, long[] inner, bool resides = false)
    {
        long[] shape = [rows.Sum(), .. inner];
        var (to, whole) = Memory(shape.Aggregate(1L, (product, n) => product * n) * DataTypes.Size(type), type, resides);
        using var read = to.view(shape);
        var start = 0L;
        for (var i = 0; i < names.Count; i++)
        {
            using var part = read.narrow(0, start, rows[i]);
            checkpoint.Read(names[i], part);
            start += rows[i];
        }

        return (to, Own(whole.view(shape)));
    }

    // Where weights are read to, and where they are computed with: the same but for layers that come by turns.
    private (Tensor To, Tensor At) Memory(long bytes, ScalarType element, bool resides = false)
    {
        if (_streams && !resides)
        {
            var (host, slot) = _stream!.Take(bytes);
            return (Own(host), Own(slot));
        }

        var memory = Own(empty([bytes / DataTypes.Size(element)], element, device.Torch));
        return (memory, memory);
    }

    private Tensor Own(Tensor tensor)
    {
        _owned.Add(tensor.DetachFromDisposeScope());
        return tensor;
    }

    private (WeightPart Host, WeightPart At) ReadStored(IReadOnlyList<string> names, Packing packing, IReadOnlyList<long> each, int columns)
    {
        var rows = (int)each.Sum();
        var (to, at) = Memory(rows * packing.RowBytes(columns), ScalarType.Byte);
        if (packing is not TiledPacking tiled)
        {
            checkpoint.ReadStored(names.Single(), [rows, columns], to);
            WeightPart Plain(Tensor memory) => new(TensorMemory.Pointer(memory), packing, rows);
            return (Plain(to), Plain(at));
        }

        var codes = rows * tiled.CodeBytes(columns);
        var most = (int)Math.Max(TileBytes / (tiled.CodeBytes(columns) * TiledPacking.TileRows), 1) * TiledPacking.TileRows;
        for (int i = 0, first = 0; i < names.Count; first += (int)each[i++])
        {
            checkpoint.Require(names[i], [each[i], columns]);
            for (var row = 0; row < each[i]; row += most)
            {
                ReadTiles(checkpoint.Tensors[names[i]], tiled, row, (int)Math.Min(most, each[i] - row), first + row, columns, to, codes);
            }
        }

        WeightPart Tiles(Tensor memory) => new(TensorMemory.Pointer(memory), packing, rows, TensorMemory.Pointer(memory) + (nint)codes);
        return (Tiles(to), Tiles(at));
    }

    private unsafe void ReadTiles(StoredTensor tensor, TiledPacking packing, int row, int count, int toRow, int columns, Tensor to, long firstScale)
    {
        using var scope = NewDisposeScope();
        var (bytes, codeBytes, scaleBytes) = (tensor.Packing.RowBytes(columns), packing.CodeBytes(columns), packing.RowBytes(columns) - packing.CodeBytes(columns));
        var stored = empty([count * bytes], ScalarType.Byte);
        var from = (byte*)TensorMemory.Address(stored);
        checkpoint.ReadBytes(tensor, row * bytes, new Span<byte>(from, checked((int)(count * bytes))));
        if (to.device_type == DeviceType.CPU)
        {
            var target = (byte*)TensorMemory.Address(to);
            packing.Tile(tensor.Packing, from, count, columns, target + (toRow * codeBytes), target + firstScale + (toRow * scaleBytes));
            return;
        }

        var (codes, scales) = (empty([count * codeBytes], ScalarType.Byte), empty([count * scaleBytes], ScalarType.Byte));
        packing.Tile(tensor.Packing, from, count, columns, (byte*)TensorMemory.Address(codes), (byte*)TensorMemory.Address(scales));
        to.narrow(0, toRow * codeBytes, codes.NumberOfElements).copy_(codes);
        to.narrow(0, firstScale + (toRow * scaleBytes), scales.NumberOfElements).copy_(scales);
    }
}

/// <summary>Reads nothing: checks that a checkpoint has every tensor that is asked for, in its shape, and no other.</summary>
internal sealed class WeightCheck(Checkpoint checkpoint) : IWeightSource
{
    private static readonly Linear Unread = new UnreadLinear();

    private readonly HashSet<string> _asked = new(StringComparer.Ordinal);
    private readonly List<(int? Layer, IReadOnlyList<string> Names, IReadOnlyList<long> Rows, long Columns)> _matrices = [];
    private readonly List<(string Name, long Rows, long Columns)> _tables = [];
    private int? _layer;
    private long _vectors; // elements of them
    private readonly Tensor _nothing = empty(0).DetachFromDisposeScope();

    public ScalarType Type => checkpoint.Type;

    /// <summary>What all tensors that were asked for take where a device computes with them.</summary>
    public WeightNeeds NeedsOn(IWeightLayout device, ScalarType type)
    {
        var (always, layers, largest) = (_vectors * DataTypes.Size(type), new SortedDictionary<int, long>(), 0L);
        var (lookedUp, packed) = (0L, false);
        foreach (var (layer, names, rows, columns) in _matrices)
        {
            var packings = CheckpointWeights.LayOut(checkpoint, device, type, names, rows, columns);
            var bytes = packings is null ? [rows.Sum() * columns * DataTypes.Size(type)] : packings.Select((p, i) => rows[i] * p.RowBytes(columns)).ToArray();
            largest = packings is null ? largest : Math.Max(largest, rows.Sum() * columns);
            packed |= packings?.Any(p => p is not DensePacking) ?? false;
            lookedUp += names[0] == TensorNames.Embedding && _matrices.Exists(m => m.Names[0] == TensorNames.Output) ? bytes.Sum() : 0;
            if (layer is { } number)
            {
                layers[number] = layers.GetValueOrDefault(number) + bytes.Sum(WeightStream.Padded);
            }
            else
            {
                always += bytes.Sum();
            }
        }

        var scratch = device.UnpackedSize(largest);
        var tables = _tables.Sum(t => t.Rows * RowTable.LayOut(checkpoint.Tensors[t.Name].Packing, type).RowBytes(t.Columns));
        var here = device.HasOwnMemory ? 0 : tables;
        return new WeightNeeds(new ByteSize(always + here) + scratch, [.. layers.Values.Select(l => new ByteSize(l))]) { Unread = new ByteSize(lookedUp + here) + scratch, Tables = new ByteSize(tables - here), ArePacked = packed };
    }

    public void Begin(int? layer) => _layer = layer;

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

        _matrices.Add((_layer, names, rows, columns));
        return Unread;
    }

    public RowTable Table(string name, long rows, long columns)
    {
        Check(name, [rows, columns]);
        _tables.Add((name, rows, columns));
        return null!; // nothing is read, so nothing is looked up
    }

    public Tensor Vector(string name, long size, double offset = 0)
    {
        Check(name, [size]);
        _vectors += size;
        return _nothing;
    }

    public Tensor Ones(long size)
    {
        _vectors += size;
        return _nothing;
    }

    public Tensor Floats(string name, params long[] shape)
    {
        Check(name, shape);
        _vectors += shape.Aggregate(1L, (product, n) => product * n) * sizeof(float) / sizeof(ushort); // of 16 bits, mostly
        return _nothing;
    }

    public float[] Numbers(string name, long size)
    {
        Check(name, [size]);
        return new float[size];
    }

    /// <summary>Refuses tensors that nothing asked for: a model that has them is not the one that would be computed.</summary>
    /// <exception cref="CheckpointException">There are some.</exception>
    public void RefuseOthers(ModelConfig config)
    {
        var guessing = Enumerable.Range(config.Layers, config.GuessingLayers).Select(layer => TensorNames.Layer(layer, "")).ToList();
        var others = checkpoint.Names.Where(n => !guessing.Exists(g => n.StartsWith(g, StringComparison.Ordinal)) && !_asked.Contains(n) && n != TensorNames.Output && !TensorNames.IsRedundant(n) && !TensorNames.IsOfSenses(n) && !TensorNames.IsOfGuessing(n) && !(TensorNames.IsBias(n) && checkpoint.IsZero(n))).Order(StringComparer.Ordinal).ToList();
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
