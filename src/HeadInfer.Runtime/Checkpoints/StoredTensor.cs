using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Checkpoints;

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
