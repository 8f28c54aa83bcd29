namespace HeadInfer.Runtime.Compute;

/// <summary>Chooses the experts of a token, as the kernel <c>route_rows</c> does.</summary>
internal static class Router
{
    private const int MostOnStack = 1024;

    /// <param name="logits">[experts]</param>
    /// <param name="routing">how they are chosen</param>
    /// <param name="chosen">[per token], written: the best first, of equals the first</param>
    /// <param name="shares">[per token], written</param>
    public static void Choose(ReadOnlySpan<float> logits, Routing routing, Span<int> chosen, Span<float> shares)
    {
        Span<float> scores = logits.Length <= MostOnStack ? stackalloc float[logits.Length] : new float[logits.Length];
        Score(logits, routing.Sigmoid, scores);
        Span<float> ranks = logits.Length <= MostOnStack ? stackalloc float[logits.Length] : new float[logits.Length];
        for (var i = 0; i < ranks.Length; i++)
        {
            // Logits tell apart what softmax and sigmoids make equal.
            ranks[i] = routing.Correction is { } correction ? scores[i] + correction[i] : logits[i];
        }

        if (routing.KeptGroups < routing.Groups)
        {
            KeepGroups(ranks, routing);
        }

        Best(ranks, chosen);
        var sum = 0f;
        for (var j = 0; j < chosen.Length; j++)
        {
            shares[j] = scores[chosen[j]];
            sum += shares[j];
        }

        var factor = (float)routing.Scale / (routing.OfChosen ? sum : 1);
        for (var j = 0; j < shares.Length; j++)
        {
            shares[j] *= factor * (routing.ExpertFactors?[chosen[j]] ?? 1);
        }
    }

    private static void Score(ReadOnlySpan<float> logits, bool sigmoid, Span<float> scores)
    {
        var (most, total) = (float.NegativeInfinity, 0f);
        for (var i = 0; !sigmoid && i < logits.Length; i++)
        {
            most = MathF.Max(most, logits[i]);
        }

        for (var i = 0; i < logits.Length; i++)
        {
            scores[i] = sigmoid ? 1 / (1 + MathF.Exp(-logits[i])) : MathF.Exp(logits[i] - most);
            total += scores[i];
        }

        for (var i = 0; !sigmoid && i < scores.Length; i++)
        {
            scores[i] /= total;
        }
    }

    // What is in other groups is out of the question.
    private static void KeepGroups(Span<float> ranks, Routing routing)
    {
        var size = ranks.Length / routing.Groups;
        Span<float> groups = stackalloc float[routing.Groups];
        Span<int> two = stackalloc int[Math.Min(2, size)], kept = stackalloc int[routing.KeptGroups];
        for (var g = 0; g < groups.Length; g++)
        {
            var own = ranks.Slice(g * size, size);
            Best(own, two);
            groups[g] = own[two[0]] + (size > 1 && routing.Sigmoid ? own[two[1]] : 0);
        }

        Best(groups, kept);
        for (var g = 0; g < groups.Length; g++)
        {
            if (!kept.Contains(g))
            {
                ranks.Slice(g * size, size).Fill(float.NegativeInfinity);
            }
        }
    }

    // The largest, in their order; of equals the first.
    private static void Best(ReadOnlySpan<float> ranks, Span<int> best)
    {
        var count = 0;
        for (var i = 0; i < ranks.Length; i++)
        {
            if (count == best.Length && !(ranks[i] > ranks[best[^1]]))
            {
                continue;
            }

            var at = count == best.Length ? count - 1 : count++;
            for (; at > 0 && ranks[i] > ranks[best[at - 1]]; at--)
            {
                best[at] = best[at - 1];
            }

            best[at] = i;
        }
    }
}
