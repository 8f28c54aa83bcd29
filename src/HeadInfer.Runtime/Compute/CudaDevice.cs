using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>What copies took, where that was measured.</summary>
/// <param name="Copying">Time in which copies ran, both ways added.</param>
/// <param name="Exposed">Time for which the computation stood still to wait for a copy.</param>
internal readonly record struct CopyTimes(TimeSpan Copying, TimeSpan Exposed)
{
    /// <summary>Share of the copies' time that passed behind the computation, 0 to 1.</summary>
    public double Hidden => Copying > TimeSpan.Zero ? Math.Max(0, 1 - (Exposed / Copying)) : 1;
}

/// <summary>A GPU: libtorch's queue, a stream of its own for copies in each direction, and fused kernels.</summary>
/// <param name="gpu">The GPU; owned from now on.</param>
/// <param name="warn">Told once if the system refuses to pin memory.</param>
/// <remarks>
/// Buffers that a copy stream touches are allocated once and outlive it: handed back to libtorch's allocator, their memory
/// could be given to others while a copy is still under way.
/// </remarks>
internal class CudaDevice(Gpu gpu, Action<string>? warn = null) : Device
{
    private const int FlashHeadDim = 256; // dimensions of a head that libtorch's fused attention takes at most
    private const int FlashCapability = 8, EarlyStarts = 9; // compute capabilities

    private readonly CudaStream _up = new(), _down = new();
    private readonly List<(CudaEvent Start, CudaEvent End)> _copies = [], _stalls = [];
    private readonly GpuLayout _layout = new(gpu.Major);
    private readonly Dictionary<TiledPacking, PackedKernels> _packed = [];
    private readonly Dictionary<int, CudaModule> _attention = []; // by dimensions of a head
    private Tensor? _scratch; // bytes
    private CudaModule? _module;
    private FusedKernels? _kernels;
    private CudaStatePieces? _pieces;
    private int _warned;

    /// <summary>Whether copies and waits are timed, which costs two events each.</summary>
    public bool IsMeasured { get; set; }

    public override string Name => gpu.Name;

    public override int? Ordinal => gpu.Ordinal;

    /// <summary>Bytes a second that its memory gives at most, by its clock; 0 if the driver does not say.</summary>
    public double MemoryRate => gpu.MemoryRate;

    public override torch.Device Torch => gpu.Torch;

    public override bool IsAsynchronous => true;

    public override bool WritesHostMemory => gpu.SeesHostAddresses;

    public override ByteSize SlabSize => ByteSize.FromMiB(256);

    public override bool JoinsRuns => false;

    public override int TokensAtOnce => int.MaxValue;

    public override ScalarType TypeFor(ScalarType stored, ComputeType? chosen) => chosen is { } type ? DataTypes.Of(type) : stored;

    public override void Prepare(ScalarType type)
    {
        _module = new CudaModule(gpu, type);
        (_kernels, _pieces) = (new FusedKernels(_module), new CudaStatePieces(_module));
    }

    public override Fence CreateFence() => new CudaFence();

    public override void Record(WorkQueue queue, Fence fence) => ((CudaFence)fence).Event.Record(Stream(queue));

    public override void Wait(WorkQueue queue, Fence fence)
    {
        if (IsMeasured && queue == WorkQueue.Compute)
        {
            Timed(_stalls, CudaStream.Compute, () => CudaStream.Compute.Wait(((CudaFence)fence).Event));
            return;
        }

        Stream(queue).Wait(((CudaFence)fence).Event);
    }

    public override void Block(Fence fence) => ((CudaFence)fence).Event.Synchronize();

    public override void Drain() => Gpu.Synchronize();

    public override IDisposable? Pin(nint address, long bytes)
    {
        gpu.Enter();
        var pinned = TryPin(address, bytes, out var error);
        if (pinned is null && Interlocked.Exchange(ref _warned, 1) == 0)
        {
            warn?.Invoke(PinnedMemory.Explain(new ByteSize(bytes), error, OperatingSystem.IsLinux() ? File.ReadAllText("/proc/self/limits") : null, HostMemory.Free()));
        }

        return pinned;
    }

    public override Packing LayOut(Packing stored, ScalarType type, long rows, long columns) => _layout.LayOut(stored, type, rows, columns);

    public override ByteSize UnpackedSize(long largest) => _layout.UnpackedSize(largest);

    /// <summary>The kernels of a packing, compiled when they are first asked for.</summary>
    public PackedKernels Packed(TiledPacking packing)
    {
        if (!_packed.TryGetValue(packing, out var kernels))
        {
            _packed.Add(packing, kernels = new PackedKernels(gpu, _module!.Type, packing, gpu.Major >= EarlyStarts, Scratch));
        }

        return kernels;
    }

    public override Tensor Multiply(Tensor x, WeightMatrix weight, Tensor? bias)
    {
        if (x.shape[0] > RowKernels.MostRows)
        {
            return MultiplyUnpacked(x, weight, bias);
        }

        using var input = x.to(ScalarType.Float32);
        using var output = empty([x.shape[0], weight.Rows], ScalarType.Float32, Torch);
        var at = 0;
        foreach (var part in weight.Parts)
        {
            var added = weight.Bias == 0 ? 0 : weight.Bias + (at * sizeof(ushort));
            Packed((TiledPacking)part.Packing).Multiply((int)x.shape[0], TensorMemory.Pointer(input), null, part, added, weight.Columns, TensorMemory.Pointer(output) + (at * sizeof(float)), weight.Rows, add: false);
            at += part.Rows;
        }

        return output.to(x.dtype);
    }

    public override Tensor Lookup(WeightMatrix weight, Tensor rows)
    {
        var (result, part) = (empty([rows.shape[0], weight.Columns], _module!.Type, Torch), weight.Parts.Single());
        Packed((TiledPacking)part.Packing).Lookup(part, TensorMemory.Pointer(rows), default, (int)rows.shape[0], weight.Columns, TensorMemory.Pointer(result), 1, asElement: true);
        return result;
    }

    public override void AddProduct(Tensor sum, Tensor x, Tensor weight)
    {
        using var transposed = weight.t();
        sum.addmm_(x, transposed, beta: 1, alpha: 1); // in one pass, rounded once
    }

    public override Tensor Gate(Tensor both, int width, string activation) => _kernels?.Gate(both, width, activation) ?? base.Gate(both, width, activation);

    public override void CopyToHost(Tensor from, Tensor to) => CudaDriver.Check(
        CudaDriver.CopyToHostAsync(TensorMemory.Pointer(to), TensorMemory.Pointer(from), (nuint)(from.NumberOfElements * from.ElementSize), CudaStream.Compute.Handle), "copying from the GPU");

    public override unsafe void CopyFromHost(nint from, nint to, long bytes) => CudaDriver.Check(
        CudaDriver.CopyToDeviceAsync(to, (void*)from, (nuint)bytes, CudaStream.Compute.Handle), "copying rows to the GPU");

    public override StatePieces StatePieces => _pieces ?? base.StatePieces;

    public override bool RotatesApart(int headDim, int rotaryDim) => _kernels?.TakesHeads(headDim, rotaryDim) == true;

    public override void RotateApart(Tensor projected, Tensor queries, Tensor rows, long first, Tensor cosines, Tensor sines) =>
        _kernels!.Rotate(projected, queries, rows, first, cosines, sines);

    public override bool Merges(int headDim) => _kernels?.TakesHeads(headDim, 0) == true;

    public override void Merge(Tensor sum, Tensor sumLse, Tensor part, Tensor partLse, Tensor output, Tensor? outputLse) =>
        _kernels!.Merge(sum, sumLse, part, partLse, output, outputLse);

    public override bool MayFuse(AttentionTraits traits) => MayFuse(traits, gpu.Major);

    public override RowKernels CreateRows(RowTraits traits) => new CudaRowKernels(traits, _module!, this);

    public override AttentionKernel Attention(AttentionTraits traits, FusedAttention? chosen) => MayFuse(traits)
        ? new CudaAttention(traits.Scale, chosen is { } which ? which == FusedAttention.CuDnn : CudaAttention.CuDnnIsFaster(traits, Torch))
        : SegmentAttention.Takes(traits, gpu.Major) ? new SegmentAttention(Attention(traits.HeadDim), traits)
        : new ExplicitAttention(traits.Scale, traits.SoftCap);

    /// <param name="traits">what the model needs</param>
    /// <param name="major">compute capability, the part before the dot</param>
    internal static bool MayFuse(AttentionTraits traits, int major) =>
        IsOrdinary(traits.HeadDim, traits.SoftCap) && traits.Type != ScalarType.Float32 && major >= FlashCapability;

    /// <summary>Whether libtorch has fused attention for it.</summary>
    internal static bool IsOrdinary(int headDim, double? softCap) => softCap is null && headDim <= FlashHeadDim && headDim % 8 == 0;

    /// <summary>Times since the last call. Waits for the queues to end.</summary>
    public CopyTimes TakeTimes()
    {
        Drain();
        return new CopyTimes(Sum(_copies), Sum(_stalls));
    }

    public override void Dispose()
    {
        base.Dispose();
        foreach (var kernels in _packed.Values)
        {
            kernels.Dispose();
        }

        foreach (var module in _attention.Values)
        {
            module.Dispose();
        }

        _packed.Clear();
        _attention.Clear();
        _scratch?.Dispose();
        _module?.Dispose();
        _up.Dispose();
        _down.Dispose();
        Sum(_copies);
        Sum(_stalls);
        gpu.Dispose();
    }

    // Kernels run one after another, so what the last one had may be another's at once.
    private nint Scratch(long bytes)
    {
        if (_scratch is null || _scratch.NumberOfElements < bytes)
        {
            _scratch?.Dispose();
            _scratch = empty([bytes], ScalarType.Byte, Torch).DetachFromDisposeScope();
        }

        return TensorMemory.Pointer(_scratch);
    }

    private CudaModule Attention(int headDim)
    {
        if (!_attention.TryGetValue(headDim, out var module))
        {
            _attention.Add(headDim, module = SegmentAttention.Compile(gpu, _module!.Type, headDim));
        }

        return module;
    }

    // As much of the matrix at a time as there is memory for; most are one piece, which is the result as it stands.
    private Tensor MultiplyUnpacked(Tensor x, WeightMatrix weight, Tensor? bias)
    {
        var most = (int)Math.Max(TiledPacking.TileRows, GpuLayout.MostUnpacked / weight.Columns / TiledPacking.TileRows * TiledPacking.TileRows);
        if (weight.Rows <= most)
        {
            return MultiplyPiece(x, weight, bias);
        }

        var result = empty([x.shape[0], weight.Rows], x.dtype, Torch);
        for (var start = 0; start < weight.Rows; start += most)
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(most, weight.Rows - start);
            result.narrow(1, start, count).copy_(MultiplyPiece(x, weight.Slice(start, count, sizeof(ushort)), bias?.narrow(0, start, count)));
        }

        return result;
    }

    private Tensor MultiplyPiece(Tensor x, WeightMatrix weight, Tensor? bias)
    {
        using var unpacked = empty([weight.Rows, weight.Columns], x.dtype, Torch);
        var at = 0L;
        foreach (var part in weight.Parts)
        {
            Packed((TiledPacking)part.Packing).Unpack(part, weight.Columns, TensorMemory.Pointer(unpacked) + (nint)(at * weight.Columns * sizeof(ushort)));
            at += part.Rows;
        }

        return base.Multiply(x, unpacked, bias);
    }

    /// <summary>Pins memory, if the system lets it.</summary>
    protected virtual IDisposable? TryPin(nint address, long bytes, out string error) => PinnedMemory.TryPin(address, bytes, out error);

    protected override unsafe void CopyWeights(Tensor from, Tensor to)
    {
        void Copy() => CudaDriver.Check(
            CudaDriver.CopyToDeviceAsync(TensorMemory.Pointer(to), TensorMemory.Address(from), (nuint)(from.NumberOfElements * from.ElementSize), _up.Handle), "copying weights to the GPU");
        if (IsMeasured)
        {
            Timed(_copies, _up, Copy);
        }
        else
        {
            Copy();
        }
    }

    protected override void CopyRows(Tensor run, Tensor rows, int at, WorkQueue direction)
    {
        var (shape, size) = (run.shape, run.ElementSize);
        var (pages, pieces, tokens, dim) = (shape[0], 2 * shape[1], shape[3], shape[4]);
        var (host, pagePitch, hostPitch) = (TensorMemory.Pointer(run), run.stride(0) * size, run.stride(2) * size);
        var (target, pitch) = (TensorMemory.Pointer(rows) + (nint)(at * dim * size), rows.stride(1) * size);
        var width = tokens * dim * size;
        void Copy()
        {
            // As few copies as the two layouts allow: whole pieces over all pages, or whole pages.
            if (pages > pieces)
            {
                for (var piece = 0L; piece < pieces; piece++)
                {
                    Copy2D(host + (nint)(piece * hostPitch), pagePitch, target + (nint)(piece * pitch), width, width, pages, direction);
                }
            }
            else
            {
                for (var page = 0L; page < pages; page++)
                {
                    Copy2D(host + (nint)(page * pagePitch), hostPitch, target + (nint)(page * width), pitch, width, pieces, direction);
                }
            }
        }

        if (IsMeasured)
        {
            Timed(_copies, Stream(direction), Copy);
        }
        else
        {
            Copy();
        }
    }

    private CudaStream Stream(WorkQueue queue) => queue switch { WorkQueue.Upload => _up, WorkQueue.Download => _down, _ => CudaStream.Compute };

    private void Copy2D(nint host, long hostPitch, nint target, long pitch, long width, long height, WorkQueue direction)
    {
        var copy = new CudaDriver.Copy2D { Width = (nuint)width, Height = (nuint)height };
        if (direction == WorkQueue.Upload)
        {
            (copy.SourceType, copy.SourceHost, copy.SourcePitch) = (CudaDriver.Copy2D.Host, host, (nuint)hostPitch);
            (copy.TargetType, copy.TargetDevice, copy.TargetPitch) = (CudaDriver.Copy2D.Device, target, (nuint)pitch);
        }
        else
        {
            (copy.SourceType, copy.SourceDevice, copy.SourcePitch) = (CudaDriver.Copy2D.Device, target, (nuint)pitch);
            (copy.TargetType, copy.TargetHost, copy.TargetPitch) = (CudaDriver.Copy2D.Host, host, (nuint)hostPitch);
        }

        CudaDriver.Check(CudaDriver.Copy2DAsync(copy, Stream(direction).Handle), "copying between host and GPU");
    }

    private static void Timed(List<(CudaEvent, CudaEvent)> times, CudaStream stream, Action action)
    {
        var (start, end) = (new CudaEvent(timing: true), new CudaEvent(timing: true));
        start.Record(stream);
        action();
        end.Record(stream);
        times.Add((start, end));
    }

    private static TimeSpan Sum(List<(CudaEvent Start, CudaEvent End)> times)
    {
        var sum = TimeSpan.Zero;
        foreach (var (start, end) in times)
        {
            sum += start.Until(end);
            start.Dispose();
            end.Dispose();
        }

        times.Clear();
        return sum;
    }

    private sealed class CudaFence : Fence
    {
        public CudaEvent Event { get; } = new();

        public override void Dispose() => Event.Dispose();
    }
}
