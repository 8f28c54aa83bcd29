using System.Numerics;

namespace HeadInfer.Runtime.Compute;

/// <summary>Of a query: its largest score, and the sum of its weights relative to that.</summary>
/// <param name="Maximum">minus infinity where nothing has been attended</param>
/// <param name="Total">zero where nothing has been attended</param>
internal readonly record struct ScoreSum(float Maximum, float Total)
{
    public static ScoreSum None => new(float.NegativeInfinity, 0);
}

/// <summary>From products of a query and keys to the weights of the keys.</summary>
internal static unsafe class HostSoftmax
{
    /// <summary>Products become weights relative to the largest.</summary>
    /// <param name="scores">of one query, changed</param>
    /// <param name="count">keys</param>
    /// <param name="scale">factor of the products</param>
    /// <param name="softCap">cap of the scores by tanh, or null</param>
    public static ScoreSum Weigh<TLane>(float* scores, int count, float scale, float? softCap)
        where TLane : struct, ILane<TLane>
    {
        var maximum = Score<TLane>(scores, count, scale, softCap);
        return new ScoreSum(maximum, Weigh<TLane>(scores, count, maximum));
    }

    /// <summary>Products become scores.</summary>
    /// <param name="scores">of one query, changed</param>
    /// <param name="count">keys</param>
    /// <param name="scale">factor of the products</param>
    /// <param name="softCap">cap of the scores by tanh, or null</param>
    /// <returns>the largest</returns>
    public static float Score<TLane>(float* scores, int count, float scale, float? softCap)
        where TLane : struct, ILane<TLane> => softCap is { } cap ? Cap(scores, count, scale, cap) : Scale<TLane>(scores, count, scale);

    /// <summary>Scores become weights.</summary>
    /// <param name="scores">of one query, changed</param>
    /// <param name="count">keys</param>
    /// <param name="maximum">the score that weighs 1; none is greater</param>
    /// <returns>the sum of the weights</returns>
    public static float Weigh<TLane>(float* scores, int count, float maximum)
        where TLane : struct, ILane<TLane>
    {
        TLane sums = default, top = TLane.All(-maximum);
        var (at, rest) = (0, 0f);
        for (; at <= count - TLane.Count; at += TLane.Count)
        {
            var weights = LaneMath.Exp(TLane.Add(TLane.Load(scores + at), top));
            weights.Store(scores + at);
            sums = TLane.Add(sums, weights);
        }

        for (; at < count; at++)
        {
            rest += scores[at] = MathF.Exp(scores[at] - maximum);
        }

        return rest + TLane.Sum(sums);
    }

    // Products become scores; returns the largest.
    private static float Scale<TLane>(float* scores, int count, float scale)
        where TLane : struct, ILane<TLane>
    {
        TLane factors = TLane.All(scale), largest = TLane.All(float.NegativeInfinity);
        var (at, maximum) = (0, float.NegativeInfinity);
        for (; at <= count - TLane.Count; at += TLane.Count)
        {
            var scaled = TLane.Multiply(TLane.Load(scores + at), factors);
            scaled.Store(scores + at);
            largest = TLane.Max(largest, scaled);
        }

        for (; at < count; at++)
        {
            scores[at] *= scale;
            maximum = Math.Max(maximum, scores[at]);
        }

        return Math.Max(maximum, TLane.Largest(largest));
    }

    private static float Cap(float* scores, int count, float scale, float cap)
    {
        var (factors, largest) = (new Vector<float>(scale), new Vector<float>(float.NegativeInfinity));
        var (maximum, at, width) = (float.NegativeInfinity, 0, Vector<float>.Count);
        for (; at <= count - width; at += width)
        {
            var capped = HostActivations.Cap(Vector.Load(scores + at) * factors, cap);
            capped.Store(scores + at);
            largest = Vector.Max(largest, capped);
        }

        for (; at < count; at++)
        {
            scores[at] = cap * MathF.Tanh(scores[at] * scale / cap);
            maximum = Math.Max(maximum, scores[at]);
        }

        for (var i = 0; i < width; i++)
        {
            maximum = Math.Max(maximum, largest[i]);
        }

        return maximum;
    }
}
