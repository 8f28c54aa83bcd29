using System.Runtime.Intrinsics;
using static HeadInfer.Runtime.Compute.CudaModule;

namespace HeadInfer.Runtime.Compute;

/// <summary>The kernels of <c>PackedKernels.cu</c> and <c>PackedStream.cu</c>, for one packing.</summary>
internal sealed unsafe class PackedKernels : IDisposable
{
    private const int Threads = 256, UnitsOfBlock = Threads / 32, StreamThreads = Threads + 32;
    private const int StageUnits = 16, MostSlots = 8, Blocks = 2; // of the streams
    private const int ScaledBytes = 8; // of a group of a row: its factor and its sum
    private const int OwnShared = 8 << 10; // what a block has beside weights under way and its row

    private readonly CudaModule _module;
    private readonly bool _early;
    private readonly Func<long, nint> _scratch;
    private readonly int _unitBytes, _groups, _wordBytes, _shared, _blockShared, _processors;
    private readonly nint[] _multiply, _gate; // of at most 4, 8 and 16 rows
    private readonly nint _fix, _unpack, _lookup, _stream, _streamGate, _expertsGate, _experts;

    /// <param name="gpu">runs them</param>
    /// <param name="type">the element type</param>
    /// <param name="packing">how weights lie</param>
    /// <param name="early">whether kernels may start before the ones before have ended</param>
    /// <param name="scratch">memory of the GPU, of at least so many bytes, for one call after another</param>
    /// <exception cref="DeviceException">They do not compile.</exception>
    public PackedKernels(Gpu gpu, TorchSharp.torch.ScalarType type, TiledPacking packing, bool early, Func<long, nint> scratch)
    {
        var form = packing.Kind;
        _module = new CudaModule(gpu, type, [.. CudaModule.RowFiles, "PackedCodes.cu", "PackedKernels.cu", "PackedStream.cu"], [
            $"-DBITS={form.Bits}", $"-DGROUPS={packing.Groups}", $"-DSCALES={(int)form.Scales}", $"-DNUMBERS={(form.Table is not null ? 1 : form.IsFloat ? 2 : 0)}",
            .. form.Table is { } table ? Enumerable.Range(0, 4).Select(i => $"-DTABLE_{i}={table.AsUInt32()[i]}u") : []]);
        (_early, _scratch, _groups, _wordBytes) = (early, scratch, packing.Groups, form.IsFloat ? 2 * sizeof(ushort) : sizeof(ushort));
        _multiply = [_module.Function("packed_4"), _module.Function("packed_8"), _module.Function("packed_16")];
        _gate = [_module.Function("packed_gate_4"), _module.Function("packed_gate_8"), _module.Function("packed_gate_16")];
        _fix = _module.Function("fix_rows");
        (_unpack, _lookup) = (_module.Function("unpack_tiles"), _module.Function("lookup_packed"));
        (_expertsGate, _experts) = (_module.Function("experts_packed_gate"), _module.Function("experts_packed"));
        _unitBytes = (int)packing.RowBytes(TiledPacking.UnitColumns) * TiledPacking.TileRows;
        (_shared, _blockShared, _processors) = (gpu.SharedBytes, gpu.BlockSharedBytes - OwnShared, gpu.Processors);
        AllowShared(_expertsGate, _blockShared);
        AllowShared(_experts, _blockShared);
        if (early)
        {
            (_stream, _streamGate) = (_module.Function("stream_packed"), _module.Function("stream_packed_gate"));
            AllowShared(_stream, _blockShared);
            AllowShared(_streamGate, _blockShared);
        }
    }

    /// <summary><c>to = norm(x) * part^T + bias</c>, or <c>to +=</c> that.</summary>
    /// <param name="rows">how many of x, at most 16</param>
    /// <param name="x">[rows, columns], float32</param>
    /// <param name="norm">null for x as it is</param>
    /// <param name="part">the weights</param>
    /// <param name="bias">[rows of the part], or zero</param>
    /// <param name="columns">of the weights</param>
    /// <param name="to">[rows, of stride], float32</param>
    /// <param name="stride">from one row to the next</param>
    /// <param name="add">whether what is there stays, as a summand</param>
    public void Multiply(int rows, nint x, RowNorm? norm, WeightPart part, nint bias, int columns, nint to, int stride, bool add) =>
        Run(_multiply, rows, x, norm, new(part, bias), default, part.Rows, columns, to, stride, add, kind: 0);

    /// <summary><c>to = activation(norm(x) * gate^T) * (norm(x) * up^T)</c>.</summary>
    public void Gate(int rows, nint x, RowNorm? norm, WeightPart gate, nint gateBias, WeightPart up, nint upBias, int columns, nint to, int kind) =>
        Run(_gate, rows, x, norm, new(gate, gateBias), new(up, upBias), gate.Rows, columns, to, gate.Rows, add: false, kind);

    /// <summary>Gates of chosen experts, a row each.</summary>
    /// <param name="slots">rows times experts of each</param>
    /// <param name="x">[rows, columns], float32</param>
    /// <param name="norm">of x</param>
    /// <param name="experts">the kernels' table of them</param>
    /// <param name="chosen">[rows, per row], int32</param>
    /// <param name="to">[rows, per row, outputs], float32</param>
    /// <param name="perRow">experts of a row</param>
    /// <param name="outputs">of an expert</param>
    /// <param name="columns">of the weights</param>
    /// <param name="kind">of activation</param>
    public void ExpertsGate(int slots, nint x, RowNorm? norm, nint experts, nint chosen, nint to, int perRow, int outputs, int columns, int kind)
    {
        var (n, epsilon) = (norm?.Weight ?? 0, (float)(norm?.Epsilon ?? 0));
        Launch(_expertsGate, (outputs / TiledPacking.TileRows, slots, 1), Threads, RowBytes(columns), _early,
            Of(ref x), Of(ref n), Of(ref epsilon), Of(ref experts), Of(ref chosen), Of(ref to), Of(ref perRow), Of(ref outputs), Of(ref columns), Of(ref kind));
    }

    /// <summary>Products of chosen experts, a row of their own each: x [slots, columns], and out [slots, outputs].</summary>
    public void Experts(int slots, nint x, nint experts, nint chosen, nint to, int outputs, int columns) =>
        Launch(_experts, (outputs / TiledPacking.TileRows, slots, 1), Threads, RowBytes(columns), _early, Of(ref x), Of(ref experts), Of(ref chosen), Of(ref to), Of(ref outputs), Of(ref columns));

    /// <summary>Numbers of whole tiles, in the type that is computed in.</summary>
    /// <param name="part">the weights</param>
    /// <param name="columns">of the weights</param>
    /// <param name="to">[rows of the part, columns], written</param>
    public void Unpack(WeightPart part, int columns, nint to)
    {
        var (codes, scales, units) = (part.Address, part.Scales, (long)part.Rows / TiledPacking.TileRows * (columns / TiledPacking.UnitColumns));
        Launch(_unpack, ((units + UnitsOfBlock - 1) / UnitsOfBlock, 1, 1), Threads, 0, early: false, Of(ref codes), Of(ref scales), Of(ref to), Of(ref units), Of(ref columns));
    }

    /// <summary>Rows by their numbers, times a factor.</summary>
    /// <param name="part">the weights</param>
    /// <param name="many">int64 numbers on the GPU; or zero</param>
    /// <param name="few">the numbers, if they are not there</param>
    /// <param name="count">how many</param>
    /// <param name="columns">of the weights</param>
    /// <param name="to">[count, columns], written</param>
    /// <param name="factor">of each number</param>
    /// <param name="asElement">whether they are written in the type that is computed in; else in float32</param>
    public void Lookup(WeightPart part, nint many, RowNumbers few, int count, int columns, nint to, float factor, bool asElement)
    {
        var (codes, scales, element) = (part.Address, part.Scales, asElement ? 1 : 0);
        Launch(_lookup, (count, 1, 1), Threads, 0, _early && many == 0, Of(ref codes), Of(ref scales), Of(ref many), Of(ref few), Of(ref to), Of(ref columns), Of(ref factor), Of(ref element));
    }

    public void Dispose() => _module.Dispose();

    // A row as whole numbers.
    private int RowBytes(int columns) => (_wordBytes * columns) + (columns / TiledPacking.UnitColumns * _groups * ScaledBytes);

    // Rows as whole numbers, in scratch memory: as the streams and experts make theirs themselves.
    private Fixed Fix(int rows, nint x, RowNorm? norm, int columns)
    {
        var (words, scaled) = ((long)rows * columns * _wordBytes, (long)rows * columns / TiledPacking.UnitColumns * _groups * ScaledBytes);
        var at = _scratch(words + scaled + (rows * sizeof(float)));
        var to = new Fixed(at, at + (nint)words, at + (nint)(words + scaled));
        var (n, epsilon) = (norm?.Weight ?? 0, (float)(norm?.Epsilon ?? 0));
        Launch(_fix, (rows, 1, 1), Threads, 0, _early, Of(ref x), Of(ref n), Of(ref epsilon), Of(ref to), Of(ref columns));
        return to;
    }

    private void Run(nint[] kernels, int rows, nint x, RowNorm? norm, Weights first, Weights second, int outputs, int columns, nint to, int stride, bool add, int kind)
    {
        var adds = add ? 1 : 0;
        var (isGate, tiles) = (second.Codes != 0, outputs / TiledPacking.TileRows);
        var stage = StageUnits * _unitBytes * (isGate ? 2 : 1);
        var row = RowBytes(columns);
        var slots = Math.Clamp(((_shared / Blocks) - OwnShared - row) / stage, 2, MostSlots);
        var shared = (slots * stage) + row;
        if (rows == 1 && _early && shared <= _blockShared)
        {
            var (n, epsilon) = (norm?.Weight ?? 0, (float)(norm?.Epsilon ?? 0));
            var blocks = Math.Min(tiles, Math.Clamp(_shared / (shared + OwnShared), 1, Blocks) * _processors);
            Launch(isGate ? _streamGate : _stream, (blocks, 1, 1), StreamThreads, shared, early: true,
                Of(ref x), Of(ref n), Of(ref epsilon), Of(ref first), Of(ref second), Of(ref to), Of(ref tiles), Of(ref stride), Of(ref columns), Of(ref adds), Of(ref kind), Of(ref slots));
            return;
        }

        var fix = Fix(rows, x, norm, columns);
        Launch(kernels[rows <= RowKernels.MostRows / 4 ? 0 : rows <= RowKernels.MostRows / 2 ? 1 : 2], (outputs / TiledPacking.TileRows, 1, 1), Threads, 0, _early,
            Of(ref fix), Of(ref first), Of(ref second), Of(ref to), Of(ref rows), Of(ref stride), Of(ref columns), Of(ref adds), Of(ref kind));
    }

    /// <summary>The kernels' struct of the same name.</summary>
    private readonly record struct Fixed(nint Words, nint Scaled, nint Factors);

    /// <summary>The same.</summary>
    private readonly struct Weights(WeightPart part, nint bias)
    {
        public readonly nint Codes = part.Address, Scales = part.Scales, Bias = bias;
    }
}
