using System.Globalization;

namespace HeadInfer.Runtime;

/// <summary>How tokens are chosen. The default is greedy: always the most likely one.</summary>
public sealed record SamplingOptions
{
    /// <summary>Divisor of the logits; 0 chooses the most likely token. Default: 0.</summary>
    public double Temperature { get; init; }

    /// <summary>Only so many of the most likely tokens may be chosen. Default: no limit.</summary>
    public int? TopK { get; init; }

    /// <summary>Only the most likely tokens that together reach this probability may be chosen. Default: 1, all.</summary>
    public double TopP { get; init; } = 1;

    /// <summary>Only tokens at least this share as likely as the most likely one may be chosen. Default: 0, all.</summary>
    public double MinP { get; init; }

    /// <summary>Logits of tokens already in the session are divided by this if positive, else multiplied. Default: 1.</summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted from a token's logit once for each time it was generated. Default: 0.</summary>
    public double FrequencyPenalty { get; init; }

    /// <summary>Subtracted from a token's logit if it was generated at all. Default: 0.</summary>
    public double PresencePenalty { get; init; }

    /// <summary>Makes choices repeatable. Default: a new one each time.</summary>
    public long? Seed { get; init; }

    /// <exception cref="ArgumentOutOfRangeException">A property is out of range; the message names it.</exception>
    internal void Validate()
    {
        Check(nameof(Temperature), Temperature, 0, 100);
        Check(nameof(TopP), TopP, double.Epsilon, 1);
        Check(nameof(MinP), MinP, 0, 1);
        Check(nameof(RepetitionPenalty), RepetitionPenalty, 1e-3, 1e3);
        Check(nameof(FrequencyPenalty), FrequencyPenalty, -100, 100);
        Check(nameof(PresencePenalty), PresencePenalty, -100, 100);
        Check(nameof(TopK), TopK ?? 1, 1, int.MaxValue);
    }

    private static void Check(string name, double value, double least, double most)
    {
        if (!(value >= least && value <= most))
        {
            throw new ArgumentOutOfRangeException(name, value, string.Create(CultureInfo.InvariantCulture, $"SamplingOptions.{name} must be from {least:G3} to {most:G3}."));
        }
    }
}
