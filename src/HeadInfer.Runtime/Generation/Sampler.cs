using System.Numerics;

namespace HeadInfer.Runtime.Generation;

/// <summary>Chooses tokens from logits. One for each generation: it counts what was generated.</summary>
/// <remarks>
/// Order: penalties, temperature, then top-k, min-p and top-p, each on what the one before left, then one draw. Equal
/// logits are ordered by id, so that a seed gives the same tokens everywhere.
/// </remarks>
internal sealed class Sampler(SamplingOptions options)
{
    private readonly Random _random = options.Seed is { } seed ? new Random(unchecked((int)(seed ^ (seed >> 32)))) : new Random();
    private readonly Dictionary<int, int> _generated = [];
    private readonly RepetitionPenalty? _repetition = options.RepetitionPenalty == 1 ? null : new RepetitionPenalty((float)options.RepetitionPenalty);
    private TopTokens? _top; // its size may be far larger than a vocabulary, so it is made when it is known to be needed

    /// <summary>Chooses the next token.</summary>
    /// <param name="logits">[vocabulary], changed</param>
    /// <param name="context">all tokens of the session so far; from call to call it only grows</param>
    public int Next(Span<float> logits, IReadOnlyList<int> context)
    {
        Penalize(logits, context);
        var largest = Largest(logits);
        if (!float.IsFinite(logits[largest]))
        {
            throw new HeadInferException("The model's logits are not finite numbers: its weights are damaged, or its configuration is not theirs.");
        }

        var token = options.Temperature == 0 ? largest : Draw(logits, logits[largest]);
        _generated[token] = _generated.GetValueOrDefault(token) + 1;
        return token;
    }

    private void Penalize(Span<float> logits, IReadOnlyList<int> context)
    {
        _repetition?.Apply(logits, context);
        if (options.FrequencyPenalty != 0 || options.PresencePenalty != 0)
        {
            foreach (var (token, count) in _generated)
            {
                logits[token] -= (float)((options.FrequencyPenalty * count) + options.PresencePenalty);
            }
        }
    }

    /// <summary>Where the largest is, the first of equals; what is not a number is the largest only where it stands first.</summary>
    internal static int Largest(ReadOnlySpan<float> logits)
    {
        var (best, at, width) = (logits[0], 0, Vector<float>.Count);
        var largest = new Vector<float>(best);
        for (; at <= logits.Length - width; at += width)
        {
            var some = new Vector<float>(logits[at..]);
            largest = Vector.ConditionalSelect(Vector.GreaterThan(some, largest), some, largest);
        }

        for (var lane = 0; lane < width; lane++)
        {
            best = largest[lane] > best ? largest[lane] : best;
        }

        for (; at < logits.Length; at++)
        {
            best = logits[at] > best ? logits[at] : best;
        }

        // Of the vectors the first that has it.
        for (at = 0; at <= logits.Length - width && !Vector.EqualsAny(new Vector<float>(logits[at..]), new Vector<float>(best)); at += width)
        {
        }

        while (at < logits.Length && logits[at] != best)
        {
            at++;
        }

        return at < logits.Length ? at : 0;
    }

    private int Draw(ReadOnlySpan<float> logits, float top)
    {
        var candidates = options.TopK is { } k && k < logits.Length ? (_top ??= new TopTokens(k)).Find(logits).ToArray() : [.. Enumerable.Range(0, logits.Length)];
        var weights = new double[candidates.Length]; // relative to the most likely token's, which is 1
        var (kept, total) = (0, 0.0);
        foreach (var id in candidates)
        {
            var weight = Math.Exp((logits[id] - top) / options.Temperature);
            if (weight > 0 && weight >= options.MinP) // what a constraint refuses has no weight
            {
                (candidates[kept], weights[kept]) = (id, weight);
                total += weight;
                kept++;
            }
        }

        if (options.TopP < 1)
        {
            SortByWeight(weights.AsSpan(0, kept), candidates.AsSpan(0, kept));
            var (limit, sum, n) = (options.TopP * total, 0.0, 0);
            while (n < kept && sum < limit)
            {
                sum += weights[n++];
            }

            (kept, total) = (n, sum);
        }

        var draw = _random.NextDouble() * total;
        for (var i = 0; i < kept - 1; i++)
        {
            draw -= weights[i];
            if (draw < 0)
            {
                return candidates[i];
            }
        }

        return candidates[kept - 1];
    }

    // Falling weights; of equal ones the smaller id first, so that a seed gives the same tokens everywhere.
    private static void SortByWeight(Span<double> weights, Span<int> ids)
    {
        var pairs = new (double NegativeWeight, int Id)[ids.Length];
        for (var i = 0; i < pairs.Length; i++)
        {
            pairs[i] = (-weights[i], ids[i]);
        }

        Array.Sort(pairs);
        for (var i = 0; i < pairs.Length; i++)
        {
            (weights[i], ids[i]) = (-pairs[i].NegativeWeight, pairs[i].Id);
        }
    }
}
