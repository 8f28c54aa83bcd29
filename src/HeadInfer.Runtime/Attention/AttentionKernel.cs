using HeadInfer.Runtime.Cache;
using HeadInfer.Runtime.Native;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Attention of some queries to some keys: one part of the whole, with its log-sum-exp.</summary>
/// <param name="scale">Factor of the scores.</param>
/// <param name="softCap">Cap of the scores by tanh, or null.</param>
/// <remarks>
/// Queries are <c>[batch, group, rows, dim]</c>, keys and values <c>[batch, keys, dim]</c>: a batch entry is a KV head
/// with the query heads that share it. Outputs are <c>[batch, group, rows, dim]</c> and <c>[batch, group, rows]</c>.
/// Every row must see at least one key of its part.
/// </remarks>
internal sealed class AttentionKernel(double scale, double? softCap)
{
    /// <summary>Scores held at once where they are formed explicitly: 64 MB of float32.</summary>
    private const long MaxScores = 1 << 24;

    /// <summary>Query rows for which one mask is formed.</summary>
    private const int MaskedRows = 256;

    /// <summary>Query rows that one call may take, so that masks and explicit scores stay small.</summary>
    public int RowsAtOnce(int heads, int keys, bool masked)
    {
        var rows = masked ? MaskedRows : int.MaxValue;
        return softCap is null ? rows : (int)Math.Clamp(MaxScores / ((long)heads * keys), 1, rows);
    }

    /// <summary>Attends where every row sees every key.</summary>
    public (Tensor Output, Tensor LogSumExp) Whole(Tensor queries, Tensor keys, Tensor values)
    {
        if (softCap is not null)
        {
            return Explicit(queries, keys, values, null);
        }

        if (queries.shape[2] != 1)
        {
            return Aten.FlashCpu(queries, Shared(keys, queries), Shared(values, queries), causal: false, scale);
        }

        // One row: the group's query heads become the rows, and each key is read once for all of them.
        var (output, lse) = Aten.FlashCpu(queries.transpose(1, 2), keys.unsqueeze(1), values.unsqueeze(1), causal: false, scale);
        return (output.transpose(1, 2), lse.transpose(1, 2));
    }

    /// <summary>Attends where the keys are those of the rows themselves, each seeing itself and those before it.</summary>
    public (Tensor Output, Tensor LogSumExp) Causal(Tensor queries, Tensor keys, Tensor values)
    {
        if (softCap is null)
        {
            return Aten.FlashCpu(queries, Shared(keys, queries), Shared(values, queries), causal: true, scale);
        }

        var rows = new TokenRange(0, (int)queries.shape[2]);
        using var mask = new Visibility(null).Mask(rows, rows, queries.device);
        return Explicit(queries, keys, values, mask);
    }

    /// <summary>Attends under an additive mask [rows, keys].</summary>
    public (Tensor Output, Tensor LogSumExp) Masked(Tensor queries, Tensor keys, Tensor values, Tensor mask) =>
        softCap is null
            ? Aten.FlashCpu(queries, Shared(keys, queries), Shared(values, queries), mask, scale)
            : Explicit(queries, keys, values, mask);

    // [batch, keys, dim] -> [batch, group, keys, dim] without a copy.
    private static Tensor Shared(Tensor keys, Tensor queries) => keys.unsqueeze(1).expand(-1, queries.shape[1], -1, -1);

    private (Tensor Output, Tensor LogSumExp) Explicit(Tensor queries, Tensor keys, Tensor values, Tensor? mask)
    {
        // The group's heads become rows, so that keys are not copied once a head.
        var shape = queries.shape; // [batch, group, rows, dim]
        using var folded = queries.reshape(shape[0], shape[1] * shape[2], shape[3]);
        using var products = matmul(folded, keys.transpose(-1, -2));
        using var scores = products.view(shape[0], shape[1], shape[2], -1).to(ScalarType.Float32).mul_(scale); // [batch, group, rows, keys]
        if (softCap is { } cap)
        {
            scores.div_(cap).tanh_().mul_(cap);
        }

        if (mask is not null)
        {
            scores.add_(mask);
        }

        var lse = scores.logsumexp(-1);
        using var weights = scores.sub_(lse.unsqueeze(-1)).exp_().to(values.dtype);
        return (matmul(weights.view(shape[0], shape[1] * shape[2], -1), values).view(shape), lse);
    }
}
