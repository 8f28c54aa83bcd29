using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>Random weights, made where they are computed with: for benchmarks and tests of shapes whose weights nobody needs.</summary>
internal sealed class RandomWeights(ScalarType type, Device device) : IWeightSource
{
    private readonly List<Tensor> _owned = [];

    public Tensor Matrix(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns) => Own(empty([rows.Sum(), columns], type, device).normal_(0, 0.02));

    public Tensor Vector(IReadOnlyList<string> names, IReadOnlyList<long> sizes, double offset = 0) => Own(ones([sizes.Sum()], type, device));

    public void Dispose()
    {
        _owned.ForEach(t => t.Dispose());
        _owned.Clear();
    }

    private Tensor Own(Tensor tensor)
    {
        _owned.Add(tensor.DetachFromDisposeScope());
        return tensor;
    }
}
