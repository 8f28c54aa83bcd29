using System.Text.Json.Nodes;
using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Models of DeepSeek V2 with random weights, beside plain loops that give V3's reference.</summary>
public abstract class DeepSeekV2Tests(ComputeDevice device) : NativeTest(device)
{
    private const string Yarn = """{"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707}""";

    private static readonly int[] Tokens = [.. Enumerable.Range(0, 40).Select(i => ((i * 53) + 7) % 320)];

    public sealed class OnCpu() : DeepSeekV2Tests(ComputeDevice.Cpu);

    public sealed class OnCuda() : DeepSeekV2Tests(ComputeDevice.Cuda);

    /// <summary>Fields of V2-Lite; of V2; and others that its code reads.</summary>
    public static TheoryData<string> Variants => new()
    {
        $$"""{"q_lora_rank": null, "topk_method": "greedy", "n_group": 1, "topk_group": 1, "rope_parameters": {{Yarn}}}""",
        $$"""{"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2, "routed_scaling_factor": 16.0, "rope_parameters": {{Yarn}}}""",
        """{"topk_method": "greedy", "n_group": 4, "topk_group": 1, "n_shared_experts": 1, "routed_scaling_factor": 2.0}""",
        """{"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 3, "norm_topk_prob": true, "routed_scaling_factor": 16.0}""",
    };

    /// <summary>Those that a GGUF file tells apart: it does not say what the method is, and has groups only where they are compared.</summary>
    public static TheoryData<string> Converted => [.. Variants.Select(v => v.Data).Where(fields => !fields.Contains("\"greedy\", \"n_group\": 4", StringComparison.Ordinal))];

    [Fact]
    public void Plain_loops_give_the_reference_of_V3() =>
        Assert.True(PlainComparison.FromReference("deepseek-v3", (config, tensors, tokens) => new PlainDeepSeek(config, tensors).Logits(tokens)) < ModelReference.Tolerance);

    [Theory]
    [MemberData(nameof(Variants))]
    public async Task Logits_and_tokens_are_those_of_plain_loops(string fields)
    {
        using var folder = new ScratchFolder();
        var plain = Write(folder, fields);
        var expected = plain.Logits(Tokens);
        Assert.Equal(fields.Contains("limited", StringComparison.Ordinal), plain.Telling > 0);
        foreach (var layout in (string[])["one-piece", "odd-mixed", "token-by-token"])
        {
            await Compare(folder.Path, ModelReference.Layouts.Single(l => l.Name == layout).Options, plain, expected);
        }
    }

    [Theory]
    [MemberData(nameof(Converted))]
    public async Task A_converted_folder_is_the_folders_model(string fields)
    {
        using var folder = new ScratchFolder();
        var plain = Write(folder, fields);
        var expected = plain.Logits(Tokens);
        GgufConversion.Of(folder.Path).Write(folder.File("now.gguf"));
        GgufConversion.Of(folder.Path, apart: false).Without("deepseek2.expert_gating_func").Write(folder.File("first.gguf"));
        foreach (var file in (string[])["now.gguf", "first.gguf"])
        {
            await Compare(folder.File(file), new HeadInferOptions(), plain, expected);
        }
    }

    [Theory]
    [InlineData("\"topk_method\": \"noaux_tc\"", "topk_method 'noaux_tc'")]
    [InlineData("\"scoring_func\": \"sigmoid\"", "scoring_func 'sigmoid'")]
    public void Other_routers_are_named(string field, string says)
    {
        using var folder = new ScratchFolder();
        Write(folder, $"{{{field}}}");
        Assert.Contains(says, Assert.Throws<UnsupportedModelException>(() => ModelConfig.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    private async Task Compare(string path, HeadInferOptions options, PlainDeepSeek plain, double[][] expected)
    {
        await using var model = await Load(path, options);
        await PlainComparison.Check(model, Tokens, expected, plain.Logits);
    }

    private static PlainDeepSeek Write(ScratchFolder folder, string fields)
    {
        var config = JsonNode.Parse("""
            {"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "attention_bias": false, "aux_loss_alpha": 0.001, "bos_token_id": 1, "eos_token_id": 2, "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 64,
             "intermediate_size": 96, "kv_lora_rank": 16, "max_position_embeddings": 256, "moe_intermediate_size": 48, "moe_layer_freq": 1, "n_routed_experts": 8, "n_shared_experts": 2, "norm_topk_prob": false, "num_attention_heads": 4,
             "num_experts_per_tok": 3, "num_hidden_layers": 3, "num_key_value_heads": 4, "pretraining_tp": 1, "q_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "rms_norm_eps": 1e-06, "routed_scaling_factor": 1.0,
             "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "scoring_func": "softmax", "seq_aux": true, "tie_word_embeddings": false, "v_head_dim": 16, "vocab_size": 320}
            """)!.AsObject();
        foreach (var (name, value) in JsonNode.Parse(fields)!.AsObject())
        {
            config[name] = value?.DeepClone();
        }

        var (random, writer, tensors) = (new Random(5), new SafetensorsWriter(), new Dictionary<string, float[]>(StringComparer.Ordinal));
        void Add(string name, params int[] shape)
        {
            float Number() => (float)((random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) * 2); // of variance 1
            tensors[name] = [.. Enumerable.Range(0, shape.Aggregate((a, b) => a * b)).Select(_ => shape.Length == 1 ? 1 + (0.2f * Number()) : Number() * 1.5f / MathF.Sqrt(shape[1]))];
            writer.Add(name, "F32", shape, tensors[name]);
        }

        Add("model.embed_tokens.weight", 320, 64);
        Add("lm_head.weight", 320, 64);
        Add("model.norm.weight", 64);
        for (var layer = 0; layer < 3; layer++)
        {
            void Part(string name, params int[] shape) => Add($"model.layers.{layer}.{name}.weight", shape);
            void Mlp(string name, int width)
            {
                Part($"{name}.gate_proj", width, 64);
                Part($"{name}.up_proj", width, 64);
                Part($"{name}.down_proj", 64, width);
            }

            Part("input_layernorm", 64);
            Part("post_attention_layernorm", 64);
            Part("self_attn.kv_a_proj_with_mqa", 24, 64);
            Part("self_attn.kv_a_layernorm", 16);
            Part("self_attn.kv_b_proj", 4 * 32, 16);
            Part("self_attn.o_proj", 64, 4 * 16);
            if (config["q_lora_rank"] is null)
            {
                Part("self_attn.q_proj", 4 * 24, 64);
            }
            else
            {
                Part("self_attn.q_a_proj", 24, 64);
                Part("self_attn.q_a_layernorm", 24);
                Part("self_attn.q_b_proj", 4 * 24, 24);
            }

            if (layer == 0)
            {
                Mlp("mlp", 96);
                continue;
            }

            Part("mlp.gate", 8, 64);
            Mlp("mlp.shared_experts", 48 * (int)config["n_shared_experts"]!);
            for (var expert = 0; expert < 8; expert++)
            {
                Mlp($"mlp.experts.{expert}", 48);
            }
        }

        File.WriteAllText(folder.File("config.json"), config.ToJsonString());
        File.WriteAllBytes(folder.File("model.safetensors"), writer.ToArray());
        return new PlainDeepSeek(config, tensors);
    }
}
