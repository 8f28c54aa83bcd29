using System.Text.Json.Nodes;
using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Families with random weights, beside plain loops that give the references of transformers for families near them.</summary>
public abstract class PlainFamiliesTests(ComputeDevice device) : NativeTest(device)
{
    private const int Experts = 8;

    private static readonly int[] Tokens = [.. Enumerable.Range(0, 40).Select(i => ((i * 53) + 7) % 320)];

    public sealed class OnCpu() : PlainFamiliesTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : PlainFamiliesTests(ComputeDevice.Cuda);

    /// <summary>Fields of small models.</summary>
    public static TheoryData<string> Variants =>
    [
        """{"architectures": ["GemmaForCausalLM"], "model_type": "gemma", "head_dim": 24, "hidden_act": "gelu", "num_key_value_heads": 1, "tie_word_embeddings": true}""",
        """{"architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 48, "shared_expert_intermediate_size": 80, "norm_topk_prob": false, "sliding_window": 0}""",
        """{"architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "num_local_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 48, "shared_expert_intermediate_size": 80, "norm_topk_prob": true, "mlp_only_layers": [1], "qkv_bias": false}""",
        """{"architectures": ["GlmForCausalLM"], "model_type": "glm", "attention_bias": true, "head_dim": 24, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}""",
        """{"architectures": ["OlmoeForCausalLM"], "model_type": "olmoe", "num_experts": 8, "num_experts_per_tok": 3, "norm_topk_prob": false, "clip_qkv": null}""",
        """{"architectures": ["MiniMaxM2ForCausalLM"], "model_type": "minimax_m2", "head_dim": 24, "rotary_dim": 12, "num_local_experts": 8, "num_experts_per_tok": 3, "use_qk_norm": true, "scoring_func": "sigmoid"}""",
        """{"architectures": ["Dots1ForCausalLM"], "model_type": "dots1", "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 48, "n_shared_experts": 2, "first_k_dense_replace": 1, "norm_topk_prob": true, "routed_scaling_factor": 2.5}""",
        """{"architectures": ["Dots1ForCausalLM"], "model_type": "dots1", "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 48, "n_shared_experts": 1, "first_k_dense_replace": 0, "norm_topk_prob": false, "routed_scaling_factor": 1.0, "sliding_window": 9, "layer_types": ["full_attention", "full_attention", "sliding_attention"]}""",
        """{"architectures": ["Ernie4_5ForCausalLM"], "model_type": "ernie4_5", "head_dim": 24, "use_bias": false, "tie_word_embeddings": true}""",
        """{"architectures": ["Ernie4_5_MoeForCausalLM"], "model_type": "ernie4_5_moe", "moe_num_experts": 8, "moe_k": 3, "moe_intermediate_size": 48, "moe_num_shared_experts": 2, "moe_layer_start_index": 1, "moe_layer_end_index": -1, "moe_layer_interval": 1, "use_bias": false, "tie_word_embeddings": true}""",
        """{"architectures": ["Ernie4_5_MoeForCausalLM"], "model_type": "ernie4_5_moe", "head_dim": 24, "moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": 48, "moe_num_shared_experts": 0, "moe_layer_start_index": 0, "moe_layer_end_index": 1, "moe_layer_interval": 2, "tie_word_embeddings": false}""",
        """{"architectures": ["HunYuanDenseV1ForCausalLM"], "model_type": "hunyuan_v1_dense", "head_dim": 24, "use_qk_norm": true, "use_cla": false, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "alpha": 50.0, "factor": 1.0}, "tie_word_embeddings": true}""",
        """{"architectures": ["HunYuanMoEV1ForCausalLM"], "model_type": "hunyuan_v1_moe", "num_experts": 8, "moe_topk": [3, 3, 3], "num_shared_expert": [1, 1, 1], "moe_intermediate_size": [96, 96, 96], "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}""",
        """{"architectures": ["MiMoForCausalLM"], "model_type": "mimo", "head_dim": 24, "attention_bias": true, "num_nextn_predict_layers": 1, "use_sliding_window": false}""",
        """{"architectures": ["HeliumForCausalLM"], "model_type": "helium", "head_dim": 16, "num_key_value_heads": 4, "attention_bias": false, "mlp_bias": false}""",
        """{"architectures": ["ExaoneForCausalLM"], "model_type": "exaone", "num_layers": 3, "num_hidden_layers": 3, "activation_function": "silu", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": true}""",
        """{"architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "bias": false, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}""",
        """{"architectures": ["InternLM3ForCausalLM"], "model_type": "internlm3", "head_dim": 24, "bias": false, "qkv_bias": false, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 6.0}}""",
        """{"architectures": ["ArceeForCausalLM"], "model_type": "arcee", "hidden_act": "relu2", "head_dim": 24, "mlp_bias": false}""",
        """{"architectures": ["CohereForCausalLM"], "model_type": "cohere", "layer_norm_eps": 1e-3, "logit_scale": 0.25, "use_qk_norm": false, "tie_word_embeddings": true}""",
        """{"architectures": ["CohereForCausalLM"], "model_type": "cohere", "head_dim": 16, "layer_norm_eps": 1e-3, "logit_scale": 0.25, "use_qk_norm": true, "tie_word_embeddings": true}""",
        """{"architectures": ["GraniteMoeForCausalLM"], "model_type": "granitemoe", "num_local_experts": 8, "num_experts_per_tok": 3, "attention_multiplier": 0.2, "embedding_multiplier": 3.0, "residual_multiplier": 0.7, "logits_scaling": 4.0}""",
    ];

    /// <summary>Those of architectures that are read in GGUF, which say nothing of single layers.</summary>
    public static TheoryData<string> Converted => [.. Variants.Select(v => v.Data).Where(fields => !((string[])["GlmFor", "GraniteMoe", "MiMoFor", "HeliumFor", "ExaoneFor", "mlp_only_layers", "layer_types", "\"moe_layer_end_index\": 1"]).Any(word => fields.Contains(word, StringComparison.Ordinal)))];

    [Theory]
    [InlineData("cohere2")]
    [InlineData("gemma2")]
    [InlineData("glm4")]
    [InlineData("glm4-moe")]
    [InlineData("granite")]
    [InlineData("olmo3")]
    [InlineData("qwen2")]
    [InlineData("qwen3-moe")]
    public void Plain_loops_give_the_references(string name) =>
        Assert.True(PlainComparison.FromReference(name, (config, tensors, tokens) => new PlainGrouped(config, tensors).Logits(tokens)) < ModelReference.Tolerance);

    [Theory]
    [MemberData(nameof(Variants))]
    public async Task Logits_and_tokens_are_those_of_plain_loops(string fields)
    {
        using var folder = new ScratchFolder();
        var plain = Write(folder, fields);
        var (expected, warnings) = (plain.Logits(Tokens), new List<string>());
        Assert.Equal(((string[])["Dots1", "MiniMax", "Ernie4_5_Moe"]).Any(name => fields.Contains(name, StringComparison.Ordinal)), plain.Telling > 0);
        foreach (var layout in (string[])["one-piece", "odd-mixed", "token-by-token"])
        {
            await using var model = await Load(folder.Path, ModelReference.Layouts.Single(l => l.Name == layout).Options with { Warning = warnings.Add });
            await PlainComparison.Check(model, Tokens, expected, plain.Logits);
        }

        Assert.Empty(warnings);
    }

    [Theory]
    [MemberData(nameof(Converted))]
    public async Task A_converted_folder_is_the_folders_model(string fields)
    {
        using var folder = new ScratchFolder();
        var plain = Write(folder, fields);
        GgufConversion.Of(folder.Path).Write(folder.File("m.gguf"));
        var warnings = new List<string>();
        await using var model = await Load(folder.File("m.gguf"), new HeadInferOptions { Warning = warnings.Add });
        await PlainComparison.Check(model, Tokens, plain.Logits(Tokens), plain.Logits);
        Assert.Empty(warnings);
    }

    [Fact]
    public async Task Contexts_for_which_positions_would_be_scaled_are_refused()
    {
        using var folder = new ScratchFolder();
        Write(folder, Variants.Select(v => v.Data).Single(fields => fields.Contains("HunYuanMoE", StringComparison.Ordinal)));
        var error = await Assert.ThrowsAsync<UnsupportedModelException>(() => Load(folder.Path, new HeadInferOptions { MaxContextTokens = 257 }));
        Assert.Contains("beyond 256 tokens", error.Message, StringComparison.Ordinal);
        await using var within = await Load(folder.Path, new HeadInferOptions { MaxContextTokens = 256 });
        await using var scaled = await Load(folder.Path, new HeadInferOptions { MaxContextTokens = 257, RopeScaling = new() { Kind = RopeKind.Linear, Factor = 2 } });
        Assert.Equal((256, 257), (within.Plan.MaxContextTokens, scaled.Plan.MaxContextTokens));
    }

    private static PlainGrouped Write(ScratchFolder folder, string fields)
    {
        var config = JsonNode.Parse("""
            {"bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96, "max_position_embeddings": 256, "num_attention_heads": 4, "num_hidden_layers": 3,
             "num_key_value_heads": 2, "rms_norm_eps": 1e-05, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "tie_word_embeddings": false, "vocab_size": 320}
            """)!.AsObject();
        foreach (var (name, value) in JsonNode.Parse(fields)!.AsObject())
        {
            config[name] = value?.DeepClone();
        }

        var (random, writer, tensors) = (new Random(5), new SafetensorsWriter(), new Dictionary<string, float[]>(StringComparer.Ordinal));
        void Add(string name, params int[] shape)
        {
            float Number() => (float)((random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) * 2); // of variance 1
            tensors[name] = [.. Enumerable.Range(0, shape.Aggregate((a, b) => a * b)).Select(_ => shape.Length == 1 ? 1 + (0.2f * Number()) : Number() * 1.5f / MathF.Sqrt(shape[^1]))];
            if ((string)config["model_type"]! != "internlm2" || !name.Contains("self_attn", StringComparison.Ordinal) || name.Contains("o_proj", StringComparison.Ordinal))
            {
                writer.Add(Own(name, (string)config["model_type"]!), "F32", shape, tensors[name]);
            }
        }

        // InternLM2: the queries of a key, that key and its value follow each other.
        void AddGroups(string attention)
        {
            var (queries, keys, values) = (tensors[$"{attention}.q_proj.weight"].Chunk(2 * 16 * 64), tensors[$"{attention}.k_proj.weight"].Chunk(16 * 64), tensors[$"{attention}.v_proj.weight"].Chunk(16 * 64));
            writer.Add(attention.Replace("self_attn", "attention.wqkv.weight", StringComparison.Ordinal), "F32", [8 * 16, 64], [.. queries.Zip(keys, values).SelectMany(group => (float[])[.. group.First, .. group.Second, .. group.Third])]);
        }

        Add("model.embed_tokens.weight", 320, 64);
        Add("model.norm.weight", 64);
        if (!(bool)config["tie_word_embeddings"]!)
        {
            Add("lm_head.weight", 320, 64);
        }

        if ((string)config["model_type"]! is "ernie4_5_moe" or "mimo")
        {
            Add($"model.mtp_{((string)config["model_type"]! == "mimo" ? "layers.0.input_proj" : "linear_proj.0")}.weight", 64, 128); // of what guesses tokens
        }

        for (var layer = 0; layer < 3; layer++)
        {
            AddLayer(config, layer, (name, shape) => Add($"model.layers.{layer}.{name}", shape));
            if ((string)config["model_type"]! == "internlm2")
            {
                AddGroups($"model.layers.{layer}.self_attn");
            }
        }

        File.WriteAllText(folder.File("config.json"), config.ToJsonString());
        File.WriteAllBytes(folder.File("model.safetensors"), writer.ToArray());
        return new PlainGrouped(config, tensors);
    }

    // What the checkpoint calls a tensor, as llama.cpp's gguf-py/gguf/tensor_mapping.py knows it.
    private static string Own(string name, string type)
    {
        (string Ours, string Theirs)[] names = type switch
        {
            "exaone" =>
            [
                ("model.layers.", "transformer.h."), ("model.embed_tokens", "transformer.wte"), ("model.norm", "transformer.ln_f"), ("input_layernorm", "ln_1"), ("post_attention_layernorm", "ln_2"),
                ("self_attn.o_proj", "attn.attention.out_proj"), ("self_attn.", "attn.attention."), ("gate_proj", "c_fc_0"), ("up_proj", "c_fc_1"), ("down_proj", "c_proj"),
            ],
            "internlm2" =>
            [
                ("model.embed_tokens", "model.tok_embeddings"), ("lm_head", "output"), ("input_layernorm", "attention_norm"), ("post_attention_layernorm", "ffn_norm"), ("self_attn.o_proj", "attention.wo"),
                ("mlp.gate_proj", "feed_forward.w1"), ("mlp.up_proj", "feed_forward.w3"), ("mlp.down_proj", "feed_forward.w2"),
            ],
            _ => [],
        };
        return names.Aggregate(name, (all, pair) => all.Replace(pair.Ours, pair.Theirs, StringComparison.Ordinal));
    }

    private static void AddLayer(JsonObject config, int layer, Action<string, int[]> add)
    {
        var (type, dim, keyHeads) = ((string)config["model_type"]!, (int?)config["head_dim"] ?? 16, (int)config["num_key_value_heads"]!);
        var (before, after, beforeMlp, afterMlp) = PlainGrouped.NormsOf(type);
        foreach (var norm in ((string?[])[before, after, beforeMlp, afterMlp]).OfType<string>())
        {
            add($"{norm}.weight", [64]);
        }

        foreach (var (name, heads) in ((string, int)[])[("q", 4), ("k", keyHeads), ("v", keyHeads)])
        {
            add($"self_attn.{name}_proj.weight", [heads * dim, 64]);
            if (type is "glm" or "mimo" || (type == "qwen2_moe" && (bool?)config["qkv_bias"] != false))
            {
                add($"self_attn.{name}_proj.bias", [heads * dim]);
            }

            if (name != "v" && type == "cohere" && (bool)config["use_qk_norm"]!)
            {
                add($"self_attn.{name}_norm.weight", [heads, dim]);
            }

            if (name != "v" && type.StartsWith("hunyuan", StringComparison.Ordinal))
            {
                add($"self_attn.{(name == "q" ? "query" : "key")}_layernorm.weight", [dim]);
            }

            if (name != "v" && type is "olmoe" or "minimax_m2" or "dots1")
            {
                add($"self_attn.{name}_norm.weight", [type == "dots1" ? dim : heads * dim]);
            }
        }

        add("self_attn.o_proj.weight", [64, 4 * dim]);
        var width = config["moe_intermediate_size"] is JsonValue given ? (int)given : 96;
        void Mlp(string name, int size, string gate = "gate_proj", string up = "up_proj", string down = "down_proj")
        {
            if (type != "arcee")
            {
                add($"{name}.{gate}.weight", [size, 64]);
            }

            add($"{name}.{up}.weight", [size, 64]);
            add($"{name}.{down}.weight", [64, size]);
        }

        var isDense = type switch
        {
            "qwen2_moe" => config["mlp_only_layers"]?.AsArray().Any(l => (int)l! == layer) == true,
            "dots1" => layer < (int)config["first_k_dense_replace"]!,
            "ernie4_5_moe" => (layer + 1) % (int)config["moe_layer_interval"]! != 0 || layer < (int)config["moe_layer_start_index"]! || ((int)config["moe_layer_end_index"]! is >= 0 and var last && layer > last),
            _ => type is not ("olmoe" or "hunyuan_v1_moe" or "minimax_m2" or "granitemoe" or "glm"),
        };
        if (isDense)
        {
            Mlp("mlp", 96);
            return;
        }

        switch (type)
        {
            case "glm":
                add("mlp.gate_up_proj.weight", [2 * 96, 64]);
                add("mlp.down_proj.weight", [64, 96]);
                return;
            case "granitemoe":
                add("block_sparse_moe.router.layer.weight", [Experts, 64]);
                add("block_sparse_moe.input_linear.weight", [Experts, 2 * 96, 64]);
                add("block_sparse_moe.output_linear.weight", [Experts, 64, 96]);
                return;
            case "minimax_m2":
                add("block_sparse_moe.gate.weight", [Experts, 64]);
                add("block_sparse_moe.e_score_correction_bias", [Experts]);
                break;
            case "dots1":
                add("mlp.gate.weight", [Experts, 64]);
                add("mlp.gate.e_score_correction_bias", [Experts]);
                Mlp("mlp.shared_experts", width * (int)config["n_shared_experts"]!);
                break;
            case "ernie4_5_moe":
                add("mlp.gate.weight", [Experts, 64]);
                add("mlp.moe_statics.e_score_correction_bias", [1, Experts]);
                if ((int)config["moe_num_shared_experts"]! is > 0 and var shared)
                {
                    Mlp("mlp.shared_experts", width * shared);
                }

                break;
            case "hunyuan_v1_moe":
                add("mlp.gate.wg.weight", [Experts, 64]);
                Mlp("mlp.shared_mlp", 96);
                break;
            case "qwen2_moe":
                add("mlp.gate.weight", [Experts, 64]);
                add("mlp.shared_expert_gate.weight", [1, 64]);
                Mlp("mlp.shared_expert", (int)config["shared_expert_intermediate_size"]!);
                break;
            default:
                add("mlp.gate.weight", [Experts, 64]);
                break;
        }

        for (var expert = 0; expert < Experts; expert++)
        {
            if (type == "minimax_m2")
            {
                Mlp($"block_sparse_moe.experts.{expert}", width, "w1", "w3", "w2");
            }
            else
            {
                Mlp($"mlp.experts.{expert}", width);
            }
        }
    }
}
