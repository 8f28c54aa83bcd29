using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>A queue of work that runs in order beside the other queues.</summary>
internal enum WorkQueue
{
    /// <summary>The operators of attention and decoder.</summary>
    Compute,

    /// <summary>Copies from pages to the device.</summary>
    Upload,

    /// <summary>Copies from the device to pages.</summary>
    Download,
}

/// <summary>A point in a queue, reusable. Waiting for one that was never recorded waits for nothing.</summary>
internal abstract class Fence : IDisposable
{
    public abstract void Dispose();
}

/// <summary>Bytes that were moved between host and device.</summary>
/// <param name="Uploaded">From pages to the device.</param>
/// <param name="Downloaded">From the device to pages.</param>
internal readonly record struct Traffic(ByteSize Uploaded, ByteSize Downloaded);

/// <summary>What a model's attention needs of a kernel.</summary>
/// <param name="Scale">Factor of the scores.</param>
/// <param name="SoftCap">Cap of the scores by tanh, or null.</param>
/// <param name="HeadDim">Dimensions of a head.</param>
/// <param name="QueriesPerHead">Query heads that share a KV head.</param>
internal readonly record struct AttentionTraits(double Scale, double? SoftCap, int HeadDim, int QueriesPerHead, ScalarType Type);

/// <summary>What computes: its memory, its queues and its operators. The one place that tells CPU and GPU apart.</summary>
/// <remarks>
/// Operators here are those for which a device has a better way than ATen's, or another one; what is written with ATen runs
/// on <see cref="Torch"/> as it stands. Belongs to the engine's thread, unless said otherwise.
/// </remarks>
internal abstract class Device : IWeightLayout, IDisposable
{
    /// <summary>In words, for people.</summary>
    public abstract string Name { get; }

    /// <summary>The GPU's number; null on the CPU.</summary>
    public virtual int? Ordinal => null;

    /// <summary>Where libtorch puts tensors.</summary>
    public abstract torch.Device Torch { get; }

    /// <summary>Whether weights and buffers lie in memory of its own, apart from the host's.</summary>
    public bool HasOwnMemory => Ordinal is not null;

    /// <summary>Whether copies run beside the computation. Where they do not, there is nothing to fetch ahead or to wait for.</summary>
    public abstract bool IsAsynchronous { get; }

    /// <summary>Whether its kernels may write to pinned host memory by address.</summary>
    public virtual bool WritesHostMemory => false;

    /// <summary>Host memory that is best taken from the system at once.</summary>
    public abstract ByteSize SlabSize { get; }

    /// <summary>Whether copies that lie apart are joined before they are attended, so that a row is rounded alike however they lie.</summary>
    public abstract bool JoinsRuns { get; }

    /// <summary>Tokens that attend, or are attended, before others may have a turn.</summary>
    public abstract int TokensAtOnce { get; }

    /// <summary>Threads that work on host memory.</summary>
    public HostTeam Team { get; } = new(get_num_threads());

    /// <summary>Bytes moved so far.</summary>
    public Traffic Traffic { get; private set; }

    /// <summary>The type in which it computes.</summary>
    /// <param name="stored">of the checkpoint</param>
    /// <param name="chosen">what the options say</param>
    public abstract ScalarType TypeFor(ScalarType stored, ComputeType? chosen);

    /// <summary>Gets ready to compute in a type.</summary>
    /// <exception cref="DeviceException">What it needs for that is missing.</exception>
    public virtual void Prepare(ScalarType type)
    {
    }

    public abstract Fence CreateFence();

    /// <summary>Sets a fence behind what is in a queue now.</summary>
    public abstract void Record(WorkQueue queue, Fence fence);

    /// <summary>What is queued from now on runs after the fence.</summary>
    public abstract void Wait(WorkQueue queue, Fence fence);

    /// <summary>Blocks the calling thread until the fence has been passed.</summary>
    public abstract void Block(Fence fence);

    /// <summary>Blocks the calling thread until all queues are empty.</summary>
    public abstract void Drain();

    /// <summary>Makes host memory fast to copy, until the result is disposed. May be called from any thread.</summary>
    /// <returns>null where there is nothing to do, or the system refuses</returns>
    public virtual IDisposable? Pin(nint address, long bytes) => null;

    /// <summary>Copies rows from pages to device memory.</summary>
    /// <param name="run">[pages, heads, 2, tokens a page, dim], heads and halves of a page contiguous</param>
    /// <param name="rows">[heads, 2, tokens, dim]</param>
    /// <param name="at">where the run's first token goes</param>
    public void Upload(Tensor run, Tensor rows, int at)
    {
        CopyRows(run, rows, at, WorkQueue.Upload);
        Traffic = Traffic with { Uploaded = Traffic.Uploaded + Moved(run) };
    }

    /// <summary>Copies rows from device memory to pages.</summary>
    /// <param name="rows">[heads, 2, tokens, dim]</param>
    /// <param name="at">where the run's first token comes from</param>
    /// <param name="run">[pages, heads, 2, tokens a page, dim], heads and halves of a page contiguous</param>
    public void Download(Tensor rows, int at, Tensor run)
    {
        CopyRows(run, rows, at, WorkQueue.Download);
        Traffic = Traffic with { Downloaded = Traffic.Downloaded + Moved(run) };
    }

    /// <summary>Copies weights to device memory, in the queue of uploads.</summary>
    /// <param name="from">[n], contiguous, on the host</param>
    /// <param name="to">[n], contiguous, of the same type</param>
    public void UploadWeights(Tensor from, Tensor to)
    {
        CopyWeights(from, to);
        Traffic = Traffic with { Uploaded = Traffic.Uploaded + Moved(from) };
    }

    /// <summary>Begins to count anew.</summary>
    public void ForgetTraffic() => Traffic = default;

    /// <summary>Root-mean-square norm over the last dimension; the mean is formed in float32 at least.</summary>
    public virtual Tensor RmsNorm(Tensor x, Tensor weight, double epsilon) => Aten.RmsNorm(x, weight, epsilon);

    /// <summary>The norm of some heads of each token, in place.</summary>
    /// <param name="heads">[tokens, heads, dim], contiguous, changed</param>
    /// <param name="first">first of the heads</param>
    /// <param name="weight">[dim]</param>
    /// <param name="epsilon">added to the mean square</param>
    public virtual void NormHeads(Tensor heads, int first, int count, Tensor weight, double epsilon)
    {
        using var some = heads.narrow(1, first, count);
        some.copy_(RmsNorm(some, weight, epsilon));
    }

    /// <inheritdoc/>
    public abstract Packing LayOut(Packing stored, ScalarType type, long rows, long columns);

    /// <inheritdoc/>
    public virtual ByteSize UnpackedSize(long largest) => ByteSize.Zero;

    /// <summary><c>x * weight^T + bias</c> of weights that lie as a checkpoint has them.</summary>
    /// <param name="x">[rows, columns of the weight]</param>
    /// <param name="bias">[outputs] or null; the matrix's own</param>
    public virtual Tensor Multiply(Tensor x, WeightMatrix weight, Tensor? bias) => throw new NotSupportedException();

    /// <summary>Rows of such weights, in the type that is computed in.</summary>
    /// <param name="rows">[n], int64</param>
    /// <returns>[n, columns]</returns>
    public virtual Tensor Lookup(WeightMatrix weight, Tensor rows) => throw new NotSupportedException();

    /// <summary><c>x * weight^T + bias</c>.</summary>
    /// <param name="x">[rows, columns of the weight]</param>
    /// <param name="weight">[outputs, columns]</param>
    /// <param name="bias">[outputs] or null</param>
    public virtual Tensor Multiply(Tensor x, Tensor weight, Tensor? bias) => nn.functional.linear(x, weight, bias);

    /// <summary><c>sum += x * weight^T</c>.</summary>
    /// <param name="sum">[rows, outputs], changed</param>
    /// <param name="x">[rows, columns of the weight]</param>
    /// <param name="weight">[outputs, columns]</param>
    public abstract void AddProduct(Tensor sum, Tensor x, Tensor weight);

    /// <summary>gpt-oss's activation: gates and what they are for are clamped to 7, silu has a slope of 1.702, and to what it is for 1 is added.</summary>
    public const string ClampedSwiGlu = "clamped_swiglu";

    /// <summary>An activation of MLPs without gates.</summary>
    public const string SquaredRelu = "relu2";

    /// <summary>Another, with numbers of each layer.</summary>
    public const string Xielu = "xielu";

    /// <summary>Applies an activation of an MLP without a gate, in place.</summary>
    /// <param name="x">[rows, width]</param>
    /// <param name="activation">which</param>
    public virtual void Activate(Tensor x, LoneActivation activation) => activation.Apply(x);

    /// <summary><c>activation(gate) * up</c> of gate and up side by side.</summary>
    /// <param name="both">[rows, 2 * width], contiguous; may be overwritten</param>
    /// <param name="width">columns of each</param>
    /// <param name="activation">as the configuration names it</param>
    /// <returns>[rows, width]</returns>
    public virtual Tensor Gate(Tensor both, int width, string activation)
    {
        using var gate = both.narrow(1, 0, width);
        using var up = both.narrow(1, width, width);
        if (activation == ClampedSwiGlu)
        {
            const double most = 7, slope = 1.702;
            using var slow = gate.clamp_(max: most).mul(slope).sigmoid_();
            using var one = up.clamp_(-most, most).add_(1);
            return gate.mul(slow).mul_(one);
        }

        var active = activation switch
        {
            "silu" => gate.silu_().alias(),
            "gelu" => gate.gelu(),
            _ => gate.gelu(TorchSharp.Modules.GELU.Approximate.tanh),
        };
        return active.mul_(up);
    }

    /// <summary>Rotates the first heads of each token in place.</summary>
    /// <param name="all">[tokens, heads, dim], contiguous, changed</param>
    /// <param name="count">how many of the heads</param>
    /// <param name="cos">[tokens, 1, rotary]</param>
    /// <param name="sin">[tokens, 1, rotary], first half negated</param>
    public virtual void Rotate(Tensor all, int count, Tensor cos, Tensor sin)
    {
        var (heads, dim) = (all.narrow(1, 0, count), cos.shape[2]);
        var rotary = dim == heads.shape[2] ? heads : heads.narrow(2, 0, dim);
        using var swapped = cat([rotary.narrow(2, dim / 2, dim / 2), rotary.narrow(2, 0, dim / 2)], 2);
        rotary.mul_(cos).addcmul_(swapped, sin, 1);
    }

    /// <summary>Queues a copy to host memory behind what is computed.</summary>
    /// <param name="from">contiguous, of the device</param>
    /// <param name="to">as large, in host memory; pinned, or the caller may wait</param>
    public virtual void CopyToHost(Tensor from, Tensor to) => to.copy_(from);

    /// <summary>Queues a copy from host memory before what is computed from now on.</summary>
    /// <param name="from">in host memory; the caller leaves it alone until a fence behind it has been passed</param>
    /// <param name="to">in the device's memory</param>
    /// <param name="bytes">how many</param>
    public virtual unsafe void CopyFromHost(nint from, nint to, long bytes) => Buffer.MemoryCopy((void*)from, (void*)to, bytes, bytes);

    /// <summary>Layers with a state over many tokens.</summary>
    public virtual StatePieces StatePieces { get; } = new();

    /// <summary>Whether <see cref="RotateApart"/> takes heads of this size.</summary>
    public virtual bool RotatesApart(int headDim, int rotaryDim) => false;

    /// <summary>Splits projected heads into queries and key/value rows, queries and keys rotated, in one pass.</summary>
    /// <param name="projected">[tokens, heads + 2 kv_heads, dim], contiguous</param>
    /// <param name="queries">[tokens, heads, dim], contiguous, written; perhaps no heads</param>
    /// <param name="rows">[kv_heads, 2, capacity, dim], contiguous, written</param>
    /// <param name="first">row at which the tokens begin</param>
    /// <param name="cosines">[tokens, rotary / 2], float32</param>
    /// <param name="sines">like <paramref name="cosines"/></param>
    public virtual void RotateApart(Tensor projected, Tensor queries, Tensor rows, long first, Tensor cosines, Tensor sines) => throw new NotSupportedException();

    /// <summary>Whether <see cref="Merge"/> takes heads of this size.</summary>
    public virtual bool Merges(int headDim) => false;

    /// <summary>Joins two parts of attention in one pass; see <see cref="FusedKernels.Merge"/>.</summary>
    public virtual void Merge(Tensor sum, Tensor sumLse, Tensor part, Tensor partLse, Tensor output, Tensor? outputLse) => throw new NotSupportedException();

    /// <summary>Whether it has fused attention to choose from.</summary>
    public virtual bool MayFuse(AttentionTraits traits) => false;

    /// <summary>Kernels for few rows of a model.</summary>
    public abstract RowKernels CreateRows(RowTraits traits);

    /// <summary>The fastest attention there is for a model.</summary>
    /// <param name="traits">what the model needs</param>
    /// <param name="chosen">what the caller chose among fused ones; null measures</param>
    public abstract AttentionKernel Attention(AttentionTraits traits, FusedAttention? chosen);

    public virtual void Dispose() => Team.Dispose();

    protected abstract void CopyWeights(Tensor from, Tensor to);

    protected abstract void CopyRows(Tensor run, Tensor rows, int at, WorkQueue direction);

    // Where device memory is host memory nothing moves, whatever is copied.
    private ByteSize Moved(Tensor run) => HasOwnMemory ? new(run.NumberOfElements * run.ElementSize) : ByteSize.Zero;
}
