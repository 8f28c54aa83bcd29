namespace HeadInfer.Runtime.Compute;

/// <summary>Chooses the experts of a token, as the kernel <c>route_rows</c> does.</summary>
internal static class Router
{
    /// <param name="logits">[experts]</param>
    /// <param name="sharesOfChosen">whether shares are of the chosen; else of all experts</param>
    /// <param name="chosen">[per token], written: the best first, of equals the first</param>
    /// <param name="shares">[per token], written</param>
    public static void Choose(ReadOnlySpan<float> logits, bool sharesOfChosen, Span<int> chosen, Span<float> shares)
    {
        var (most, total, sum) = (float.NegativeInfinity, 0f, 0f);
        foreach (var logit in logits)
        {
            most = MathF.Max(most, logit);
        }

        foreach (var logit in logits)
        {
            total += MathF.Exp(logit - most);
        }

        for (var j = 0; j < chosen.Length; j++)
        {
            var best = -1;
            for (var i = 0; i < logits.Length; i++)
            {
                if ((best < 0 || logits[i] > logits[best]) && !chosen[..j].Contains(i))
                {
                    best = i;
                }
            }

            (chosen[j], shares[j]) = (best, MathF.Exp(logits[best] - most) / total);
            sum += shares[j];
        }

        for (var j = 0; sharesOfChosen && j < shares.Length; j++)
        {
            shares[j] /= sum;
        }
    }
}
