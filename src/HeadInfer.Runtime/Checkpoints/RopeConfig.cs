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
    /// <summary>Base of the frequencies.</summary>
    public double Theta { get; init; } = 10_000;

    /// <summary>Dimensions of a head that are rotated.</summary>
    public int RotaryDim { get; init; }

    /// <summary>How frequencies are scaled, with what is left out filled in: the length of the training's contexts, and the factor of cosines and sines.</summary>
    public RopeScaling Scaling { get; init; } = new();

    /// <summary>[rotary / 2] what each frequency is divided by besides, where a checkpoint has numbers of its own; else null.</summary>
    internal IReadOnlyList<float>? FrequencyDivisors { get; init; }

    /// <summary>The same in sequences that may become longer than <see cref="RopeScaling.OriginalMaxPositions"/>; null where they are the same.</summary>
    internal IReadOnlyList<float>? LongDivisors { get; init; }

    /// <summary>Tokens beyond which the model's own code takes other frequencies, which is not followed; null for none.</summary>
    internal int? Longest { get; init; }

    /// <summary>Whether all angles are zero.</summary>
    internal bool IsStill => FrequencyDivisors is { } divisors && divisors.All(float.IsPositiveInfinity);

    /// <summary>Of layers that do not rotate: all angles are zero.</summary>
    internal static RopeConfig Still(int rotaryDim) => new() { RotaryDim = rotaryDim, FrequencyDivisors = [.. Enumerable.Repeat(float.PositiveInfinity, rotaryDim / 2)] };
}
