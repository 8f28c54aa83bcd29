namespace HeadInfer.Runtime.Compute;

/// <summary>The two halves of attention in host memory: scores of keys, and sums of values.</summary>
internal static unsafe class HostAttentionMath
{
    /// <summary>Floats that are asked for ahead of their use: 4 KB, about what arrives while one cache line is on its way.</summary>
    private const int PrefetchAhead = 1024;

    /// <summary>scores [query, of stride] = queries [query, dim] * keys [token, dim].</summary>
    public static void Score<TLane>(float* keys, int tokens, float* queries, int count, int dim, float* scores, int stride)
        where TLane : struct, ILane<TLane>
    {
        var token = 0;
        for (; token <= tokens - 4; token += 4)
        {
            var rows = keys + ((long)token * dim);
            HostMath.Prefetch(rows + PrefetchAhead, 4 * dim);
            var query = 0;
            for (; query <= count - 2; query += 2)
            {
                float* q = queries + ((long)query * dim), s = scores + ((long)query * stride) + token;
                HostMath.Dot4x2<TLane>(rows, q, q + dim, dim, s, s + stride);
            }

            if (query < count)
            {
                HostMath.Dot4<TLane>(rows, queries + ((long)query * dim), dim, scores + ((long)query * stride) + token);
            }
        }

        for (; token < tokens; token++)
        {
            for (var query = 0; query < count; query++)
            {
                scores[((long)query * stride) + token] = HostMath.Dot<TLane>(keys + ((long)token * dim), queries + ((long)query * dim), dim);
            }
        }
    }

    /// <summary>sums [query, dim] += weights [query, of stride] * values [token, dim].</summary>
    /// <remarks>Four lanes of the sums of two queries stay in registers over all tokens.</remarks>
    public static void AddValues<TLane>(float* values, int tokens, float* weights, int stride, int count, int dim, float* sums)
        where TLane : struct, ILane<TLane>
    {
        var at = 0;
        for (; at <= dim - (4 * TLane.Count); at += 4 * TLane.Count)
        {
            for (var query = 0; query < count; query += 2)
            {
                // Of an odd number of queries the last goes with itself: it is then computed twice, and alike.
                var second = Math.Min(query + 1, count - 1);
                AddFourLanes<TLane>(
                    values + at, tokens, dim, weights + ((long)query * stride), weights + ((long)second * stride), sums + ((long)query * dim) + at, sums + ((long)second * dim) + at);
            }
        }

        for (; at <= dim - TLane.Count; at += TLane.Count)
        {
            for (var query = 0; query < count; query += 2)
            {
                var second = Math.Min(query + 1, count - 1);
                AddLane<TLane>(
                    values + at, tokens, dim, weights + ((long)query * stride), weights + ((long)second * stride), sums + ((long)query * dim) + at, sums + ((long)second * dim) + at);
            }
        }

        for (var token = 0; at < dim && token < tokens; token++)
        {
            for (var query = 0; query < count; query++)
            {
                var weight = weights[((long)query * stride) + token];
                for (var i = at; i < dim; i++)
                {
                    sums[((long)query * dim) + i] += values[((long)token * dim) + i] * weight;
                }
            }
        }
    }

    private static void AddFourLanes<TLane>(float* values, int tokens, int stride, float* firstWeights, float* secondWeights, float* first, float* second)
        where TLane : struct, ILane<TLane>
    {
        var n = TLane.Count;
        TLane a0 = TLane.Load(first), a1 = TLane.Load(first + n), a2 = TLane.Load(first + (2 * n)), a3 = TLane.Load(first + (3 * n));
        TLane b0 = TLane.Load(second), b1 = TLane.Load(second + n), b2 = TLane.Load(second + (2 * n)), b3 = TLane.Load(second + (3 * n));
        for (var token = 0; token < tokens; token++, values += stride)
        {
            HostMath.Prefetch(values + PrefetchAhead, 4 * n);
            TLane v0 = TLane.Load(values), v1 = TLane.Load(values + n), v2 = TLane.Load(values + (2 * n)), v3 = TLane.Load(values + (3 * n));
            TLane a = TLane.All(firstWeights[token]), b = TLane.All(secondWeights[token]);
            a0 = TLane.MultiplyAdd(v0, a, a0);
            a1 = TLane.MultiplyAdd(v1, a, a1);
            a2 = TLane.MultiplyAdd(v2, a, a2);
            a3 = TLane.MultiplyAdd(v3, a, a3);
            b0 = TLane.MultiplyAdd(v0, b, b0);
            b1 = TLane.MultiplyAdd(v1, b, b1);
            b2 = TLane.MultiplyAdd(v2, b, b2);
            b3 = TLane.MultiplyAdd(v3, b, b3);
        }

        a0.Store(first);
        a1.Store(first + n);
        a2.Store(first + (2 * n));
        a3.Store(first + (3 * n));
        b0.Store(second);
        b1.Store(second + n);
        b2.Store(second + (2 * n));
        b3.Store(second + (3 * n));
    }

    private static void AddLane<TLane>(float* values, int tokens, int stride, float* firstWeights, float* secondWeights, float* first, float* second)
        where TLane : struct, ILane<TLane>
    {
        TLane a = TLane.Load(first), b = TLane.Load(second);
        for (var token = 0; token < tokens; token++, values += stride)
        {
            var v = TLane.Load(values);
            a = TLane.MultiplyAdd(v, TLane.All(firstWeights[token]), a);
            b = TLane.MultiplyAdd(v, TLane.All(secondWeights[token]), b);
        }

        a.Store(first);
        b.Store(second);
    }
}
