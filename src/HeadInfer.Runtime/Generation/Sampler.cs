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

    /// <summary>Chooses the next token.</summary>
    /// <param name="logits">[vocabulary], changed</param>
    /// <param name="context">all tokens of the session so far</param>
    public int Next(Span<float> logits, IReadOnlyList<int> context)
    {
        Penalize(logits, context);
        var token = options.Temperature == 0 ? Largest(logits) : Draw(logits);
        _generated[token] = _generated.GetValueOrDefault(token) + 1;
        return token;
    }

    private void Penalize(Span<float> logits, IReadOnlyList<int> context)
    {
        if (options.RepetitionPenalty != 1)
        {
            var penalty = (float)options.RepetitionPenalty;
            foreach (var token in context.ToHashSet())
            {
                logits[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
            }
        }

        if (options.FrequencyPenalty != 0 || options.PresencePenalty != 0)
        {
            foreach (var (token, count) in _generated)
            {
                logits[token] -= (float)((options.FrequencyPenalty * count) + options.PresencePenalty);
            }
        }
    }

    private static int Largest(ReadOnlySpan<float> logits)
    {
        var best = 0;
        for (var i = 1; i < logits.Length; i++)
        {
            best = logits[i] > logits[best] ? i : best;
        }

        return best;
    }

    private int Draw(ReadOnlySpan<float> logits)
    {
        var candidates = MostLikely(logits, Math.Min(options.TopK ?? logits.Length, logits.Length));
        var top = logits[candidates[0]];
        var weights = Array.ConvertAll(candidates, id => 0.0);
        var (kept, total) = (0, 0.0);
        for (; kept < candidates.Length; kept++)
        {
            var weight = Math.Exp((logits[candidates[kept]] - top) / options.Temperature);
            if (weight < options.MinP)
            {
                break; // weights are relative to the most likely token's, which is 1
            }

            total += weights[kept] = weight;
        }

        if (options.TopP < 1)
        {
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

    // Ids by falling logit, ties by rising id.
    private static int[] MostLikely(ReadOnlySpan<float> logits, int count)
    {
        var keys = new float[logits.Length];
        var ids = new int[logits.Length];
        for (var i = 0; i < ids.Length; i++)
        {
            (keys[i], ids[i]) = (-logits[i], i);
        }

        if (count < ids.Length)
        {
            // Everything above the count-th largest logit, and of those equal to it the smallest ids.
            var sorted = keys.ToArray();
            Array.Sort(sorted);
            var limit = sorted[count - 1];
            ids = [.. ids.Where(id => keys[id] < limit), .. ids.Where(id => keys[id] == limit)];
            ids = ids[..count];
        }

        var falling = Array.ConvertAll(ids, id => (Key: keys[id], Id: id));
        Array.Sort(falling);
        return Array.ConvertAll(falling, f => f.Id);
    }
}
