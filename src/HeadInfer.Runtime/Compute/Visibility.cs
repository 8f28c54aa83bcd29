using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Which keys a query sees: itself and those before it; with a window only so many of them, with chunks only those of its own chunk.</summary>
/// <param name="Window">tokens that a query sees, itself among them; null for all before it</param>
/// <param name="Chunk">tokens of a chunk, which begin at whole multiples of it; null where there are none</param>
/// <remarks>Kernels know nothing of chunks: <see cref="SplitByReach"/> and <see cref="Keys"/> give them queries and keys of one.</remarks>
internal readonly record struct Visibility(int? Window, int? Chunk = null)
{
    /// <summary>The first key that the query at <paramref name="position"/> sees.</summary>
    public int FirstKey(int position) => Window is { } window ? Math.Max(0, position - window + 1) : Chunk is { } chunk ? position - (position % chunk) : 0;

    /// <summary>The queries of a range that see at least one of the keys.</summary>
    public TokenRange Rows(TokenRange queries, TokenRange keys) =>
        queries.Intersect(new TokenRange(keys.Start, Window is { } window ? keys.End - 1 + window : Chunk is { } chunk ? FirstKey(keys.End - 1) + chunk : int.MaxValue));

    /// <summary>The keys of a range that at least one of the queries sees.</summary>
    public TokenRange Keys(TokenRange queries, TokenRange keys) =>
        keys.Intersect(new TokenRange(FirstKey(queries.Start), queries.End));

    /// <summary>Whether every query sees every key.</summary>
    public bool IsWhole(TokenRange queries, TokenRange keys) =>
        keys.End <= queries.Start + 1 && FirstKey(queries.End - 1) <= keys.Start;

    /// <summary>Whether the queries are the keys and the window plays no part: plain causal attention.</summary>
    public bool IsCausal(TokenRange queries, TokenRange keys) => queries == keys && FirstKey(queries.End - 1) <= keys.Start;

    /// <summary>Cuts queries that come after all the keys into those that see every key and those that see only the last of them; and all queries where chunks begin.</summary>
    public IEnumerable<TokenRange> SplitByReach(TokenRange queries, TokenRange keys)
    {
        if (Chunk is { } chunk)
        {
            return queries.SplitAligned(chunk);
        }

        var whole = queries.Intersect(new TokenRange(0, Window is { } window ? keys.Start + window : int.MaxValue));
        if (keys.End > queries.Start || whole.IsEmpty || whole.Count == queries.Count)
        {
            return [queries];
        }

        return [whole, queries with { Start = whole.End }];
    }

    /// <summary>An additive mask: 0 where a query sees a key, minus infinity where not.</summary>
    /// <returns>[queries, keys], float32</returns>
    public Tensor Mask(TokenRange queries, TokenRange keys, torch.Device device)
    {
        using var rows = arange(queries.Start, queries.End, ScalarType.Int64, device).unsqueeze(1);
        using var columns = arange(keys.Start, keys.End, ScalarType.Int64, device);
        using var distance = rows - columns;
        using var hidden = Window is { } window ? distance.lt(0).logical_or_(distance.ge(window))
            : Chunk is { } chunk ? distance.lt(0).logical_or_(distance.gt(rows.remainder(chunk))) : distance.lt(0);
        return zeros(queries.Count, keys.Count, dtype: ScalarType.Float32, device: device).masked_fill_(hidden, float.NegativeInfinity);
    }

    /// <summary>How many pairs of a query and a key it sees there are.</summary>
    public long Pairs(TokenRange queries, TokenRange keys)
    {
        if (IsWhole(queries, keys))
        {
            return (long)queries.Count * keys.Count;
        }

        var pairs = 0L;
        for (var i = queries.Start; i < queries.End; i++)
        {
            pairs += Math.Max(0, Math.Min(keys.End, i + 1) - Math.Max(keys.Start, FirstKey(i)));
        }

        return pairs;
    }
}
