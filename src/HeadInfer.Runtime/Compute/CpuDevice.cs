using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>The CPU: device memory is host memory, and copies are done when the call returns.</summary>
/// <remarks>It computes in float32, whatever weights have: half-precision products crawl without AVX-512.</remarks>
internal class CpuDevice : Device
{
    private const int PieceElements = 1 << 20; // of a matrix by which many rows are multiplied: unpacked, it stays in a cache

    private static readonly Fence Passed = new NoFence();

    private Tensor? _unpacked; // [elements of a piece]
    private HostMatrixProducts? _products;

    public override string Name => "CPU";

    public override torch.Device Torch => CPU;

    public override bool IsAsynchronous => false;

    public override ByteSize SlabSize => ByteSize.FromMiB(64);

    public override bool JoinsRuns => true;

    public override int TokensAtOnce => 4096;

    public override ScalarType TypeFor(ScalarType stored, ComputeType? chosen) => ScalarType.Float32;

    public override Fence CreateFence() => Passed;

    public override void Record(WorkQueue queue, Fence fence)
    {
    }

    public override void Wait(WorkQueue queue, Fence fence)
    {
    }

    public override void Block(Fence fence)
    {
    }

    public override void Drain()
    {
    }

    public override Tensor RmsNorm(Tensor x, Tensor weight, double epsilon) => HostMath.RmsNorm(x.contiguous(), weight, epsilon);

    public override void NormHeads(Tensor heads, int first, int count, Tensor weight, double epsilon) => HostMath.NormHeads(heads, first, count, weight, epsilon);

    /// <summary>As they are: to widen 16 bits costs less than to read 32.</summary>
    public override Packing LayOut(Packing stored, ScalarType type, long rows, long columns) => stored;

    public override Tensor Multiply(Tensor x, Tensor weight, Tensor? bias) => IsOwn(x)
        ? Multiply(x, new WeightMatrix(TensorMemory.Pointer(weight), ScalarType.Float32, bias is null ? 0 : TensorMemory.Pointer(bias), (int)weight.shape[0], (int)weight.shape[1]), bias)
        : MultiplyPieces(x, (int)weight.shape[0], (int)weight.shape[1], bias, (start, count) => weight.narrow(0, start, count));

    public override Tensor Multiply(Tensor x, WeightMatrix weight, Tensor? bias) =>
        !IsOwn(x) ? MultiplyPieces(x, weight.Rows, weight.Columns, bias, (start, count) => Unpack(weight, start, count))
        : x.shape[0] <= RowKernels.MostRows ? HostProducts.Multiply(Team, x.contiguous(), weight)
        : (_products ??= new HostMatrixProducts(Team)).Multiply(x.contiguous(), weight);

    public override unsafe Tensor Lookup(WeightMatrix weight, Tensor rows)
    {
        var numbers = rows.data<long>().ToArray();
        var result = empty([numbers.Length, weight.Columns], ScalarType.Float32);
        for (var i = 0; i < numbers.Length; i++)
        {
            HostProducts.Unpack(weight, (int)numbers[i], (int)numbers[i] + 1, HostMath.Address(result) + ((long)i * weight.Columns));
        }

        return result;
    }

    public override void AddProduct(Tensor sum, Tensor x, Tensor weight)
    {
        using var product = Multiply(x, weight, null);
        sum.add_(product);
    }

    public override unsafe Tensor Gate(Tensor both, int width, string activation)
    {
        var rows = (int)both.shape[0];
        if (activation == "silu")
        {
            var result = empty([rows, width], ScalarType.Float32);
            using var from = both.contiguous();
            float* input = HostMath.Address(from), output = HostMath.Address(result);
            Team.Run(member =>
            {
                var (start, end) = Team.Share(member, rows);
                for (long row = start; row < end; row++)
                {
                    HostActivations.GateBySilu(input + (row * 2 * width), output + (row * width), width);
                }
            });
            return result;
        }

        // Few rows one by one: libtorch's vectors would round by a value's place among all of them.
        if (rows > RowKernels.MostRows)
        {
            return base.Gate(both, width, activation);
        }

        using var scope = NewDisposeScope();
        return cat([.. Enumerable.Range(0, rows).Select(row => base.Gate(both.narrow(0, row, 1), width, activation))]).MoveToOuterDisposeScope();
    }

    public override void Activate(Tensor x, LoneActivation activation)
    {
        // The same of these.
        var rows = x.shape[0];
        if (activation.IsExact || rows > RowKernels.MostRows)
        {
            base.Activate(x, activation);
            return;
        }

        using var scope = NewDisposeScope();
        for (var row = 0L; row < rows; row++)
        {
            base.Activate(x.narrow(0, row, 1), activation);
        }
    }

    public override void Rotate(Tensor all, int count, Tensor cos, Tensor sin) => HostMath.Rotate(all, count, cos, sin);

    public override bool Merges(int headDim) => true;

    public override void Merge(Tensor sum, Tensor sumLse, Tensor part, Tensor partLse, Tensor output, Tensor? outputLse) =>
        HostMath.Merge(sum, sumLse, part, partLse, output, outputLse);

    public override RowKernels CreateRows(RowTraits traits) => new HostRowKernels(traits, this);

    public override AttentionKernel Attention(AttentionTraits traits, FusedAttention? chosen) =>
        HostTile.IsSupported ? new HostSegmentAttention(Team, traits.Scale, traits.SoftCap)
        : traits.SoftCap is null ? new CpuAttention(traits.Scale)
        : new ExplicitAttention(traits.Scale, traits.SoftCap);

    public override void Dispose()
    {
        _unpacked?.Dispose();
        _products?.Dispose();
        base.Dispose();
    }

    // Whether products with it are our own; libtorch has the others.
    private static bool IsOwn(Tensor x) => x.shape[0] <= RowKernels.MostRows || HostTile.IsSupported;

    // The same pieces however weights lie, so that float32's own give the same bits as what was unpacked to them.
    private static Tensor MultiplyPieces(Tensor x, int rows, int columns, Tensor? bias, Func<int, int, Tensor> weights)
    {
        var most = Math.Max(1, PieceElements / columns);
        if (rows <= most)
        {
            using var all = weights(0, rows);
            return nn.functional.linear(x, all, bias);
        }

        var result = empty([x.shape[0], rows], ScalarType.Float32);
        for (var start = 0; start < rows; start += most)
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(most, rows - start);
            result.narrow(1, start, count).copy_(nn.functional.linear(x, weights(start, count), bias?.narrow(0, start, count)));
        }

        return result;
    }

    // [count, columns]; until the next are unpacked.
    private unsafe Tensor Unpack(WeightMatrix weight, int start, int count)
    {
        var elements = (long)count * weight.Columns;
        if (_unpacked is null || _unpacked.NumberOfElements < elements)
        {
            _unpacked?.Dispose();
            _unpacked = empty([Math.Max(elements, PieceElements)], ScalarType.Float32).DetachFromDisposeScope();
        }

        var to = HostMath.Address(_unpacked);
        Team.Run(member =>
        {
            var (first, end) = Team.Share(member, count);
            HostProducts.Unpack(weight, start + first, start + end, to + ((long)first * weight.Columns));
        });
        using var some = _unpacked.narrow(0, 0, elements);
        return some.view(count, weight.Columns);
    }

    protected override void CopyWeights(Tensor from, Tensor to) => to.copy_(from).Dispose();

    protected override void CopyRows(Tensor run, Tensor rows, int at, WorkQueue direction)
    {
        using var scope = NewDisposeScope();
        var pages = run.permute(1, 2, 0, 3, 4); // [heads, 2, pages, tokens, dim]
        var device = rows.narrow(2, at, run.shape[0] * run.shape[3]).unflatten(2, [run.shape[0], run.shape[3]]);
        if (direction == WorkQueue.Upload)
        {
            device.copy_(pages);
        }
        else
        {
            pages.copy_(device);
        }
    }

    private sealed class NoFence : Fence
    {
        public override void Dispose()
        {
        }
    }
}
