using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>A checkpoint whose rotated dimensions lie in pairs of neighbours, read with those of a pair half of them apart, as the decoder rotates them.</summary>
/// <remarks>Scores do not change if queries and keys are put in the same other order.</remarks>
/// <param name="inner">has the tensors; owned</param>
/// <param name="headDim">dimensions of a head</param>
/// <param name="rotaryDim">those that are rotated, the first</param>
internal sealed class PairedHeads(Checkpoint inner, int headDim, int rotaryDim) : CheckpointView(inner)
{
    private static readonly string[] Rotated = [TensorNames.Query, TensorNames.Key, TensorNames.BiasOf(TensorNames.Query), TensorNames.BiasOf(TensorNames.Key)];

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to)
    {
        if (!Rotated.Any(name => tensor.Name.EndsWith($".{name}", StringComparison.Ordinal)))
        {
            Inner.ReadBytes(tensor, at, to);
            return;
        }

        var bytes = tensor.Packing.RowBytes(tensor.Shape.Length == 1 ? 1 : tensor.Columns);
        while (!to.IsEmpty)
        {
            var (row, within) = Math.DivRem(at, bytes);
            var (head, dimension) = Math.DivRem(row, headDim);
            var half = rotaryDim / 2;
            var stored = dimension >= rotaryDim ? dimension : dimension < half ? 2 * dimension : (2 * (dimension - half)) + 1;
            var some = (int)Math.Min(bytes - within, to.Length);
            Inner.ReadBytes(tensor, (((head * headDim) + stored) * bytes) + within, to[..some]);
            at += some;
            to = to[some..];
        }
    }
}
