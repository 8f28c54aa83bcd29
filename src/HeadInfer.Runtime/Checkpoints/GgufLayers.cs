namespace HeadInfer.Runtime.Checkpoints;

/// <summary>What a GGUF file says of layers that are not alike (Gemma 4), as a <c>config.json</c> says it.</summary>
/// <remarks>As llama.cpp's conversion/gemma.py writes it and its src/models/gemma4.cpp reads it. Ollama's converter writes the same.</remarks>
internal static class GgufLayers
{
    private const float Endless = 1e29f; // converters divide the frequency of a pair that stands still by 1e30

    /// <summary>[field of config.json] what the file says; these stand in place of what it says of layers that are alike.</summary>
    /// <param name="layers">how many</param>
    /// <exception cref="CheckpointException">What it needs is not there, or is out of range.</exception>
    /// <exception cref="UnsupportedModelException">Layers differ otherwise than those of a published model.</exception>
    public static Dictionary<string, object?> Fields(GgufCheckpoint checkpoint, int layers)
    {
        var (metadata, architecture) = (checkpoint.Metadata, checkpoint.Architecture);
        string Key(string key) => $"{architecture.Name}.{key}";
        var isWindowed = metadata.Bools(Key(GgufArchitecture.Pattern));
        if (isWindowed.Length != layers)
        {
            throw isWindowed.Length == 0 ? metadata.Lacks(Key(GgufArchitecture.Pattern)) : metadata.Invalid(Key(GgufArchitecture.Pattern), $"an array of {isWindowed.Length}", $"one of {layers}");
        }

        var (ofAll, ofWindow) = (Size(metadata, Key("attention.{0}_length")), Size(metadata, Key("attention.{0}_length_swa")));
        var kvHeads = Each(metadata, Key(GgufArchitecture.KeyHeads), layers);
        var widths = Each(metadata, Key("feed_forward_length"), layers);
        var shared = metadata.Int(Key("attention.shared_kv_layers"), most: layers - 1) ?? 0;
        var doubles = shared > 0 && widths[^1] == 2 * widths[0];
        int WidthOf(int layer) => doubles && layer >= layers - shared ? 2 * widths[0] : widths[0];
        if (widths.Index().FirstOrDefault(w => w.Item != WidthOf(w.Index)) is { Item: > 0 } other)
        {
            throw new UnsupportedModelException($"'{metadata.Path}': '{Key("feed_forward_length")}' is {other.Item} for layer {other.Index}; expected {WidthOf(other.Index)}. Layers have one width, or those that attend an earlier one's keys have twice that of the others.");
        }

        var usual = kvHeads[Math.Max(0, Array.IndexOf(isWindowed, true))];
        var hasKeysForValues = Enumerable.Range(0, layers - shared).Any(layer => !isWindowed[layer] && !checkpoint.Has(TensorNames.Layer(layer, TensorNames.Value)));
        var experts = metadata.Int(Key("expert_count")) ?? 0;
        return new(StringComparer.Ordinal)
        {
            ["head_dim"] = ofWindow,
            ["num_key_value_heads"] = usual,
            ["per_layer_config"] = Enumerable.Range(0, layers).Where(layer => !isWindowed[layer] || kvHeads[layer] != usual)
                .ToDictionary(layer => $"{layer}", layer => new Dictionary<string, int>(StringComparer.Ordinal) { ["head_dim"] = isWindowed[layer] ? ofWindow : ofAll, ["num_key_value_heads"] = kvHeads[layer] }),
            ["attention_k_eq_v"] = hasKeysForValues,
            ["num_kv_shared_layers"] = shared,
            ["intermediate_size"] = widths[0],
            ["use_double_wide_mlp"] = doubles,
            ["hidden_size_per_layer_input"] = metadata.Int(Key("embedding_length_per_layer_input")) ?? 0,
            ["vocab_size_per_layer_input"] = checkpoint.Tensors.TryGetValue(TensorNames.PerLayerEmbedding, out var table) ? table.Rows : null,
            ["enable_moe_block"] = experts > 0,
            ["rope_parameters"] = Ropes(checkpoint, ofAll, ofWindow, hasFull: isWindowed.Contains(false)),
            ["rope_theta"] = null,
            ["rope_local_base_freq"] = null,
            ["partial_rotary_factor"] = null,
        };
    }

    /// <summary>[layer] numbers of xIELU, as conversion/llama.py writes them: one for all layers or one for each.</summary>
    public static Compute.XieluNumbers[] Xielus(GgufMetadata metadata, int layers)
    {
        float[] Each(string name)
        {
            var key = $"xielu.{name}";
            var each = metadata.IsArray(key) ? metadata.Floats(key) : [.. Enumerable.Repeat((float)(metadata.Number(key) ?? throw metadata.Lacks(key)), layers)];
            return each.Length == layers && each.All(float.IsFinite) ? each : throw metadata.Invalid(key, $"an array of {each.Length}", $"{layers} numbers");
        }

        var (above, below, slopes, most) = (Each("alpha_p"), Each("alpha_n"), Each("beta"), Each("eps"));
        return [.. Enumerable.Range(0, layers).Select(layer => Compute.XieluNumbers.Of(above[layer], below[layer], slopes[layer], most[layer]))];
    }

    // Layers that attend all rotate the first pairs of a head; of the others the file says how many dimensions.
    private static Dictionary<string, object> Ropes(GgufCheckpoint checkpoint, int ofAll, int ofWindow, bool hasFull)
    {
        var (metadata, architecture) = (checkpoint.Metadata, checkpoint.Architecture);
        var (name, factors) = (architecture.Name, checkpoint.RopeFactors);
        var ropes = new Dictionary<string, object>(StringComparer.Ordinal)
        {
            [ModelConfigReader.Sliding] = new Dictionary<string, object>(StringComparer.Ordinal)
            {
                ["rope_type"] = "default",
                ["rope_theta"] = metadata.Number($"{name}.{GgufArchitecture.LocalBase}") ?? architecture.Family.LocalTheta!,
                ["partial_rotary_factor"] = GgufArchitecture.Part(metadata.Int($"{name}.rope.dimension_count_swa", 2, GgufArchitecture.LargestHead) ?? ofWindow, ofWindow),
            },
        };
        if (!hasFull)
        {
            return ropes;
        }

        if (factors.Length != ofAll / 2 || (metadata.Int($"{name}.rope.dimension_count") ?? ofAll) != ofAll)
        {
            throw factors.Length == 0 ? new CheckpointException($"'{metadata.Path}' lacks the tensor '{GgufNames.RopeFactors}'.")
                : new CheckpointException($"'{metadata.Path}': tensor '{GgufNames.RopeFactors}' has {factors.Length} numbers and '{name}.rope.dimension_count' is {metadata.Int($"{name}.rope.dimension_count")}, and heads of layers that attend all have {ofAll} dimensions ('{name}.attention.key_length').");
        }

        var turned = factors.TakeWhile(f => f < Endless).Count();
        if (factors.Take(turned).Distinct().Count() != 1 || factors.Skip(turned).Any(f => f < Endless))
        {
            throw new UnsupportedModelException($"'{metadata.Path}': tensor '{GgufNames.RopeFactors}' divides frequencies by other numbers than one for the first ones and 1e30 for the rest, which is not supported.");
        }

        ropes[ModelConfigReader.Full] = new Dictionary<string, object>(StringComparer.Ordinal)
        {
            ["rope_type"] = "proportional",
            ["rope_theta"] = metadata.Number($"{name}.{GgufArchitecture.Base}") ?? architecture.Family.DefaultTheta,
            ["partial_rotary_factor"] = GgufArchitecture.Part(2 * turned, ofAll),
            ["factor"] = factors[0],
        };
        return ropes;
    }

    // Of keys and of values, which are alike.
    private static int Size(GgufMetadata metadata, string key)
    {
        var (ofKeys, ofValues) = (key.Replace("{0}", "key", StringComparison.Ordinal), key.Replace("{0}", "value", StringComparison.Ordinal));
        var size = metadata.RequiredInt(ofKeys, 2, GgufArchitecture.LargestHead);
        return (metadata.Int(ofValues) ?? size) == size ? size
            : throw new UnsupportedModelException($"'{metadata.Path}': keys and values have different lengths ({ofValues}), which is not supported.");
    }

    // One number for all layers, or one for each.
    private static int[] Each(GgufMetadata metadata, string key, int layers)
    {
        if (!metadata.IsArray(key))
        {
            return [.. Enumerable.Repeat(metadata.RequiredInt(key), layers)];
        }

        var each = metadata.Ints(key);
        return each.Length == layers && each.All(n => n is > 0 and <= 1 << 29) ? each : throw metadata.Invalid(key, $"an array of {each.Length}", $"one number, or {layers} from 1 to {1 << 29}");
    }
}
