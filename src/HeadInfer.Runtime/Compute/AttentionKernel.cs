using System.Diagnostics;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Attention of some queries to some keys: one part of the whole, with its log-sum-exp.</summary>
/// <param name="scale">Factor of the scores.</param>
/// <remarks>
/// Queries are <c>[batch, group, rows, dim]</c>, keys and values <c>[batch, keys, dim]</c>: a batch entry is a KV head
/// with the query heads that share it. Outputs are <c>[batch, group, rows, dim]</c> and <c>[batch, group, rows]</c>.
/// Every row must see at least one key of its part.
/// </remarks>
internal abstract class AttentionKernel(double scale)
{
    protected double Scale => scale;

    /// <summary>Query rows that one call may take, so that what is formed on the way stays small.</summary>
    public virtual int RowsAtOnce(int heads, TokenRange rows, TokenRange keys, Visibility view) => int.MaxValue;

    /// <summary>Attends one part.</summary>
    /// <param name="queries">[batch, group, rows, dim]</param>
    /// <param name="keys">[batch, keys, dim]</param>
    /// <param name="values">[batch, keys, dim]</param>
    /// <param name="rows">positions of the queries</param>
    /// <param name="columns">positions of the keys</param>
    /// <param name="view">what the queries see</param>
    public abstract (Tensor Output, Tensor LogSumExp) Attend(Tensor queries, Tensor keys, Tensor values, TokenRange rows, TokenRange columns, Visibility view);

    // [batch, keys, dim] -> [batch, group, keys, dim] without a copy.
    protected static Tensor Shared(Tensor keys, Tensor queries) => keys.unsqueeze(1).expand(-1, queries.shape[1], -1, -1);
}

/// <summary>libtorch's fused attention of the CPU.</summary>
internal sealed class CpuAttention(double scale) : AttentionKernel(scale)
{
    /// <summary>Query rows for which one mask is formed.</summary>
    private const int MaskedRows = 256;

    public override int RowsAtOnce(int heads, TokenRange rows, TokenRange keys, Visibility view) =>
        view.IsWhole(rows, keys) || view.IsCausal(rows, keys) ? int.MaxValue : MaskedRows;

    public override (Tensor Output, Tensor LogSumExp) Attend(Tensor queries, Tensor keys, Tensor values, TokenRange rows, TokenRange columns, Visibility view)
    {
        if (!view.IsWhole(rows, columns))
        {
            var (k, v) = (Shared(keys, queries), Shared(values, queries));
            return view.IsCausal(rows, columns)
                ? Aten.FlashCpu(queries, k, v, causal: true, Scale)
                : Aten.FlashCpu(queries, k, v, view.Mask(rows, columns, queries.device), Scale);
        }

        if (rows.Count != 1)
        {
            return Aten.FlashCpu(queries, Shared(keys, queries), Shared(values, queries), causal: false, Scale);
        }

        // One row: the group's query heads become the rows, and each key is read once for all of them.
        var (output, lse) = Aten.FlashCpu(queries.transpose(1, 2), keys.unsqueeze(1), values.unsqueeze(1), causal: false, Scale);
        return (output.transpose(1, 2), lse.transpose(1, 2));
    }
}

/// <summary>Attention with its scores written out: for float32 on the GPU, for heads and GPUs that fused kernels do not take, and for soft caps on the CPU.</summary>
/// <param name="scale">Factor of the scores.</param>
/// <param name="softCap">Cap of the scores by tanh, or null.</param>
internal sealed class ExplicitAttention(double scale, double? softCap) : AttentionKernel(scale)
{
    /// <summary>Scores held at once: 64 MB of float32.</summary>
    public const long MaxScores = 1 << 24;

    public override int RowsAtOnce(int heads, TokenRange rows, TokenRange keys, Visibility view) =>
        (int)Math.Clamp(MaxScores / ((long)heads * keys.Count), 1, int.MaxValue);

    public override (Tensor Output, Tensor LogSumExp) Attend(Tensor queries, Tensor keys, Tensor values, TokenRange rows, TokenRange columns, Visibility view)
    {
        // The group's heads become rows, so that keys are not copied once a head.
        var shape = queries.shape; // [batch, group, rows, dim]
        using var folded = queries.reshape(shape[0], shape[1] * shape[2], shape[3]);
        using var products = Aten.ProductFloat(folded, keys.transpose(-1, -2));
        using var scores = products.view(shape[0], shape[1], shape[2], -1).mul_(Scale); // [batch, group, rows, keys], float32
        if (softCap is { } cap)
        {
            scores.div_(cap).tanh_().mul_(cap);
        }

        if (!view.IsWhole(rows, columns))
        {
            using var mask = view.Mask(rows, columns, queries.device);
            scores.add_(mask);
        }

        var lse = scores.logsumexp(-1);
        using var weights = scores.sub_(lse.unsqueeze(-1)).exp_().to(values.dtype);
        return (Aten.Product(weights.view(shape[0], shape[1] * shape[2], -1), values).view(shape), lse);
    }
}

/// <summary>Fused attention of the GPU, bfloat16 or float16: FlashAttention, and cuDNN where it pays.</summary>
/// <param name="scale">Factor of the scores.</param>
/// <param name="useCuDnn">Whether cuDNN is the faster of the two here.</param>
/// <param name="cuDnnPairs">Pairs of a query and a key from which on cuDNN's plan for a new shape (some 40 ms) is soon repaid by all heads and layers.</param>
internal sealed class CudaAttention(double scale, bool useCuDnn, long cuDnnPairs = 1L << 26) : AttentionKernel(scale)
{
    public const int CuDnnHeadDim = 128;
    private const int MeasuredRows = 4096, MeasuredKeys = 8192, Repeats = 3;

    /// <summary>Measures which of the two is faster on a GPU.</summary>
    /// <remarks>Where cuDNN has no kernel for the GPU or the shape it throws, and FlashAttention it is.</remarks>
    public static bool CuDnnIsFaster(AttentionTraits traits, torch.Device device)
    {
        if (traits.HeadDim > CuDnnHeadDim)
        {
            return false;
        }

        using var scope = NewDisposeScope();
        var kernel = new CudaAttention(traits.Scale, useCuDnn: true);
        var queries = randn([MeasuredRows, traits.QueriesPerHead, traits.HeadDim], traits.Type, device).view(MeasuredRows, 1, traits.QueriesPerHead, traits.HeadDim).permute(1, 2, 0, 3);
        var tile = randn([1, 2, MeasuredKeys, traits.HeadDim], traits.Type, device);
        var (keys, values) = (tile.select(1, 0), tile.select(1, 1));
        try
        {
            var cudnn = Time(() => kernel.CuDnn(queries, keys, values, causal: false));
            return cudnn < Time(() => kernel.Flash(queries, keys, values, (-1, -1)));
        }
        catch (ExternalException)
        {
            return false;
        }
    }

    public override (Tensor Output, Tensor LogSumExp) Attend(Tensor queries, Tensor keys, Tensor values, TokenRange rows, TokenRange columns, Visibility view)
    {
        var (whole, causal) = (view.IsWhole(rows, columns), view.IsCausal(rows, columns));
        return useCuDnn && (whole || causal) && (long)rows.Count * columns.Count >= cuDnnPairs && queries.shape[3] <= CuDnnHeadDim
            ? CuDnn(queries, keys, values, causal && !whole)
            : Flash(queries, keys, values, whole ? (-1, -1) : Reach(rows, columns, view));
    }

    internal (Tensor Output, Tensor LogSumExp) CuDnn(Tensor queries, Tensor keys, Tensor values, bool causal)
    {
        var (output, lse) = Aten.CuDnn(queries, Shared(keys, queries), Shared(values, queries), causal, Scale);
        return (output, lse.squeeze(-1));
    }

    internal (Tensor Output, Tensor LogSumExp) Flash(Tensor queries, Tensor keys, Tensor values, (int Left, int Right) reach)
    {
        var (batch, group, rows, dim) = (queries.shape[0], queries.shape[1], queries.shape[2], queries.shape[3]);
        var q = queries.permute(2, 0, 1, 3).reshape(1, rows, batch * group, dim);
        var (output, lse) = Aten.FlashCuda(q, keys.transpose(0, 1).unsqueeze(0), values.transpose(0, 1).unsqueeze(0), reach.Left, reach.Right, Scale);
        return (output.view(rows, batch, group, dim).permute(1, 2, 0, 3), lse.view(batch, group, rows));
    }

    // How far a row sees, counted from the key that stands as far from the end of the keys as the row from the end of the
    // rows: that is how the kernel aligns the two. Every row sees a key, so neither figure is below zero. To the kernel
    // no limit on the right means one of as many as there are keys, which is none only while there are no fewer keys
    // than rows; Visibility.SplitByReach sees to that.
    private static (int Left, int Right) Reach(TokenRange rows, TokenRange columns, Visibility view)
    {
        var ahead = rows.End - columns.End; // how far the rows' end is beyond the keys'
        var left = view.Window is { } window ? window - 1 - ahead : -1;
        return (left >= columns.Count ? -1 : left, ahead >= rows.Count ? -1 : ahead);
    }

    private static TimeSpan Time(Func<(Tensor, Tensor)> attend)
    {
        var best = TimeSpan.MaxValue;
        for (var run = 0; run <= Repeats; run++)
        {
            using var scope = NewDisposeScope();
            Gpu.Synchronize();
            var start = Stopwatch.GetTimestamp();
            attend();
            Gpu.Synchronize();
            var time = Stopwatch.GetElapsedTime(start);
            best = run > 0 && time < best ? time : best; // the first prepares the kernel
        }

        return best;
    }
}
