using System.Globalization;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Configurations as models are published with them, by versions of transformers that were older than those that the fixtures are made with.</summary>
public sealed class PublishedConfigTests
{
    /// <summary>A configuration, and what is read of it.</summary>
    public static TheoryData<string, string> Published() => new()
    {
        // gemma-2b
        {
            """{"architectures": ["GemmaForCausalLM"], "attention_bias": false, "bos_token_id": 2, "eos_token_id": 1, "head_dim": 256, "hidden_act": "gelu", "hidden_size": 2048, "intermediate_size": 16384, "max_position_embeddings": 8192, "model_type": "gemma", "num_attention_heads": 8, "num_hidden_layers": 18, "num_key_value_heads": 1, "pad_token_id": 0, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 10000.0, "torch_dtype": "bfloat16", "transformers_version": "4.38.0.dev0", "use_cache": true, "vocab_size": 256000}""",
            "18x2048 8/1x256 256@10000 of 8192, gelu_pytorch_tanh 16384, scores 0.0625, tied"
        },
        // Qwen1.5-MoE-A2.7B
        {
            """{"architectures": ["Qwen2MoeForCausalLM"], "attention_dropout": 0.0, "decoder_sparse_step": 1, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 5632, "max_position_embeddings": 8192, "max_window_layers": 21, "model_type": "qwen2_moe", "moe_intermediate_size": 1408, "norm_topk_prob": false, "num_attention_heads": 16, "num_experts": 60, "num_experts_per_tok": 4, "num_hidden_layers": 24, "num_key_value_heads": 16, "output_router_logits": false, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "shared_expert_intermediate_size": 5632, "sliding_window": 32768, "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 151936}""",
            "24x2048 16/16x128 128@1000000 of 8192, silu 5632, scores 0.0884, bias, 24 layers of 4 of 60x1408 and 5632"
        },
        // Qwen2-57B-A14B, as a newer version writes it
        {
            """{"architectures": ["Qwen2MoeForCausalLM"], "dtype": "bfloat16", "decoder_sparse_step": 1, "hidden_act": "silu", "hidden_size": 3584, "intermediate_size": 18944, "layer_types": null, "max_position_embeddings": 131072, "max_window_layers": 28, "mlp_only_layers": [], "model_type": "qwen2_moe", "moe_intermediate_size": 2560, "norm_topk_prob": false, "num_attention_heads": 28, "num_experts_per_tok": 8, "num_hidden_layers": 28, "num_key_value_heads": 4, "num_local_experts": 64, "qkv_bias": true, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}, "shared_expert_intermediate_size": 20480, "sliding_window": 0, "use_sliding_window": false, "vocab_size": 151936}""",
            "28x3584 28/4x128 128@1000000 of 131072, silu 18944, scores 0.0884, bias, 28 layers of 8 of 64x2560 and 20480"
        },
        // glm-4-9b-chat-hf
        {
            """{"architectures": ["GlmForCausalLM"], "attention_bias": true, "eos_token_id": [151329, 151336, 151338], "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 13696, "max_position_embeddings": 131072, "model_type": "glm", "num_attention_heads": 32, "num_hidden_layers": 40, "num_key_value_heads": 2, "pad_token_id": 151329, "partial_rotary_factor": 0.5, "rms_norm_eps": 1.5625e-07, "rope_theta": 10000.0, "tie_word_embeddings": false, "vocab_size": 151552}""",
            "40x4096 32/2x128 64@10000 of 131072, silu 13696, scores 0.0884, bias"
        },
        // OLMoE-1B-7B-0924
        {
            """{"architectures": ["OlmoeForCausalLM"], "attention_bias": false, "clip_qkv": null, "eos_token_id": 50279, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 1024, "max_position_embeddings": 4096, "model_type": "olmoe", "norm_topk_prob": false, "num_attention_heads": 16, "num_experts": 64, "num_experts_per_tok": 8, "num_hidden_layers": 16, "num_key_value_heads": 16, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0, "router_aux_loss_coef": 0.01, "tie_word_embeddings": false, "vocab_size": 50304}""",
            "16x2048 16/16x128 128@10000 of 4096, silu 1024, scores 0.0884, heads Whole, 16 layers of 8 of 64x1024 and 0"
        },
        // Nemotron-Mini-4B-Instruct
        {
            """{"architectures": ["NemotronForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 2, "eos_token_id": 3, "head_dim": 128, "hidden_act": "relu2", "hidden_size": 3072, "initializer_range": 0.0134, "intermediate_size": 9216, "max_position_embeddings": 4096, "mlp_bias": false, "model_type": "nemotron", "norm_eps": 1e-05, "num_attention_heads": 24, "num_hidden_layers": 32, "num_key_value_heads": 8, "partial_rotary_factor": 0.5, "rope_theta": 10000.0, "tie_word_embeddings": false, "use_cache": true, "vocab_size": 256000}""",
            "32x3072 24/8x128 64@10000 of 4096, relu2 9216, scores 0.0884"
        },
        // Apertus-8B-Instruct-2509
        {
            """{"architectures": ["ApertusForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 68, "hidden_act": "xielu", "hidden_dropout": 0.0, "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 21504, "max_position_embeddings": 65536, "mlp_bias": false, "model_type": "apertus", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "pad_token_id": 3, "post_norm": false, "qk_norm": true, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3", "type": "llama3"}, "rope_theta": 12000000, "tie_word_embeddings": false, "vocab_size": 131072}""",
            "32x4096 32/8x128 128@12000000 of 65536, xielu 21504, scores 0.0884, heads Each"
        },
        // MiniMax-M2
        {
            """{"architectures": ["MiniMaxM2ForCausalLM"], "head_dim": 128, "hidden_act": "silu", "hidden_size": 3072, "intermediate_size": 1536, "max_position_embeddings": 196608, "mlp_intermediate_size": 8192, "model_type": "minimax_m2", "num_attention_heads": 48, "num_experts_per_tok": 8, "num_hidden_layers": 62, "num_key_value_heads": 8, "num_local_experts": 256, "num_mtp_modules": 3, "qk_norm_type": "per_layer", "rms_norm_eps": 1e-06, "rope_theta": 5000000, "rotary_dim": 64, "scoring_func": "sigmoid", "shared_intermediate_size": 0, "tie_word_embeddings": false, "use_mtp": true, "use_qk_norm": true, "use_routing_bias": true, "vocab_size": 200064, "quantization_config": {"activation_scheme": "dynamic", "fmt": "float8_e4m3fn", "quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"]}}""",
            "62x3072 48/8x128 64@5000000 of 196608, silu 1536, scores 0.0884, heads Whole, 62 layers of 8 of 256x1536 and 0, sigmoid, shared"
        },
        // The same as a newer version of transformers writes it, and with the type of its first configurations
        {
            """{"architectures": ["MiniMaxM2ForCausalLM"], "hidden_size": 3072, "intermediate_size": 1536, "max_position_embeddings": 196608, "model_type": "minimax", "num_attention_heads": 48, "num_experts_per_tok": 8, "num_hidden_layers": 62, "num_local_experts": 256, "rope_parameters": {"rope_theta": 5000000, "rope_type": "default", "partial_rotary_factor": 0.5}, "rotary_dim": 64, "vocab_size": 200064}""",
            "62x3072 48/8x128 64@5000000 of 196608, silu 1536, scores 0.0884, heads Whole, 62 layers of 8 of 256x1536 and 0, sigmoid, shared"
        },
        // dots.llm1.inst
        {
            """{"architectures": ["Dots1ForCausalLM"], "attention_bias": false, "eos_token_id": 151645, "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 10944, "max_position_embeddings": 32768, "model_type": "dots1", "moe_intermediate_size": 1408, "n_group": 1, "n_routed_experts": 128, "n_shared_experts": 2, "norm_topk_prob": true, "num_attention_heads": 32, "num_experts_per_tok": 6, "num_hidden_layers": 62, "num_key_value_heads": 32, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000000, "routed_scaling_factor": 2.5, "scoring_func": "noaux_tc", "tie_word_embeddings": false, "topk_group": 1, "vocab_size": 152064}""",
            "62x4096 32/32x128 128@10000000 of 32768, silu 10944, scores 0.0884, heads Each, 61 layers of 6 of 128x1408 and 2816, sigmoid, shared, 2.5 times"
        },
        // ERNIE-4.5-0.3B-PT
        {
            """{"architectures": ["Ernie4_5ForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "intermediate_size": 3072, "max_position_embeddings": 131072, "model_type": "ernie4_5", "num_attention_heads": 16, "num_hidden_layers": 18, "num_key_value_heads": 2, "pad_token_id": 0, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 500000.0, "tie_word_embeddings": true, "use_bias": false, "vocab_size": 103424}""",
            "18x1024 16/2x128 128@500000 of 131072, silu 3072, scores 0.0884, tied"
        },
        // ERNIE-4.5-21B-A3B-PT
        {
            """{"architectures": ["Ernie4_5_MoeForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 2560, "intermediate_size": 12288, "max_position_embeddings": 131072, "model_type": "ernie4_5_moe", "moe_intermediate_size": 1536, "moe_k": 6, "moe_layer_end_index": 27, "moe_layer_interval": 1, "moe_layer_start_index": 1, "moe_num_experts": 64, "moe_num_shared_experts": 2, "num_attention_heads": 20, "num_hidden_layers": 28, "num_key_value_heads": 4, "num_nextn_predict_layers": 1, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": true, "use_bias": false, "vocab_size": 103424}""",
            "28x2560 20/4x128 128@500000 of 131072, silu 12288, scores 0.0884, tied, 27 layers of 6 of 64x1536 and 3072, shared"
        },
        // ERNIE-4.5-300B-A47B-PT
        {
            """{"architectures": ["Ernie4_5_MoeForCausalLM"], "hidden_size": 8192, "intermediate_size": 28672, "max_position_embeddings": 131072, "model_type": "ernie4_5_moe", "moe_intermediate_size": 3584, "moe_k": 8, "moe_layer_end_index": 53, "moe_layer_interval": 1, "moe_layer_start_index": 3, "moe_num_experts": 64, "moe_num_shared_experts": 0, "num_attention_heads": 64, "num_hidden_layers": 54, "num_key_value_heads": 8, "num_nextn_predict_layers": 1, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": false, "use_bias": false, "vocab_size": 103424}""",
            "54x8192 64/8x128 128@500000 of 131072, silu 28672, scores 0.0884, 51 layers of 8 of 64x3584 and 0, shared"
        },
        // Hunyuan-7B-Instruct
        {
            """{"architectures": ["HunYuanDenseV1ForCausalLM"], "bos_token_id": 127958, "eos_token_id": 127960, "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 262144, "model_type": "hunyuan_v1_dense", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "pad_token_id": 127961, "rms_norm_eps": 1e-05, "rope_scaling": {"alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "type": "dynamic"}, "rope_theta": 10000.0, "use_cla": false, "use_qk_norm": true, "vocab_size": 128167}""",
            "32x4096 32/8x128 128@11158840 of 262144, silu 14336, scores 0.0884, heads Each"
        },
        // Hunyuan-A13B-Instruct
        {
            """{"architectures": ["HunYuanMoEV1ForCausalLM"], "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 3072, "max_position_embeddings": 32768, "model_type": "hunyuan_v1_moe", "moe_intermediate_size": [3072, 3072], "moe_topk": [8, 8], "num_attention_heads": 32, "num_experts": 64, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_shared_expert": [1, 1], "rms_norm_eps": 1e-05, "rope_scaling": {"alpha": 1000.0, "factor": 1.0, "type": "dynamic"}, "rope_theta": 10000.0, "tie_word_embeddings": true, "use_qk_norm": true, "vocab_size": 128167}""",
            "32x4096 32/8x128 128@11158840 of 32768, silu 3072, scores 0.0884, tied, heads Each, 32 layers of 8 of 64x3072 and 3072, shared"
        },
        // MiMo-7B-Base
        {
            """{"architectures": ["MiMoForCausalLM"], "attention_bias": true, "attention_dropout": 0.0, "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008, "max_position_embeddings": 32768, "model_type": "mimo", "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8, "num_nextn_predict_layers": 1, "rms_norm_eps": 1e-05, "rope_theta": 640000.0, "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 151680}""",
            "36x4096 32/8x128 128@640000 of 32768, silu 11008, scores 0.0884, bias"
        },
        // helium-1-preview-2b, by the defaults of its class
        {
            """{"architectures": ["HeliumForCausalLM"], "hidden_act": "silu", "hidden_size": 2560, "intermediate_size": 7040, "max_position_embeddings": 4096, "model_type": "helium", "num_attention_heads": 20, "num_hidden_layers": 24, "vocab_size": 48000}""",
            "24x2560 20/20x128 128@100000 of 4096, silu 7040, scores 0.0884"
        },
        // EXAONE-3.0-7.8B-Instruct
        {
            """{"architectures": ["ExaoneForCausalLM"], "activation_function": "silu", "bos_token_id": 1, "embed_dropout": 0.0, "eos_token_id": 361, "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "layer_norm_epsilon": 1e-05, "max_position_embeddings": 4096, "model_type": "exaone", "num_attention_heads": 32, "num_key_value_heads": 8, "num_layers": 32, "pad_token_id": 0, "rope_scaling": null, "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.45.2", "use_cache": true, "vocab_size": 102400}""",
            "32x4096 32/8x128 128@500000 of 4096, silu 14336, scores 0.0884"
        },
        // internlm2-7b
        {
            """{"architectures": ["InternLM2ForCausalLM"], "bias": false, "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "internlm2", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 2.0, "type": "dynamic"}, "rope_theta": 1000000, "tie_word_embeddings": false, "vocab_size": 92544}""",
            "32x4096 32/8x128 128@1000000 of 32768, silu 14336, scores 0.0884"
        },
        // internlm3-8b-instruct
        {
            """{"architectures": ["InternLM3ForCausalLM"], "bias": false, "head_dim": 128, "hidden_size": 4096, "intermediate_size": 10240, "max_position_embeddings": 32768, "model_type": "internlm3", "num_attention_heads": 32, "num_hidden_layers": 48, "num_key_value_heads": 2, "qkv_bias": false, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 6.0, "rope_type": "dynamic"}, "rope_theta": 50000000, "tie_word_embeddings": false, "vocab_size": 128512}""",
            "48x4096 32/2x128 128@50000000 of 32768, silu 10240, scores 0.0884"
        },
        // c4ai-command-r-v01
        {
            """{"architectures": ["CohereForCausalLM"], "attention_bias": false, "bos_token_id": 5, "eos_token_id": 255001, "hidden_act": "silu", "hidden_size": 8192, "intermediate_size": 22528, "layer_norm_eps": 1e-05, "logit_scale": 0.0625, "max_position_embeddings": 8192, "model_max_length": 131072, "model_type": "cohere", "num_attention_heads": 64, "num_hidden_layers": 40, "num_key_value_heads": 64, "pad_token_id": 0, "rope_theta": 8000000.0, "vocab_size": 256000}""",
            "40x8192 64/64x128 128@8000000 of 131072, silu 22528, scores 0.0884, tied, logits 0.0625"
        },
        // c4ai-command-r-08-2024
        {
            """{"architectures": ["CohereForCausalLM"], "hidden_act": "silu", "hidden_size": 8192, "intermediate_size": 24576, "layer_norm_eps": 1e-05, "logit_scale": 0.0625, "max_position_embeddings": 131072, "model_type": "cohere", "num_attention_heads": 64, "num_hidden_layers": 40, "num_key_value_heads": 8, "rope_theta": 4000000.0, "use_qk_norm": false, "vocab_size": 256000}""",
            "40x8192 64/8x128 128@4000000 of 131072, silu 24576, scores 0.0884, tied, logits 0.0625"
        },
        // granite-3.0-1b-a400m-instruct
        {
            """{"architectures": ["GraniteMoeForCausalLM"], "attention_bias": false, "attention_multiplier": 0.015625, "embedding_multiplier": 12.0, "hidden_act": "silu", "hidden_size": 1024, "intermediate_size": 512, "logits_scaling": 6.0, "max_position_embeddings": 4096, "model_type": "granitemoe", "num_attention_heads": 16, "num_experts_per_tok": 8, "num_hidden_layers": 24, "num_key_value_heads": 8, "num_local_experts": 32, "output_router_logits": false, "residual_multiplier": 0.22, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 10000, "router_aux_loss_coef": 0.0, "tie_word_embeddings": true, "vocab_size": 49155}""",
            "24x1024 16/8x64 64@10000 of 4096, silu 512, scores 0.0156, tied, logits 0.1667, 24 layers of 8 of 32x512 and 0, shared"
        },
    };

    [Theory]
    [MemberData(nameof(Published))]
    public void What_is_published_is_read(string json, string expected)
    {
        var warnings = new List<string>();
        var config = ModelConfigReader.Parse(json, "config.json", null, warnings.Add);
        var (rope, routing) = (config.Rope, config.Routing);
        Assert.All(config.Windows, Assert.Null);
        string?[] parts =
        [
            string.Create(CultureInfo.InvariantCulture, $"{config.Layers}x{config.HiddenSize} {config.Heads}/{config.KvHeads}x{config.HeadDim} {rope.RotaryDim}@{Math.Round(rope.Theta)} of {config.MaxPositions}"),
            $"{config.Activation} {config.IntermediateSize}",
            string.Create(CultureInfo.InvariantCulture, $"scores {Math.Round(config.AttentionScale, 4)}"),
            config.TiedEmbeddings ? "tied" : null,
            config.QkvBias ? "bias" : null,
            config.QkNorm == HeadNorm.None ? null : $"heads {config.QkNorm}",
            config.LogitScale == 1 ? null : string.Create(CultureInfo.InvariantCulture, $"logits {Math.Round(config.LogitScale, 4)}"),
            config.Experts == 0 ? null : $"{config.ExpertLayers.Count} layers of {config.ExpertsPerToken} of {config.Experts}x{config.ExpertIntermediateSize} and {config.SharedExpertSize}",
            routing.Sigmoid ? "sigmoid" : null,
            config.NormalizeExpertWeights ? "shared" : null,
            routing.Scale == 1 ? null : string.Create(CultureInfo.InvariantCulture, $"{routing.Scale} times"),
        ];
        Assert.Equal(expected, string.Join(", ", parts.OfType<string>()));
        Assert.False(config.OutputBias || config.MlpBias);
        Assert.Empty(warnings);
    }

    [Theory]
    [InlineData("cohere2", "Cohere2ForCausalLM", "\"use_qk_norm\": true", "use_qk_norm true")]
    [InlineData("olmoe", "OlmoeForCausalLM", "\"num_experts\": 8, \"num_experts_per_tok\": 2, \"clip_qkv\": 8.0", "clip_qkv 8.0")]
    [InlineData("ernie4_5", "Ernie4_5ForCausalLM", "\"use_bias\": true", "use_bias is true")]
    [InlineData("arcee", "ArceeForCausalLM", "\"hidden_act\": \"silu\"", "the activation 'silu'")]
    [InlineData("llama", "LlamaForCausalLM", "\"hidden_act\": \"relu2\"", "the activation 'relu2'")]
    [InlineData("hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM", "\"use_cla\": true", "use_cla is true")]
    [InlineData("ernie4_5_moe", "Ernie4_5_MoeForCausalLM", "\"num_key_value_heads\": 2, \"use_bias\": true", "use_bias is true")]
    public void What_a_family_lacks_here_is_named(string type, string architecture, string field, string says) =>
        Assert.Contains(says, Assert.Throws<UnsupportedModelException>(() => ModelConfigReader.Parse(
            $$"""{"architectures": ["{{architecture}}"], "model_type": "{{type}}", "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": 256, {{field}}}""", "config.json")).Message, StringComparison.Ordinal);

    // HunYuan's heads are normed after they are rotated.
    [Theory]
    [InlineData("hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM", 1)]
    [InlineData("llama", "LlamaForCausalLM", 1.2)]
    public void A_norm_after_the_rotation_takes_its_factor_away(string type, string architecture, double factor) => Assert.Equal(factor, ModelConfigReader.Parse(
        $$"""{"architectures": ["{{architecture}}"], "model_type": "{{type}}", "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": 256}""",
        "config.json",
        new RopeScaling { Kind = RopeKind.Yarn, Factor = 4, AttentionFactor = 1.2 }).Rope.Scaling.AttentionFactor);

    [Theory]
    [InlineData("LlamaForCausalLM", "llama", 16)] // whose class knows no such field
    [InlineData("MiniMaxM2ForCausalLM", "minimax_m2", 8)]
    [InlineData("Ernie4_5_ForCausalLM", "ernie4_5", 16)] // its first name
    public void The_field_of_rotated_dimensions_is_that_of_families_that_have_it(string architecture, string type, int rotated) => Assert.Equal(rotated, ModelConfigReader.Parse(
        $$"""{"architectures": ["{{architecture}}"], "model_type": "{{type}}", "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "rotary_dim": 8, "num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 96, "max_position_embeddings": 256}""", "config.json").Rope.RotaryDim);
}
