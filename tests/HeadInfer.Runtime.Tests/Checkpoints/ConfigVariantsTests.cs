using System.Text.Json.Nodes;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Forms in which one configuration is published: fields that are left out, names of older and newer versions, a text's part within that of a model that sees.</summary>
/// <remarks>The values are those of transformers' configuration classes, src/transformers/models/*/configuration_*.py.</remarks>
public sealed class ConfigVariantsTests
{
    private const string Experts = "\"num_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 32";

    private const string Dense = "\"num_local_experts\": 0, \"position_embedding_type\": \"rope\", \"layer_types\": [\"attention\", \"attention\", \"attention\", \"attention\", \"attention\", \"attention\", \"attention\", \"attention\"]";

    /// <summary>What is left out: heads of keys, dimensions, epsilon, base, rotated dimensions, windows of the first eight layers, whether tied, biases.</summary>
    public static TheoryData<string, string, string, string> Defaults() => new()
    {
        { "LlamaForCausalLM", "llama", "", "32 64 1E-06 10000 64 -------- untied" },
        { "MistralForCausalLM", "mistral", "", "8 64 1E-06 10000 64 wwwwwwww:4096 untied" },
        { "Qwen2ForCausalLM", "qwen2", "", "32 64 1E-06 10000 64 -------- untied bias" },
        { "Qwen2ForCausalLM", "qwen2", "\"use_sliding_window\": true, \"max_window_layers\": 6", "32 64 1E-06 10000 64 ------ww:4096 untied bias" },
        { "MiMoForCausalLM", "mimo", "", "32 64 1E-06 10000 64 -------- untied bias" },
        { "Qwen2MoeForCausalLM", "qwen2_moe", Experts, "16 64 1E-06 10000 64 -------- untied bias" },
        { "Qwen2MoeForCausalLM", "qwen2_moe", Experts + ", \"use_sliding_window\": true, \"max_window_layers\": 6", "16 64 1E-06 10000 64 ------ww:4096 untied bias" },
        { "Qwen3ForCausalLM", "qwen3", "", "32 128 1E-06 10000 128 -------- untied" },
        { "Qwen3MoeForCausalLM", "qwen3_moe", Experts, "4 64 1E-06 10000 64 -------- untied" },
        { "GemmaForCausalLM", "gemma", "", "16 256 1E-06 10000 256 -------- tied" },
        { "Gemma2ForCausalLM", "gemma2", "", "4 256 1E-06 10000 256 w-w-w-w-:4096 tied" },
        { "Gemma3ForCausalLM", "gemma3_text", "", "4 256 1E-06 1000000 256 wwwww-ww:4096 tied" },
        { "Gemma4ForCausalLM", "gemma4_text", "", "4 256 1E-06 1000000 512 wwwww-w-:512 tied" },
        { "Phi3ForCausalLM", "phi3", "", "32 64 1E-05 10000 64 -------- untied" },
        { "MixtralForCausalLM", "mixtral", "\"num_local_experts\": 8, \"num_experts_per_tok\": 2", "8 64 1E-05 1000000 64 -------- untied" },
        { "MiniMaxM2ForCausalLM", "minimax_m2", "\"num_local_experts\": 8, \"num_experts_per_tok\": 2", "8 128 1E-06 5000000 128 -------- untied" },
        { "Ministral3ForCausalLM", "ministral3", "", "8 128 1E-05 1000000 128 -------- untied" },
        { "GptOssForCausalLM", "gpt_oss", "\"num_local_experts\": 8, \"num_experts_per_tok\": 2", "8 64 1E-05 150000 64 w-w-w-w-:128 untied bias" },
        { "Glm4MoeForCausalLM", "glm4_moe", "\"n_routed_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 32", "8 64 1E-05 10000 32 -------- untied" },
        { "SolarOpenForCausalLM", "solar_open", "", "8 128 1E-05 1000000 128 -------- untied" },
        { "BailingMoeV2ForCausalLM", "bailing_moe", Experts, "32 64 1E-06 600000 32 -------- untied" },
        { "AfmoeForCausalLM", "afmoe", "", "32 128 1E-05 10000 128 www-www-:1024 untied" },
        { "AfmoeForCausalLM", "afmoe", "\"global_attn_every_n_layers\": 2", "32 128 1E-05 10000 128 w-w-w-w-:1024 untied" },
        { "ExaoneMoeForCausalLM", "exaone_moe", "", "32 64 1E-05 10000 64 www-www-:4096 untied" },
        { "ExaoneMoEForCausalLM", "exaone_moe", "", "32 64 1E-05 10000 64 www-www-:4096 untied" },
        { "Dots1ForCausalLM", "dots1", Experts, "32 64 1E-06 10000 64 -------- untied" },
        { "Dots1ForCausalLM", "dots1", Experts + ", \"max_window_layers\": 6", "32 64 1E-06 10000 64 ------ww:4096 untied" },
        { "DeepseekV3ForCausalLM", "deepseek_v3", "\"q_lora_rank\": null, \"kv_lora_rank\": 512, \"qk_rope_head_dim\": 64, \"qk_nope_head_dim\": 128, \"v_head_dim\": 128, \"n_routed_experts\": 64, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 32", "32 192 1E-06 10000 64 -------- untied" },
        { "DeepseekV2ForCausalLM", "deepseek_v2", "\"num_experts_per_tok\": 2", "32 192 1E-06 10000 64 -------- untied" },
        { "Glm4MoeLiteForCausalLM", "glm4_moe_lite", "\"n_routed_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 32", "32 256 1E-05 10000 64 -------- untied" },
        { "Qwen3NextForCausalLM", "qwen3_next", "", "2 256 1E-06 10000 64 -------- untied" },
        { "Qwen3_5ForCausalLM", "qwen3_5_text", "", "4 256 1E-06 10000 64 -------- untied" },
        { "Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", "", "2 256 1E-06 10000 64 -------- untied" },
        { "Llama4ForCausalLM", "llama4_text", "", "8 128 1E-05 500000 128 www-www-:8192 untied" },
        { "GraniteForCausalLM", "granite", "", "32 64 1E-06 10000 64 -------- untied" },
        { "GraniteMoeForCausalLM", "granitemoe", "\"num_local_experts\": 8, \"num_experts_per_tok\": 2", "32 64 1E-06 10000 64 -------- untied" },
        { "GraniteMoeHybridForCausalLM", "granitemoehybrid", Dense, "32 64 1E-06 10000 64 -------- untied" },
        { "GraniteMoeHybridForCausalLM", "granitemoehybrid", Dense.Replace("[\"attention\", ", "[\"mamba\", ", StringComparison.Ordinal), "32 64 1E-06 10000 64 -------- untied" },
        { "NemotronHForCausalLM", "nemotron_h", "\"hybrid_override_pattern\": \"MEMEM*M-\"", "8 128 1E-05 10000 128 -------- untied" },
        { "FalconH1ForCausalLM", "falcon_h1", "", "8 64 1E-05 10000 64 -------- untied" },
        { "BambaForCausalLM", "bamba", "\"attn_layer_indices\": [3, 7]", "8 64 1E-05 10000 32 -------- untied" },
        { "ApertusForCausalLM", "apertus", "", "32 64 1E-05 12000000 64 -------- untied" },
        { "Starcoder2ForCausalLM", "starcoder2", "", "2 64 1E-05 10000 64 -------- tied bias" },
        { "Starcoder2ForCausalLM", "starcoder2", "\"sliding_window\": 4096, \"use_bias\": false", "2 64 1E-05 10000 64 wwwwwwww:4096 tied" },
        { "NemotronForCausalLM", "nemotron", "", "32 64 1E-05 10000 32 -------- untied" },
        { "Lfm2ForCausalLM", "lfm2", "\"full_attn_idxs\": [2, 5]", "8 64 1E-05 1000000 64 -------- tied" },
        { "Lfm2MoeForCausalLM", "lfm2_moe", "\"layer_types\": [\"conv\", \"conv\", \"full_attention\", \"conv\", \"conv\", \"conv\", \"full_attention\", \"conv\"]", "8 64 1E-05 1000000 64 -------- tied" },
        { "SmolLM3ForCausalLM", "smollm3", "", "4 64 1E-06 2000000 64 -------- tied" },
        { "SmolLM3ForCausalLM", "smollm3", "\"use_sliding_window\": true, \"sliding_window\": 512", "4 64 1E-06 2000000 64 ---w---w:512 tied" },
        { "Olmo2ForCausalLM", "olmo2", "", "32 64 1E-05 10000 64 -------- untied" },
        { "OlmoeForCausalLM", "olmoe", "\"num_experts\": 8, \"num_experts_per_tok\": 2", "32 64 1E-05 10000 64 -------- untied" },
        { "Olmo3ForCausalLM", "olmo3", "", "32 64 1E-05 500000 64 www-www-:4096 untied" },
        { "ExaoneForCausalLM", "exaone", "\"num_layers\": 8, \"activation_function\": \"silu\"", "32 64 1E-05 10000 64 -------- tied" },
        { "Exaone4ForCausalLM", "exaone4", "", "32 64 1E-05 10000 64 www-www-:4096 untied" },
        { "Exaone4ForCausalLM", "exaone4", "\"sliding_window\": null, \"sliding_window_pattern\": null", "32 64 1E-05 10000 64 -------- untied" },
        { "SeedOssForCausalLM", "seed_oss", "", "8 128 1E-06 10000 128 -------- untied bias" },
        { "GlmForCausalLM", "glm", "", "2 128 1.5625E-07 10000 64 -------- untied bias" },
        { "Glm4ForCausalLM", "glm4", "", "2 128 1.5625E-07 10000 64 -------- untied bias" },
        { "Ernie4_5ForCausalLM", "ernie4_5", "", "2 128 1E-05 500000 128 -------- tied" },
        { "Ernie4_5_MoeForCausalLM", "ernie4_5_moe", "", "4 64 1E-05 500000 64 -------- tied" },
        { "HeliumForCausalLM", "helium", "\"num_key_value_heads\": 16", "16 128 1E-08 100000 128 -------- untied" },
        { "ArceeForCausalLM", "arcee", "", "32 64 1E-05 10000 64 -------- untied" },
        { "InternLM2ForCausalLM", "internlm2", "\"bias\": false", "32 64 1E-06 10000 64 -------- untied" },
        { "InternLM3ForCausalLM", "internlm3", "", "32 64 1E-06 10000 64 -------- untied" },
        { "HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", "", "32 64 1E-05 10000 64 -------- untied" },
        { "HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe", "\"num_experts\": 8, \"moe_topk\": 2", "32 64 1E-05 10000 64 -------- untied" },
        { "CohereForCausalLM", "cohere", "", "32 64 1E-05 500000 64 -------- tied" },
        { "Cohere2ForCausalLM", "cohere2", "", "32 64 1E-05 10000 64 www-www-:4096 tied" },
    };

    [Theory]
    [MemberData(nameof(Defaults))]
    public void What_is_left_out_is_as_in_the_class(string architecture, string type, string more, string expected)
    {
        var config = Read(Minimal(architecture, type, more));
        var window = config.Windows.OfType<int>().Cast<int?>().FirstOrDefault();
        Assert.All(config.Windows, w => Assert.True(w is null || w == window));
        var pattern = string.Concat(config.Windows.Take(8).Select(w => w is null ? '-' : 'w'));
        var rope = config.LayerRopes.Count == 0 ? config.Rope : config.LayerRopes[config.Windows.ToList().IndexOf(null) is >= 0 and var full ? full : 0];
        rope = rope.FrequencyDivisors?.All(float.IsInfinity) == true ? config.Rope : rope; // of a layer that does not rotate
        Assert.Equal(expected, $"{config.KvHeads} {config.HeadDim} {config.NormEpsilon:R} {rope.Theta} {rope.RotaryDim} {pattern}{(window is null ? "" : $":{window}")} {(config.TiedEmbeddings ? "tied" : "untied")}{(config.QkvBias ? " bias" : "")}");
    }

    [Fact]
    public void Positions_are_scaled_where_the_class_scales_them()
    {
        var ministral = Read(Minimal("Ministral3ForCausalLM", "ministral3", ""));
        Assert.Equal(new RopeConfig { Theta = 1e6, RotaryDim = 128, Scaling = new() { Kind = RopeKind.Yarn, Factor = 16, OriginalMaxPositions = 16_384, AttentionFactor = 1 } }, ministral.Rope);
        Assert.Equal((0.1, 16_384), ministral.QueryGrowth);
        var gptOss = Minimal("GptOssForCausalLM", "gpt_oss", "\"num_local_experts\": 8, \"num_experts_per_tok\": 2");
        Assert.Equal(new RopeConfig { Theta = 150_000, RotaryDim = 64, Scaling = new() { Kind = RopeKind.Yarn, Factor = 32, OriginalMaxPositions = 4096, Truncate = false, AttentionFactor = (0.1 * Math.Log(32)) + 1 } }, Read(gptOss).Rope);
        Assert.Equal(RopeKind.Default, Read(With(gptOss, """{"rope_parameters": {"rope_type": "default"}}""")).Rope.Scaling.Kind);
        Assert.Equal(RopeKind.Default, Read(With(gptOss, """{"rope_scaling": {}}""")).Rope.Scaling.Kind);
    }

    [Fact]
    public void Mixtures_have_what_their_classes_have()
    {
        var glm = Read(Minimal("Glm4MoeForCausalLM", "glm4_moe", "\"n_routed_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 32"));
        Assert.Equal((32, 7, true, HeadNorm.None), (glm.SharedExpertSize, glm.ExpertLayers.Count, glm.NormalizeExpertWeights, glm.QkNorm)); // one expert for all, and one dense layer
        var next = Read(Minimal("Qwen3NextForCausalLM", "qwen3_next", ""));
        Assert.Equal((512, 512, 10, 512, true), (next.SharedExpertSize, next.Experts, next.ExpertsPerToken, next.ExpertIntermediateSize, next.NormalizeExpertWeights));
        Assert.Equal([0, 1, 2, 4, 5, 6], next.StateLayers.Order());
        var v2 = Read(Minimal("DeepseekV2ForCausalLM", "deepseek_v2", "\"num_experts_per_tok\": 2"));
        Assert.Equal((64, 1407, 2 * 1407, 8, false, 1), (v2.Experts, v2.ExpertIntermediateSize, v2.SharedExpertSize, v2.ExpertLayers.Count, v2.NormalizeExpertWeights, v2.Routing.Groups));
        var ernie = Read(Minimal("Ernie4_5_MoeForCausalLM", "ernie4_5_moe", ""));
        Assert.Equal((64, 6, 1536, 2 * 1536, 7, true), (ernie.Experts, ernie.ExpertsPerToken, ernie.ExpertIntermediateSize, ernie.SharedExpertSize, ernie.ExpertLayers.Count, ernie.NormalizeExpertWeights));
        Assert.False(Read(Minimal("Qwen3MoeForCausalLM", "qwen3_moe", Experts)).NormalizeExpertWeights);
        var mixtral = Read(Minimal("MixtralForCausalLM", "mixtral", "\"num_local_experts\": 8, \"num_experts_per_tok\": 2"));
        Assert.Equal((96, true), (mixtral.ExpertIntermediateSize, mixtral.NormalizeExpertWeights));
    }

    /// <summary>A configuration, and fields that say the same otherwise.</summary>
    public static TheoryData<string, string, string> Same() => new()
    {
        { Minimal("LlamaForCausalLM", "llama", "\"torch_dtype\": \"bfloat16\", \"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 1024}"), """{"torch_dtype": null, "rope_theta": null, "rope_scaling": null}""", """{"dtype": "float32", "rope_parameters": {"rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 1024}}""" },
        { Minimal("Qwen3MoeForCausalLM", "qwen3_moe", Experts), """{"num_experts": null}""", """{"num_local_experts": 8, "mlp_only_layers": [], "decoder_sparse_step": 1}""" },
        { Minimal("MixtralForCausalLM", "mixtral", "\"num_local_experts\": 8, \"num_experts_per_tok\": 2"), """{"num_local_experts": null}""", """{"num_experts": 8, "head_dim": null}""" },
        { Minimal("Glm4MoeForCausalLM", "glm4_moe", "\"n_routed_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 32"), """{"n_routed_experts": null}""", """{"num_local_experts": 8, "partial_rotary_factor": 0.5}""" },
        { Minimal("Glm4ForCausalLM", "glm4", "\"partial_rotary_factor\": 0.5, \"rope_theta\": 10000.0"), """{"partial_rotary_factor": null, "rope_theta": null}""", """{"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}""" },
        { Minimal("Gemma2ForCausalLM", "gemma2", "\"hidden_act\": \"gelu_pytorch_tanh\", \"cache_implementation\": \"hybrid\""), """{"hidden_act": null}""", """{"hidden_activation": "gelu_pytorch_tanh", "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"]}""" },
        { Minimal("Gemma3ForCausalLM", "gemma3_text", "\"sliding_window_pattern\": 3, \"rope_local_base_freq\": 10000.0, \"rope_theta\": 1000000.0, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}"), """{"sliding_window_pattern": null, "rope_local_base_freq": null, "rope_theta": null, "rope_scaling": null}""", """{"_sliding_window_pattern": 3, "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}""" },
        { Minimal("Cohere2ForCausalLM", "cohere2", "\"sliding_window_pattern\": 4"), """{"sliding_window_pattern": null}""", """{"layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]}""" },
        { Minimal("Exaone4ForCausalLM", "exaone4", "\"sliding_window_pattern\": 4"), "{}", """{"sliding_window_pattern": "LLLG"}""" },
        { Minimal("Exaone4ForCausalLM", "exaone4", "\"layer_types\": [\"sliding_attention\", \"full_attention\", \"sliding_attention\", \"full_attention\", \"sliding_attention\", \"full_attention\", \"sliding_attention\", \"full_attention\"]"), """{"layer_types": null}""", """{"sliding_window_pattern": "LG"}""" },
        { Minimal("Olmo3ForCausalLM", "olmo3", "\"rope_theta\": 500000, \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 8.0, \"original_max_position_embeddings\": 1024}"), """{"rope_theta": null, "rope_scaling": null}""", """{"rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 500000.0, "factor": 8.0, "original_max_position_embeddings": 1024}, "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0}}}""" },
        { Minimal("SmolLM3ForCausalLM", "smollm3", "\"no_rope_layers\": [1, 1, 1, 0, 1, 1, 1, 0]"), """{"no_rope_layers": null}""", """{"no_rope_layer_interval": 4}""" },
        { Minimal("GraniteMoeHybridForCausalLM", "granitemoehybrid", Dense), """{"layer_types": null, "intermediate_size": null}""", """{"layer_types": ["full_attention", "full_attention", "full_attention", "full_attention", "full_attention", "full_attention", "full_attention", "full_attention"], "shared_intermediate_size": 1024, "num_experts_per_tok": 0}""" },
        { Minimal("GptOssForCausalLM", "gpt_oss", "\"num_local_experts\": 8, \"experts_per_token\": 2, \"initial_context_length\": 4096"), """{"experts_per_token": null}""", """{"num_experts_per_tok": 2, "rope_theta": 150000, "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false, "original_max_position_embeddings": 4096}}""" },
        { Minimal("Ministral3ForCausalLM", "ministral3", ""), "{}", """{"rope_parameters": {"type": "yarn", "rope_type": "yarn", "rope_theta": 1000000.0, "factor": 16.0, "original_max_position_embeddings": 16384, "max_position_embeddings": 4096, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}}""" },
        { Minimal("Ministral3ForCausalLM", "ministral3", "\"rope_parameters\": {\"rope_type\": \"yarn\", \"rope_theta\": 1000000.0, \"factor\": 64.0, \"original_max_position_embeddings\": 4096, \"beta_fast\": 4.0}"), "{}", """{"rope_parameters": {"type": "yarn", "rope_type": "yarn", "rope_theta": 1000000.0, "factor": 64.0, "original_max_position_embeddings": 4096, "max_position_embeddings": 262144, "beta_fast": 4.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 0.0, "llama_4_scaling_beta": 0}}""" },
        { Minimal("Phi3ForCausalLM", "phi3", $"\"original_max_position_embeddings\": 1024, \"rope_scaling\": {{\"type\": \"su\", \"short_factor\": [{Ones}], \"long_factor\": [{Ones}]}}"), """{"original_max_position_embeddings": null, "rope_scaling": null}""", $$"""{"rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 1024, "short_factor": [{{Ones}}], "long_factor": [{{Ones}}] } }""" },
    };

    [Theory]
    [MemberData(nameof(Same))]
    public void Older_and_newer_names_say_the_same(string json, string without, string with)
    {
        var warnings = new List<string>();
        var (expected, config) = (Read(json), ModelConfigReader.Parse(With(With(json, without, removes: true), with), "config.json", warn: warnings.Add));
        Assert.Empty(warnings);
        AssertSame(expected, config);
    }

    /// <summary>The text's part, whole.</summary>
    public static TheoryData<string, string, string> Nested() => new()
    {
        { "gemma3", "gemma3_text", """{"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072}""" },
        { "gemma4", "gemma4_text", """{"vocab_size": 262144, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 30, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "global_head_dim": 512, "max_position_embeddings": 131072}""" },
        { "mistral3", "mistral", """{"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072, "sliding_window": 4096}""" },
        { "mistral3", "ministral3", """{"vocab_size": 131072, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 34, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262144, "sliding_window": null}""" },
        { "qwen3_vl", "qwen3_vl_text", """{"rope_theta": 5000000.0, "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 128000}""" },
        { "qwen3_vl_moe", "qwen3_vl_moe_text", """{"rope_theta": 5000000.0, "num_experts": 128, "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 128, "moe_intermediate_size": 1408, "num_experts_per_tok": 4, "norm_topk_prob": true, "max_position_embeddings": 128000}""" },
        { "llama4", "llama4_text", """{"vocab_size": 202048, "hidden_size": 5120, "intermediate_size": 8192, "intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072, "num_local_experts": 16, "num_experts_per_tok": 1, "attention_chunk_size": 8192, "attn_temperature_tuning": true, "use_qk_norm": true}""" },
        { "qwen3_5", "qwen3_5_text", """{"vocab_size": 248320, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 32, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 32768, "linear_num_key_heads": 16, "linear_num_value_heads": 32}""" },
        { "qwen3_5_moe", "qwen3_5_moe_text", """{"vocab_size": 248320, "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 32768, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "num_experts": 256, "num_experts_per_tok": 8}""" },
    };

    [Theory]
    [MemberData(nameof(Nested))]
    public void A_texts_part_may_leave_out_what_is_as_in_its_class(string outer, string type, string text)
    {
        string Whole(string inner) => $$"""{"model_type": "{{outer}}", "architectures": ["XForConditionalGeneration"], "vision_config": {}, "text_config": {{inner}}}""";
        var kept = new JsonObject { ["model_type"] = type };
        foreach (var name in (string[])["rope_theta", "num_experts"])
        {
            if (type.Contains("_vl", StringComparison.Ordinal) && JsonNode.Parse(text)![name] is { } value)
            {
                kept[name] = value.DeepClone(); // those that versions of transformers take to be others
            }
        }

        AssertSame(Read(Whole(With(text, $$"""{"model_type": "{{type}}"}"""))), Read(Whole(kept.ToJsonString())));
        if (type != "ministral3")
        {
            kept.Remove("model_type");
            AssertSame(Read(Whole(text)), Read(Whole(kept.ToJsonString())));
        }
    }

    [Theory]
    [InlineData("qwen3_vl", "rope_theta")]
    [InlineData("qwen3_vl_moe", "rope_theta")]
    public void What_versions_of_the_class_disagree_on_is_asked_for(string outer, string says) =>
        Assert.Contains($"lacks '{says}'", Assert.Throws<CheckpointException>(() => Read($$"""{"model_type": "{{outer}}", "text_config": {"num_experts": 4} }""")).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("\"\"")]
    [InlineData("\"LLX\"")]
    public void A_pattern_of_other_letters_is_named(string pattern) =>
        Assert.Contains("sliding_window_pattern", Assert.Throws<CheckpointException>(() => Read(Minimal("Exaone4ForCausalLM", "exaone4", $"\"sliding_window_pattern\": {pattern}"))).Message, StringComparison.Ordinal);

    private static string Ones => string.Join(", ", Enumerable.Repeat("1.0", 32));

    private static string Minimal(string architecture, string type, string more) => $$"""
        {"architectures": ["{{architecture}}"], "model_type": "{{type}}", "vocab_size": 320, "hidden_size": 2048, "num_hidden_layers": 8,
         "num_attention_heads": 32, "intermediate_size": 96, "max_position_embeddings": 4096{{(more.Length > 0 ? ", " : "")}}{{more}}}
        """;

    private static string With(string json, string fields, bool removes = false)
    {
        var all = JsonNode.Parse(json)!.AsObject();
        foreach (var (name, value) in JsonNode.Parse(fields)!.AsObject())
        {
            _ = removes ? all.Remove(name) : (all[name] = value?.DeepClone()) is null;
        }

        return all.ToJsonString();
    }

    private static ModelConfig Read(string json) => ModelConfigReader.Parse(json, "config.json");

    private static void AssertSame(ModelConfig expected, ModelConfig config)
    {
        static RopeConfig Plain(RopeConfig rope) => rope with { FrequencyDivisors = null, LongDivisors = null };
        Assert.Equal(expected.Windows, config.Windows);
        Assert.All(Enumerable.Range(0, expected.Layers), layer =>
        {
            var (rope, its) = (expected.RopeOf(layer), config.RopeOf(layer));
            Assert.Equal(Plain(rope), Plain(its));
            Assert.Equal(rope.FrequencyDivisors, its.FrequencyDivisors);
            Assert.Equal(rope.LongDivisors, its.LongDivisors);
            Assert.Equal(expected.HeadsOf(layer), config.HeadsOf(layer));
        });
        Assert.Equal(expected.ExpertLayers.Order(), config.ExpertLayers.Order());
        Assert.Equal(expected.StateLayers.Order(), config.StateLayers.Order());
        static ModelConfig Rest(ModelConfig all) => all with { Windows = [], LayerRopes = [], LayerHeads = [], CacheOf = [], EndTokens = [], Rope = Plain(all.Rope), ExpertLayers = new HashSet<int>(), StateLayers = System.Collections.Frozen.FrozenSet<int>.Empty, EqualLayers = System.Collections.Frozen.FrozenSet<int>.Empty };
        Assert.Equal(Rest(expected) with { ExpertLayers = null!, StateLayers = null! }, Rest(config) with { ExpertLayers = null!, StateLayers = null! });
    }
}
