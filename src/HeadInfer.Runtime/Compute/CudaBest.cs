using static HeadInfer.Runtime.Compute.CudaModule;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>The best token of each row, found on the GPU: eight bytes come to the host, and not a vocabulary.</summary>
internal sealed unsafe class CudaBest : IDisposable
{
    private const int Pieces = 64, Threads = 512;

    private readonly nint _ofPieces, _ofRows;
    private readonly bool _early;
    private readonly Tensor _parts, _best; // [rows, pieces] on the GPU, and [rows] on the host: columns and values
    private readonly IDisposable? _pin;

    public CudaBest(CudaModule module, CudaDevice device, bool early)
    {
        (_ofPieces, _ofRows, _early) = (module.Function("best_of_pieces"), module.Function("best_of_rows"), early);
        _parts = empty([RowKernels.MostRows * Pieces * 2], ScalarType.Float32, device.Torch).DetachFromDisposeScope();
        _best = empty([RowKernels.MostRows * 2], ScalarType.Float32).DetachFromDisposeScope();
        _pin = device.Pin(TensorMemory.Pointer(_best), _best.NumberOfElements * sizeof(float));
        IsThere = device.WritesHostMemory && _pin is not null;
    }

    /// <summary>Whether the GPU writes to the host's memory.</summary>
    public bool IsThere { get; }

    public void Find(int rows, RowBuffer from, Span<(int Column, float Value)> best)
    {
        var (x, parts, found, width) = (from.Address, TensorMemory.Pointer(_parts), TensorMemory.Pointer(_best), from.Width);
        Launch(_ofPieces, (Pieces, rows, 1), Threads, 0, _early, Of(ref x), Of(ref parts), Of(ref width));
        Launch(_ofRows, (rows, 1, 1), Pieces, 0, _early, Of(ref parts), Of(ref found));
        CudaStream.Compute.Synchronize();
        var results = (Result*)found;
        for (var row = 0; row < rows; row++)
        {
            best[row] = (results[row].Column, results[row].Value);
        }
    }

    public void Dispose()
    {
        _pin?.Dispose();
        _best.Dispose();
        _parts.Dispose();
    }

    /// <summary>The kernels' Best.</summary>
    private readonly record struct Result(int Column, float Value);
}
