using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Tiled attention of a made-up model on a device, which is the case's own, with everything it needs.</summary>
internal sealed class AttentionCase : IDisposable
{
    private readonly Compute.Device _device;
    private readonly TiledAttention _attention;
    private readonly RowBuffer _heads, _attended;
    private Tensor? _idle, _rows;
    private IDisposable? _pin;

    public AttentionCase(AttentionLayout layout, ScalarType type, Compute.Device device, int page, ByteSize slab, double? softCap = null, AttentionKernel? kernel = null, Func<int, int>? hostHeads = null, ByteSize? resident = null, ScalarType? kvType = null, ByteSize windows = default)
    {
        Layout = layout;
        Scale = 1 / Math.Sqrt(layout.HeadDim);
        _device = device;
        device.Prepare(type);
        var pool = new BlockPool(new PageShape(layout.KvHeads, page, layout.HeadDim, kvType ?? type), layout.Layers, ByteSize.FromGiB(4), ByteSize.Zero, device, slab);
        kernel ??= device.Attention(new AttentionTraits(Scale, softCap, layout.HeadDim, QueriesPerHead: 1, type), FusedAttention.Flash);
        var heads = layout.KvHeads * layout.HeadsPerKvHead;
        var traits = new RowTraits(type, heads, layout.KvHeads, layout.HeadDim, Scale, softCap) { KvType = kvType ?? type };
        var rows = device.CreateRows(traits);
        _attention = new TiledAttention(layout, pool, kernel, rows, resident ?? ByteSize.FromMiB(64), stagedTokens: 1 << 15, gapTokens: 1, windowSize: windows)
        {
            Host = device.IsAsynchronous ? new HostParts(traits, 3, device) : null,
            HostHeads = (answers, _) => hostHeads?.Invoke(answers) ?? 0,
            LeastHostTokens = 0,
        };
        _heads = new RowBuffer((heads + (2 * layout.KvHeads)) * layout.HeadDim, device.Torch);
        _attended = new RowBuffer(heads * layout.HeadDim, device.Torch);
        Sequence = new Sequence(pool, "");
    }

    public AttentionLayout Layout { get; }

    /// <summary>Gives the queues of copies work for a millisecond or more, so that what is copied next is late.</summary>
    public void Delay()
    {
        if (_idle is null)
        {
            _idle = empty([256, 4, 2, 256, 128], ScalarType.BFloat16).DetachFromDisposeScope(); // [pages, heads, 2, tokens, dim]
            _rows = empty([4, 2, 256 * 256, 128], ScalarType.BFloat16, _device.Torch).DetachFromDisposeScope();
            _pin = _device.Pin(TensorMemory.Pointer(_idle), _idle.NumberOfElements * 2);
        }

        _device.Upload(_idle, _rows!, 0);
        _device.Download(_rows!, 0, _idle);
    }

    public double Scale { get; }

    /// <summary>Memory of a sequence's copies.</summary>
    public ByteSize CopiesOf(Sequence sequence) => _attention.Resident.SizeOf(sequence.Blocks);

    /// <summary>Memory of windows' copies.</summary>
    public ByteSize Windows => _attention.Windows.InUse;

    /// <summary>Copies to the device so far, or their bytes.</summary>
    public long Uploaded => _device is LateDevice late ? late.Uploads : _device.Traffic.Uploaded.Bytes;

    /// <summary>Whether the host has attended anything beside the device since the last look.</summary>
    public bool HostAttended => _attention.Host?.TakeRate() > 0;

    /// <summary>Another sequence of the same pool. All tokens are alike, so those with one key share what they have.</summary>
    public Sequence Empty(string key = "") => new(Sequence.Pool, key);

    public Sequence Sequence { get; }

    /// <summary>Attends new tokens of the only layer, or the last of them, and has the sequence keep them.</summary>
    /// <param name="queries">[tokens asked for, heads, dim], overwritten with the output</param>
    /// <param name="keys">[tokens, kv_heads, dim]</param>
    /// <param name="values">[tokens, kv_heads, dim]</param>
    /// <param name="work">told of the work</param>
    /// <param name="sequence">of the case's pool; null for its own</param>
    public void Attend(Tensor queries, Tensor keys, Tensor values, WorkMeter? work = null, Sequence? sequence = null)
    {
        sequence ??= Sequence;
        if (keys.shape[0] == 0)
        {
            return;
        }

        using var scope = NewDisposeScope();
        sequence.Reserve((int)keys.shape[0]);
        using (var pass = _attention.Begin(Batch.Prefill(sequence, new int[keys.shape[0]], (int)queries.shape[0]), work ?? WorkMeter.None))
        {
            var kv = stack([keys, values], 0).permute(2, 0, 1, 3); // [kv_heads, 2, tokens, dim]
            if (pass.Stages)
            {
                kv = pass.Stage(0).copy_(kv);
            }

            pass.Attend(0, queries, kv, output: queries);
        }

        sequence.Commit(new int[keys.shape[0]]);
    }

    /// <summary>Attends new tokens of some sequences in one step. Nothing is rotated.</summary>
    /// <param name="sequences">of the case's pool, one for each token; those of one are neighbours</param>
    /// <param name="queries">[tokens, heads, dim]</param>
    /// <param name="keys">[tokens, kv_heads, dim]</param>
    /// <param name="values">[tokens, kv_heads, dim]</param>
    /// <param name="keep">whether the sequences have the tokens afterwards</param>
    /// <returns>like <paramref name="queries"/>, float32</returns>
    public Tensor Step(IReadOnlyList<Sequence> sequences, Tensor queries, Tensor keys, Tensor values, bool keep = true)
    {
        using var scope = NewDisposeScope();
        var (count, half) = (sequences.Count, Layout.HeadDim / 2);
        foreach (var (sequence, tokens) in sequences.CountBy(s => s))
        {
            sequence.Reserve(tokens);
        }

        using (var pass = _attention.BeginStep(Batch.Decode(sequences, new int[count])))
        {
            _heads.Memory.narrow(0, 0, count).copy_(cat([queries, keys, values], 1).flatten(1));
            var kernels = _attention.Rows;
            kernels.SetAngles(0, Enumerable.Repeat(1f, count * half).ToArray(), new float[count * half], 2 * half);
            kernels.Rotate(count, _heads, 0, null, null, pass.Targets(0));
            pass.Attend(0, _heads, _attended);
        }

        foreach (var sequence in keep ? sequences : [])
        {
            sequence.Commit([0]);
        }

        return _attended.Memory.narrow(0, 0, count).clone().view(queries.shape).MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        _device.Drain();
        _heads.Dispose();
        _attended.Dispose();
        _pin?.Dispose();
        _idle?.Dispose();
        _rows?.Dispose();
        Sequence.Dispose();
        _attention.Dispose();
        _device.Dispose();
    }
}
