using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Attention as its definition says, all at once, in float64: the oracle of every way to cut it.</summary>
internal static class DenseAttention
{
    /// <param name="queries">[tokens, heads, dim], the last of the sequence</param>
    /// <param name="keys">[all tokens, kv_heads, dim]</param>
    /// <param name="values">like <paramref name="keys"/></param>
    /// <param name="scale">factor of the scores</param>
    /// <param name="window">tokens that one sees, or null</param>
    /// <param name="softCap">cap of the scores, or null</param>
    /// <param name="isCausal">whether tokens see none behind them</param>
    /// <param name="sinks">[heads] scores of what each head attends beside the keys, which is nothing; or null</param>
    /// <param name="isChunk">whether the window is a chunk: tokens see those of their own</param>
    /// <returns>[tokens, heads, dim], float64</returns>
    public static Tensor Attend(Tensor queries, Tensor keys, Tensor values, double scale, int? window, double? softCap, bool isCausal = true, Tensor? sinks = null, bool isChunk = false)
    {
        var (tokens, all) = (queries.shape[0], keys.shape[0]);
        var group = queries.shape[1] / keys.shape[1];
        var q = queries.to(ScalarType.Float64).transpose(0, 1); // [heads, tokens, dim]
        var k = keys.to(ScalarType.Float64).transpose(0, 1).repeat_interleave(group, 0);
        var v = values.to(ScalarType.Float64).transpose(0, 1).repeat_interleave(group, 0);
        var scores = matmul(q, k.transpose(1, 2)) * scale;
        if (softCap is { } cap)
        {
            scores = (scores / cap).tanh() * cap;
        }

        var positions = arange(all, device: q.device);
        var rows = positions.narrow(0, all - tokens, tokens).unsqueeze(1);
        var distance = rows - positions;
        var hidden = distance.lt(isCausal ? 0 : -all);
        if (window is { } w)
        {
            hidden = hidden.logical_or(isChunk ? rows.div(w, RoundingMode.floor).ne(positions.div(w, RoundingMode.floor)) : distance.ge(w));
        }

        scores = scores.masked_fill(hidden, double.NegativeInfinity);
        if (sinks is not null)
        {
            scores = cat([scores, sinks.to(ScalarType.Float64).view(-1, 1, 1).expand(scores.shape[0], tokens, 1)], -1);
        }

        return matmul(scores.softmax(-1).narrow(-1, 0, all), v).transpose(0, 1);
    }
}
