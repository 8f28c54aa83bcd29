using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Benchmarks;

/// <summary>Published models by their shapes alone.</summary>
internal static class Shapes
{
    private static readonly Dictionary<string, string> Configs = new(StringComparer.Ordinal)
    {
        ["llama-3-8b"] = """
            {"architectures": ["LlamaForCausalLM"], "vocab_size": 128256, "hidden_size": 4096, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "max_position_embeddings": 8192,
             "rope_theta": 500000.0, "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": false}
            """,
        ["llama-3-70b"] = """
            {"architectures": ["LlamaForCausalLM"], "vocab_size": 128256, "hidden_size": 8192, "num_hidden_layers": 80,
             "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28672, "max_position_embeddings": 8192,
             "rope_theta": 500000.0, "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": false}
            """,
        ["qwen2.5-7b"] = """
            {"architectures": ["Qwen2ForCausalLM"], "vocab_size": 152064, "hidden_size": 3584, "num_hidden_layers": 28,
             "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "max_position_embeddings": 32768,
             "rope_theta": 1000000.0, "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": false}
            """,
        ["qwen2.5-0.5b"] = """
            {"architectures": ["Qwen2ForCausalLM"], "vocab_size": 151936, "hidden_size": 896, "num_hidden_layers": 24,
             "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864, "max_position_embeddings": 32768,
             "rope_theta": 1000000.0, "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": true}
            """,
        ["qwen3-4b"] = """
            {"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 2560, "num_hidden_layers": 36,
             "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 9728, "max_position_embeddings": 40960,
             "rope_theta": 1000000, "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": true}
            """,
        ["qwen3-8b"] = """
            {"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 4096, "num_hidden_layers": 36,
             "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288, "max_position_embeddings": 40960,
             "rope_theta": 1000000, "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": false}
            """,
        ["qwen3-14b"] = """
            {"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 5120, "num_hidden_layers": 40,
             "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 17408, "max_position_embeddings": 40960,
             "rope_theta": 1000000, "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": false}
            """,
        ["qwen3-30b-a3b"] = """
            {"architectures": ["Qwen3MoeForCausalLM"], "vocab_size": 151936, "hidden_size": 2048, "num_hidden_layers": 48,
             "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144, "moe_intermediate_size": 768,
             "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": true, "max_position_embeddings": 40960,
             "rope_theta": 1000000.0, "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": false}
            """,
        ["mistral-7b"] = """
            {"architectures": ["MistralForCausalLM"], "vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "max_position_embeddings": 32768,
             "rope_theta": 10000.0, "rms_norm_eps": 1e-05, "hidden_act": "silu", "sliding_window": 4096, "tie_word_embeddings": false}
            """,
        ["gemma-2-9b"] = """
            {"architectures": ["Gemma2ForCausalLM"], "vocab_size": 256000, "hidden_size": 3584, "num_hidden_layers": 42,
             "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "intermediate_size": 14336,
             "max_position_embeddings": 8192, "rope_theta": 10000.0, "rms_norm_eps": 1e-06, "hidden_activation": "gelu_pytorch_tanh",
             "sliding_window": 4096, "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
            """,
        ["qwen3.5-9b"] = """
            {"architectures": ["Qwen3_5ForCausalLM"], "vocab_size": 248320, "hidden_size": 4096, "num_hidden_layers": 32,
             "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256, "intermediate_size": 12288, "max_position_embeddings": 262144,
             "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
             "linear_conv_kernel_dim": 4, "full_attention_interval": 4, "rms_norm_eps": 1e-06,
             "rope_parameters": {"rope_type": "default", "rope_theta": 10000000, "partial_rotary_factor": 0.25}}
            """,
        ["gemma-3-12b"] = """
            {"architectures": ["Gemma3ForCausalLM"], "vocab_size": 262208, "hidden_size": 3840, "num_hidden_layers": 48,
             "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "intermediate_size": 15360, "max_position_embeddings": 131072,
             "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window": 1024, "query_pre_attn_scalar": 256}
            """,
        ["gemma-4-31b"] = """
            {"architectures": ["Gemma4ForCausalLM"], "vocab_size": 262144, "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 60,
             "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 256, "global_head_dim": 512, "num_global_key_value_heads": 4,
             "attention_k_eq_v": true, "hidden_size_per_layer_input": 0, "sliding_window": 1024, "max_position_embeddings": 262144}
            """,
        ["gemma-4-e2b"] = """
            {"architectures": ["Gemma4ForCausalLM"], "vocab_size": 262144, "hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 35,
             "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "global_head_dim": 512, "num_kv_shared_layers": 20,
             "use_double_wide_mlp": true, "hidden_size_per_layer_input": 256, "vocab_size_per_layer_input": 262144, "sliding_window": 512,
             "sliding_window_pattern": 5, "final_logit_softcapping": 30.0, "max_position_embeddings": 131072}
            """,
        ["gpt-oss-20b"] = """
            {"architectures": ["GptOssForCausalLM"], "vocab_size": 201088, "hidden_size": 2880, "num_hidden_layers": 24,
             "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 2880, "num_local_experts": 32,
             "num_experts_per_tok": 4, "sliding_window": 128, "max_position_embeddings": 131072, "rope_theta": 150000,
             "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "truncate": false}}
            """,
    };

    public static IEnumerable<string> Names => Configs.Keys;

    /// <summary>The shape of a name, of a model folder or GGUF file, or of a config.json alone.</summary>
    public static ModelConfig Config(string name) => Configs.TryGetValue(name, out var text) ? ModelConfigReader.Parse(text, name)
        : File.Exists(name) && !GgufFile.IsNamed(name) ? ModelConfigReader.Parse(File.ReadAllText(name), name, warn: Console.Error.WriteLine)
        : Path.Exists(name) ? ModelConfig.Load(name)
        : throw new FormatException($"There is no shape '{name}', nor a config.json or a model folder of that name; the shapes are {string.Join(", ", Names)}.");

    /// <summary>The weights of a model folder or file; of a shape or of a configuration alone random ones, in the type that --weights names.</summary>
    public static Checkpoint Weights(string name, ModelConfig config, Options options) =>
        Configs.ContainsKey(name) || options.Has("--weights") || (File.Exists(name) && !GgufFile.IsNamed(name))
            ? new RandomCheckpoint(name, config, RandomCheckpoint.PackingOf(options.Text("--weights", "bf16")))
            : Checkpoint.Open(name, config);
}
