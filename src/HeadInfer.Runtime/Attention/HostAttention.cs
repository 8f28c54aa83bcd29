using System.Numerics;
using System.Runtime.Intrinsics;
using HeadInfer.Runtime.Cache;
using HeadInfer.Runtime.Native;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>One new token's attention to host pages where they lie, by the CPU, in float32: each row is read once.</summary>
/// <param name="scale">Factor of the scores.</param>
/// <param name="softCap">Cap of the scores by tanh, or null.</param>
/// <remarks>
/// The pages of all heads are one list of parts, cut evenly among the threads. A thread keeps a running maximum, sum and
/// output for each head it meets; the threads' results are merged as any parts are. Written because libtorch's fused
/// attention reads cold pages at 23 GB/s for one query, where all cores together read 43.
/// </remarks>
internal sealed unsafe class HostAttention(double scale, double? softCap)
{
    /// <summary>Floats that are asked for ahead of their use: 4 KB, about what arrives while one cache line is on its way.</summary>
    private const int PrefetchAhead = 1024;

    /// <summary>Attends a group's heads.</summary>
    /// <param name="pages">the rows seen, the new token's among them</param>
    /// <param name="shape">the extent of a page</param>
    /// <param name="group">the heads</param>
    /// <param name="queries">[kv_heads of the group, queries of each, dim], contiguous</param>
    /// <param name="output">like <paramref name="queries"/>, written; may be the same tensor</param>
    public void Attend(IReadOnlyList<PageRows> pages, PageShape shape, HeadGroup group, Tensor queries, Tensor output)
    {
        var (heads, shared, dim) = (group.Count, (int)queries.shape[1], shape.HeadDim);
        var team = HostTeam.Shared;
        var rows = heads * shared;
        var partials = new Partial[team.Size * rows];
        var sums = new float[team.Size * rows * dim]; // [member, head, query, dim]
        var scores = new float[checked(team.Size * shared * pages.Max(p => p.Count))];
        float* q = HostMath.Address(queries), result = HostMath.Address(output);
        fixed (float* allSums = sums, allScores = scores)
        {
            var (sum, score, width) = ((nint)allSums, (nint)allScores, scores.Length / team.Size);
            team.Run(member =>
            {
                var (start, end) = team.Share(member, pages.Count * heads);
                for (var part = start; part < end; part++)
                {
                    var (page, head) = (pages[part / heads], part % heads); // in the order of memory, so that asking ahead pays
                    var first = (member * rows) + (head * shared);
                    float* own = (float*)score + ((long)member * width), queriesOfHead = q + ((long)head * shared * dim), into = (float*)sum + ((long)first * dim);
                    if (Vector512.IsHardwareAccelerated)
                    {
                        AddPage<WideLane>(page, shape, group.First + head, shared, dim, queriesOfHead, own, partials.AsSpan(first, shared), into);
                    }
                    else
                    {
                        AddPage<PlainLane>(page, shape, group.First + head, shared, dim, queriesOfHead, own, partials.AsSpan(first, shared), into);
                    }
                }
            });
            Merge(partials, allSums, team.Size, rows, dim, result);
        }
    }

    // One head's rows of one page, for all queries that share the head, a few tokens at a time so that keys and values
    // stay in the nearest cache while the queries take their turns.
    private void AddPage<TLane>(PageRows page, PageShape shape, int head, int shared, int dim, float* queries, float* scores, Span<Partial> partials, float* sums)
        where TLane : struct, ILane<TLane>
    {
        var keys = (float*)page.Page + (((2L * head * shape.Tokens) + page.First) * dim);
        var values = keys + ((long)shape.Tokens * dim);
        var width = page.Count;
        Score<TLane>(keys, width, queries, shared, dim, scores);
        for (var query = 0; query < shared; query++)
        {
            var rescale = Weigh(new Span<float>(scores + ((long)query * width), width), ref partials[query]);
            for (var i = 0; i < dim; i++)
            {
                sums[((long)query * dim) + i] *= rescale;
            }
        }

        AddValues<TLane>(values, width, scores, shared, dim, sums);
    }

    // scores [query, token] = queries [query, dim] * keys [token, dim]
    private static void Score<TLane>(float* keys, int tokens, float* queries, int shared, int dim, float* scores)
        where TLane : struct, ILane<TLane>
    {
        var token = 0;
        for (; token <= tokens - 4; token += 4)
        {
            var rows = keys + ((long)token * dim);
            HostMath.Prefetch(rows + PrefetchAhead, 4 * dim);
            var query = 0;
            for (; query <= shared - 2; query += 2)
            {
                float* q = queries + ((long)query * dim), s = scores + ((long)query * tokens) + token;
                HostMath.Dot4x2<TLane>(rows, q, q + dim, dim, s, s + tokens);
            }

            if (query < shared)
            {
                HostMath.Dot4<TLane>(rows, queries + ((long)query * dim), dim, scores + ((long)query * tokens) + token);
            }
        }

        for (; token < tokens; token++)
        {
            for (var query = 0; query < shared; query++)
            {
                scores[((long)query * tokens) + token] = HostMath.Dot<TLane>(keys + ((long)token * dim), queries + ((long)query * dim), dim);
            }
        }
    }

    // Scores become weights relative to the running maximum; returns the factor of what was summed before.
    private float Weigh(Span<float> scores, ref Partial partial)
    {
        var maximum = Math.Max(Scale(scores), partial.Seen ? partial.Maximum : float.NegativeInfinity);
        var (sums, top) = (Vector<float>.Zero, new Vector<float>(maximum));
        var (sum, at, width) = (0f, 0, Vector<float>.Count);
        for (; at <= scores.Length - width; at += width)
        {
            var weights = Vector.Exp(new Vector<float>(scores[at..]) - top);
            weights.CopyTo(scores[at..]);
            sums += weights;
        }

        for (; at < scores.Length; at++)
        {
            sum += scores[at] = MathF.Exp(scores[at] - maximum);
        }

        var rescale = partial.Seen ? MathF.Exp(partial.Maximum - maximum) : 0;
        partial = new Partial(true, maximum, (partial.Sum * rescale) + sum + Vector.Sum(sums));
        return rescale;
    }

    // Products become scores; returns the largest.
    private float Scale(Span<float> scores)
    {
        var (factor, cap) = ((float)scale, (float)(softCap ?? 0));
        var (factors, largest) = (new Vector<float>(factor), new Vector<float>(float.NegativeInfinity));
        var (maximum, at, width) = (float.NegativeInfinity, 0, Vector<float>.Count);
        for (; softCap is null && at <= scores.Length - width; at += width)
        {
            var scaled = new Vector<float>(scores[at..]) * factors;
            scaled.CopyTo(scores[at..]);
            largest = Vector.Max(largest, scaled);
        }

        for (; at < scores.Length; at++)
        {
            scores[at] *= factor;
            scores[at] = softCap is null ? scores[at] : cap * MathF.Tanh(scores[at] / cap);
            maximum = Math.Max(maximum, scores[at]);
        }

        for (var i = 0; i < width; i++)
        {
            maximum = Math.Max(maximum, largest[i]);
        }

        return maximum;
    }

    // sums [query, dim] += weights [query, token] * values [token, dim]; four lanes of the sums of two queries stay in
    // registers over all tokens.
    private static void AddValues<TLane>(float* values, int tokens, float* weights, int shared, int dim, float* sums)
        where TLane : struct, ILane<TLane>
    {
        var at = 0;
        for (; at <= dim - (4 * TLane.Count); at += 4 * TLane.Count)
        {
            for (var query = 0; query < shared; query += 2)
            {
                // Of an odd number of queries the last goes with itself; only the first of the pair is then kept.
                var second = Math.Min(query + 1, shared - 1);
                AddFourLanes<TLane>(
                    values + at, tokens, dim, weights + ((long)query * tokens), weights + ((long)second * tokens),
                    sums + ((long)query * dim) + at, second > query ? sums + ((long)second * dim) + at : null);
            }
        }

        for (var token = 0; at < dim && token < tokens; token++)
        {
            for (var query = 0; query < shared; query++)
            {
                var weight = weights[((long)query * tokens) + token];
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
        TLane b0 = default, b1 = default, b2 = default, b3 = default;
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
        if (second is not null)
        {
            TLane.Add(b0, TLane.Load(second)).Store(second);
            TLane.Add(b1, TLane.Load(second + n)).Store(second + n);
            TLane.Add(b2, TLane.Load(second + (2 * n))).Store(second + (2 * n));
            TLane.Add(b3, TLane.Load(second + (3 * n))).Store(second + (3 * n));
        }
    }

    private static void Merge(ReadOnlySpan<Partial> partials, float* sums, int members, int rows, int dim, float* result)
    {
        for (var row = 0; row < rows; row++)
        {
            var (maximum, total) = (float.NegativeInfinity, 0f);
            for (var member = 0; member < members; member++)
            {
                maximum = partials[(member * rows) + row] is { Seen: true } seen ? Math.Max(maximum, seen.Maximum) : maximum;
            }

            new Span<float>(result + ((long)row * dim), dim).Clear();
            for (var member = 0; member < members; member++)
            {
                if (partials[(member * rows) + row] is { Seen: true } part)
                {
                    var weight = MathF.Exp(part.Maximum - maximum);
                    total += part.Sum * weight;
                    for (var i = 0; i < dim; i++)
                    {
                        result[((long)row * dim) + i] += sums[((((long)member * rows) + row) * dim) + i] * weight;
                    }
                }
            }

            for (var i = 0; i < dim; i++)
            {
                result[((long)row * dim) + i] /= total;
            }
        }
    }

    /// <summary>What a thread has summed for one query so far.</summary>
    private readonly record struct Partial(bool Seen, float Maximum, float Sum);
}
