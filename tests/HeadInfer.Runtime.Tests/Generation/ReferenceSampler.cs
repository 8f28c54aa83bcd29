namespace HeadInfer.Runtime.Tests.Generation;

/// <summary>The sampler as its options describe it, in plain loops and float64. It says what may be chosen; the test says what was.</summary>
internal sealed class ReferenceSampler(SamplingOptions options)
{
    private readonly Random _random = new(unchecked((int)(options.Seed!.Value ^ (options.Seed.Value >> 32))));
    private readonly Dictionary<int, int> _generated = [];

    /// <summary>Tokens in the order of the draw, each with the share of it that is its own.</summary>
    /// <param name="logits">[vocabulary]</param>
    public List<(int Id, double Share)> Distribution(float[] logits, IReadOnlyList<int> context)
    {
        var penalized = logits.Select((logit, id) => Penalize(logit, id, context)).ToArray();
        var falling = Enumerable.Range(0, logits.Length).OrderByDescending(id => penalized[id]).ThenBy(id => id).ToArray();
        var top = penalized[falling[0]];
        if (options.Temperature == 0)
        {
            return [(falling[0], 1)];
        }

        var kept = falling.Take(options.TopK ?? int.MaxValue).Order()
            .Select(id => (Id: id, Weight: Math.Exp((penalized[id] - top) / options.Temperature)))
            .Where(t => t.Weight > 0 && t.Weight >= options.MinP).ToList();
        if (options.TopP < 1)
        {
            var (limit, sum) = (options.TopP * kept.Sum(t => t.Weight), 0.0);
            kept = [.. kept.OrderByDescending(t => (float)t.Weight).ThenBy(t => t.Id).TakeWhile(t => (sum += t.Weight) - t.Weight < limit)];
        }

        var total = kept.Sum(t => t.Weight);
        return [.. kept.Select(t => (t.Id, t.Weight / total))];
    }

    /// <summary>The token drawn, and how far the draw was from the share of another token.</summary>
    public int Draw(List<(int Id, double Share)> distribution, int chosen, out double distance)
    {
        var point = options.Temperature == 0 ? 0 : _random.NextDouble();
        (var drawn, var from, distance) = (distribution[^1].Id, 0.0, double.PositiveInfinity);
        var found = false;
        foreach (var (id, share) in distribution)
        {
            if (id == chosen)
            {
                distance = Math.Max(0, Math.Max(from - point, point - (from + share)));
            }

            from += share;
            if (!found && point < from)
            {
                (drawn, found) = (id, true);
            }
        }

        return drawn;
    }

    public void Accept(int token) => _generated[token] = _generated.GetValueOrDefault(token) + 1;

    private float Penalize(float logit, int id, IReadOnlyList<int> context)
    {
        if (options.RepetitionPenalty != 1 && context.Contains(id))
        {
            logit = logit > 0 ? logit / (float)options.RepetitionPenalty : logit * (float)options.RepetitionPenalty;
        }

        return _generated.TryGetValue(id, out var count) ? logit - (float)((options.FrequencyPenalty * count) + options.PresencePenalty) : logit;
    }
}
