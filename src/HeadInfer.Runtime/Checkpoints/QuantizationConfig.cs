using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>What a configuration says of quantized weights, as far as their tensors do not say it themselves. Which weights are quantized, these say.</summary>
internal sealed record QuantizationConfig
{
    public const string Awq = "awq", Gptq = "gptq", CompressedTensors = "compressed-tensors";

    // The same layouts: floats of 8 or 4 bits with scales beside them.
    private static readonly string[] Floats = ["fp8", "fbgemm_fp8", "mxfp4", "modelopt", "modelopt_fp4", "nvfp4"];

    private static readonly string[] Formats =
        ["dense", "naive-quantized", "float-quantized", "int-quantized", "pack-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mixed-precision"];

    private static readonly string[] Algorithms = ["NVFP4", "FP8", "MIXED_PRECISION"];

    private static readonly string[] Strategies = ["tensor", "channel", "group", "block", "tensor_group"];

    /// <summary>The file that says it.</summary>
    public required string Path { get; init; }

    /// <summary>Its name in the configuration.</summary>
    public required string Method { get; init; }

    /// <summary>Bits of integers that are named, of which each weight has one.</summary>
    public IReadOnlyList<int> Bits { get; init; } = [];

    /// <summary>Columns of groups that are named, of which each weight has one; fewer than 1 is a whole row.</summary>
    public IReadOnlyList<int> Groups { get; init; } = [];

    /// <summary>Rows and columns of the blocks that share a scale.</summary>
    public (int Rows, int Columns)? Block { get; init; }

    /// <summary>Whether GPTQ's zeros are one more than what is stored.</summary>
    public bool ZerosAreLess { get; init; }

    /// <summary>Reads what a configuration, or a file beside it, says of quantized weights; null if it says nothing.</summary>
    /// <param name="json">the <c>config.json</c></param>
    /// <exception cref="CheckpointException">It cannot be read.</exception>
    /// <exception cref="UnsupportedModelException">The weights are quantized in a way that is not read.</exception>
    public static QuantizationConfig? Read(ConfigReader json)
    {
        if (json.Has("quantization"))
        {
            throw Quantization.Refuse(json.Path, $"MLX, {Quantization.Describe(json, "quantization")}");
        }

        if (json.Object("quantization_config") is { } how)
        {
            return Read(how, "quantization_config", how.Text("quant_method"));
        }

        if (json.Object("compression_config") is { } compressed)
        {
            return Read(compressed, "compression_config", compressed.Text("quant_method") ?? CompressedTensors);
        }

        foreach (var (name, method) in ((string, string)[])[("quantize_config.json", Gptq), ("quant_config.json", Awq), ("hf_quant_config.json", "modelopt")])
        {
            var path = System.IO.Path.Combine(System.IO.Path.GetDirectoryName(json.Path) ?? "", name);
            if (!File.Exists(path))
            {
                continue;
            }

            try
            {
                using var file = ConfigReader.Parse(path);
                var beside = new ConfigReader(file.RootElement, path, json.Warn);
                return Read(beside.Object("quantization") ?? beside, name, beside.Text("quant_method") ?? method);
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException)
            {
                throw new CheckpointException($"'{path}' cannot be read: {e.Message}", e);
            }
        }

        return null;
    }

    private static QuantizationConfig Read(ConfigReader how, string field, string? method)
    {
        UnsupportedModelException Refuse(string? why = null) => Quantization.Refuse(how.Path, $"{field} says {Quantization.DescribeObject(how, method)}{(why is null ? "" : $"; {why}")}");

        if (how.Has("kv_cache_scheme") || how.Has("kv_cache_quant_algo"))
        {
            how.Warn($"{field} asks for a quantized KV cache, which is not followed: keys and values are kept as they are.");
        }

        var config = new QuantizationConfig { Path = how.Path, Method = method ?? "" };
        switch (method)
        {
            case Awq:
                if ((how.Text("version") ?? "gemm").ToLowerInvariant() is not "gemm")
                {
                    throw Refuse("of AWQ the version gemm is read");
                }

                return config with { Bits = [Bits(how, "bits", "w_bit", 4)], Groups = [Group(how, "group_size", "q_group_size")] };

            case Gptq:
                if ((how.Text("checkpoint_format") ?? Gptq) is not (Gptq or "gptq_v2") || how.Bool("is_marlin_format", false))
                {
                    throw Refuse("of GPTQ the formats gptq and gptq_v2 are read");
                }

                // GPTQModel's dynamic rules give some modules bits of their own: then the tensors alone say them.
                return config with
                {
                    Bits = how.Has("dynamic") ? [] : [Bits(how, "bits", "bits", 2, 3, 4, 8)],
                    Groups = [Group(how, "group_size", "group_size")],
                    ZerosAreLess = how.Text("checkpoint_format") != "gptq_v2",
                };

            case CompressedTensors:
                return ReadGroups(how, config, Refuse);

            case not null when Floats.Contains(method):
                if ((how.Text("fmt") ?? "e4m3") is not ("e4m3" or "float8_e4m3fn") || (how.Text("quant_algo") is { } algorithm && !Algorithms.Contains(algorithm)))
                {
                    throw Refuse($"of these E4M3 is read, and of modelopt {string.Join(", ", Algorithms)}");
                }

                return config with { Block = BlockOf(how, "weight_block_size") };

            default:
                throw Refuse();
        }

        int Bits(ConfigReader reader, string name, string older, params int[] read)
        {
            var bits = reader.Int(reader.Has(name) ? name : older, read is [var only] ? only : null);
            return read.Contains(bits) ? bits : throw Refuse($"of {method} {string.Join(", ", read)} bits are read");
        }
    }

    // compressed-tensors: each group of modules has a scheme of its own.
    private static QuantizationConfig ReadGroups(ConfigReader how, QuantizationConfig config, Func<string?, UnsupportedModelException> refuse)
    {
        var formats = new List<string?> { how.Text("format") };
        var (bits, groups) = (new HashSet<int>(), new HashSet<int>());
        var schemes = how.Object("config_groups");
        foreach (var scheme in schemes?.Names.Select(n => schemes.Object(n)!) ?? [])
        {
            formats.Add(scheme.Text("format"));
            if (scheme.Object("weights") is not { } weights)
            {
                continue;
            }

            var (type, strategy) = (weights.Text("type") ?? "int", weights.Text("strategy") ?? "tensor");
            if (type is not ("int" or "float") || weights.Int("num_bits", 8) is var size && size is not (4 or 8) || !Strategies.Contains(strategy))
            {
                throw refuse($"4 and 8 bits by {string.Join(", ", Strategies)} are read");
            }

            if (type == "int")
            {
                bits.Add(size);
            }

            if (weights.Has("group_size") || strategy is "tensor" or "channel")
            {
                groups.Add(weights.Int("group_size", -1, least: -1));
            }

            config = config with { Block = BlockOf(weights, "block_structure") ?? config.Block };
        }

        if (formats.OfType<string>().FirstOrDefault(f => !Formats.Contains(f)) is { } format)
        {
            throw refuse($"the format {format} is none of {string.Join(", ", Formats)}");
        }

        return how.Object("sparsity_config")?.Text("format") is { } sparse and not "dense"
            ? throw refuse($"sparse weights ({sparse}) are not read")
            : config with { Bits = [.. bits], Groups = [.. groups] };
    }

    private static int Group(ConfigReader how, string name, string older) => how.Int(how.Has(name) ? name : older, least: -1);

    private static (int Rows, int Columns)? BlockOf(ConfigReader how, string name) => how.Has(name)
        ? how.Ints(name) is [> 0 and var rows, > 0 and var columns] ? (rows, columns) : throw new CheckpointException($"'{how.Path}': {name} is {how.Raw(name)}; it must be two whole numbers, rows and columns of a block.")
        : null;
}
