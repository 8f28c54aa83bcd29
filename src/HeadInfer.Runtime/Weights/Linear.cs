using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Weights;

/// <summary>A linear layer, <c>x * weight^T + bias</c>, however its weights lie. Not the owner of them.</summary>
internal abstract class Linear
{
    /// <param name="x">[rows, inputs]</param>
    /// <returns>[rows, outputs]</returns>
    public abstract Tensor Apply(Tensor x);

    /// <summary><c>sum += Apply(x)</c>.</summary>
    /// <param name="sum">[rows, outputs], changed</param>
    /// <param name="x">[rows, inputs]</param>
    public abstract void AddTo(Tensor sum, Tensor x);

    /// <summary>Rows of the weights by their numbers: an embedding is looked up, and multiplied where the output layer is tied to it.</summary>
    /// <param name="rows">[n], int64</param>
    /// <returns>[n, inputs], in the type that is computed in</returns>
    public abstract Tensor Lookup(Tensor rows);

    /// <summary><c>to = Apply(norm(x))</c> of a few rows, or <c>to +=</c> that.</summary>
    public abstract void Multiply(RowKernels kernels, int rows, RowBuffer x, RowNorm? norm, RowBuffer to, bool add = false);

    /// <summary><c>to = activation(gate) * up</c> of a few rows, gate and up the halves of <c>Apply(norm(x))</c>.</summary>
    public abstract void Gate(RowKernels kernels, int rows, RowBuffer x, RowNorm? norm, string activation, RowBuffer to);

    /// <summary>Rows of the weights by their numbers, times a factor.</summary>
    public abstract void Lookup(RowKernels kernels, ReadOnlySpan<int> numbers, double scale, RowBuffer to);

    /// <summary>The weights as kernels for few rows may read them wherever they lie: in host memory, if they come to the device by turns and it sees them there.</summary>
    public abstract WeightMatrix AtRest { get; }

    /// <summary>Whether <see cref="AtRest"/> is in host memory.</summary>
    public virtual bool RestsInSight => false;

    /// <summary>The layer that makes some of the outputs. Its tensors are views, of the scope in which it is asked for.</summary>
    public abstract Linear Outputs(long start, long count);
}

/// <summary>What few rows are multiplied by, by kernels that know how weights lie.</summary>
internal abstract class MatrixLinear(WeightMatrix matrix) : Linear
{
    public override WeightMatrix AtRest => Host ?? matrix;

    public override bool RestsInSight => Host is not null;

    /// <summary>Where the weights lie in host memory; null if they lie on the device.</summary>
    public WeightMatrix? Host { get; init; }

    protected WeightMatrix Matrix => matrix;

    public override void Multiply(RowKernels kernels, int rows, RowBuffer x, RowNorm? norm, RowBuffer to, bool add) => kernels.Multiply(rows, x, norm, matrix, to, add);

    public override void Gate(RowKernels kernels, int rows, RowBuffer x, RowNorm? norm, string activation, RowBuffer to) => kernels.Gate(rows, x, norm, matrix, activation, to);

    public override void Lookup(RowKernels kernels, ReadOnlySpan<int> numbers, double scale, RowBuffer to) => kernels.Lookup(numbers, matrix, scale, to);
}

/// <summary>Weights in the type that is computed in.</summary>
/// <param name="device">multiplies</param>
/// <param name="weight">[outputs, inputs]</param>
/// <param name="bias">[outputs] or null</param>
internal sealed class DenseLinear(Device device, Tensor weight, Tensor? bias)
    : MatrixLinear(new WeightMatrix(TensorMemory.Pointer(weight), weight.dtype, bias is null ? 0 : TensorMemory.Pointer(bias), (int)weight.shape[0], (int)weight.shape[1]))
{
    public override Tensor Apply(Tensor x) => device.Multiply(x, weight, bias);

    public override void AddTo(Tensor sum, Tensor x)
    {
        if (bias is null)
        {
            device.AddProduct(sum, x, weight);
            return;
        }

        using var product = Apply(x);
        sum.add_(product);
    }

    public override Tensor Lookup(Tensor rows) => weight.index_select(0, rows);

    public override Linear Outputs(long start, long count) => new DenseLinear(device, weight.narrow(0, start, count), bias?.narrow(0, start, count));
}

/// <summary>Weights as a checkpoint has them, unpacked where they are multiplied.</summary>
/// <param name="device">multiplies</param>
/// <param name="bias">[outputs] or null; the matrix's own</param>
internal sealed class StoredLinear(Device device, WeightMatrix matrix, Tensor? bias) : MatrixLinear(matrix)
{
    public override Tensor Apply(Tensor x) => device.Multiply(x, Matrix, bias);

    public override void AddTo(Tensor sum, Tensor x)
    {
        using var product = Apply(x);
        sum.add_(product);
    }

    public override Tensor Lookup(Tensor rows) => device.Lookup(Matrix, rows);

    public override Linear Outputs(long start, long count) =>
        new StoredLinear(device, Matrix.Slice((int)start, (int)count, bias is null ? 0 : (int)bias.ElementSize), bias?.narrow(0, start, count));
}

/// <summary>Stands for weights that were asked for and not read.</summary>
internal sealed class UnreadLinear : Linear
{
    public override WeightMatrix AtRest => throw new InvalidOperationException();

    public override Tensor Apply(Tensor x) => throw new InvalidOperationException();

    public override void AddTo(Tensor sum, Tensor x) => throw new InvalidOperationException();

    public override Tensor Lookup(Tensor rows) => throw new InvalidOperationException();

    public override void Multiply(RowKernels kernels, int rows, RowBuffer x, RowNorm? norm, RowBuffer to, bool add) => throw new InvalidOperationException();

    public override void Gate(RowKernels kernels, int rows, RowBuffer x, RowNorm? norm, string activation, RowBuffer to) => throw new InvalidOperationException();

    public override void Lookup(RowKernels kernels, ReadOnlySpan<int> numbers, double scale, RowBuffer to) => throw new InvalidOperationException();

    public override Linear Outputs(long start, long count) => throw new InvalidOperationException();
}
