using System.Text.Json;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>What configurations say of quantized weights: followed, or refused by name.</summary>
public sealed class QuantizationConfigTests
{
    [Theory]
    [InlineData("""{"quantization_config": {}}""", "quantization_config says no method")]
    [InlineData("""{"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}}""", "bitsandbytes, 4 bits")]
    [InlineData("""{"quantization": {"group_size": 64, "bits": 4}}""", "MLX, 4 bits, groups of 64")]
    [InlineData("""{"quantization": {"group_size": 64, "bits": 4}, "quantization_config": {"group_size": 64, "bits": 4}}""", "MLX")]
    [InlineData("""{"quantization_config": {"quant_method": "exl2", "bits": 4.25}}""", "exl2, 4.25 bits")]
    [InlineData("""{"quantization_config": {"quant_method": "exl3"}}""", "exl3")]
    [InlineData("""{"quantization_config": {"quant_method": "hqq"}}""", "hqq")]
    [InlineData("""{"quantization_config": {"quant_method": "aqlm"}}""", "aqlm")]
    [InlineData("""{"quantization_config": {"quant_method": "quip"}}""", "quip")]
    [InlineData("""{"quantization_config": {"quant_method": "torchao"}}""", "torchao")]
    [InlineData("""{"quantization_config": {"quant_method": "quark"}}""", "quark")]
    [InlineData("""{"quantization_config": {"quant_method": "auto-round", "bits": 4}}""", "auto-round")]
    [InlineData("""{"quantization_config": {"quant_method": "awq", "bits": 4, "version": "gemv"}}""", "the version gemm")]
    [InlineData("""{"quantization_config": {"quant_method": "awq", "bits": 8, "group_size": 128}}""", "of awq 4 bits are read")]
    [InlineData("""{"quantization_config": {"quant_method": "gptq", "bits": 5, "group_size": 128}}""", "2, 3, 4, 8 bits")]
    [InlineData("""{"quantization_config": {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}}""", "gptq, marlin, 4 bits")]
    [InlineData("""{"quantization_config": {"quant_method": "gptq", "bits": 4, "is_marlin_format": true}}""", "gptq and gptq_v2")]
    [InlineData("""{"quantization_config": {"quant_method": "fp8", "fmt": "e5m2"}}""", "fp8, e5m2")]
    [InlineData("""{"quantization_config": {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}}""", "modelopt, W4A16_AWQ")]
    [InlineData("""{"quantization_config": {"quant_method": "compressed-tensors", "format": "marlin-24"}}""", "marlin-24 is none of")]
    [InlineData("""{"quantization_config": {"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": {"a": {"format": "lut-b"}}}}""", "lut-b is none of")]
    [InlineData("""{"compression_config": {"format": "dense", "sparsity_config": {"format": "sparse-24-bitmask"}}}""", "sparse-24-bitmask")]
    [InlineData("""{"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a": {"weights": {"num_bits": 3}}}}}""", "4 and 8 bits")]
    [InlineData("""{"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 8, "strategy": "attn_head"}}}}}""", "4 and 8 bits by")]
    public void What_is_not_read_is_refused_by_name(string json, string says)
    {
        var error = Assert.Throws<UnsupportedModelException>(() => Read(json, out _));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
        Assert.Contains("the one that is not quantized", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"quantization_config": 5}""", "quantization_config")]
    [InlineData("""{"quantization_config": {"quant_method": 5}}""", "quant_method")]
    [InlineData("""{"quantization_config": {"quant_method": "gptq", "group_size": 128}}""", "bits")]
    [InlineData("""{"quantization_config": {"quant_method": "awq", "group_size": "all"}}""", "group_size")]
    [InlineData("""{"quantization_config": {"quant_method": "fp8", "weight_block_size": [128]}}""", "weight_block_size is [128]")]
    [InlineData("""{"quantization_config": {"quant_method": "fp8", "weight_block_size": [0, 128]}}""", "weight_block_size")]
    [InlineData("""{"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"a": 1}}}""", "'a'")]
    public void What_makes_no_sense_is_named(string json, string says) =>
        Assert.Contains(says, Assert.Throws<CheckpointException>(() => Read(json, out _)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("""{"quantization_config": null, "compression_config": null}""", null)]
    [InlineData("""{"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "GEMM"}}""", "awq, 4 bits, groups 128")]
    [InlineData("""{"quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": -1}}""", "gptq, 8 bits, groups -1, zeros less")]
    [InlineData("""{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq_v2"}}""", "gptq, 4 bits, groups 32")]
    [InlineData("""{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32, "dynamic": {"+:.*down.*": {"bits": 8}}}}""", "gptq,  bits, groups 32, zeros less")]
    [InlineData("""{"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 64]}}""", "fp8,  bits, groups , blocks (128, 64)")]
    [InlineData("""{"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}""", "modelopt,  bits, groups ")]
    [InlineData("""{"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}}""", "mxfp4,  bits, groups ")]
    [InlineData("""{"compression_config": {"format": "pack-quantized", "config_groups": {"a": {"weights": {"num_bits": 4, "strategy": "group", "group_size": 64}}, "b": {"weights": {"num_bits": 8, "strategy": "channel"}}, "c": {"weights": null}}}}""", "compressed-tensors, 4 8 bits, groups 64 -1")]
    [InlineData("""{"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized", "sparsity_config": {"format": "dense"}, "config_groups": {"a": {"weights": {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]}}}}}""", "compressed-tensors,  bits, groups , blocks (128, 128)")]
    public void What_is_read_is_what_tensors_do_not_say(string json, string? says)
    {
        Assert.Equal(says, Say(Read(json, out var warnings)));
        Assert.Empty(warnings);
    }

    [Theory]
    [InlineData("quantize_config.json", """{"bits": 4, "group_size": 128, "desc_act": true}""", "gptq, 4 bits, groups 128, zeros less")]
    [InlineData("quantize_config.json", """{"bits": 4, "group_size": 128, "quant_method": "awq"}""", "awq, 4 bits, groups 128")]
    [InlineData("quant_config.json", """{"w_bit": 4, "q_group_size": 64, "version": "GEMM", "zero_point": true}""", "awq, 4 bits, groups 64")]
    [InlineData("hf_quant_config.json", """{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": null, "exclude_modules": ["lm_head"]}}""", "modelopt,  bits, groups ")]
    public void Files_beside_the_configuration_say_it_too(string file, string text, string says)
    {
        using var folder = new ScratchFolder();
        File.WriteAllText(folder.File(file), text);
        Assert.Equal(says, Say(Read("{}", out _, folder.File("config.json"))));
        File.WriteAllText(folder.File(file), "{");
        Assert.Contains(file, Assert.Throws<CheckpointException>(() => Read("{}", out _, folder.File("config.json"))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"quantization_config": {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}}""")]
    [InlineData("""{"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}""")]
    public void A_quantized_cache_is_not_followed_and_the_caller_is_told(string json)
    {
        Read(json, out var warnings);
        Assert.Contains("KV cache", Assert.Single(warnings), StringComparison.Ordinal);
    }

    private static QuantizationConfig? Read(string text, out List<string> warnings, string path = "test")
    {
        using var json = JsonDocument.Parse(text);
        warnings = [];
        return QuantizationConfig.Read(new ConfigReader(json.RootElement, path, warnings.Add));
    }

    private static string? Say(QuantizationConfig? config) => config is null ? null
        : $"{config.Method}, {string.Join(' ', config.Bits)} bits, groups {string.Join(' ', config.Groups)}{(config.ZerosAreLess ? ", zeros less" : "")}{(config.Block is { } block ? $", blocks {block}" : "")}";
}
