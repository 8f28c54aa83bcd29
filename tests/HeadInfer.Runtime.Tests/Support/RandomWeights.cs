using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Random weights, made where they are computed with: for tests of shapes whose weights nobody needs.</summary>
internal sealed class RandomWeights(ScalarType type, Compute.Device device) : IWeightSource
{
    private readonly List<Tensor> _owned = [];
    private readonly List<RowTable> _tables = [];

    public ScalarType Type => type;

    public Linear Linear(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns, bool bias = false) =>
        new DenseLinear(device, Own(empty([rows.Sum(), columns], type, device.Torch).normal_(0, 0.02)), bias ? Own(zeros([rows.Sum()], type, device.Torch)) : null);

    public RowTable Table(string name, long rows, long columns)
    {
        _tables.Add(new RowTable(device, type, empty([rows, columns], type).normal_(0, 0.02).view(-1), new DensePacking(type), (int)rows, (int)columns));
        return _tables[^1];
    }

    public Tensor Vector(string name, long size, double offset = 0) => Own(ones([size], type, device.Torch));

    public Tensor Floats(string name, params long[] shape) => Own(ones(shape, ScalarType.Float32, device.Torch));

    public Tensor Ones(long size) => Vector("", size);

    public float[] Numbers(string name, long size) => new float[size];

    public void Dispose()
    {
        _tables.ForEach(t => t.Dispose());
        _tables.Clear();
        _owned.ForEach(t => t.Dispose());
        _owned.Clear();
    }

    private Tensor Own(Tensor tensor)
    {
        _owned.Add(tensor.DetachFromDisposeScope());
        return tensor;
    }
}
