using System.Text.Json.Nodes;
using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Dense models of Granite 4, which are published as hybrids without layers that keep a state and without experts.</summary>
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
    [InlineData("layer_types", """["attention", "mamba", "attention", "attention"]""", "'mamba'")]
    [InlineData("layer_types", """["attention", "linear_attention", "attention", "attention"]""", "'linear_attention'")]
    [InlineData("layer_types", null, "without layer_types")]
    [InlineData("num_local_experts", "62", "num_local_experts 62")]
    [InlineData("num_local_experts", null, "num_local_experts 8")]
    [InlineData("position_embedding_type", "\"nope\"", "position_embedding_type nope")]
    [InlineData("position_embedding_type", null, "position_embedding_type null")]
    public void Hybrids_and_mixtures_are_named(string field, string? value, string says)
    {
        var json = JsonNode.Parse(Hybrid(File.ReadAllText(Path.Combine(Fixtures.Model("granite"), "config.json"))))!.AsObject();
        json.Remove(field);
        if (value is not null)
        {
            json[field] = JsonNode.Parse(value);
        }

        Assert.Contains(says, Assert.Throws<UnsupportedModelException>(() => ModelConfigReader.Parse(json.ToJsonString(), "config.json")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_mlp_is_as_wide_as_the_shared_one()
    {
        var json = JsonNode.Parse(Hybrid(File.ReadAllText(Path.Combine(Fixtures.Model("granite"), "config.json"))))!.AsObject();
        Assert.Equal(96, ModelConfigReader.Parse(json.ToJsonString(), "config.json").IntermediateSize);
        json.Remove("shared_intermediate_size");
        Assert.Equal(1024, ModelConfigReader.Parse(json.ToJsonString(), "config.json").IntermediateSize);
    }

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
