using static HeadInfer.Runtime.Compute.CudaModule;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>The same by the kernels of <c>StatePieces.cu</c>: all but four products, so that a prompt is not bound by how fast kernels start.</summary>
internal sealed class CudaStatePieces : StatePieces
{
    private const int Columns = 32, Threads = 256, ScanThreads = 512, MixThreads = 128, KeysOfWarp = 8;

    private readonly CudaModule _module;
    private readonly nint _mix, _decay, _solve, _scan, _finish;

    /// <param name="module">has the kernels; not owned</param>
    public CudaStatePieces(CudaModule module)
    {
        _module = module;
        (_mix, _decay, _solve) = (module.Function("mix_pieces"), module.Function("decay_pieces"), module.Function("solve_pieces"));
        (_scan, _finish) = (module.Function("scan_pieces"), module.Function("finish_pieces"));
        AllowShared(_scan, module.Gpu.BlockSharedBytes);
    }

    public override void Take(RecurrentShape shape, RecurrentNumbers numbers, Tensor seen, Tensor state, Tensor gates, double epsilon, Tensor output)
    {
        var shared = ((Columns * (shape.KeyDim + Piece)) + (2 * Piece) + (Piece * (shape.KeyDim + Math.Max(shape.KeyDim, Piece)))) * sizeof(float);
        if (shape.Space is not null || shape.IsConvolution || shape.KeyDim % KeysOfWarp != 0 || shared > _module.Gpu.BlockSharedBytes || output.dtype != _module.Type || gates.dtype != _module.Type)
        {
            base.Take(shape, numbers, seen, state, gates, epsilon, output);
            return;
        }

        using var scope = NewDisposeScope();
        var (count, heads) = ((int)seen.shape[0] - shape.Taps + 1, shape.ValueHeads);
        var pieces = new Pieces(count, (count + Piece - 1) / Piece, (int)gates.stride(0));
        var delta = CudaRecurrence.Recurrent.Of(shape, epsilon);
        Tensor Made(long dim) => empty([heads, pieces.Count, Piece, dim], ScalarType.Float32, seen.device);
        var (q, k, written, v, logs) = (Made(shape.KeyDim), Made(shape.KeyDim), Made(shape.KeyDim), Made(shape.ValueDim), Made(1));
        var (from, weights, decay, bias, norm) = (TensorMemory.Pointer(seen), TensorMemory.Pointer(numbers.Convolution), TensorMemory.Pointer(numbers.Decay!), TensorMemory.Pointer(numbers.DecayBias!), TensorMemory.Pointer(numbers.Norm!));
        var (queries, keys, writes, values, rates) = (TensorMemory.Pointer(q), TensorMemory.Pointer(k), TensorMemory.Pointer(written), TensorMemory.Pointer(v), TensorMemory.Pointer(logs));
        Launch(_mix, (pieces.Count * Piece, (2 * shape.KeyHeads) + heads, 1), MixThreads, Math.Max(shape.KeyDim, shape.ValueDim) * sizeof(float), early: false,
            Of(ref from), Of(ref weights), Of(ref decay), Of(ref bias), Of(ref queries), Of(ref keys), Of(ref writes), Of(ref values), Of(ref rates), Of(ref delta), Of(ref pieces));

        var (since, transposed) = (logs.cumsum(2), k.transpose(2, 3));
        var (solve, scores) = (matmul(written, transposed), matmul(q, transposed)); // [heads, pieces, 64, 64]
        var (products, asked, sums) = (TensorMemory.Pointer(solve), TensorMemory.Pointer(scores), TensorMemory.Pointer(since));
        Launch(_solve, ((long)heads * pieces.Count, 1, 1), Threads, 0, early: false, Of(ref products), Of(ref sums));
        Launch(_decay, ((long)heads * pieces.Count, 1, 1), Threads, 0, early: false, Of(ref asked), Of(ref sums));
        var (corrected, reading) = (matmul(solve, v), matmul(solve, written.mul_(since.exp())));
        var (right, left, kept, result) = (TensorMemory.Pointer(corrected), TensorMemory.Pointer(reading), TensorMemory.Pointer(state), TensorMemory.Pointer(v)); // the outputs take the values' place
        Launch(_scan, (heads, (shape.ValueDim + Columns - 1) / Columns, 1), ScanThreads, shared, early: false,
            Of(ref queries), Of(ref keys), Of(ref sums), Of(ref right), Of(ref left), Of(ref asked), Of(ref kept), Of(ref result), Of(ref delta), Of(ref pieces));
        var (outputGates, to) = (TensorMemory.Pointer(gates), TensorMemory.Pointer(output));
        Launch(_finish, (heads, count, 1), MixThreads, 0, early: false, Of(ref result), Of(ref outputGates), Of(ref norm), Of(ref to), Of(ref delta), Of(ref pieces));
    }

    /// <summary>The kernels' struct of the same name, whose pieces come second.</summary>
    private readonly record struct Pieces(int Tokens, int Count, int Gates);
}
