using HeadInfer.Runtime.Checkpoints;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>Where a decoder's weights come from; owns what it gives.</summary>
internal interface IWeightSource : IDisposable
{
    /// <summary>Matrices of <paramref name="rows"/> stacked into one [sum of rows, columns].</summary>
    Tensor Matrix(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns);

    /// <summary>Vectors laid end to end, with <paramref name="offset"/> added.</summary>
    Tensor Vector(IReadOnlyList<string> names, IReadOnlyList<long> sizes, double offset = 0);
}

/// <summary>Weights of a checkpoint, converted to the type and device they are computed on.</summary>
internal sealed class CheckpointWeights(Checkpoint checkpoint, ScalarType type, Device device) : IWeightSource
{
    private readonly List<Tensor> _owned = [];

    public Tensor Matrix(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns) => Read(names, rows, [columns]);

    public Tensor Vector(IReadOnlyList<string> names, IReadOnlyList<long> sizes, double offset = 0)
    {
        var vector = Read(names, sizes, []);
        return offset == 0 ? vector : vector.add_(offset);
    }

    public void Dispose()
    {
        _owned.ForEach(t => t.Dispose());
        _owned.Clear();
    }

    private Tensor Read(IReadOnlyList<string> names, IReadOnlyList<long> rows, long[] inner)
    {
        var whole = empty([rows.Sum(), .. inner], type, device).DetachFromDisposeScope();
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
}

/// <summary>Reads nothing: checks that a checkpoint has every tensor that is asked for, in its shape, and no other.</summary>
internal sealed class WeightCheck(Checkpoint checkpoint) : IWeightSource
{
    private readonly HashSet<string> _asked = new(StringComparer.Ordinal);
    private readonly Tensor _nothing = empty(0).DetachFromDisposeScope();

    /// <summary>Elements of all tensors that were asked for.</summary>
    public long Elements { get; private set; }

    public Tensor Matrix(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns) => Check(names, rows, [columns]);

    public Tensor Vector(IReadOnlyList<string> names, IReadOnlyList<long> sizes, double offset = 0) => Check(names, sizes, []);

    /// <summary>Refuses tensors that nothing asked for: a model that has them is not the one that would be computed.</summary>
    /// <exception cref="CheckpointException">There are some.</exception>
    public void RefuseOthers()
    {
        var others = checkpoint.Names.Where(n => !_asked.Contains(n) && n != TensorNames.Output && !TensorNames.IsRedundant(n)).Order(StringComparer.Ordinal).ToList();
        if (others.Count > 0)
        {
            throw new CheckpointException($"'{checkpoint.Folder}' has {others.Count} tensors that its architecture and configuration have no place for, such as '{others[0]}'.");
        }
    }

    public void Dispose() => _nothing.Dispose();

    private Tensor Check(IReadOnlyList<string> names, IReadOnlyList<long> rows, long[] inner)
    {
        for (var i = 0; i < names.Count; i++)
        {
            checkpoint.Require(names[i], [rows[i], .. inner]);
            _asked.Add(names[i]);
            Elements += rows[i] * (inner.Length == 0 ? 1 : inner[0]);
        }

        return _nothing;
    }
}
