using System.Text.Json.Nodes;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Configurations of Falcon-H1, whose layers attend and keep a state side by side, and of Bamba.</summary>
public sealed class FalconH1Tests
{
    // Falcon-H1-0.5B-Instruct's fields; its factors are rounded.
    private const string Small = """
        {"architectures": ["FalconH1ForCausalLM"], "model_type": "falcon_h1", "attention_bias": false, "attention_in_multiplier": 1.0, "attention_out_multiplier": 0.9375, "attn_layer_indices": null, "embedding_multiplier": 5.65625, "head_dim": 64, "hidden_act": "silu",
         "hidden_size": 1024, "intermediate_size": 2048, "key_multiplier": 0.390625, "lm_head_multiplier": 0.0390625, "mamba_chunk_size": 128, "mamba_conv_bias": true, "mamba_d_conv": 4, "mamba_d_head": 64, "mamba_d_ssm": 1536, "mamba_d_state": 128, "mamba_expand": 2,
         "mamba_n_groups": 1, "mamba_n_heads": 24, "mamba_norm_before_gate": false, "mamba_proj_bias": false, "mamba_rms_norm": false, "mamba_use_mlp": true, "max_position_embeddings": 16384, "mlp_bias": false, "mlp_expansion_factor": 8, "mlp_multipliers": [0.875, 0.25],
         "num_attention_heads": 8, "num_hidden_layers": 36, "num_key_value_heads": 2, "projectors_bias": false, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 100000000000.0, "ssm_in_multiplier": 1.25, "ssm_multipliers": [0.3535, 0.25, 0.3535, 0.5, 0.3535],
         "ssm_out_multiplier": 0.25, "tie_word_embeddings": false, "vocab_size": 32784}
        """;

    [Fact]
    public void A_published_model_is_read()
    {
        var config = ModelConfigReader.Parse(Small, "config.json");
        Assert.Equal((36, 36, 36), (config.AttendingLayers.Count, config.KvLayers.Count, config.StateLayers.Count));
        var space = config.Recurrent!.Space!;
        Assert.Equal(new RecurrentShape(1, 24, 128, 64, 4) { Space = new SpaceShape(0, float.PositiveInfinity, 0, true, false) { Factors = space.Factors } }, config.Recurrent);
        Assert.Equal((0.3125, 0.625, 0.25), (space.Factors!.Values, space.Factors.Queries, space.Factors.Outputs));
        Assert.Equal((5.65625, 0.0390625, 0.390625 / 8, 0.9375), (config.EmbeddingScale, config.LogitScale, config.AttentionScale, config.AttendedScale));
        Assert.Equal((0.875, 0.25), config.MlpScales);
        using var tensors = new ShapeCheckpoint("shape", config, ShapeCheckpoint.PackingOf("BF16"));
        Assert.Equal(521_411_104, tensors.Tensors.Values.Sum(t => t.Shape.Aggregate(1L, (product, n) => product * n))); // the 0.5B of its name
    }

    // Those of the class.
    [Fact]
    public void What_is_left_out_is_as_in_the_class()
    {
        var config = ModelConfigReader.Parse("""
            {"architectures": ["FalconH1ForCausalLM"], "model_type": "falcon_h1", "hidden_size": 2048, "intermediate_size": 128, "vocab_size": 320, "num_attention_heads": 32, "num_hidden_layers": 2, "max_position_embeddings": 4096}
            """, "config.json");
        Assert.Equal(new RecurrentShape(1, 128, 256, 8, 4) { Space = new SpaceShape(0, float.PositiveInfinity, 0, true, false) }, config.Recurrent);
        Assert.Equal((8, 64, 1e-5, false, 1.0, 1.0, 1.0), (config.KvHeads, config.HeadDim, config.NormEpsilon, config.TiedEmbeddings, config.EmbeddingScale, config.LogitScale, config.AttendedScale));
        Assert.Null(config.MlpScales);
    }

    [Theory]
    [InlineData("mamba_rms_norm", "true", null)]
    [InlineData("mamba_norm_before_gate", "true", null)] // of no norm
    [InlineData("mamba_d_ssm", "1537", "'mamba_d_head' is 64")]
    [InlineData("mamba_proj_bias", "true", "mamba_proj_bias is true")]
    [InlineData("projectors_bias", "true", "projectors_bias is true")]
    [InlineData("attention_bias", "true", "attention_bias is true")]
    [InlineData("mlp_bias", "true", "mlp_bias is true")]
    [InlineData("mlp_multipliers", "[1.0]", "'mlp_multipliers' is [1.0]; expected 2 positive numbers")]
    [InlineData("ssm_multipliers", "[1.0, 1.0, 1.0, 1.0, \"x\"]", "expected 5 positive numbers")]
    [InlineData("key_multiplier", "0", "'key_multiplier' is 0")]
    [InlineData("ssm_out_multiplier", "-1.0", "'ssm_out_multiplier' is -1.0")]
    public void What_no_model_has_is_named(string field, string value, string? says)
    {
        var json = JsonNode.Parse(Small)!.AsObject();
        json[field] = JsonNode.Parse(value);
        if (says is null)
        {
            Assert.NotNull(ModelConfigReader.Parse(json.ToJsonString(), "config.json").Recurrent);
            return;
        }

        Assert.Contains(says, Assert.ThrowsAny<HeadInferException>(() => ModelConfigReader.Parse(json.ToJsonString(), "config.json")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_norm_before_the_gate_is_named()
    {
        var json = JsonNode.Parse(Small)!.AsObject();
        (json["mamba_rms_norm"], json["mamba_norm_before_gate"]) = (true, true);
        Assert.Contains("mamba_norm_before_gate is true", Assert.Throws<UnsupportedModelException>(() => ModelConfigReader.Parse(json.ToJsonString(), "config.json")).Message, StringComparison.Ordinal);
    }

    // Bamba-9B-v2's fields.
    [Fact]
    public void A_published_Bamba_is_read()
    {
        var config = ModelConfigReader.Parse("""
            {"architectures": ["BambaForCausalLM"], "model_type": "bamba", "attention_bias": false, "attn_layer_indices": [9, 18, 27], "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336, "mamba_chunk_size": 256, "mamba_conv_bias": true, "mamba_d_conv": 4,
             "mamba_d_head": 64, "mamba_d_state": 128, "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 128, "mamba_proj_bias": false, "max_position_embeddings": 262144, "mlp_bias": false, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
             "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0, "tie_word_embeddings": false, "vocab_size": 128256}
            """, "config.json");
        Assert.Equal([9, 18, 27], config.AttendingLayers);
        Assert.Equal(64, config.Rope.RotaryDim);
        Assert.Equal(new RecurrentShape(1, 128, 128, 64, 4) { Space = new SpaceShape(0, float.PositiveInfinity, 1, true, false) }, config.Recurrent);
        using var tensors = new ShapeCheckpoint("shape", config, ShapeCheckpoint.PackingOf("BF16"));
        Assert.Equal(9_780_000_000, tensors.Tensors.Values.Sum(t => t.Shape.Aggregate(1L, (product, n) => product * n)), 10_000_000.0); // the 9B of its name
    }
}
