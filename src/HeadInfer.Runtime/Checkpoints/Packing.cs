using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>How the numbers of a row lie in bytes. What a kernel reads is a packing, and what a file has is brought into one.</summary>
internal abstract class Packing
{
    /// <summary>What it is called where models are published.</summary>
    public abstract string Name { get; }

    /// <summary>Neighbours in a row that lie together; a row has a whole number of such blocks.</summary>
    public abstract int BlockColumns { get; }

    /// <summary>Bytes of a row, whose blocks are whole.</summary>
    public abstract long RowBytes(long columns);

    /// <summary>Gives the numbers of whole rows, or of one row.</summary>
    /// <param name="rows">their bytes, one row after another</param>
    /// <param name="columns">numbers of a row</param>
    /// <param name="to">[rows, columns], written</param>
    public abstract void Unpack(ReadOnlySpan<byte> rows, int columns, Span<float> to);
}

/// <summary>Numbers of a type that is computed with, one after another.</summary>
internal sealed class DensePacking(ScalarType type) : Packing
{
    public ScalarType Type => type;

    public override string Name => type.ToString();

    public override int BlockColumns => 1;

    public override long RowBytes(long columns) => columns * DataTypes.Size(type);

    // Never asked for: libtorch converts them.
    public override void Unpack(ReadOnlySpan<byte> rows, int columns, Span<float> to) => throw new NotSupportedException();
}

/// <summary>A tensor as a checkpoint keeps it.</summary>
/// <param name="Name">The checkpoint's name of the tensor.</param>
/// <param name="Packing">How a row of it lies; a row has its last dimension.</param>
/// <param name="Shape">Dimensions, outermost first.</param>
internal sealed record StoredTensor(string Name, Packing Packing, long[] Shape)
{
    /// <summary>Numbers of a row.</summary>
    public long Columns => Shape is [.., var last] ? last : 1;

    /// <summary>All rows.</summary>
    public long Rows => Shape.SkipLast(1).Aggregate(1L, (product, n) => product * n);

    /// <summary>Bytes of all rows.</summary>
    public long Length => Rows * Packing.RowBytes(Columns);
}
