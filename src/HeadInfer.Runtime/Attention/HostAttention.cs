using System.Numerics;
using System.Runtime.Intrinsics;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Rows in host memory that some neighbouring new tokens attend.</summary>
/// <param name="FirstPage">the first of its pages in the list of all</param>
/// <param name="Pages">how many</param>
/// <param name="First">the first of the tokens that attend</param>
/// <param name="Count">how many</param>
internal readonly record struct HostPart(int FirstPage, int Pages, int First, int Count);

/// <summary>New tokens' attention to host pages where they lie, by the CPU, in float32: each row is read once for all tokens that share it.</summary>
/// <param name="scale">Factor of the scores.</param>
/// <param name="softCap">Cap of the scores by tanh, or null.</param>
/// <param name="team">The threads.</param>
/// <remarks>
/// A part of one head is a task; the threads take tasks in turn. A task keeps a maximum, a sum and an output for each query,
/// and those of a query are merged in the order of its parts. So a token's result is the same, to the bit, in any company and
/// on any number of threads. Written because libtorch's fused attention reads cold pages at 23 GB/s for one query, where all
/// cores together read 43.
/// </remarks>
internal sealed unsafe class HostAttention(double scale, double? softCap, HostTeam team)
{
    /// <summary>Tokens of a part: enough for its result to be small beside its rows, few enough to share among threads.</summary>
    public const int PartTokens = 512;

    /// <summary>Floats that are asked for ahead of their use: 4 KB, about what arrives while one cache line is on its way.</summary>
    private const int PrefetchAhead = 1024;

    private float[] _queries = [], _sums = [], _scores = []; // kept from call to call
    private Partial[] _partials = [];
    private int[] _offsets = [];

    /// <summary>Attends a group's heads.</summary>
    /// <param name="parts">what is attended, in the order of tokens' positions</param>
    /// <param name="pages">pages of all parts</param>
    /// <param name="shape">the extent of a page</param>
    /// <param name="group">the heads</param>
    /// <param name="queries">[tokens, heads, dim]: all heads</param>
    /// <param name="output">like <paramref name="queries"/>, written for the group's heads; may be the same tensor</param>
    public void Attend(IReadOnlyList<HostPart> parts, IReadOnlyList<PageRows> pages, PageShape shape, HeadGroup group, Tensor queries, Tensor output)
    {
        var (heads, tokens, shared, dim) = (group.Count, (int)queries.shape[0], (int)queries.shape[1] / shape.KvHeads, shape.HeadDim);

        // A head's queries of all tokens lie end to end, so that those of neighbouring tokens are one block.
        var width = shared * dim;
        Ensure(ref _queries, heads * tokens * width);
        Gather(queries, group, shape.KvHeads, tokens, width);

        Ensure(ref _offsets, parts.Count + 1);
        for (var i = 0; i < parts.Count; i++)
        {
            _offsets[i + 1] = _offsets[i] + (heads * parts[i].Count * shared);
        }

        var rows = _offsets[parts.Count];
        Ensure(ref _partials, rows);
        Ensure(ref _sums, checked(rows * dim));
        Array.Clear(_partials, 0, rows);
        Array.Clear(_sums, 0, rows * dim);
        var scores = parts.Max(p => p.Count) * shared * Math.Min(shape.Tokens, PartTokens);
        Ensure(ref _scores, checked(team.Size * scores));
        var next = -1;
        fixed (float* allQueries = _queries, allSums = _sums, allScores = _scores)
        {
            var (q, sum, score, offsets, partials) = ((nint)allQueries, (nint)allSums, (nint)allScores, _offsets, _partials);
            team.Run(member =>
            {
                for (int task; (task = Interlocked.Increment(ref next)) < parts.Count * heads;)
                {
                    var (part, head) = (parts[task / heads], task % heads); // in the order of memory, so that asking ahead pays
                    var count = part.Count * shared;
                    var first = offsets[task / heads] + (head * count);
                    for (var page = part.FirstPage; page < part.FirstPage + part.Pages; page++)
                    {
                        AddPage(
                            pages[page], shape, group.First + head, count, dim, (float*)q + ((((long)head * tokens) + part.First) * width),
                            (float*)score + ((long)member * scores), partials.AsSpan(first, count), (float*)sum + ((long)first * dim));
                    }
                }
            });
        }

        Merge(parts, group, shape.KvHeads, tokens, shared, dim, output);
    }

    private static void Ensure<T>(ref T[] buffer, int length)
    {
        if (buffer.Length < length)
        {
            buffer = new T[Math.Max(length, 2 * buffer.Length)];
        }
    }

    // [tokens, heads, dim] -> [heads of the group, tokens, queries of a head * dim]
    private void Gather(Tensor queries, HeadGroup group, int kvHeads, int tokens, int width)
    {
        var from = (float*)TensorMemory.Pointer(queries);
        var stride = queries.stride(0);
        for (var head = 0; head < group.Count; head++)
        {
            for (var token = 0; token < tokens; token++)
            {
                new ReadOnlySpan<float>(from + (token * stride) + ((long)(group.First + head) * width), width).CopyTo(_queries.AsSpan(((head * tokens) + token) * width));
            }
        }
    }

    private void AddPage(PageRows page, PageShape shape, int head, int queries, int dim, float* q, float* scores, Span<Partial> partials, float* sums)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            AddPage<WideLane>(page, shape, head, queries, dim, q, scores, partials, sums);
        }
        else
        {
            AddPage<PlainLane>(page, shape, head, queries, dim, q, scores, partials, sums);
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
                // Of an odd number of queries the last goes with itself: it is then computed twice, and alike.
                var second = Math.Min(query + 1, shared - 1);
                AddFourLanes<TLane>(
                    values + at, tokens, dim, weights + ((long)query * tokens), weights + ((long)second * tokens), sums + ((long)query * dim) + at, sums + ((long)second * dim) + at);
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

    // Each query's parts, in order, straight into the output.
    private void Merge(IReadOnlyList<HostPart> parts, HeadGroup group, int kvHeads, int tokens, int shared, int dim, Tensor output)
    {
        var result = (float*)TensorMemory.Pointer(output);
        var stride = output.stride(0);
        for (var token = 0; token < tokens; token++)
        {
            for (var query = 0; query < group.Count * shared; query++)
            {
                var (head, own) = Math.DivRem(query, shared);
                var target = new Span<float>(result + (token * stride) + ((((long)(group.First + head) * shared) + own) * dim), dim);
                var (maximum, total) = (float.NegativeInfinity, 0f);
                for (var i = 0; i < parts.Count; i++)
                {
                    maximum = RowOf(parts, i, token, head, shared) is >= 0 and var row ? Math.Max(maximum, _partials[row + own].Maximum) : maximum;
                }

                target.Clear();
                for (var i = 0; i < parts.Count; i++)
                {
                    if (RowOf(parts, i, token, head, shared) is >= 0 and var row)
                    {
                        var part = _partials[row + own];
                        var weight = MathF.Exp(part.Maximum - maximum);
                        total += part.Sum * weight;
                        AddScaled(target, _sums.AsSpan((row + own) * dim, dim), weight);
                    }
                }

                for (var i = 0; i < dim; i++)
                {
                    target[i] /= total;
                }
            }
        }
    }

    private static void AddScaled(Span<float> sum, ReadOnlySpan<float> values, float weight)
    {
        var (at, weights) = (0, new Vector<float>(weight));
        for (; at <= sum.Length - Vector<float>.Count; at += Vector<float>.Count)
        {
            Vector.FusedMultiplyAdd(new Vector<float>(values[at..]), weights, new Vector<float>(sum[at..])).CopyTo(sum[at..]);
        }

        for (; at < sum.Length; at++)
        {
            sum[at] = MathF.FusedMultiplyAdd(values[at], weight, sum[at]);
        }
    }

    // Where the queries of a token and a head begin among a part's; -1 if the token does not attend it.
    private int RowOf(IReadOnlyList<HostPart> parts, int part, int token, int head, int shared) =>
        token >= parts[part].First && token < parts[part].First + parts[part].Count
            ? _offsets[part] + (((head * parts[part].Count) + token - parts[part].First) * shared)
            : -1;

    /// <summary>What a task has summed for one query so far.</summary>
    private readonly record struct Partial(bool Seen, float Maximum, float Sum);
}
