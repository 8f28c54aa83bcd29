namespace HeadInfer.Runtime.Checkpoints;

/// <summary>How rotary position embeddings are scaled.</summary>
public enum RopeKind
{
    /// <summary>Not scaled.</summary>
    Default,

    /// <summary>Positions divided by a factor.</summary>
    Linear,

    /// <summary>Low frequencies divided by a factor, high ones kept, a ramp between (Llama 3.1).</summary>
    Llama3,

    /// <summary>YaRN (arXiv 2309.00071).</summary>
    Yarn,

    /// <summary>Each frequency divided by a number of its own, by one for short contexts and by another for long ones (LongRoPE, arXiv 2402.13753).</summary>
    Long,
}

/// <summary>Rotary position embeddings of a model.</summary>
public sealed record RopeConfig
{
    /// <summary>How frequencies are scaled.</summary>
    public RopeKind Kind { get; init; }

    /// <summary>Base of the frequencies.</summary>
    public double Theta { get; init; } = 10_000;

    /// <summary>Context extension factor; 1 for <see cref="RopeKind.Default"/>.</summary>
    public double Factor { get; init; } = 1;

    /// <summary>Length the model was trained on before extension, in tokens.</summary>
    public int OriginalMaxPositions { get; init; }

    /// <summary>Llama 3: wavelengths longer than the original length divided by this are divided by the factor.</summary>
    public double LowFrequencyFactor { get; init; } = 1;

    /// <summary>Llama 3: wavelengths shorter than the original length divided by this are kept.</summary>
    public double HighFrequencyFactor { get; init; } = 4;

    /// <summary>YaRN: rotations above which a dimension is kept.</summary>
    public double BetaFast { get; init; } = 32;

    /// <summary>YaRN: rotations below which a dimension is divided by the factor.</summary>
    public double BetaSlow { get; init; } = 1;

    /// <summary>YaRN: whether the ramp's ends are rounded to whole dimensions.</summary>
    public bool Truncate { get; init; } = true;

    /// <summary>Factor of cosines and sines; 1 except for YaRN and LongRoPE.</summary>
    public double AttentionFactor { get; init; } = 1;

    /// <summary>[rotary / 2] what each frequency is divided by besides, where a checkpoint has numbers of its own; else null.</summary>
    internal IReadOnlyList<float>? FrequencyDivisors { get; init; }

    /// <summary>The same in sequences that may become longer than <see cref="OriginalMaxPositions"/>; null where they are the same.</summary>
    internal IReadOnlyList<float>? LongDivisors { get; init; }

    /// <summary>Tokens beyond which the model's own code takes other frequencies, which is not followed; null for none.</summary>
    internal int? Longest { get; init; }

    /// <summary>Whether all angles are zero.</summary>
    internal bool IsStill => FrequencyDivisors is { } divisors && divisors.All(float.IsPositiveInfinity);

    /// <summary>Of layers that do not rotate: all angles are zero.</summary>
    internal static RopeConfig Still(int rotaryDim) => new() { RotaryDim = rotaryDim, FrequencyDivisors = [.. Enumerable.Repeat(float.PositiveInfinity, rotaryDim / 2)] };

    /// <summary>Dimensions of a head that are rotated.</summary>
    public int RotaryDim { get; init; }
}
