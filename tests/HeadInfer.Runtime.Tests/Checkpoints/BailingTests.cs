using System.Text.Json.Nodes;
using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Ling and Ring 2.0, whose own code (modeling_bailing_moe_v2.py) computes what GLM 4.5's does, by other names.</summary>
public abstract class BailingTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : BailingTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : BailingTests(ComputeDevice.Cuda);

    // Ling-mini-2.0's fields.
    private const string Mini = """
        {"architectures": ["BailingMoeV2ForCausalLM"], "model_type": "bailing_moe", "attention_dropout": 0.0, "embedding_dropout": 0.0, "eos_token_id": 156892, "first_k_dense_replace": 1, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 5120,
         "max_position_embeddings": 32768, "moe_intermediate_size": 512, "moe_router_enable_expert_bias": true, "moe_shared_expert_intermediate_size": 512, "n_group": 8, "norm_topk_prob": true, "num_attention_heads": 16, "num_experts": 256, "num_experts_per_tok": 8,
         "num_hidden_layers": 20, "num_key_value_heads": 4, "num_nextn_predict_layers": 0, "num_shared_experts": 1, "pad_token_id": 156892, "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 600000, "routed_scaling_factor": 2.5,
         "router_dtype": "fp32", "score_function": "sigmoid", "tie_word_embeddings": false, "topk_group": 4, "use_bias": false, "use_qk_norm": true, "use_qkv_bias": false, "use_rmsnorm": true, "vocab_size": 157184}
        """;

    [Fact]
    public void A_published_model_is_read()
    {
        var config = ModelConfigReader.Parse(Mini, "config.json");
        Assert.Equal((256, 8, 512, 512, 19), (config.Experts, config.ExpertsPerToken, config.ExpertIntermediateSize, config.SharedExpertSize, config.ExpertLayers.Count));
        Assert.Equal((true, true, 8, 4, 2.5), (config.Routing.Sigmoid, config.Routing.OfChosen, config.Routing.Groups, config.Routing.KeptGroups, config.Routing.Scale));
        Assert.Equal((64, 600_000.0, HeadNorm.Each, false), (config.Rope.RotaryDim, config.Rope.Theta, config.QkNorm, config.QkvBias));
        using var tensors = new ShapeCheckpoint("shape", config, ShapeCheckpoint.PackingOf("BF16"));
        Assert.Equal(16_260_000_000, tensors.Tensors.Values.Sum(t => t.Shape.Aggregate(1L, (product, n) => product * n)), 50_000_000.0); // the 16B of its card
    }

    [Fact]
    public async Task GLMs_tensors_under_its_names_give_GLMs_logits()
    {
        using var folder = new ScratchFolder(Fixtures.Model("glm4-moe"));
        File.WriteAllBytes(folder.File("model.safetensors"), Renamed(folder.File("model.safetensors")));
        var json = JsonNode.Parse(File.ReadAllText(folder.File("config.json")))!.AsObject();
        (json["architectures"], json["model_type"]) = (new JsonArray("BailingMoeV2ForCausalLM"), "bailing_moe");
        foreach (var (theirs, own) in ((string, string)[])[("n_routed_experts", "num_experts"), ("n_shared_experts", "num_shared_experts"), ("attention_bias", "use_qkv_bias")])
        {
            json[own] = json[theirs]!.DeepClone();
            json.Remove(theirs);
        }

        File.WriteAllText(folder.File("config.json"), json.ToJsonString());
        foreach (var layout in (string[])["one-piece", "odd-mixed"])
        {
            var (ok, figure) = await ModelReference.CheckAsync(folder.Path, ModelReference.On(ModelReference.Layouts.Single(l => l.Name == layout).Options, Device));
            Assert.True(ok, figure);
        }
    }

    private static byte[] Renamed(string path)
    {
        (string Theirs, string Own)[] names =
        [
            ("model.embed_tokens.", "model.word_embeddings."), ("self_attn.o_proj.", "attention.dense."), ("self_attn.q_norm.", "attention.query_layernorm."), ("self_attn.k_norm.", "attention.key_layernorm."), ("gate.e_score_correction_bias", "gate.expert_bias"),
        ];
        using var file = SafetensorsFile.Open(path);
        var writer = new SafetensorsWriter();
        foreach (var entry in file.Entries.Values)
        {
            if (entry.Name.EndsWith("q_proj.weight", StringComparison.Ordinal))
            {
                SafetensorsEntry[] parts = [entry, file.Entries[entry.Name.Replace("q_proj", "k_proj", StringComparison.Ordinal)], file.Entries[entry.Name.Replace("q_proj", "v_proj", StringComparison.Ordinal)]];
                writer.Add(entry.Name.Replace("self_attn.q_proj", "attention.query_key_value", StringComparison.Ordinal), "F32", [(int)parts.Sum(p => p.Shape[0]), (int)entry.Shape[1]], [.. parts.SelectMany(p => GgufConversion.ReadBytes(file, p))]);
            }
            else if (!entry.Name.EndsWith("k_proj.weight", StringComparison.Ordinal) && !entry.Name.EndsWith("v_proj.weight", StringComparison.Ordinal))
            {
                writer.Add(names.Aggregate(entry.Name, (name, pair) => name.Replace(pair.Theirs, pair.Own, StringComparison.Ordinal)), "F32", [.. entry.Shape.Select(d => (int)d)], GgufConversion.ReadBytes(file, entry));
            }
        }

        return writer.ToArray();
    }
}
