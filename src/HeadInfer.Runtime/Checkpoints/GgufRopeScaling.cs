using System.Globalization;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>How a GGUF file's positions are scaled, as a <c>config.json</c> says it.</summary>
internal static class GgufRopeScaling
{
    private const string Prefix = "rope.scaling.", Temperature = "attention.temperature_scale", Multiplier = "yarn_log_multiplier", Whole = "yarn_attn_factor";

    private static readonly string[] Known = ["type", "factor", "original_context_length", "finetuned", "attn_factor", Whole, "yarn_ext_factor", "yarn_beta_fast", "yarn_beta_slow"];

    /// <summary>A key that is not read, or null.</summary>
    public static string? Unknown(GgufArchitecture architecture, GgufMetadata metadata)
    {
        var prefix = $"{architecture.Name}.{Prefix}";
        return metadata.Keys.FirstOrDefault(k => k.StartsWith(prefix, StringComparison.Ordinal) && !Known.Contains(k[prefix.Length..]) && !((architecture.QueriesGrow || architecture.Family.Latent) && k[prefix.Length..] == Multiplier));
    }

    /// <summary>The <c>rope_scaling</c> of a configuration; null for none.</summary>
    /// <param name="isReplaced">whether a scaling of the caller's is in its place</param>
    /// <param name="warn">told of what is not followed</param>
    /// <exception cref="CheckpointException">What it needs is not there.</exception>
    /// <exception cref="UnsupportedModelException">The scaling is not supported.</exception>
    public static Dictionary<string, object>? Read(GgufCheckpoint checkpoint, bool isReplaced, Action<string>? warn)
    {
        var (architecture, metadata) = (checkpoint.Architecture, checkpoint.Metadata);
        var name = architecture.Name;
        double? Number(string key) => metadata.Number($"{name}.{Prefix}{key}");
        var original = metadata.Int($"{name}.{Prefix}original_context_length", 1);
        // Queries grow by lengths of the training, whatever scales positions.
        var growth = architecture.QueriesGrow && metadata.Number($"{name}.{Temperature}") is { } beta && beta != 0 ? beta : (double?)null;
        if (isReplaced)
        {
            return With(new(StringComparer.Ordinal), ("llama_4_scaling_beta", growth), ("original_max_position_embeddings", original));
        }

        // Older files have the divisor of positions alone.
        var linear = metadata.Number($"{name}.rope.scale_linear");
        var type = metadata.Text($"{name}.{Prefix}type") ?? (linear is not (null or 1) ? "linear" : "none");
        var (ofShort, ofLong) = checkpoint.LongRopeFactors;
        if ((ofShort is null) != (ofLong is null))
        {
            throw new CheckpointException($"'{metadata.Path}' lacks the tensor '{(ofShort is null ? GgufNames.ShortRopeFactors : GgufNames.LongRopeFactors)}'.");
        }

        // Phi-3's files do not name it.
        if (ofLong is not null && (type is "none" or "longrope"))
        {
            return With(
                new(StringComparer.Ordinal),
                ("rope_type", "longrope"),
                ("short_factor", ofShort),
                ("long_factor", ofLong),
                ("attention_factor", Number("attn_factor")),
                ("original_max_position_embeddings", original ?? throw metadata.Lacks($"{name}.{Prefix}original_context_length")));
        }

        if (type is not ("none" or "linear" or "yarn") || ofLong is not null || (Number("yarn_ext_factor") ?? 1) != 1)
        {
            var with = ofLong is not null ? $" with '{GgufNames.LongRopeFactors}'" : type == "longrope" ? $" without '{GgufNames.LongRopeFactors}'" : Number("yarn_ext_factor") is { } ext ? string.Create(CultureInfo.InvariantCulture, $" with yarn_ext_factor {ext}") : "";
            throw new UnsupportedModelException($"'{metadata.Path}': the scaling of positions '{type}'{with} is not supported. Supported: none, linear, yarn, longrope; or set HeadInferOptions.RopeScaling.");
        }

        if (type != "yarn" && growth is not null)
        {
            throw new UnsupportedModelException($"'{metadata.Path}': '{name}.{Temperature}' without YaRN is not supported.");
        }

        if (type == "none")
        {
            return null;
        }

        var factor = Number("factor") ?? linear ?? throw metadata.Lacks($"{name}.{Prefix}factor");
        var scaling = With(new(StringComparer.Ordinal), ("rope_type", type), ("factor", factor));
        // What converters take from a configuration as it is; OLMo's first ones wrote it where others write what comes on top.
        var given = type == "yarn" ? Number(Whole) : null;
        if (given is > 0 and < 1)
        {
            // Of attn_factor, which transformers does not know: YaRN's factor is never below 1.
            warn?.Invoke(string.Create(CultureInfo.InvariantCulture, $"'{metadata.Path}': '{name}.{Prefix}{Whole}' ({given}) is below 1 and not followed."));
            given = null;
        }

        var whole = given ?? (name == GgufArchitecture.Olmo ? Number("attn_factor") : null);
        // DeepSeek's files have a tenth of it, which others do not.
        var ofLatent = architecture.Family.Latent ? Number(Multiplier) * 10 : null;
        return type != "yarn" ? scaling : With(
            scaling,
            ("original_max_position_embeddings", original),
            ("beta_fast", Number("yarn_beta_fast") ?? 32),
            ("beta_slow", Number("yarn_beta_slow") ?? 1),
            ("truncate", name != GgufArchitecture.GptOss), // its files do not say it, and all models of its are so
            ("attention_factor", whole ?? Number("attn_factor") * RopeScaling.Magnitude(factor)),
            ("mscale", architecture.QueriesGrow ? 1 : ofLatent),
            ("mscale_all_dim", architecture.QueriesGrow ? Number(Multiplier) : ofLatent),
            ("llama_4_scaling_beta", growth));
    }

    private static Dictionary<string, object> With(Dictionary<string, object> scaling, params (string Field, object? Value)[] fields)
    {
        foreach (var (field, value) in fields.Where(f => f.Value is not null))
        {
            scaling[field] = value!;
        }

        return scaling;
    }
}
