namespace HeadInfer.Runtime.Checkpoints;

/// <summary>How the rotary embeddings are scaled for contexts that are longer than those of the training; what a config.json says in <c>rope_scaling</c>.</summary>
/// <remarks>YaRN with factor 4 reads 131,072 tokens with a model that was trained on 32,768: <c>new() { Kind = RopeKind.Yarn, Factor = 4 }</c>.</remarks>
public sealed record RopeScaling
{
    /// <summary>The method. Default: none.</summary>
    public RopeKind Kind { get; init; }

    /// <summary>How many times longer contexts become; 1 or more, and 1 without a method. Default: 1.</summary>
    public double Factor { get; init; } = 1;

    /// <summary>Tokens of the contexts of the training. Default: <c>original_max_position_embeddings</c> of the configuration, else its <c>max_position_embeddings</c>.</summary>
    public int? OriginalMaxPositions { get; init; }

    /// <summary>Llama 3: wavelengths longer than the original length divided by this are divided by the factor. Default: 1.</summary>
    public double LowFrequencyFactor { get; init; } = 1;

    /// <summary>Llama 3: wavelengths shorter than the original length divided by this are kept; more than <see cref="LowFrequencyFactor"/>. Default: 4.</summary>
    public double HighFrequencyFactor { get; init; } = 4;

    /// <summary>YaRN: rotations above which a dimension is kept; more than <see cref="BetaSlow"/>. Default: 32.</summary>
    public double BetaFast { get; init; } = 32;

    /// <summary>YaRN: rotations below which a dimension is divided by the factor. Default: 1.</summary>
    public double BetaSlow { get; init; } = 1;

    /// <summary>YaRN: whether the ramp's ends are rounded to whole dimensions. Default: true.</summary>
    public bool Truncate { get; init; } = true;

    /// <summary>YaRN: factor of cosines and sines. Default: 0.1 ln(<see cref="Factor"/>) + 1.</summary>
    public double? AttentionFactor { get; init; }

    /// <summary>Which property is out of range and what it should be, or null.</summary>
    internal string? Fault =>
        !Enum.IsDefined(Kind) ? $"{nameof(Kind)} is none of {string.Join(", ", Enum.GetNames<RopeKind>())}"
        : Kind == RopeKind.Long ? $"{nameof(Kind)} is {Kind}, whose numbers a configuration has to give"
        : !(Factor >= 1 && double.IsFinite(Factor)) ? $"{nameof(Factor)} must be 1 or more"
        : Kind == RopeKind.Default && Factor != 1 ? $"{nameof(Factor)} needs a {nameof(Kind)}"
        : OriginalMaxPositions is < 1 or > 1 << 30 ? $"{nameof(OriginalMaxPositions)} must be from 1 to {1 << 30}"
        : !(LowFrequencyFactor > 0 && HighFrequencyFactor > LowFrequencyFactor && double.IsFinite(HighFrequencyFactor)) ? $"{nameof(HighFrequencyFactor)} must be more than {nameof(LowFrequencyFactor)}, and both more than 0"
        : !(BetaSlow > 0 && BetaFast > BetaSlow && double.IsFinite(BetaFast)) ? $"{nameof(BetaFast)} must be more than {nameof(BetaSlow)}, and both more than 0"
        : AttentionFactor is { } a && !(a > 0 && double.IsFinite(a)) ? $"{nameof(AttentionFactor)} must be more than 0"
        : null;

    internal static double Magnitude(double factor, double scale = 1) => factor <= 1 ? 1 : (0.1 * scale * Math.Log(factor)) + 1;

    /// <summary>The embeddings that are scaled so.</summary>
    /// <param name="theta">base of the frequencies</param>
    /// <param name="rotaryDim">dimensions that are rotated</param>
    /// <param name="original">tokens of the contexts of the training, unless they are given here</param>
    internal RopeConfig Of(double theta, int rotaryDim, int original) => new()
    {
        Theta = theta,
        RotaryDim = rotaryDim,
        Scaling = this with { OriginalMaxPositions = OriginalMaxPositions ?? original, AttentionFactor = Kind == RopeKind.Yarn ? AttentionFactor ?? Magnitude(Factor) : 1 },
    };
}
