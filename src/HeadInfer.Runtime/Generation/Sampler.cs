using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Generation;

/// <summary>Chooses tokens from logits. One for each generation: it counts what was generated.</summary>
/// <remarks>
/// Order: penalties, temperature, then top-k, min-p and top-p, each on what the one before left, then one draw. Equal
/// logits are ordered by id, and sums have one order, so that a seed gives the same tokens everywhere.
/// </remarks>
internal sealed class Sampler(SamplingOptions options)
{
    private readonly Random _random = options.Seed is { } seed ? new Random(unchecked((int)(seed ^ (seed >> 32)))) : new Random();
    private readonly Dictionary<int, int> _generated = [];
    private readonly RepetitionPenalty? _repetition = options.RepetitionPenalty == 1 ? null : new RepetitionPenalty((float)options.RepetitionPenalty);
    private readonly Nucleus? _nucleus = options.TopP < 1 ? new Nucleus(options.TopP) : null;
    private TopTokens? _top; // its size may be far larger than a vocabulary, so it is made when it is known to be needed
    private double[] _sums = []; // of the weights of each block

    /// <summary>Chooses the next token.</summary>
    /// <param name="logits">[vocabulary], penalties taken off, changed</param>
    public int Choose(Span<float> logits)
    {
        var largest = LogitVectors.Largest(logits);
        Check(logits[largest]);
        return Count(options.Temperature == 0 ? largest : Draw(logits, logits[largest]));
    }

    /// <summary>Whether it is the best token always, so that it needs no other's logit.</summary>
    public bool TakesBest => options is { Temperature: 0, FrequencyPenalty: 0, PresencePenalty: 0 } && _repetition is null;

    /// <summary>The next token, which is the best one.</summary>
    /// <param name="token">with the largest logit, of equals the first</param>
    public int Next(int token, float logit)
    {
        Check(logit);
        return Count(token);
    }

    private static void Check(float largest)
    {
        if (!float.IsFinite(largest))
        {
            throw new HeadInferException("The model's logits are not finite numbers: its weights are damaged, or its configuration is not theirs.");
        }
    }

    private int Count(int token)
    {
        _generated[token] = _generated.GetValueOrDefault(token) + 1;
        return token;
    }

    /// <summary>Takes off the penalties for what the context has.</summary>
    /// <param name="logits">[vocabulary], changed</param>
    /// <param name="context">all tokens of the session so far; from call to call it only grows</param>
    public void Penalize(Span<float> logits, IReadOnlyList<int> context)
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

    private int Draw(Span<float> logits, float largest)
    {
        ReadOnlySpan<int> ids = [];
        if (options.TopK is { } k && k < logits.Length)
        {
            ids = (_top ??= new TopTokens(k)).Find(logits);
            for (var i = 0; i < k; i++)
            {
                logits[i] = logits[ids[i]]; // ids rise, so none is overwritten that is still to be read
            }

            logits = logits[..k];
        }

        var blocks = LogitVectors.Blocks(logits.Length);
        _sums = _sums.Length == blocks ? _sums : new double[blocks];
        var total = LogitVectors.Weigh(logits, largest, (float)Math.Min(1 / options.Temperature, float.MaxValue), (float)options.MinP, _sums);
        var point = _random.NextDouble();
        var index = _nucleus is null ? LogitVectors.Find(logits, _sums, point * total) : _nucleus.Draw(logits, _sums, total, point);
        return ids.IsEmpty ? index : ids[index];
    }
}
