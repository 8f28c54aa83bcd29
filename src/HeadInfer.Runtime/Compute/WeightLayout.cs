using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>How weights lie where they are computed with.</summary>
internal interface IWeightLayout
{
    /// <summary>Whether they lie in memory of its own, apart from the host's.</summary>
    bool HasOwnMemory { get; }

    /// <summary>How weights lie here that a checkpoint has in a packing.</summary>
    /// <param name="stored">the checkpoint's</param>
    /// <param name="type">the type that is computed in</param>
    /// <param name="rows">of the matrix</param>
    /// <param name="columns">of the matrix</param>
    Packing LayOut(Packing stored, ScalarType type, long rows, long columns);

    /// <summary>Memory for what is unpacked of a matrix at a time.</summary>
    /// <param name="largest">elements of the largest packed matrix</param>
    ByteSize UnpackedSize(long largest);
}

/// <summary>Those of a GPU, which need not be there: packed where tensor cores multiply codes, else in the type that is computed in.</summary>
/// <param name="major">compute capability, the part before the dot</param>
internal sealed class GpuLayout(int major) : IWeightLayout
{
    /// <summary>Elements of a matrix that are unpacked at a time.</summary>
    public const long MostUnpacked = 128L << 20;

    private const int TensorCores = 8; // compute capability

    private readonly Dictionary<CodeForm, TiledPacking> _packings = [];

    public bool HasOwnMemory => true;

    public Packing LayOut(Packing stored, ScalarType type, long rows, long columns)
    {
        if (type == ScalarType.Float32 || major < TensorCores || !TiledPacking.Takes(stored, rows, columns))
        {
            return new DensePacking(type);
        }

        ref var packing = ref CollectionsMarshal.GetValueRefOrAddDefault(_packings, stored.Form!.Value, out _);
        return packing ??= new TiledPacking(stored.Form!.Value);
    }

    public ByteSize UnpackedSize(long largest) => new(Math.Min(largest, MostUnpacked) * sizeof(ushort));
}
