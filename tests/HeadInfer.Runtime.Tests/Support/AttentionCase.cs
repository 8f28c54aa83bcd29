using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Native;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Tiled attention of a made-up model on a device, with everything it needs.</summary>
internal sealed class AttentionCase : IDisposable
{
    private readonly TiledAttention _attention;
    private Tensor? _idle, _rows;
    private IDisposable? _pin;

    public AttentionCase(AttentionLayout layout, ScalarType type, CudaDevice? gpu, int page, ByteSize slab, double? softCap = null, AttentionKernel? kernel = null, bool ignoreWaits = false, KvLink? link = null)
    {
        Layout = layout;
        Scale = 1 / Math.Sqrt(layout.HeadDim);
        link ??= gpu is null ? new HostLink() : new CudaLink(gpu) { IgnoreWaits = ignoreWaits };
        var pool = new BlockPool(new PageShape(layout.KvHeads, page, layout.HeadDim, type), layout.Layers, slab, ByteSize.FromGiB(4), ByteSize.Zero, link);
        kernel ??= gpu is null && softCap is null ? new CpuAttention(Scale)
            : softCap is null && type != ScalarType.Float32 ? new CudaAttention(Scale, useCuDnn: false)
            : new ExplicitAttention(Scale, softCap);
        var kernels = gpu is null ? null : FusedKernels.TryCompile(gpu, type);
        _attention = new TiledAttention(layout, pool, link, kernel, new HostAttention(Scale, softCap), ByteSize.FromMiB(64), stagedTokens: 1 << 15, gapTokens: 1, kernels);
        Sequence = new Sequence(pool, "");
    }

    public AttentionLayout Layout { get; }

    /// <summary>Gives the queues of copies work for a millisecond or more, so that what is copied next is late.</summary>
    public void Delay()
    {
        var link = _attention.Link;
        if (_idle is null)
        {
            _idle = empty([256, 4, 2, 256, 128], ScalarType.BFloat16).DetachFromDisposeScope(); // [pages, heads, 2, tokens, dim]
            _rows = empty([4, 2, 256 * 256, 128], ScalarType.BFloat16, link.Device).DetachFromDisposeScope();
            _pin = link.Pin(TensorMemory.Pointer(_idle), _idle.NumberOfElements * 2);
        }

        link.Upload(_idle, _rows!, 0);
        link.Download(_rows!, 0, _idle);
    }

    public double Scale { get; }

    public Sequence Sequence { get; }

    /// <summary>Attends new tokens of the only layer, or the last of them, and has the sequence keep them.</summary>
    /// <param name="queries">[tokens asked for, heads, dim], overwritten with the output</param>
    /// <param name="keys">[tokens, kv_heads, dim]</param>
    /// <param name="values">[tokens, kv_heads, dim]</param>
    /// <param name="work">told of the work</param>
    public void Attend(Tensor queries, Tensor keys, Tensor values, WorkMeter? work = null)
    {
        using var scope = NewDisposeScope();
        Sequence.Reserve((int)keys.shape[0]);
        using (var pass = _attention.Begin(Batch.Prefill(Sequence, new int[keys.shape[0]], (int)queries.shape[0]), work ?? WorkMeter.None))
        {
            var kv = stack([keys, values], 0).permute(2, 0, 1, 3); // [kv_heads, 2, tokens, dim]
            if (pass.Stages)
            {
                kv = pass.Stage().copy_(kv);
            }

            pass.Attend(0, queries, kv, output: queries);
        }

        Sequence.Commit(new int[keys.shape[0]]);
    }

    public void Dispose()
    {
        _attention.Link.Drain();
        _pin?.Dispose();
        _idle?.Dispose();
        _rows?.Dispose();
        Sequence.Dispose();
        _attention.Dispose();
    }
}
