namespace HeadInfer.Runtime.Compute;

/// <summary>The two halves of attention in host memory: scores of keys, and sums of values.</summary>
/// <remarks>
/// A query's results are summed in the order of tokens, and within a key as <see cref="InnerProducts"/> says, however many
/// queries share a load. <c>TLane.Count</c> also tells the registers: with 512 bits there are 32, else 16.
/// </remarks>
internal static unsafe class HostAttentionMath
{
    /// <summary>How far ahead of its use memory is asked for: about what arrives while one cache line is on its way.</summary>
    public const int BytesAhead = 4096;

    // Values that stay in the first cache while all queries take them. Where a row takes many passes over it, a short one: each
    // pass asks for its part of the next block, so that memory is never idle for long.
    private const int BlockBytes = 1 << 14, ShortBlockBytes = 1 << 12, LeastRows = 8, Line = 64;

    /// <summary>scores [query, of stride] = queries [query, dim] * keys [token, dim].</summary>
    public static void Score<TLane, TElement>(TElement* keys, int tokens, float* queries, int count, int dim, float* scores, int stride)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var token = 0;
        for (; token <= tokens - 4; token += 4)
        {
            var rows = keys + ((long)token * dim);
            InnerProducts.Prefetch<TElement>((byte*)rows + BytesAhead, 4 * dim * sizeof(TElement));
            var query = 0;
            for (; TLane.Count > 8 && query <= count - 4; query += 4)
            {
                InnerProducts.Dot4x4<TLane, TElement>(rows, queries + ((long)query * dim), dim, scores + ((long)query * stride) + token, stride);
            }

            for (; query <= count - 2; query += 2)
            {
                float* q = queries + ((long)query * dim), s = scores + ((long)query * stride) + token;
                InnerProducts.Dot4x2<TLane, TElement>(rows, q, q + dim, dim, s, s + stride);
            }

            if (query < count)
            {
                InnerProducts.Dot4<TLane, TElement>(rows, queries + ((long)query * dim), dim, scores + ((long)query * stride) + token);
            }
        }

        for (; token < tokens; token++)
        {
            for (var query = 0; query < count; query++)
            {
                scores[((long)query * stride) + token] = InnerProducts.Dot<TLane, TElement>(keys + ((long)token * dim), queries + ((long)query * dim), dim);
            }
        }
    }

    /// <summary>sums [query, dim] += weights [query, of stride] * values [token, dim].</summary>
    public static void AddValues<TLane, TElement>(TElement* values, int tokens, float* weights, int stride, int count, int dim, float* sums)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var isWide = TLane.Count > 8;
        var block = Math.Max((isWide ? BlockBytes : ShortBlockBytes) / (dim * sizeof(TElement)), LeastRows);
        for (var token = 0; token < tokens; token += block)
        {
            var rows = values + ((long)token * dim);
            var some = Math.Min(block, tokens - token);
            for (var query = 0; query < count; query += 4)
            {
                Four its = new(weights + token, query, count, stride), to = new(sums, query, count, dim);
                if (isWide)
                {
                    AddBlock<TLane, TElement>(rows, some, its, to, dim, query == 0 ? dim * sizeof(TElement) : 0);
                }
                else
                {
                    AddShortBlock<TLane, TElement>(rows, some, its, to, dim, isPair: count - query <= 2, query == 0 ? block * dim * sizeof(TElement) : 0);
                }
            }
        }
    }

    // The same with half the registers: of one or two queries four lanes, of more two. Each asks for its lines of the next block.
    private static void AddShortBlock<TLane, TElement>(TElement* values, int tokens, Four weights, Four sums, int dim, bool isPair, int ahead)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var at = 0;
        for (; isPair && at <= dim - (4 * TLane.Count); at += 4 * TLane.Count)
        {
            AddPair<TLane, TElement>(values + at, tokens, dim, weights, sums.From(at), ahead);
        }

        for (; at <= dim - (2 * TLane.Count); at += 2 * TLane.Count)
        {
            AddTwoLanes<TLane, TElement>(values + at, tokens, dim, weights, sums.From(at), ahead, ahead > 0 && at * sizeof(TElement) % Line == 0 ? Line : 0);
        }

        for (; at <= dim - TLane.Count; at += TLane.Count)
        {
            AddLane<TLane, TElement>(values + at, tokens, dim, weights, sums.From(at));
        }

        for (; at < dim; at++)
        {
            AddOne(values + at, tokens, dim, weights, sums.From(at));
        }
    }

    // Four queries and as many lanes of their sums as there are registers for stay in them over all tokens of a block. The first
    // queries and lanes ask for whole rows ahead, so that memory is read in its order.
    private static void AddBlock<TLane, TElement>(TElement* values, int tokens, Four weights, Four sums, int dim, int ahead)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var at = 0;
        for (; at <= dim - (4 * TLane.Count); at += 4 * TLane.Count)
        {
            AddFourLanes<TLane, TElement>(values + at, tokens, dim, weights, sums.From(at), at == 0 ? ahead : 0);
        }

        for (; at <= dim - (2 * TLane.Count); at += 2 * TLane.Count)
        {
            AddTwoLanes<TLane, TElement>(values + at, tokens, dim, weights, sums.From(at), BytesAhead, at == 0 ? ahead : 0);
        }

        for (; at <= dim - TLane.Count; at += TLane.Count)
        {
            AddLane<TLane, TElement>(values + at, tokens, dim, weights, sums.From(at));
        }

        for (; at < dim; at++)
        {
            AddOne(values + at, tokens, dim, weights, sums.From(at));
        }
    }

    private static void AddFourLanes<TLane, TElement>(TElement* values, int tokens, int stride, Four weights, Four sums, int ahead)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var n = TLane.Count;
        float* a = sums.A, b = sums.B, c = sums.C, d = sums.D, forA = weights.A, forB = weights.B, forC = weights.C, forD = weights.D;
        TLane a0 = TLane.Load(a), a1 = TLane.Load(a + n), a2 = TLane.Load(a + (2 * n)), a3 = TLane.Load(a + (3 * n));
        TLane b0 = TLane.Load(b), b1 = TLane.Load(b + n), b2 = TLane.Load(b + (2 * n)), b3 = TLane.Load(b + (3 * n));
        TLane c0 = TLane.Load(c), c1 = TLane.Load(c + n), c2 = TLane.Load(c + (2 * n)), c3 = TLane.Load(c + (3 * n));
        TLane d0 = TLane.Load(d), d1 = TLane.Load(d + n), d2 = TLane.Load(d + (2 * n)), d3 = TLane.Load(d + (3 * n));
        for (var token = 0; token < tokens; token++, values += stride)
        {
            InnerProducts.Prefetch<TElement>((byte*)values + BytesAhead, ahead);

            TLane v0 = TElement.Load<TLane>(values), v1 = TElement.Load<TLane>(values + n), v2 = TElement.Load<TLane>(values + (2 * n)), v3 = TElement.Load<TLane>(values + (3 * n));
            var weight = TLane.All(forA[token]);
            a0 = TLane.MultiplyAdd(v0, weight, a0);
            a1 = TLane.MultiplyAdd(v1, weight, a1);
            a2 = TLane.MultiplyAdd(v2, weight, a2);
            a3 = TLane.MultiplyAdd(v3, weight, a3);
            weight = TLane.All(forB[token]);
            b0 = TLane.MultiplyAdd(v0, weight, b0);
            b1 = TLane.MultiplyAdd(v1, weight, b1);
            b2 = TLane.MultiplyAdd(v2, weight, b2);
            b3 = TLane.MultiplyAdd(v3, weight, b3);
            weight = TLane.All(forC[token]);
            c0 = TLane.MultiplyAdd(v0, weight, c0);
            c1 = TLane.MultiplyAdd(v1, weight, c1);
            c2 = TLane.MultiplyAdd(v2, weight, c2);
            c3 = TLane.MultiplyAdd(v3, weight, c3);
            weight = TLane.All(forD[token]);
            d0 = TLane.MultiplyAdd(v0, weight, d0);
            d1 = TLane.MultiplyAdd(v1, weight, d1);
            d2 = TLane.MultiplyAdd(v2, weight, d2);
            d3 = TLane.MultiplyAdd(v3, weight, d3);
        }

        a0.Store(a);
        a1.Store(a + n);
        a2.Store(a + (2 * n));
        a3.Store(a + (3 * n));
        b0.Store(b);
        b1.Store(b + n);
        b2.Store(b + (2 * n));
        b3.Store(b + (3 * n));
        c0.Store(c);
        c1.Store(c + n);
        c2.Store(c + (2 * n));
        c3.Store(c + (3 * n));
        d0.Store(d);
        d1.Store(d + n);
        d2.Store(d + (2 * n));
        d3.Store(d + (3 * n));
    }

    private static void AddPair<TLane, TElement>(TElement* values, int tokens, int stride, Four weights, Four sums, int ahead)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var (n, bytes) = (TLane.Count, ahead > 0 ? 4 * TLane.Count * sizeof(TElement) : 0);
        float* a = sums.A, b = sums.B, forA = weights.A, forB = weights.B;
        TLane a0 = TLane.Load(a), a1 = TLane.Load(a + n), a2 = TLane.Load(a + (2 * n)), a3 = TLane.Load(a + (3 * n));
        TLane b0 = TLane.Load(b), b1 = TLane.Load(b + n), b2 = TLane.Load(b + (2 * n)), b3 = TLane.Load(b + (3 * n));
        for (var token = 0; token < tokens; token++, values += stride)
        {
            InnerProducts.Prefetch<TElement>((byte*)values + ahead, bytes);

            TLane v0 = TElement.Load<TLane>(values), v1 = TElement.Load<TLane>(values + n), v2 = TElement.Load<TLane>(values + (2 * n)), v3 = TElement.Load<TLane>(values + (3 * n));
            var weight = TLane.All(forA[token]);
            a0 = TLane.MultiplyAdd(v0, weight, a0);
            a1 = TLane.MultiplyAdd(v1, weight, a1);
            a2 = TLane.MultiplyAdd(v2, weight, a2);
            a3 = TLane.MultiplyAdd(v3, weight, a3);
            weight = TLane.All(forB[token]);
            b0 = TLane.MultiplyAdd(v0, weight, b0);
            b1 = TLane.MultiplyAdd(v1, weight, b1);
            b2 = TLane.MultiplyAdd(v2, weight, b2);
            b3 = TLane.MultiplyAdd(v3, weight, b3);
        }

        a0.Store(a);
        a1.Store(a + n);
        a2.Store(a + (2 * n));
        a3.Store(a + (3 * n));
        b0.Store(b);
        b1.Store(b + n);
        b2.Store(b + (2 * n));
        b3.Store(b + (3 * n));
    }

    private static void AddTwoLanes<TLane, TElement>(TElement* values, int tokens, int stride, Four weights, Four sums, int distance, int ahead)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var n = TLane.Count;
        float* a = sums.A, b = sums.B, c = sums.C, d = sums.D, forA = weights.A, forB = weights.B, forC = weights.C, forD = weights.D;
        TLane a0 = TLane.Load(a), a1 = TLane.Load(a + n), b0 = TLane.Load(b), b1 = TLane.Load(b + n);
        TLane c0 = TLane.Load(c), c1 = TLane.Load(c + n), d0 = TLane.Load(d), d1 = TLane.Load(d + n);
        for (var token = 0; token < tokens; token++, values += stride)
        {
            InnerProducts.Prefetch<TElement>((byte*)values + distance, ahead);

            TLane v0 = TElement.Load<TLane>(values), v1 = TElement.Load<TLane>(values + n);
            var weight = TLane.All(forA[token]);
            a0 = TLane.MultiplyAdd(v0, weight, a0);
            a1 = TLane.MultiplyAdd(v1, weight, a1);
            weight = TLane.All(forB[token]);
            b0 = TLane.MultiplyAdd(v0, weight, b0);
            b1 = TLane.MultiplyAdd(v1, weight, b1);
            weight = TLane.All(forC[token]);
            c0 = TLane.MultiplyAdd(v0, weight, c0);
            c1 = TLane.MultiplyAdd(v1, weight, c1);
            weight = TLane.All(forD[token]);
            d0 = TLane.MultiplyAdd(v0, weight, d0);
            d1 = TLane.MultiplyAdd(v1, weight, d1);
        }

        a0.Store(a);
        a1.Store(a + n);
        b0.Store(b);
        b1.Store(b + n);
        c0.Store(c);
        c1.Store(c + n);
        d0.Store(d);
        d1.Store(d + n);
    }

    private static void AddLane<TLane, TElement>(TElement* values, int tokens, int stride, Four weights, Four sums)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        TLane a = TLane.Load(sums.A), b = TLane.Load(sums.B), c = TLane.Load(sums.C), d = TLane.Load(sums.D);
        for (var token = 0; token < tokens; token++, values += stride)
        {
            var v = TElement.Load<TLane>(values);
            a = TLane.MultiplyAdd(v, TLane.All(weights.A[token]), a);
            b = TLane.MultiplyAdd(v, TLane.All(weights.B[token]), b);
            c = TLane.MultiplyAdd(v, TLane.All(weights.C[token]), c);
            d = TLane.MultiplyAdd(v, TLane.All(weights.D[token]), d);
        }

        a.Store(sums.A);
        b.Store(sums.B);
        c.Store(sums.C);
        d.Store(sums.D);
    }

    private static void AddOne<TElement>(TElement* values, int tokens, int stride, Four weights, Four sums)
        where TElement : unmanaged, IElement<TElement>
    {
        float a = *sums.A, b = *sums.B, c = *sums.C, d = *sums.D;
        for (var token = 0; token < tokens; token++, values += stride)
        {
            var v = TElement.Widen(*values);
            a += v * weights.A[token];
            b += v * weights.B[token];
            c += v * weights.C[token];
            d += v * weights.D[token];
        }

        (*sums.A, *sums.B, *sums.C, *sums.D) = (a, b, c, d);
    }

    /// <summary>Where rows of four queries begin. Of fewer the last goes with itself: it is then computed several times, and alike.</summary>
    private readonly struct Four
    {
        public readonly float* A, B, C, D;

        public Four(float* rows, int first, int count, int stride)
            : this(
                rows + ((long)first * stride),
                rows + ((long)Math.Min(first + 1, count - 1) * stride),
                rows + ((long)Math.Min(first + 2, count - 1) * stride),
                rows + ((long)Math.Min(first + 3, count - 1) * stride))
        {
        }

        private Four(float* a, float* b, float* c, float* d)
        {
            A = a;
            B = b;
            C = c;
            D = d;
        }

        public Four From(int at) => new(A + at, B + at, C + at, D + at);
    }
}
