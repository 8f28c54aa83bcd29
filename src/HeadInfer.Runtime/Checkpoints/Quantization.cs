namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Refuses quantized weights that are not read, by the name of their method.</summary>
internal static class Quantization
{
    private const string Kinds = "FP8, AWQ, GPTQ, compressed-tensors (integers of 4 and 8 bits, FP8, NVFP4, MXFP4), NVFP4 of modelopt, and MXFP4 of gpt-oss";

    private static readonly string[] Parts =
    [
        ".qweight", ".qzeros", ".g_idx", ".scales", ".weight_packed", ".weight_shape", ".weight_scale", ".weight_scale_inv", ".weight_scale_2", ".weight_global_scale",
        ".weight_zero_point", ".weight_g_idx", ".absmax", ".SCB", ".pre_quant_scale", "_blocks", "_scales",
    ];

    // Of activations and of cached keys and values, neither of which are quantized here.
    private static readonly string[] Unneeded =
        [".activation_scale", ".input_scale", ".input_scale_ub", ".input_global_scale", ".input_zero_point", ".output_scale", ".q_scale", ".k_scale", ".v_scale", ".k_zero_point", ".v_zero_point"];

    /// <summary>Whether a tensor's name is one that only quantized checkpoints have.</summary>
    public static bool IsPart(string tensor) => Parts.Any(p => tensor.EndsWith(p, StringComparison.Ordinal));

    /// <summary>Whether a tensor belongs to quantized activations or a quantized KV cache.</summary>
    public static bool IsUnneeded(string tensor) => Unneeded.Any(p => tensor.EndsWith(p, StringComparison.Ordinal));

    /// <summary>A tensor of a type that is not read: floats of fewer than 16 bits are quantized weights, as are unsigned words.</summary>
    public static HeadInferException UnknownType(string path, string tensor, string type) =>
        type is ['F', '4' or '6' or '8', ..] or ['U', ..]
            ? Refuse(path, $"tensor '{tensor}' has the type {type}")
            : new CheckpointException($"'{path}': tensor '{tensor}' has the unknown type '{type}'.");

    /// <param name="path">the file or folder</param>
    /// <param name="sign">what says so, as a clause</param>
    public static UnsupportedModelException Refuse(string path, string sign) => new(
        $"'{path}': the weights are quantized ({sign}) in a way that is not read. Read are {Kinds}. Take such a checkpoint of the model, or the one that is not quantized: its repository usually names it as its base model.");

    /// <summary>Refuses weights that are quantized where no configuration says how.</summary>
    public static UnsupportedModelException RefuseUntold(string path, string sign) => new(
        $"'{path}': the weights are quantized ({sign}), and no configuration says how: neither quantization_config in config.json nor a file beside it. Take a whole checkpoint of the model; read are {Kinds}.");

    /// <summary>What a field says of a method, in a few words.</summary>
    public static string Describe(ConfigReader json, string field) => json.IsObject(field) ? DescribeObject(json.Object(field)!, null) : json.Raw(field);

    /// <inheritdoc cref="Describe(ConfigReader, string)"/>
    public static string DescribeObject(ConfigReader how, string? method)
    {
        string? Text(string name) => how.Has(name) ? how.Raw(name).Trim('"') : null;
        string?[] details =
        [
            method,
            Text("quant_algo"),
            Text("format") ?? Text("fmt"),
            Text("checkpoint_format") ?? Text("version"),
            (Text("bits") ?? Text("w_bit")) is { } bits ? bits + " bits" : Text("load_in_4bit") == "true" ? "4 bits" : Text("load_in_8bit") == "true" ? "8 bits" : null,
            Text("group_size") is { } group ? "groups of " + group : null,
        ];
        return details.OfType<string>().ToList() is { Count: > 0 } known ? string.Join(", ", known) : "no method";
    }
}
