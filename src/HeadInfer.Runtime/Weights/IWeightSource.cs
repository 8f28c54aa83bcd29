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
    private readonly List<Tensor> _owned = [];

    public ScalarType Type => type;

    public Linear Linear(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns, bool bias = false)
    {
        var added = bias ? Read([.. names.Select(TensorNames.BiasOf)], rows, []) : null;
        var packings = names.Select(n => device.LayOut(checkpoint.Tensors[n].Packing, type)).ToList();
        return packings.All(p => p is DensePacking dense && dense.Type == type)
            ? new DenseLinear(device, Read(names, rows, [columns]), added)
            : new StoredLinear(device, new WeightMatrix([.. names.Select((n, i) => ReadStored(n, packings[i], rows[i], columns))], added is null ? 0 : TensorMemory.Pointer(added), (int)columns), added);
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

    private WeightPart ReadStored(string name, Packing packing, long rows, long columns)
    {
        var memory = empty([rows * packing.RowBytes(columns)], ScalarType.Byte, device.Torch).DetachFromDisposeScope();
        _owned.Add(memory);
        checkpoint.ReadStored(name, [rows, columns], memory);
        return new WeightPart(TensorMemory.Pointer(memory), packing, (int)rows);
    }
}

/// <summary>Reads nothing: checks that a checkpoint has every tensor that is asked for, in its shape, and no other.</summary>
internal sealed class WeightCheck(Checkpoint checkpoint) : IWeightSource
{
    private static readonly Linear Unread = new UnreadLinear();

    private readonly HashSet<string> _asked = new(StringComparer.Ordinal);
    private readonly Tensor _nothing = empty(0).DetachFromDisposeScope();

    public ScalarType Type => checkpoint.Type;

    /// <summary>What all tensors that were asked for take where a device computes with them.</summary>
    public ByteSize SizeOn(Device device, ScalarType type) => new(_asked.Sum(name =>
    {
        var tensor = checkpoint.Tensors[name];
        return tensor.Shape.Length < 2 ? tensor.Columns * DataTypes.Size(type) : tensor.Rows * device.LayOut(tensor.Packing, type).RowBytes(tensor.Columns);
    }));

    public Linear Linear(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns, bool bias = false)
    {
        for (var i = 0; i < names.Count; i++)
        {
            Check(names[i], [rows[i], columns]);
            if (bias)
            {
                Check(TensorNames.BiasOf(names[i]), [rows[i]]);
            }
        }

        return Unread;
    }

    public Tensor Vector(string name, long size, double offset = 0)
    {
        Check(name, [size]);
        return _nothing;
    }

    /// <summary>Refuses tensors that nothing asked for: a model that has them is not the one that would be computed.</summary>
    /// <exception cref="CheckpointException">There are some.</exception>
    public void RefuseOthers()
    {
        var others = checkpoint.Names.Where(n => !_asked.Contains(n) && n != TensorNames.Output && !TensorNames.IsRedundant(n) && !(TensorNames.IsBias(n) && checkpoint.IsZero(n))).Order(StringComparer.Ordinal).ToList();
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
