using System.Text.Json.Nodes;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Nemotron-H's configurations, whose layers are of one part each.</summary>
public sealed class NemotronHTests
{
    // NVIDIA-Nemotron-Nano-9B-v2's fields.
    private const string Nano2 = """
        {"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "attention_bias": false, "attention_dropout": 0.0, "chunk_size": 128, "conv_kernel": 4, "expand": 2, "head_dim": 128, "hidden_dropout": 0.0, "hidden_size": 4480,
         "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-", "intermediate_size": 15680, "layer_norm_epsilon": 1e-05, "mamba_head_dim": 80, "mamba_hidden_act": "silu", "mamba_num_heads": 128, "mamba_proj_bias": false,
         "max_position_embeddings": 131072, "mlp_bias": false, "mlp_hidden_act": "relu2", "n_groups": 8, "num_attention_heads": 40, "num_hidden_layers": 56, "num_key_value_heads": 8, "num_logits_to_keep": 1, "rms_norm_eps": 1e-05, "ssm_state_size": 128,
         "tie_word_embeddings": false, "time_step_floor": 0.0001, "time_step_limit": [0.0, "Infinity"], "time_step_max": 0.1, "time_step_min": 0.001, "use_bias": false, "use_conv_bias": true, "use_mamba_kernels": true, "vocab_size": 131072}
        """;

    // NVIDIA-Nemotron-3-Nano-30B-A3B's fields.
    private const string Nano3 = """
        {"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "attention_bias": false, "chunk_size": 128, "conv_kernel": 4, "expand": 2, "head_dim": 128, "hidden_size": 2688, "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
         "intermediate_size": 1856, "layer_norm_epsilon": 1e-05, "mamba_head_dim": 64, "mamba_hidden_act": "silu", "mamba_num_heads": 64, "max_position_embeddings": 262144, "mlp_hidden_act": "relu2", "moe_intermediate_size": 1856, "moe_shared_expert_intermediate_size": 3712,
         "n_group": 1, "n_groups": 8, "n_routed_experts": 128, "n_shared_experts": 1, "norm_eps": 1e-05, "norm_topk_prob": true, "num_attention_heads": 32, "num_experts_per_tok": 6, "num_hidden_layers": 52, "num_key_value_heads": 2, "partial_rotary_factor": 1.0,
         "rope_theta": 10000, "routed_scaling_factor": 2.5, "ssm_state_size": 128, "time_step_limit": [0.0, "Infinity"], "topk_group": 1, "use_bias": false, "use_conv_bias": true, "vocab_size": 131072}
        """;

    [Fact]
    public void A_published_dense_model_is_read()
    {
        var config = ModelConfigReader.Parse(Nano2, "config.json");
        Assert.Equal([14, 21, 30, 39], config.AttendingLayers);
        Assert.Equal((27, 25, 31), (config.StateLayers.Count, config.LoneMlps.Count, config.BareLayers.Count));
        Assert.Equal(new RecurrentShape(8, 128, 128, 80, 4) { Space = new SpaceShape(0, float.PositiveInfinity, 8, true, false) }, config.Recurrent);
        Assert.All(config.AttendingLayers, layer => Assert.True(config.RopeOf(layer).IsStill));
        Assert.Equal((0, "relu2"), (config.Experts, config.Activation));
        Assert.Equal(8_888_227_328, Parameters(config)); // the 9B of its name
    }

    [Fact]
    public void A_published_mixture_is_read()
    {
        var config = ModelConfigReader.Parse(Nano3, "config.json");
        Assert.Equal((6, 23, 23, 23), (config.AttendingLayers.Count, config.StateLayers.Count, config.LoneMlps.Count, config.ExpertLayers.Count));
        Assert.Equal((128, 6, 1856, 3712), (config.Experts, config.ExpertsPerToken, config.ExpertIntermediateSize, config.SharedExpertSize));
        Assert.Equal((true, true, 2.5), (config.Routing.Sigmoid, config.Routing.OfChosen, config.Routing.Scale));
        Assert.Equal(31_577_937_344 + (23 * 128), Parameters(config)); // the 30B of its name, and what its routers add
    }

    /// <summary>Names of older and newer versions of the class; <c>mamba</c> and <c>attention</c> came before <c>linear_attention</c> and <c>full_attention</c>.</summary>
    [Theory]
    [InlineData("mamba", "attention")]
    [InlineData("linear_attention", "full_attention")]
    public void Lists_of_layers_say_what_letters_say(string state, string attends)
    {
        var json = JsonNode.Parse(Nano3)!.AsObject();
        var letters = json["hybrid_override_pattern"]!.GetValue<string>();
        json.Remove("hybrid_override_pattern");
        json.Remove("num_hidden_layers");
        json["layers_block_type"] = new JsonArray([.. letters.Select(c => JsonValue.Create(c switch { 'M' => state, '*' => attends, 'E' => "moe", _ => "mlp" }))]);
        var (expected, config) = (ModelConfigReader.Parse(Nano3, "config.json"), ModelConfigReader.Parse(json.ToJsonString(), "config.json"));
        Assert.Equal(expected.AttendingLayers, config.AttendingLayers);
        Assert.Equal(expected.StateLayers.Order(), config.StateLayers.Order());
        Assert.Equal(expected.ExpertLayers.Order(), config.ExpertLayers.Order());
    }

    // Those of the class.
    [Fact]
    public void What_is_left_out_is_as_in_the_class()
    {
        var config = ModelConfigReader.Parse("""
            {"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hidden_size": 512, "intermediate_size": 128, "vocab_size": 320, "num_attention_heads": 32, "max_position_embeddings": 4096, "hybrid_override_pattern": "ME*-"}
            """, "config.json");
        Assert.Equal(new RecurrentShape(8, 128, 128, 64, 4) { Space = new SpaceShape(0, float.PositiveInfinity, 8, true, false) }, config.Recurrent);
        Assert.Equal((4, 8, 128, 1e-5, false), (config.Layers, config.KvHeads, config.HeadDim, config.NormEpsilon, config.TiedEmbeddings));
        Assert.Equal((8, 2, 7688, 7688, true), (config.Experts, config.ExpertsPerToken, config.ExpertIntermediateSize, config.SharedExpertSize, config.NormalizeExpertWeights));
        Assert.Equal([1], config.ExpertLayers);
        Assert.Equal([1, 3], config.LoneMlps.Order());
    }

    [Theory]
    [InlineData("hybrid_override_pattern", "\"MEX*\"", "'hybrid_override_pattern' is \"MEX*\"; expected of the letters M, *, - and E")]
    [InlineData("hybrid_override_pattern", "\"MEMEM-EMEMEM-EMEMEM-EMEMEM-EMEMEM-EMEMEMEM-EMEMEMEME\"", "no layer attends")]
    [InlineData("hybrid_override_pattern", null, "without layer_types")]
    [InlineData("num_hidden_layers", "51", "num_hidden_layers is 51")]
    [InlineData("moe_latent_size", "1024", "moe_latent_size 1024")]
    [InlineData("n_shared_experts", "2", "n_shared_experts 2")]
    [InlineData("mlp_hidden_act", "\"silu\"", "the activation 'silu'")]
    [InlineData("mamba_hidden_act", "\"gelu\"", "the activation 'gelu'")]
    [InlineData("mamba_num_heads", "20", "a multiple of mamba_n_groups (8)")]
    [InlineData("use_bias", "true", "use_bias is true")]
    public void What_no_model_has_is_named(string field, string? value, string says)
    {
        var json = JsonNode.Parse(Nano3)!.AsObject();
        json.Remove(field);
        if (value is not null)
        {
            json[field] = JsonNode.Parse(value);
        }

        Assert.Contains(says, Assert.ThrowsAny<HeadInferException>(() => ModelConfigReader.Parse(json.ToJsonString(), "config.json")).Message, StringComparison.Ordinal);
    }

    private static long Parameters(ModelConfig config)
    {
        using var tensors = new ShapeCheckpoint("shape", config, ShapeCheckpoint.PackingOf("BF16"));
        return tensors.Tensors.Values.Sum(t => t.Shape.Aggregate(1L, (product, n) => product * n));
    }
}
