namespace HeadInfer.Runtime.Checkpoints;

/// <summary>What a GGUF file says of hybrids whose layers may be state spaces or convolutions, as a <c>config.json</c> says it.</summary>
/// <remarks>As llama.cpp's conversion/granite.py and conversion/nemotron.py write it: a layer without an MLP of its own attends if it has heads of keys, and else is a state space.</remarks>
internal static class GgufHybrids
{
    /// <summary>[field of config.json] what the file says; these stand in place of what it says of layers that are alike.</summary>
    /// <param name="checkpoint">the file</param>
    /// <param name="layers">how many</param>
    /// <exception cref="CheckpointException">What it needs is not there, or is out of range.</exception>
    public static Dictionary<string, object?> Fields(GgufCheckpoint checkpoint, int layers)
    {
        var (metadata, architecture) = (checkpoint.Metadata, checkpoint.Architecture);
        var family = architecture.Family;
        string Key(string key) => $"{architecture.Name}.{key}";
        var kvHeads = Each(metadata, Key(GgufArchitecture.KeyHeads), layers);
        var widths = Each(metadata, Key("feed_forward_length"), layers);
        var experts = metadata.Int(Key("expert_count"), most: GgufArchitecture.MostExperts) ?? 0;
        string TypeOf(int layer) => family.OneMixer && widths[layer] > 0 ? experts > 0 ? HybridFields.Mixture : HybridFields.Mlp : kvHeads[layer] > 0 ? ModelConfigReader.Full : ModelConfigReader.Delta;
        string[] types = [.. Enumerable.Range(0, layers).Select(TypeOf)];
        var heads = metadata.RequiredInt(Key("ssm.time_step_rank"), most: HybridFields.MostHeads);
        var (inner, hidden, shared) = (metadata.RequiredInt(Key("ssm.inner_size")), metadata.RequiredInt(Key("embedding_length")), metadata.Int(Key("expert_shared_feed_forward_length")) is > 0 and var width ? width : (int?)null);
        if (inner % heads != 0)
        {
            throw metadata.Invalid(Key("ssm.inner_size"), $"{inner}", $"a multiple of '{Key("ssm.time_step_rank")}' ({heads})");
        }

        return new(StringComparer.Ordinal)
        {
            ["layer_types"] = types,
            ["mlp_layer_types"] = types.Select(t => t == HybridFields.Mixture ? "sparse" : "dense"),
            // Granite's are as wide as its experts where it has some, and its MLP is the one for all tokens.
            ["intermediate_size"] = family.OneMixer ? widths.Max() : shared ?? widths.Max(),
            ["moe_intermediate_size"] = metadata.Int(Key("expert_feed_forward_length")) is > 0 and var ofExperts ? ofExperts : widths.Max(),
            [family.ExpertsField!] = experts,
            [family.SharedExpertField!] = shared,
            ["mamba_n_heads"] = heads,
            ["mamba_d_head"] = inner / heads,
            ["mamba_n_groups"] = metadata.RequiredInt(Key("ssm.group_count"), most: HybridFields.MostHeads),
            ["mamba_d_state"] = metadata.RequiredInt(Key("ssm.state_size")),
            ["mamba_d_conv"] = metadata.RequiredInt(Key("ssm.conv_kernel")),
            ["mamba_expand"] = Math.Max(1, inner / hidden),
            ["mamba_conv_bias"] = checkpoint.Names.Any(n => n.EndsWith(TensorNames.StateConvolutionBias, StringComparison.Ordinal)),
        };
    }

    /// <summary>The same of layers that may be convolutions, as conversion/lfm2.py writes it.</summary>
    public static Dictionary<string, object?> ConvolutionFields(GgufCheckpoint checkpoint, int layers)
    {
        var (metadata, name) = (checkpoint.Metadata, checkpoint.Architecture.Name);
        return new(StringComparer.Ordinal)
        {
            ["layer_types"] = Each(metadata, $"{name}.{GgufArchitecture.KeyHeads}", layers).Select(heads => heads > 0 ? ModelConfigReader.Full : ModelConfigReader.Delta),
            ["conv_L_cache"] = metadata.RequiredInt($"{name}.shortconv.l_cache"),
        };
    }

    /// <summary>A number of each layer; where all are alike, files have one.</summary>
    private static int[] Each(GgufMetadata metadata, string key, int layers)
    {
        int[] each = metadata.IsArray(key) ? metadata.Ints(key) : [.. Enumerable.Repeat(metadata.RequiredInt(key, least: 0), layers)];
        return each.Length >= layers && each.All(n => n is >= 0 and < 1 << 30) && each.Max() > 0 ? each[..layers] : throw metadata.Invalid(key, $"an array of {each.Length}", $"one of {layers}, of numbers that are not below zero, nor all zero");
    }
}
