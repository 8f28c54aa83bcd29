using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Rows of a matrix that lie end to end, in one packing.</summary>
/// <param name="Address">of the first</param>
/// <param name="Packing">how each lies</param>
/// <param name="Scales">where their scales lie, if these lie apart</param>
internal readonly record struct WeightPart(nint Address, Packing Packing, int Rows, nint Scales = 0);

/// <summary>A matrix in device memory, as it lies there. Not the owner of it.</summary>
internal sealed class WeightMatrix
{
    /// <param name="parts">neighbouring rows, in their order</param>
    /// <param name="bias">[rows], in the type that is computed in; or zero</param>
    /// <param name="columns">inputs</param>
    public WeightMatrix(IReadOnlyList<WeightPart> parts, nint bias, int columns) =>
        (Parts, Bias, Rows, Columns) = (parts, bias, parts.Sum(p => p.Rows), columns);

    /// <summary>Of one type, contiguous.</summary>
    public WeightMatrix(nint weight, ScalarType type, nint bias, int rows, int columns)
        : this([new WeightPart(weight, new DensePacking(type), rows)], bias, columns)
    {
    }

    private (WeightPart, WeightPart)? _halves;
    private bool? _takesPlanes;

    public IReadOnlyList<WeightPart> Parts { get; }

    public nint Bias { get; }

    /// <summary>Outputs.</summary>
    public int Rows { get; }

    /// <summary>Inputs.</summary>
    public int Columns { get; }

    /// <summary>The address of all rows, where they lie in the type that is computed in.</summary>
    public nint Weight => Parts[0].Address;

    /// <summary>Bytes of a row, at most.</summary>
    public long RowBytes => Parts.Max(p => p.Packing.RowBytes(Columns));

    /// <summary>Whether any part is multiplied by activations in planes.</summary>
    public bool TakesPlanes => _takesPlanes ??= Parts.Any(p => PlaneRows.Suit(p.Packing, Columns));

    /// <summary>The upper and the lower half of the rows, where each lies in one packing, and both in the same.</summary>
    public (WeightPart Upper, WeightPart Lower)? Halves
    {
        get
        {
            var (half, tiled) = (Rows / 2, Parts.Any(p => p.Packing is TiledPacking));
            if (_halves is null && Rows % 2 == 0 && (!tiled || half % TiledPacking.TileRows == 0)
                && (Parts.Count == 1 || (Parts.Count == 2 && Parts[0].Rows == half && Parts[0].Packing.LiesAs(Parts[1].Packing))))
            {
                _halves = (Slice(0, half, 0).Parts[0], Slice(half, half, 0).Parts[0]);
            }

            return _halves;
        }
    }

    /// <summary>Some of the rows, which lie wherever parts begin and end.</summary>
    public WeightMatrix Slice(int start, int count, int biasSize)
    {
        var (parts, at) = (new List<WeightPart>(), 0);
        foreach (var part in Parts)
        {
            var (first, end) = (Math.Max(start, at), Math.Min(start + count, at + part.Rows));
            if (first < end)
            {
                parts.Add(part.Packing is TiledPacking tiled ? Tiles(part, tiled, first - at, end - first)
                    : part with { Address = part.Address + (nint)((first - at) * part.Packing.RowBytes(Columns)), Rows = end - first });
            }

            at += part.Rows;
        }

        return new WeightMatrix(parts, Bias == 0 ? 0 : Bias + (start * biasSize), Columns);
    }

    private WeightPart Tiles(WeightPart part, TiledPacking packing, int first, int count) => first % TiledPacking.TileRows == 0 && count % TiledPacking.TileRows == 0
        ? part with { Address = part.Address + (nint)(first * packing.CodeBytes(Columns)), Scales = part.Scales + (nint)(first * (Columns / TiledPacking.UnitColumns) * packing.ScaleBytes), Rows = count }
        : throw new InvalidOperationException();
}
