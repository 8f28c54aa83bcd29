using System.Text.Json.Nodes;
using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Models of Granite 4, of which the dense ones too are published as hybrids: without layers that keep a state and without experts.</summary>
public abstract class GraniteHybridTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : GraniteHybridTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : GraniteHybridTests(ComputeDevice.Cuda);

    // transformers' GraniteMoeHybridDecoderLayer without experts is Granite's layer; of input_linear the first half is what the activation is of.
    [Fact]
    public async Task Granites_tensors_under_a_hybrids_names_give_granites_logits()
    {
        using var folder = new ScratchFolder(Fixtures.Model("granite"));
        File.WriteAllBytes(folder.File("model.safetensors"), Renamed(folder.File("model.safetensors")));
        File.WriteAllText(folder.File("config.json"), Hybrid(File.ReadAllText(folder.File("config.json"))));
        foreach (var layout in (string[])["one-piece", "odd-mixed"])
        {
            var (ok, figure) = await ModelReference.CheckAsync(folder.Path, ModelReference.On(ModelReference.Layouts.Single(l => l.Name == layout).Options, Device));
            Assert.True(ok, figure);
        }
    }

    [Theory]
    [InlineData("layer_types", """["attention", "rwkv", "attention", "attention"]""", "'rwkv'")]
    [InlineData("layer_types", """["mamba", "mamba", "mamba", "mamba"]""", "no layer attends")]
    [InlineData("layer_types", """["mamba", "attention", "attention"]""", "layer_types names 3 layers")]
    [InlineData("layer_types", null, "without layer_types")]
    [InlineData("num_local_experts", "-1", "'num_local_experts' is -1")]
    [InlineData("num_local_experts", "62", "'num_experts_per_tok' is 0")]
    [InlineData("position_embedding_type", "\"alibi\"", "position_embedding_type 'alibi'")]
    [InlineData("mamba_n_heads", "0", "'mamba_n_heads' is 0")]
    [InlineData("mamba_n_heads", "7", "'mamba_d_head' is 16")]
    [InlineData("mamba_n_heads", "4097", "'mamba_n_heads' is 4097")]
    [InlineData("hidden_size", "1073741824", "'mamba_d_head' is 16")]
    [InlineData("mamba_n_groups", "3", "'mamba_n_heads' is 8; expected a multiple of mamba_n_groups (3)")]
    [InlineData("mamba_d_head", "\"wide\"", "'mamba_d_head' is \"wide\"")]
    [InlineData("mamba_d_head", "24", "'mamba_d_head' is 24")]
    [InlineData("mamba_d_state", "512", "'mamba_d_state' is 512")]
    [InlineData("mamba_d_conv", "65", "'mamba_d_conv' is 65")]
    [InlineData("mamba_conv_bias", "1", "'mamba_conv_bias' is 1")]
    [InlineData("time_step_limit", "[0.5, 0.1]", "'time_step_limit' is [0.5,0.1]")]
    [InlineData("time_step_limit", "[\"NaN\", 0.1]", "'time_step_limit' is")]
    [InlineData("time_step_limit", "0.1", "'time_step_limit' is 0.1")]
    [InlineData("hidden_act", "\"gelu\"", "'gelu' is not supported in layers of state spaces")]
    public void What_no_model_has_is_named(string field, string? value, string says)
    {
        var json = JsonNode.Parse(Spaces())!.AsObject();
        json.Remove(field);
        if (value is not null)
        {
            json[field] = JsonNode.Parse(value);
        }

        Assert.Contains(says, Assert.ThrowsAny<HeadInferException>(() => ModelConfigReader.Parse(json.ToJsonString(), "config.json")).Message, StringComparison.Ordinal);
    }

    // Those of the class.
    [Fact]
    public void What_is_left_out_of_state_spaces_is_as_in_the_class()
    {
        var json = JsonNode.Parse(Spaces())!.AsObject();
        foreach (var name in json.Select(f => f.Key).Where(f => f.StartsWith("mamba_", StringComparison.Ordinal)).ToList())
        {
            json.Remove(name);
        }

        json["hidden_size"] = 4096;
        Assert.Equal(
            new RecurrentShape(1, 128, 256, 64, 4) { Space = new SpaceShape(0, float.PositiveInfinity, 1, true, false) },
            ModelConfigReader.Parse(json.ToJsonString(), "config.json").Recurrent);
    }

    [Theory]
    [InlineData("[0.001, \"Infinity\"]", 0.001f, float.PositiveInfinity)] // as a file's Infinity is read
    [InlineData("[0.0, {\"__float__\": \"Infinity\"}]", 0f, float.PositiveInfinity)]
    [InlineData("[0.03, 0.6]", 0.03f, 0.6f)]
    public void Limits_of_time_steps_may_be_infinite(string limits, float least, float most)
    {
        var json = JsonNode.Parse(Spaces())!.AsObject();
        json["time_step_limit"] = JsonNode.Parse(limits);
        var space = ModelConfigReader.Parse(json.ToJsonString(), "config.json").Recurrent!.Space!;
        Assert.Equal((least, most), (space.LeastStep, space.MostStep));
    }

    // granite-4.0-h-tiny's fields.
    [Fact]
    public void A_published_mixture_is_read()
    {
        var types = string.Join(", ", Enumerable.Range(0, 40).Select(layer => layer is 5 or 15 or 25 or 35 ? "\"attention\"" : "\"mamba\""));
        var config = ModelConfigReader.Parse($$"""
            {"architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid", "attention_bias": false, "attention_multiplier": 0.0078125, "embedding_multiplier": 12, "hidden_act": "silu", "hidden_size": 1536,
             "intermediate_size": 512, "layer_types": [{{types}}], "logits_scaling": 6, "mamba_chunk_size": 256, "mamba_conv_bias": true, "mamba_d_conv": 4, "mamba_d_head": 64, "mamba_d_state": 128, "mamba_expand": 2, "mamba_n_groups": 1,
             "mamba_n_heads": 48, "mamba_proj_bias": false, "max_position_embeddings": 131072, "num_attention_heads": 12, "num_experts_per_tok": 6, "num_hidden_layers": 40, "num_key_value_heads": 4, "num_local_experts": 64,
             "position_embedding_type": "nope", "residual_multiplier": 0.22, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000, "shared_intermediate_size": 1024, "tie_word_embeddings": true, "vocab_size": 100352}
            """, "config.json");
        Assert.Equal([5, 15, 25, 35], config.AttendingLayers);
        Assert.Equal((64, 6, 512, 1024, 40), (config.Experts, config.ExpertsPerToken, config.ExpertIntermediateSize, config.SharedExpertSize, config.ExpertLayers.Count));
        Assert.Equal(new RecurrentShape(1, 48, 128, 64, 4) { Space = new SpaceShape(0, float.PositiveInfinity, 1, true, false) }, config.Recurrent);
        Assert.True(config.RopeOf(5).IsStill);
        using var tensors = new ShapeCheckpoint("granite", config, ShapeCheckpoint.PackingOf("BF16"));
        Assert.Equal(6_939_037_248, tensors.Tensors.Values.Sum(t => t.Shape.Aggregate(1L, (product, n) => product * n))); // the 7B of its name
    }

    [Fact]
    public void The_mlp_is_as_wide_as_the_shared_one()
    {
        var json = JsonNode.Parse(Hybrid(File.ReadAllText(Path.Combine(Fixtures.Model("granite"), "config.json"))))!.AsObject();
        Assert.Equal(96, ModelConfigReader.Parse(json.ToJsonString(), "config.json").IntermediateSize);
        json.Remove("shared_intermediate_size");
        Assert.Equal(1024, ModelConfigReader.Parse(json.ToJsonString(), "config.json").IntermediateSize);
    }

    private static string Spaces() => Hybrid(File.ReadAllText(Path.Combine(Fixtures.Model("granite"), "config.json"))).Replace("""["attention","attention","attention","attention"]""", """["mamba","attention","mamba","mamba"]""", StringComparison.Ordinal)
        .Replace("\"mamba_d_head\":64", "\"mamba_d_head\":16", StringComparison.Ordinal).Replace("\"mamba_n_heads\":128", "\"mamba_n_heads\":8", StringComparison.Ordinal);

    // With the fields of granite-4.0-micro.
    private static string Hybrid(string config)
    {
        var json = JsonNode.Parse(config)!.AsObject();
        foreach (var (name, value) in JsonNode.Parse("""
            {"architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid", "intermediate_size": 7, "shared_intermediate_size": 96,
             "layer_types": ["attention", "attention", "attention", "attention"], "num_local_experts": 0, "num_experts_per_tok": 0, "position_embedding_type": "rope",
             "normalization_function": "rmsnorm", "mamba_chunk_size": 256, "mamba_conv_bias": true, "mamba_d_conv": 4, "mamba_d_head": 64, "mamba_d_state": 256,
             "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 128, "mamba_proj_bias": false, "output_router_logits": false, "router_aux_loss_coef": 0.01}
            """)!.AsObject())
        {
            json[name] = value?.DeepClone();
        }

        return json.ToJsonString();
    }

    private static byte[] Renamed(string path)
    {
        using var file = SafetensorsFile.Open(path);
        var writer = new SafetensorsWriter();
        void Add(string name, IReadOnlyList<SafetensorsEntry> parts) =>
            writer.Add(name, "F32", [(int)parts.Sum(p => p.Shape[0]), .. parts[0].Shape[1..].Select(d => (int)d)], parts.SelectMany(p => GgufConversion.ReadBytes(file, p)).ToArray());

        foreach (var entry in file.Entries.Values)
        {
            if (entry.Name.EndsWith("mlp.gate_proj.weight", StringComparison.Ordinal))
            {
                Add(entry.Name.Replace("mlp.gate_proj", "shared_mlp.input_linear", StringComparison.Ordinal), [entry, file.Entries[entry.Name.Replace("gate_proj", "up_proj", StringComparison.Ordinal)]]);
            }
            else if (!entry.Name.EndsWith("mlp.up_proj.weight", StringComparison.Ordinal))
            {
                Add(entry.Name.Replace("mlp.down_proj", "shared_mlp.output_linear", StringComparison.Ordinal), [entry]);
            }
        }

        return writer.ToArray();
    }
}
