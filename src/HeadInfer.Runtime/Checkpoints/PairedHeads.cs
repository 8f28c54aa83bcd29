namespace HeadInfer.Runtime.Checkpoints;

/// <summary>A checkpoint whose rotated dimensions lie in pairs of neighbours, read with those of a pair half of them apart, as the decoder rotates them.</summary>
/// <remarks>Scores do not change if queries and keys are put in the same other order. Weights of norms, [heads, dim], are shown as vectors.</remarks>
internal sealed class PairedHeads : CheckpointView
{
    private static readonly string[] Norms = [TensorNames.QueryNorm, TensorNames.KeyNorm];
    private static readonly string[] Rotated = [TensorNames.Query, TensorNames.Key, TensorNames.BiasOf(TensorNames.Query), TensorNames.BiasOf(TensorNames.Key), .. Norms];

    private readonly int _headDim, _rotaryDim;

    /// <param name="inner">has the tensors; owned</param>
    /// <param name="headDim">dimensions of a head</param>
    /// <param name="rotaryDim">those that are rotated, the first</param>
    public PairedHeads(Checkpoint inner, int headDim, int rotaryDim)
        : base(inner)
    {
        (_headDim, _rotaryDim) = (headDim, rotaryDim);
        foreach (var norm in inner.Tensors.Values.Where(t => t.Shape.Length == 2 && Norms.Any(name => t.Name.EndsWith($".{name}", StringComparison.Ordinal))))
        {
            Shown[norm.Name] = norm with { Shape = [norm.Shape[0] * norm.Shape[1]] };
        }
    }

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
            var (head, dimension) = Math.DivRem(row, _headDim);
            var half = _rotaryDim / 2;
            var stored = dimension >= _rotaryDim ? dimension : dimension < half ? 2 * dimension : (2 * (dimension - half)) + 1;
            var some = (int)Math.Min(bytes - within, to.Length);
            Inner.ReadBytes(tensor, (((head * _headDim) + stored) * bytes) + within, to[..some]);
            at += some;
            to = to[some..];
        }
    }
}
