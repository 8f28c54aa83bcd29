using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>Queries, keys and values of a layer with latent attention. See <see cref="LatentShape"/>.</summary>
/// <param name="device">computes; null if nobody does</param>
/// <param name="shape">its sizes</param>
/// <param name="queryDown">hidden -> what queries are made of, and its norm; null where they are made of the stream</param>
/// <param name="queries">that -> heads * dim</param>
/// <param name="down">hidden -> what keys and values are made of, the rotated numbers last</param>
/// <param name="norm">[rank], of all but those</param>
/// <param name="keysAndValues">that -> 2 * heads * dim</param>
internal sealed class LatentProjections(Device? device, LatentShape shape, (Linear Linear, Tensor Norm)? queryDown, Linear queries, Linear down, Tensor norm, Linear keysAndValues)
{
    public static LatentProjections Read(ModelConfig config, IWeightSource source, Device? device, Func<string, string> name)
    {
        var (shape, width, rank) = (config.Latent!, config.Heads * config.HeadDim, config.Latent!.QueryRank);
        return new LatentProjections(
            device,
            shape,
            rank == 0 ? null : (source.Linear([name(TensorNames.QueryDown)], [rank], config.HiddenSize), source.Vector(name(TensorNames.QueryDownNorm), rank)),
            source.Linear([name(rank == 0 ? TensorNames.Query : TensorNames.QueryUp)], [width], rank == 0 ? config.HiddenSize : rank),
            source.Linear([name(TensorNames.LatentDown)], [shape.Kept], config.HiddenSize),
            source.Vector(name(TensorNames.LatentNorm), shape.Rank),
            source.Linear([name(TensorNames.LatentUp)], [2 * width], shape.Kept));
    }

    /// <summary>Of a chunk of tokens.</summary>
    /// <param name="normed">[tokens, hidden]</param>
    /// <param name="withQueries">whether queries are wanted</param>
    /// <returns>[tokens, (heads + 2 kv_heads) * dim], or without the heads</returns>
    public Tensor Apply(Tensor normed, bool withQueries)
    {
        var made = down.Apply(normed);
        Norm(made.narrow(1, 0, shape.Rank), norm);
        var all = keysAndValues.Apply(made);
        if (!withQueries)
        {
            return all;
        }

        var from = normed;
        if (queryDown is var (linear, its))
        {
            from = linear.Apply(normed);
            Norm(from, its);
        }

        return cat([queries.Apply(from), all], 1);
    }

    /// <summary>Of a few rows.</summary>
    /// <param name="x">[rows, hidden]</param>
    /// <param name="between">written</param>
    /// <param name="heads">[rows, (heads + 2 kv_heads) * dim], written</param>
    public void Multiply(RowKernels kernels, int rows, RowBuffer x, RowNorm? before, LatentRows between, RowBuffer heads)
    {
        down.Multiply(kernels, rows, x, before, between.Made);
        kernels.NormPart(rows, between.Made, 0, shape.Rank, RowNormOf(norm));
        keysAndValues.Multiply(kernels, rows, between.Made, null, between.KeysAndValues);
        if (queryDown is var (linear, its))
        {
            linear.Multiply(kernels, rows, x, before, between.QueryMade!);
            queries.Multiply(kernels, rows, between.QueryMade!, RowNormOf(its), between.Queries);
        }
        else
        {
            queries.Multiply(kernels, rows, x, before, between.Queries);
        }

        kernels.Place(rows, between.Queries, heads, 0);
        kernels.Place(rows, between.KeysAndValues, heads, between.Queries.Width);
    }

    private static RowNorm RowNormOf(Tensor weight) => new(TensorMemory.Pointer(weight), LatentShape.NormEpsilon);

    private void Norm(Tensor x, Tensor weight) => x.copy_(device!.RmsNorm(x.contiguous(), weight, LatentShape.NormEpsilon));
}

/// <summary>What latent attention has on its way to the heads of a few rows.</summary>
/// <param name="shape">its sizes</param>
/// <param name="width">heads * dim</param>
/// <param name="device">where it lies</param>
internal sealed class LatentRows(LatentShape shape, int width, TorchSharp.torch.Device device) : IDisposable
{
    /// <summary>[rows, kept]: what keys and values are made of.</summary>
    public RowBuffer Made { get; } = new(shape.Kept, device);

    /// <summary>[rows, query rank]: what queries are made of; null where that is the stream.</summary>
    public RowBuffer? QueryMade { get; } = shape.QueryRank == 0 ? null : new(shape.QueryRank, device);

    /// <summary>[rows, heads * dim].</summary>
    public RowBuffer Queries { get; } = new(width, device);

    /// <summary>[rows, 2 * heads * dim].</summary>
    public RowBuffer KeysAndValues { get; } = new(2 * width, device);

    public void Dispose()
    {
        Made.Dispose();
        QueryMade?.Dispose();
        Queries.Dispose();
        KeysAndValues.Dispose();
    }
}
