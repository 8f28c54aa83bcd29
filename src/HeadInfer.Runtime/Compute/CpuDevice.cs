using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>The CPU: device memory is host memory, and copies are done when the call returns.</summary>
/// <remarks>It computes in float32. Half-precision products crawl without AVX-512.</remarks>
internal class CpuDevice : Device
{
    private static readonly Fence Passed = new NoFence();

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

    public override Tensor Multiply(Tensor x, Tensor weight, Tensor? bias) =>
        x.shape[0] <= RowKernels.MostRows ? HostMath.MultiplyRows(Team, x.contiguous(), weight, bias) : base.Multiply(x, weight, bias);

    public override void AddProduct(Tensor sum, Tensor x, Tensor weight)
    {
        using var product = Multiply(x, weight, null);
        sum.add_(product);
    }

    // Few rows one by one: libtorch's vectors would round by a value's place among all of them.
    public override Tensor Gate(Tensor both, int width, string activation)
    {
        var rows = both.shape[0];
        if (rows > RowKernels.MostRows)
        {
            return base.Gate(both, width, activation);
        }

        using var scope = NewDisposeScope();
        return cat([.. Enumerable.Range(0, (int)rows).Select(row => base.Gate(both.narrow(0, row, 1), width, activation))]).MoveToOuterDisposeScope();
    }

    public override void Rotate(Tensor all, int count, Tensor cos, Tensor sin) => HostMath.Rotate(all, count, cos, sin);

    public override bool Merges(int headDim) => true;

    public override void Merge(Tensor sum, Tensor sumLse, Tensor part, Tensor partLse, Tensor output, Tensor? outputLse) =>
        HostMath.Merge(sum, sumLse, part, partLse, output, outputLse);

    public override RowKernels CreateRows(RowTraits traits) => new HostRowKernels(traits, this);

    public override AttentionKernel Attention(AttentionTraits traits, FusedAttention? chosen) =>
        traits.SoftCap is null ? new CpuAttention(traits.Scale) : new ExplicitAttention(traits.Scale, traits.SoftCap);

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
