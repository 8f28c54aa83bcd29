namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Tells quantized weights, in every way that checkpoints say it, and refuses them by the name of their method.</summary>
internal static class Quantization
{
    // The last one is MLX's.
    private static readonly string[] Fields = ["quantization_config", "compression_config", "quantization"];

    // Files beside config.json, by older GPTQ and AWQ, and by NVIDIA's ModelOpt.
    private static readonly string[] Files = ["quantize_config.json", "quant_config.json", "hf_quant_config.json"];

    private static readonly string[] Parts =
        [".qweight", ".qzeros", ".g_idx", ".scales", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".weight_zero_point", ".input_scale", ".absmax", ".SCB"];

    /// <summary>Refuses a configuration, or a file beside it, that says the weights are quantized.</summary>
    /// <param name="json">the <c>config.json</c></param>
    /// <exception cref="UnsupportedModelException">It does.</exception>
    public static void RefuseIn(ConfigReader json)
    {
        if (Fields.FirstOrDefault(json.Has) is { } field)
        {
            throw Refuse(json.Path, json.Object(field) is { } how ? $"{field} says {Describe(how)}" : $"it has {field}");
        }

        if (Files.FirstOrDefault(f => File.Exists(Path.Combine(Path.GetDirectoryName(json.Path) ?? "", f))) is { } file)
        {
            throw Refuse(json.Path, $"{file} lies beside it");
        }
    }

    /// <summary>Whether a tensor's name is one that only quantized checkpoints have.</summary>
    public static bool IsPart(string tensor) => Parts.Any(p => tensor.EndsWith(p, StringComparison.Ordinal));

    /// <summary>A tensor of a type that is not read: floats of fewer than 16 bits are quantized weights, as are unsigned words.</summary>
    public static HeadInferException UnknownType(string path, string tensor, string type) =>
        type is ['F', '4' or '6' or '8', ..] or ['U', ..]
            ? Refuse(path, $"tensor '{tensor}' has the type {type}")
            : new CheckpointException($"'{path}': tensor '{tensor}' has the unknown type '{type}'.");

    /// <param name="path">the file or folder</param>
    /// <param name="sign">what says so, as a clause</param>
    public static UnsupportedModelException Refuse(string path, string sign) => new(
        $"'{path}': the weights are quantized ({sign}), and only float32, float16 and bfloat16 weights are read so far. Take the model's checkpoint that is not quantized: its repository usually names it as its base model.");

    private static string Describe(ConfigReader how)
    {
        string? Text(string name) => how.Has(name) ? how.Raw(name).Trim('"') : null;
        var method = Text("quant_method") ?? Text("quant_algo") ?? "no method";
        string?[] details =
        [
            Text("quant_method") is null ? null : Text("quant_algo"),
            Text("format") ?? Text("fmt"),
            Text("bits") is { } bits ? bits + " bits" : Text("load_in_4bit") == "true" ? "4 bits" : Text("load_in_8bit") == "true" ? "8 bits" : null,
            Text("group_size") is { } group ? "groups of " + group : null,
        ];
        return string.Join(", ", details.OfType<string>().Prepend(method));
    }
}
