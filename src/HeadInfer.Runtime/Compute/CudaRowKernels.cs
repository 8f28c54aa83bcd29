using System.Runtime.CompilerServices;
using static HeadInfer.Runtime.Compute.CudaModule;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Few rows on a GPU, by the kernels of <c>RowKernels.cu</c>, <c>RowProducts.cu</c> and <c>RowAttention.cu</c>.</summary>
internal sealed unsafe partial class CudaRowKernels : RowKernels
{
    private const int Outputs = 8, ManyOutputs = 16, Queries = 8, ManyQueries = 16, Threads = 256, StreamThreads = 288, JoinHostThreads = 128, RotateThreads = 64, AskThreads = 1024;
    private const int TensorCores = 8, EarlyStarts = 9; // compute capabilities
    private const int StreamRing = 4 * 8 * ((16 * 128) + 64), StreamBlocks = 2, OwnShared = 8 << 10; // bytes of weights under way, blocks a processor, bytes that a block has beside
    private const int KeysOfPiece = 32, FewestPieces = 8, MostPieces = 32, OwnAttendShared = 36 << 10; // of attend_stream
    private const int JoinThreads = 512, JoinLanes = 32, MoreJoinLanes = 128, FewSplits = 64; // of join_parts
    private const long PartialFloats = 8L << 20;

    private readonly RowTraits _traits;
    private readonly int _processors;
    private readonly CudaDevice _device;
    private readonly bool _tensorCores, _early;
    private readonly nint _lookup, _norm, _multiplyPlain, _gatePlain, _rotate, _attendPlain, _join, _ask, _await, _joinHost, _addScaled, _scaleRows, _gateRows, _activateBy, _placeRows;
    private readonly nint _multiply8By8, _multiply8By16, _multiply16By16, _gate8, _gate16, _attend8, _attend16, _attendStream, _streamRow, _streamGate;
    private readonly int _shared, _blockShared, _attendShared;
    private readonly Tensor _sums, _outputs, _state;
    private readonly nint _sumsAddress, _outputsAddress, _stateAddress;
    private readonly bool[] _begun; // of each KV head in this layer
    private readonly Dictionary<int, RunList> _runsOf = []; // by the dimensions of a head
    private readonly CudaMixture? _mixture;
    private readonly CudaBest _best;
    private readonly CudaRecurrence _recurrence;
    private readonly List<(RowBuffer Cosines, nint Sines, int Rotary)> _angles = []; // sines lie behind the cosines
    private RunList _runs;
    private RowBuffer? _normed, _both, _output;
    private nint _sinks;
    private Tensor? _read; // [width], on the host
    private IDisposable? _readPin;

    public CudaRowKernels(RowTraits traits, CudaModule module, CudaDevice device)
        : base(traits.Shape)
    {
        (_traits, _device, _early, _processors) = (traits, device, module.Gpu.Major >= EarlyStarts, module.Gpu.Processors);
        _tensorCores = module.Type != ScalarType.Float32 && module.Gpu.Major >= TensorCores;
        (_lookup, _norm, _rotate, _join) = (module.Function("lookup_rows"), module.Function("norm_rows"), module.Function("rotate_rows"), module.Function("join_parts"));
        (_addScaled, _scaleRows, _gateRows, _activateBy, _placeRows) = (module.Function("add_scaled"), module.Function("scale_rows"), module.Function("gate_rows"), module.Function("activate_by"), module.Function("place_rows"));
        _recurrence = new CudaRecurrence(module, _early);
        (_ask, _await, _joinHost) = (module.Function("ask_host"), module.Function("await_host"), module.Function("join_host"));
        (_multiplyPlain, _gatePlain, _attendPlain) = (module.Function("multiply_plain"), module.Function("gate_plain"), module.Function("attend_plain"));
        if (_tensorCores)
        {
            (_multiply8By8, _multiply8By16, _multiply16By16) = (module.Function("multiply_8_by_8"), module.Function("multiply_8_by_16"), module.Function("multiply_16_by_16"));
            (_gate8, _gate16, _attend8, _attend16) = (module.Function("gate_8"), module.Function("gate_16"), module.Function("attend_8"), module.Function("attend_16"));
            _mixture = new CudaMixture(traits, module, device, _early);
            if (_early)
            {
                (_attendStream, _attendShared) = (module.Function("attend_stream"), module.Gpu.BlockSharedBytes - OwnAttendShared);
                AllowShared(_attendStream, _attendShared);
                (_streamRow, _streamGate, _shared, _blockShared) = (module.Function("stream_row"), module.Function("stream_gate"), module.Gpu.SharedBytes, module.Gpu.BlockSharedBytes - OwnShared);
                AllowShared(_streamRow, _blockShared);
                AllowShared(_streamGate, _blockShared);
            }
        }

        _best = new CudaBest(module, device, _early);
        var parts = PartialFloats / traits.Shapes.Min(s => s.Dim);
        Tensor[] made = [empty([2 * parts], ScalarType.Float32, device.Torch), empty([PartialFloats], ScalarType.Float32, device.Torch),
            empty([MostRows * traits.Shapes.Max(s => s.Count * (2 + s.Dim))], ScalarType.Float32, device.Torch)];
        (_sums, _outputs, _state) = (made[0].DetachFromDisposeScope(), made[1].DetachFromDisposeScope(), made[2].DetachFromDisposeScope());
        (_sumsAddress, _outputsAddress, _stateAddress) = (TensorMemory.Pointer(_sums), TensorMemory.Pointer(_outputs), TensorMemory.Pointer(_state));
        _begun = new bool[traits.Shapes.Max(s => s.KvHeads)];
        _runs = RunsOf(traits.HeadDim);
    }

    public override void Lookup(ReadOnlySpan<int> tokens, WeightMatrix embedding, double scale, RowBuffer to)
    {
        RowNumbers numbers = default;
        tokens.CopyTo(numbers);
        if (embedding.Parts is [{ Packing: TiledPacking packing } part])
        {
            _device.Packed(packing).Lookup(part, 0, numbers, tokens.Length, embedding.Columns, to.Address, (float)scale, asElement: false);
            return;
        }

        var (weight, output, columns, factor) = (embedding.Weight, to.Address, embedding.Columns, (float)scale);
        Start(_lookup, (tokens.Length, 1, 1), Threads, 0, Of(ref weight), Of(ref output), Of(ref numbers), Of(ref columns), Of(ref factor));
    }

    public override void Multiply(int rows, RowBuffer x, RowNorm? norm, WeightMatrix weight, RowBuffer to, bool add)
    {
        if (weight.Parts[0].Packing is TiledPacking)
        {
            MultiplyPacked(rows, x, norm, weight, to, add);
            return;
        }

        if (_tensorCores && weight.Columns % 8 == 0)
        {
            if (TryStream(_streamRow, rows, x, norm, weight, weight.Rows, to, add, kind: 0))
            {
                return;
            }

            // Blocks of fewer outputs where there would be few of them: they end together.
            var (few, small) = (rows <= MostRows / 2, weight.Rows <= ManyOutputs * 2 * _processors);
            MultiplyBlocks(few ? small ? _multiply8By8 : _multiply8By16 : _multiply16By16, rows, x, norm, weight, weight.Rows, few && small ? Outputs : ManyOutputs, to, add, kind: 0);
            return;
        }

        var (input, w, bias, output, outputs, columns, adds) = (Normed(rows, x, norm).Address, weight.Weight, weight.Bias, to.Address, weight.Rows, weight.Columns, add ? 1 : 0);
        Start(_multiplyPlain, (((long)outputs * 32 + Threads - 1) / Threads, 1, 1), Threads, 0,
            Of(ref input), Of(ref w), Of(ref bias), Of(ref output), Of(ref rows), Of(ref outputs), Of(ref columns), Of(ref adds));
    }

    public override void Gate(int rows, RowBuffer x, RowNorm? norm, WeightMatrix weight, string activation, RowBuffer to)
    {
        var (kind, width) = (FusedKernels.ActivationOf(activation), weight.Rows / 2);
        if (TryGatePacked(rows, x, norm, weight, kind, to))
        {
            return;
        }

        if (_tensorCores && weight.Columns % 8 == 0 && weight.Parts[0].Packing is DensePacking)
        {
            if (!TryStream(_streamGate, rows, x, norm, weight, width, to, add: false, kind))
            {
                MultiplyBlocks(rows <= MostRows / 2 ? _gate8 : _gate16, rows, x, norm, weight, width, Outputs, to, add: false, kind);
            }

            return;
        }

        var both = Scratch(ref _both, weight.Rows);
        Multiply(rows, x, norm, weight, both, add: false);
        var (input, output) = (both.Address, to.Address);
        Start(_gatePlain, ((width + Threads - 1) / Threads, rows, 1), Threads, 0, Of(ref input), Of(ref output), Of(ref width), Of(ref kind));
    }

    public override bool Mixes(Mixture mixture) => _tensorCores && CudaMixture.Takes(mixture);

    public override void Mix(int rows, RowBuffer x, RowNorm? norm, Mixture mixture, MixtureRows between, RowBuffer to, bool add)
    {
        var (input, inside) = Inside(rows, x, norm);
        _mixture!.Mix(rows, input, inside, mixture, between, to, add);
    }

    public override void Norm(int rows, RowBuffer x, RowNorm norm, RowBuffer to, bool add) => Norm(rows, x.Address, x.Width, x.Width, norm, to.Address, add);

    public override void NormPart(int rows, RowBuffer x, int first, int count, RowNorm norm)
    {
        var at = x.Address + (first * sizeof(float));
        Norm(rows, at, count, x.Width, norm, at, add: false);
    }

    private void Norm(int rows, nint x, int size, int stride, RowNorm norm, nint to, bool add)
    {
        var (weight, bias, epsilon, adds, centered) = (norm.Weight, norm.Bias, (float)norm.Epsilon, add ? 1 : 0, norm.IsCentered ? 1 : 0);
        Start(_norm, (rows, 1, 1), Threads, 0, Of(ref x), Of(ref weight), Of(ref bias), Of(ref to), Of(ref size), Of(ref stride), Of(ref epsilon), Of(ref adds), Of(ref centered));
    }

    public override void AddScaled(int rows, RowBuffer x, double factor, RowBuffer sum)
    {
        var (input, by, output, count) = (x.Address, (float)factor, sum.Address, rows * x.Width);
        Start(_addScaled, ((count + Threads - 1) / Threads, 1, 1), Threads, 0, Of(ref input), Of(ref by), Of(ref output), Of(ref count));
    }

    public override void ScaleRows(RowBuffer x, int columns, ReadOnlySpan<float> factors)
    {
        RowFloats by = default;
        factors.CopyTo(by);
        var (input, stride) = (x.Address, x.Width);
        Start(_scaleRows, ((columns + Threads - 1) / Threads, factors.Length, 1), Threads, 0, Of(ref input), Of(ref by), Of(ref columns), Of(ref stride));
    }

    public override void Place(int rows, RowBuffer from, RowBuffer to, int first)
    {
        var (source, target, columns, stride) = (from.Address, to.Address, from.Width, to.Width);
        Start(_placeRows, ((columns + Threads - 1) / Threads, rows, 1), Threads, 0, Of(ref source), Of(ref target), Of(ref columns), Of(ref stride), Of(ref first));
    }

    public override void GateRows(int rows, RowBuffer gates, RowBuffer x, int width)
    {
        var (from, to, ofGate) = (gates.Address, x.Address, width / gates.Width);
        Start(_gateRows, ((width + Threads - 1) / Threads, rows, 1), Threads, 0, Of(ref from), Of(ref to), Of(ref width), Of(ref ofGate));
    }

    public override void ActivateBy(int rows, RowBuffer x, string activation, RowBuffer by, int first)
    {
        var (to, from, width, stride, kind) = (x.Address, by.Address, x.Width, by.Width, FusedKernels.ActivationOf(activation));
        Start(_activateBy, ((width + Threads - 1) / Threads, rows, 1), Threads, 0, Of(ref to), Of(ref from), Of(ref width), Of(ref stride), Of(ref first), Of(ref kind));
    }

    public override void Recur(IReadOnlyList<StateRows> states, RecurrentRows rows, RecurrentShape shape, RecurrentNumbers numbers, double epsilon) => _recurrence.Run(states, rows, shape, numbers, epsilon);

    public override void SetAngles(int set, ReadOnlySpan<float> cosines, ReadOnlySpan<float> sines, int rotary)
    {
        if (set == _angles.Count)
        {
            _angles.Add((new RowBuffer(rotary, _device.Torch), 0, rotary));
        }

        Span<float> both = stackalloc float[2 * cosines.Length]; // one copy to the GPU: each holds the step up
        cosines.CopyTo(both);
        sines.CopyTo(both[cosines.Length..]);
        var to = _angles[set].Cosines;
        _angles[set] = (to, to.Address + (cosines.Length * sizeof(float)), rotary);
        fixed (float* from = both)
        {
            CudaDriver.Check(CudaDriver.CopyToDeviceAsync(to.Address, from, (nuint)(both.Length * sizeof(float)), CudaStream.Compute.Handle), "copying to the GPU");
        }
    }

    public override void Rotate(int rows, RowBuffer heads, int set, RowNorm? queryNorm, RowNorm? keyNorm, IReadOnlyList<RowTarget> targets, RowNorm? valueNorm)
    {
        var (x, q, k, v, c, s) = (heads.Address, queryNorm?.Weight ?? 0, keyNorm?.Weight ?? 0, valueNorm?.Weight ?? 0, _angles[set].Cosines.Address, _angles[set].Sines);
        var (queries, kvHeads, dim, stride, rotary, epsilon) = (Heads.Count, Heads.KvHeads, Heads.Dim, heads.Width, _angles[set].Rotary, (float)(queryNorm?.Epsilon ?? 0));
        Targets some = default;
        for (var from = 0; from == 0 || from < targets.Count; from += Targets.Most)
        {
            var (count, first) = (Math.Min(Targets.Most, targets.Count - from), from == 0 ? 1 : 0);
            for (var i = 0; i < count; i++)
            {
                var target = targets[from + i];
                some[i] = new Target(target.Key, target.Part, target.Row, target.FirstHead, target.Heads);
            }

            Start(_rotate, (stride / dim, rows, 1), RotateThreads, dim * sizeof(float),
                Of(ref x), Of(ref q), Of(ref k), Of(ref v), Of(ref c), Of(ref s), Of(ref some), Of(ref count), Of(ref queries), Of(ref kvHeads), Of(ref dim), Of(ref stride), Of(ref rotary), Of(ref epsilon), Of(ref first));
        }
    }

    public override void Read(RowBuffer from, int row, double? cap, Span<float> to)
    {
        if (_read is null)
        {
            _read = empty([from.Width], ScalarType.Float32).DetachFromDisposeScope();
            _readPin = _device.Pin(TensorMemory.Pointer(_read), _read.NumberOfElements * sizeof(float));
        }

        var bytes = (long)from.Width * sizeof(float);
        CudaDriver.Check(CudaDriver.CopyToHostAsync(TensorMemory.Pointer(_read), from.Address + (nint)(row * bytes), (nuint)bytes, CudaStream.Compute.Handle), "copying from the GPU");
        CudaStream.Compute.Synchronize();
        TensorMemory.Span(_read).CopyTo(to);
        if (cap is { } most)
        {
            HostActivations.Cap(to, (float)most);
        }
    }

    public override bool FindsBest => _best.IsThere;

    public override void FindBest(int rows, RowBuffer from, Span<(int Column, float Value)> best) => _best.Find(rows, from, best);

    public override void Dispose()
    {
        foreach (var buffer in (RowBuffer?[])[_normed, _both, .. _angles.Select(a => a.Cosines)])
        {
            buffer?.Dispose();
        }

        _mixture?.Dispose();
        _best.Dispose();
        _readPin?.Dispose();
        _read?.Dispose();
        _sums.Dispose();
        _outputs.Dispose();
        _state.Dispose();
    }

    /// <summary>GPU memory of what it keeps, the buffers of its callers aside.</summary>
    /// <param name="heads">of layers of all kinds</param>
    public static ByteSize SizeFor(IReadOnlyCollection<HeadShape> heads) =>
        new(sizeof(float) * (PartialFloats + (2 * PartialFloats / heads.Min(h => h.Dim)) + ((long)MostRows * heads.Max(h => h.Count * (2 + h.Dim)))));

    // A row alone: blocks stay, and the GPU copies weights ahead of them, as far as there is shared memory.
    private bool TryStream(nint kernel, int rows, RowBuffer x, RowNorm? norm, WeightMatrix weight, int width, RowBuffer to, bool add, int kind)
    {
        var shared = StreamRing + (weight.Columns * 5 / 2); // the row in 16 bits, and a float of each eight
        if (rows > 1 || kernel == 0 || shared > _blockShared)
        {
            return false;
        }

        var blocks = Math.Clamp(_shared / (shared + OwnShared), 1, StreamBlocks) * _processors;
        var (input, inside) = Inside(rows, x, norm);
        var (n, epsilon, w, bias) = (inside?.Weight ?? 0, (float)(inside?.Epsilon ?? 0), weight.Weight, weight.Bias);
        var (output, outputs, columns, adds) = (to.Address, weight.Rows, weight.Columns, add ? 1 : 0);
        Start(kernel, (Math.Min((width + Outputs - 1) / Outputs, blocks), 1, 1), StreamThreads, shared,
            Of(ref input), Of(ref n), Of(ref epsilon), Of(ref w), Of(ref bias), Of(ref output), Of(ref outputs), Of(ref columns), Of(ref adds), Of(ref kind));
        return true;
    }

    private void MultiplyPacked(int rows, RowBuffer x, RowNorm? norm, WeightMatrix weight, RowBuffer to, bool add)
    {
        var ((input, inside), at) = (Inside(rows, x, norm), 0);
        foreach (var part in weight.Parts)
        {
            var bias = weight.Bias == 0 ? 0 : weight.Bias + (nint)(at * DataTypes.Size(_traits.Type));
            _device.Packed((TiledPacking)part.Packing).Multiply(rows, input, inside, part, bias, weight.Columns, to.Address + (at * sizeof(float)), weight.Rows, add);
            at += part.Rows;
        }
    }

    // Gates and what they are for in one kernel, if both lie alike.
    private bool TryGatePacked(int rows, RowBuffer x, RowNorm? norm, WeightMatrix weight, int kind, RowBuffer to)
    {
        if (weight.Halves is not ({ Packing: TiledPacking packing } gate, var up))
        {
            return false;
        }

        var (input, inside) = Inside(rows, x, norm);
        var upBias = weight.Bias == 0 ? 0 : weight.Bias + (nint)(gate.Rows * DataTypes.Size(_traits.Type));
        _device.Packed(packing).Gate(rows, input, inside, gate, weight.Bias, up, upBias, weight.Columns, to.Address, kind);
        return true;
    }

    // What has not been divided by its size may be beyond float16; and a mean is not known before all of a row is.
    private (nint Address, RowNorm? Norm) Inside(int rows, RowBuffer x, RowNorm? norm) =>
        norm is { } before && (before.IsCentered || _traits.Type == ScalarType.Float16) ? (Normed(rows, x, norm).Address, null) : (x.Address, norm);

    private void MultiplyBlocks(nint kernel, int rows, RowBuffer x, RowNorm? norm, WeightMatrix weight, int width, int ofBlock, RowBuffer to, bool add, int kind)
    {
        var (input, inside) = Inside(rows, x, norm);
        var (n, epsilon, w, bias) = (inside?.Weight ?? 0, (float)(inside?.Epsilon ?? 0), weight.Weight, weight.Bias);
        var (output, outputs, columns, adds) = (to.Address, weight.Rows, weight.Columns, add ? 1 : 0);
        Start(kernel, ((width + ofBlock - 1) / ofBlock, 1, 1), Threads, 0,
            Of(ref input), Of(ref n), Of(ref epsilon), Of(ref w), Of(ref bias), Of(ref output), Of(ref rows), Of(ref outputs), Of(ref columns), Of(ref adds), Of(ref kind));
    }

    private RowBuffer Normed(int rows, RowBuffer x, RowNorm? norm)
    {
        if (norm is not { } before)
        {
            return x;
        }

        var normed = Scratch(ref _normed, x.Width); // rows lie end to end, however wide it is
        Norm(rows, x, before, normed, add: false);
        return normed;
    }

    private RowBuffer Scratch(ref RowBuffer? buffer, int width)
    {
        if (buffer is null || buffer.Width < width)
        {
            buffer?.Dispose();
            buffer = new RowBuffer(width, _device.Torch);
        }

        return buffer;
    }

    private void Start(nint function, (long X, long Y, long Z) grid, int threads, int sharedBytes, params ReadOnlySpan<Argument> arguments) =>
        Launch(function, grid, threads, sharedBytes, _early, arguments);

    [InlineArray(MostRows)]
    private struct RowFloats
    {
        private float _first;
    }

    private readonly record struct Target(nint Key, long Part, int Row, int First, int Heads, int None = 0);

    [InlineArray(Most)]
    private struct Targets
    {
        public const int Most = 48;

        private Target _first;
    }
}
