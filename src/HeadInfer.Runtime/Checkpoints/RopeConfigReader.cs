namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads rotary embeddings in both forms: <c>rope_parameters</c>, and <c>rope_theta</c> with <c>rope_scaling</c>.</summary>
internal static class RopeConfigReader
{
    public static RopeConfig Read(ConfigReader json, int headDim, int maxPositions)
    {
        var scaling = json.Object("rope_parameters") ?? json.Object("rope_scaling");
        var inner = scaling ?? json;
        var theta = inner.Has("rope_theta") ? inner.Positive("rope_theta") : json.Positive("rope_theta", 10_000);
        var partial = inner.Has("partial_rotary_factor") ? inner.Positive("partial_rotary_factor") : json.Positive("partial_rotary_factor", 1);
        var rotary = (int)(headDim * partial);
        if (rotary < 2 || rotary > headDim || rotary % 2 != 0)
        {
            throw new CheckpointException($"'{json.Path}': head_dim {headDim} with partial_rotary_factor {partial} leaves {rotary} rotary dimensions; expected an even number from 2 to {headDim}.");
        }

        var rope = new RopeConfig { Theta = theta, RotaryDim = rotary, OriginalMaxPositions = maxPositions };
        var kind = scaling?.Text("rope_type") ?? scaling?.Text("type") ?? "default";
        return kind switch
        {
            "default" => rope,
            "linear" => rope with { Kind = RopeKind.Linear, Factor = inner.Positive("factor") },
            "llama3" => rope with
            {
                Kind = RopeKind.Llama3,
                Factor = inner.Positive("factor"),
                LowFrequencyFactor = inner.Positive("low_freq_factor"),
                HighFrequencyFactor = inner.Positive("high_freq_factor"),
                OriginalMaxPositions = inner.Int("original_max_position_embeddings"),
            },
            "yarn" => ReadYarn(inner, rope, maxPositions),
            _ => throw new UnsupportedModelException($"'{json.Path}': the rope type '{kind}' is not supported. Supported: default, linear, llama3, yarn."),
        };
    }

    private static RopeConfig ReadYarn(ConfigReader json, RopeConfig rope, int maxPositions)
    {
        var original = json.Int("original_max_position_embeddings", maxPositions);
        var factor = json.Positive("factor", (double)maxPositions / original);
        var (scale, scaleAll) = (json.OptionalPositive("mscale"), json.OptionalPositive("mscale_all_dim"));
        return rope with
        {
            Kind = RopeKind.Yarn,
            Factor = factor,
            OriginalMaxPositions = original,
            BetaFast = json.Positive("beta_fast", 32),
            BetaSlow = json.Positive("beta_slow", 1),
            Truncate = json.Bool("truncate", true),
            AttentionFactor = json.OptionalPositive("attention_factor")
                ?? (scale is { } m && scaleAll is { } all ? Magnitude(factor, m) / Magnitude(factor, all) : Magnitude(factor, 1)),
        };
    }

    private static double Magnitude(double factor, double scale) => factor <= 1 ? 1 : (0.1 * scale * Math.Log(factor)) + 1;
}
