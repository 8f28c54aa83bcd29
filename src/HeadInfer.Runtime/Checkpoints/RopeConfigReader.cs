using System.Globalization;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads rotary embeddings in all their forms: <c>rope_parameters</c>, of the model or of each type of layer, and <c>rope_theta</c> with <c>rope_scaling</c>.</summary>
internal static class RopeConfigReader
{
    public const string Parameters = "rope_parameters", Scaling = "rope_scaling";

    private const string Type = "rope_type", Theta = "rope_theta", Partial = "partial_rotary_factor", Original = "original_max_position_embeddings", LocalTheta = "rope_local_base_freq", Long = "longrope", LongFactors = "long_factor", ByPairs = "proportional", Dynamic = "dynamic", Alpha = "alpha", Sliding = "sliding_attention";

    private static readonly Dictionary<string, string[]> Known = new(StringComparer.Ordinal)
    {
        ["default"] = [],
        ["linear"] = ["factor"],
        [ByPairs] = ["factor"],
        [Dynamic] = ["factor", Alpha, "beta_fast", "beta_slow", "mscale", "mscale_all_dim"], // the last four, of HunYuan's, mean nothing
        ["llama3"] = ["factor", "low_freq_factor", "high_freq_factor", Original],
        [Long] = [LongFactors, "short_factor", "factor", "attention_factor", Original],
        ["yarn"] = ["factor", "beta_fast", "beta_slow", "truncate", "attention_factor", "mscale", "mscale_all_dim", "llama_4_scaling_beta", "max_position_embeddings", Original],
    };

    // How positions of pictures are told apart; those of text are one.
    private static readonly string[] OfPictures = ["mrope_section", "mrope_interleaved"];

    /// <param name="family">whose it is</param>
    /// <param name="headDim">dimensions of a head, by the type of its layer</param>
    /// <param name="maxPositions">its <c>max_position_embeddings</c></param>
    /// <param name="chosen">scaling in place of the configuration's; null takes that</param>
    /// <returns>those of each type of layer; one alone where all have the same</returns>
    public static Dictionary<string, RopeConfig> Read(ConfigReader json, ModelFamily family, Func<string, int> headDim, int maxPositions, IReadOnlyCollection<string> layerTypes, RopeScaling? chosen)
    {
        var (parameters, scaling) = (Object(json, Parameters), Object(json, Scaling));
        var inner = parameters is null ? scaling
            : scaling is null ? parameters
            : parameters.With(scaling, (name, a, b) => IsReplaced(name, chosen) ? null : Contradiction(json, $"{Parameters} and {Scaling} disagree on {name} ({a} and {b})"));
        var byType = inner is not null && inner.Names.Any(inner.IsObject);
        var local = family.LocalTheta is not null || family.ScalesFullOnly;
        RopeConfig Of(string type)
        {
            // A window needs no scaling: what is far is not seen.
            var (isLocal, its) = (local && type == Sliding, byType ? ForType(inner!, type) : inner);
            if (!isLocal || byType)
            {
                return ReadOne(json, family, its, headDim(type), maxPositions, isLocal ? null : chosen);
            }

            var theta = family.LocalTheta is { } usual ? json.Positive(LocalTheta, usual) : (inner is not null && inner.Has(Theta) ? inner : json).Positive(Theta, family.DefaultTheta);
            return ReadOne(json.Only((Partial, Partial)), family with { Proportional = null }, null, headDim(type), maxPositions, new RopeScaling()) with { Theta = theta };
        }

        // A norm after the rotation takes a factor away.
        RopeConfig Plain(RopeConfig rope) => rope with { Scaling = rope.Scaling with { AttentionFactor = 1 } };
        var ropes = layerTypes.ToDictionary(type => type, type => family.NormsRotated ? Plain(Of(type)) : Of(type), StringComparer.Ordinal);
        return ropes.Values.Distinct().Count() > 1 ? ropes : new(StringComparer.Ordinal) { [layerTypes.First()] = ropes[layerTypes.First()] };
    }

    /// <summary>Whether a configuration says what the base of the frequencies is.</summary>
    public static bool HasTheta(ConfigReader json) => json.Has(Theta) || ((string[])[Parameters, Scaling]).Any(field => json.IsObject(field) && json.Object(field)!.Has(Theta));

    private static bool IsReplaced(string name, RopeScaling? chosen) => chosen is not null && name switch
    {
        Theta or Partial => false,
        Original => chosen.OriginalMaxPositions is not null,
        _ => true,
    };

    private static ConfigReader ForType(ConfigReader inner, string type)
    {
        if (inner.Names.FirstOrDefault(n => !inner.IsObject(n)) is { } stray)
        {
            throw Contradiction(inner, $"{Parameters} has '{stray}' beside those of types of layers");
        }

        return inner.Object(type) is { } own ? WithType(own) : throw Contradiction(inner, $"{Parameters} has none for layers of the type {type}");
    }

    private static RopeConfig ReadOne(ConfigReader json, ModelFamily family, ConfigReader? inner, int headDim, int maxPositions, RopeScaling? chosen)
    {
        // What older configurations have beside the scaling belongs to it.
        var outer = json.Only((Theta, Theta), (Partial, Partial), (Original, Original));
        var all = inner?.With(outer, (name, a, b) => IsReplaced(name, chosen) ? null : Contradiction(json, $"{name} is {b}, and {a} within {(json.Has(Parameters) ? Parameters : Scaling)}")) ?? outer;
        var byPairs = all.Text(Type) == ByPairs || (inner is null && family.Proportional is not null);
        var partial = all.Positive(Partial, inner is null && byPairs ? family.Proportional!.Value : family.RotationField is { } field && json.Has(field) ? GgufArchitecture.Part(json.Int(field), headDim) : family.DefaultRotation);
        if (byPairs)
        {
            // Of all pairs the first ones turn, at the pace that they have among all; the rest stand still.
            var (turned, factor) = ((int)Math.Min(headDim * partial / 2, headDim / 2), chosen is null ? (float)all.Positive("factor", 1) : 1);
            if (turned == 0)
            {
                throw new CheckpointException(string.Create(CultureInfo.InvariantCulture, $"'{json.Path}': head_dim {headDim} with {Partial} {partial} leaves no pair of dimensions to rotate."));
            }

            var rest = Enumerable.Range(0, headDim / 2).Select(i => i < turned ? factor : float.PositiveInfinity);
            return (chosen ?? new RopeScaling()).Of(all.Positive(Theta, family.DefaultTheta), headDim, all.Int(Original, maxPositions)) with { FrequencyDivisors = [.. rest] };
        }

        var rotary = (int)Math.Min(headDim * partial, 1 << 20);
        if (rotary < 2 || rotary > headDim || rotary % 2 != 0)
        {
            throw new CheckpointException(string.Create(CultureInfo.InvariantCulture, $"'{json.Path}': head_dim {headDim} with {Partial} {partial} leaves {rotary} rotary dimensions; expected an even number from 2 to {headDim}."));
        }

        var isDynamic = family.DynamicRope && all.Text(Type) == Dynamic;
        var alpha = isDynamic ? Scale(all, Alpha) : null;
        var theta = all.Positive(Theta, family.DefaultTheta) * Math.Pow(alpha ?? 1, headDim / Math.Max(1.0, headDim - 2));
        if (chosen is not null)
        {
            return chosen.Of(theta, rotary, all.Int(Original, maxPositions));
        }

        var kind = all.Text(Type) ?? "default";
        kind = kind == "su" || (kind == "yarn" && all.Has(LongFactors)) ? Long : kind; // Phi-3's first names for it
        if (!Known.TryGetValue(kind, out var known) || (kind == Dynamic && !isDynamic))
        {
            throw new UnsupportedModelException($"'{json.Path}': the rope type '{kind}' is not supported. Supported: {string.Join(", ", Known.Keys.Where(k => k != Dynamic || family.DynamicRope))}.");
        }

        foreach (var name in (inner?.Names ?? []).Except([Type, Theta, Partial, .. json.Has(ModelConfigReader.Nested) ? OfPictures : [], .. known]))
        {
            json.Warn($"'{name}' ({inner!.Raw(name)}) of {(json.Has(Parameters) ? Parameters : Scaling)} means nothing to the rope type '{kind}' and is not followed.");
        }

        return kind == Long ? ReadLong(all, theta, rotary, maxPositions) : ReadScaling(all, kind, maxPositions).Of(theta, rotary, maxPositions) with { Longest = isDynamic && alpha is null ? maxPositions : null };
    }

    private static RopeConfig ReadLong(ConfigReader all, double theta, int rotary, int maxPositions)
    {
        float[] Divisors(string name) => all.PositiveList(name) is { } divisors && divisors.Length == rotary / 2 ? divisors : throw all.Invalid(name, $"{rotary / 2} positive numbers, for {rotary} rotary dimensions");
        var original = all.Int(Original, maxPositions);
        var factor = all.Positive("factor", (double)maxPositions / original);
        return new RopeConfig
        {
            Theta = theta,
            RotaryDim = rotary,
            Scaling = new()
            {
                Kind = RopeKind.Long,
                Factor = Math.Max(1, factor),
                OriginalMaxPositions = original,
                AttentionFactor = all.OptionalPositive("attention_factor") ?? (factor <= 1 ? 1 : Math.Sqrt(1 + (Math.Log(factor) / Math.Log(original)))),
            },
            FrequencyDivisors = Divisors("short_factor"),
            LongDivisors = Divisors(LongFactors),
        };
    }

    private static RopeScaling ReadScaling(ConfigReader all, string kind, int maxPositions)
    {
        switch (kind)
        {
            case "linear":
                return new RopeScaling { Kind = RopeKind.Linear, Factor = all.Positive("factor") };
            case "llama3":
                var (low, high) = (all.Positive("low_freq_factor"), all.Positive("high_freq_factor"));
                return new RopeScaling
                {
                    Kind = RopeKind.Llama3,
                    Factor = all.Positive("factor"),
                    LowFrequencyFactor = low,
                    HighFrequencyFactor = high >= low ? high : throw all.Invalid("high_freq_factor", string.Create(CultureInfo.InvariantCulture, $"no less than low_freq_factor ({low})")),
                    OriginalMaxPositions = all.Int(Original),
                };
            case "yarn":
                return ReadYarn(all, maxPositions);
            default:
                return new RopeScaling();
        }
    }

    private static RopeScaling ReadYarn(ConfigReader all, int maxPositions)
    {
        var original = all.Int(Original, maxPositions);
        var factor = all.Positive("factor", (double)maxPositions / original);
        var theta = all.Positive(Theta, 10_000);
        return new RopeScaling
        {
            Kind = RopeKind.Yarn,
            Factor = factor,
            OriginalMaxPositions = original,
            BetaFast = all.Positive("beta_fast", 32),
            BetaSlow = all.Positive("beta_slow", 1),
            Truncate = all.Bool("truncate", true),
            AttentionFactor = theta <= 1 ? throw all.Invalid(Theta, "more than 1")
                : all.OptionalPositive("attention_factor")
                ?? (Scale(all, "mscale") is { } own && Scale(all, "mscale_all_dim") is { } whole ? RopeScaling.Magnitude(factor, own) / RopeScaling.Magnitude(factor, whole) : null),
        };
    }

    /// <summary>A number of the scaling, in whichever of its fields it stands; null for none, and for zero.</summary>
    public static double? Number(ConfigReader json, string name) => ((string[])[Parameters, Scaling]).Select(field => json.Object(field) is { } inner ? Scale(inner, name) : null).FirstOrDefault(n => n is not null);

    /// <summary>A positive number; null for none, and for zero, as in Python.</summary>
    public static double? Scale(ConfigReader all, string name) => all.Has(name) && all.Number(name) == 0 ? null : all.OptionalPositive(name);

    private static ConfigReader? Object(ConfigReader json, string name) => json.Object(name) is { } inner ? WithType(inner) : null;

    // The type's older name is "type".
    private static ConfigReader WithType(ConfigReader inner) => inner.IsObject("type") ? inner : inner.Without("type").With(
        inner.Only(("type", Type)), (_, a, b) => Contradiction(inner, $"rope_type is {a} and type {b}"));

    private static CheckpointException Contradiction(ConfigReader json, string what) =>
        new($"'{json.Path}': {what}. Keep one of them, or set HeadInferOptions.RopeScaling.");
}
