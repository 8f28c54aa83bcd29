using System.Text.Json.Nodes;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Gemma 4's configurations, in which layers have heads of two sizes and some attend the keys of others.</summary>
public sealed class Gemma4ConfigTests
{
    // As the small ones are published: within one that sees and hears.
    internal const string Small = """
        {"architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "tie_word_embeddings": true, "eos_token_id": [1, 106],
         "vision_config": {"hidden_size": 768}, "audio_config": {"hidden_size": 1024},
         "text_config": {"model_type": "gemma4_text", "vocab_size": 262144, "hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 35,
          "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "global_head_dim": 512, "num_kv_shared_layers": 20, "use_double_wide_mlp": true,
          "hidden_size_per_layer_input": 256, "vocab_size_per_layer_input": 262144, "sliding_window": 512, "sliding_window_pattern": 5, "max_position_embeddings": 131072,
          "final_logit_softcapping": 30.0, "hidden_activation": "gelu_pytorch_tanh", "use_bidirectional_attention": null, "attention_k_eq_v": false, "enable_moe_block": false,
          "rope_parameters": {"full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1000000.0, "rope_type": "proportional"}, "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}}}}
        """;

    // As the large ones: few keys in the layers that attend all, which are their values.
    internal const string Large = """
        {"architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "vocab_size": 262144, "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 60,
         "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 256, "global_head_dim": 512, "num_global_key_value_heads": 4, "attention_k_eq_v": true,
         "hidden_size_per_layer_input": 0, "sliding_window": 1024, "max_position_embeddings": 262144, "use_bidirectional_attention": "vision"}
        """;

    [Fact]
    public void A_small_one_has_keys_in_the_first_layers_alone()
    {
        var config = Read(Small);
        Assert.Equal(Enumerable.Range(0, 15), config.KvLayers);
        Assert.Equal((new HeadShape(8, 1, 256), new HeadShape(8, 1, 512)), (config.HeadsOf(0), config.HeadsOf(4)));
        Assert.Equal([null, null], new[] { 4, 34 }.Select(layer => config.Windows[layer]));
        Assert.Equal((512, 512), (config.Windows[3], config.Windows[33]));
        Assert.Equal((14, 13, 14), (config.CacheOf[19], config.CacheOf[15], config.CacheOf[34])); // the last ones of their kind before
        Assert.Equal((6144, 12_288), (config.IntermediateOf(14), config.IntermediateOf(15)));
        Assert.Equal((256, 262_144, 30.0, 1.0), (config.PerLayerSize, config.PerLayerVocabulary, config.LogitSoftCap, config.AttentionScale));
        Assert.Equal(15 * 2 * 512, config.KvElementsPerToken);
        Assert.Empty(config.ExpertLayers);
    }

    [Fact]
    public void A_large_one_has_few_keys_where_all_is_attended()
    {
        var config = Read(Large);
        Assert.Equal((new HeadShape(32, 16, 256), new HeadShape(32, 4, 512)), (config.HeadsOf(0), config.HeadsOf(5)));
        Assert.Equal(Enumerable.Range(0, 10).Select(i => (6 * i) + 5), config.EqualLayers.Order());
        Assert.Equal((60 * 2 * 4096, 2 * 2048), (config.KvElementsPerToken, config.AttendedElements(5)));
        Assert.Equal(0, config.PerLayerSize);
    }

    [Fact]
    public void Pairs_beyond_a_part_of_a_large_head_stand_still()
    {
        foreach (var text in (string[])[Small, Large]) // the large one leaves its rotary embeddings out
        {
            var config = Read(text);
            var (full, local) = (config.RopeOf(config.Layers - 1), config.RopeOf(0));
            Assert.Equal((1_000_000, 512, 10_000, 256), (full.Theta, full.RotaryDim, local.Theta, local.RotaryDim));
            Assert.Null(local.FrequencyDivisors);
            Assert.Equal(Enumerable.Range(0, 256).Select(i => i < 64 ? 1 : float.PositiveInfinity), full.FrequencyDivisors);
        }
    }

    [Theory]
    [InlineData("""{"num_kv_shared_layers": 59}""", "num_kv_shared_layers")]
    [InlineData("""{"num_global_key_value_heads": 5}""", "num_global_key_value_heads")]
    [InlineData("""{"per_layer_config": {"5": {"hidden_size": 32}}}""", "per_layer_config")]
    [InlineData("""{"per_layer_config": {"60": {"head_dim": 32}}}""", "per_layer_config")]
    [InlineData("""{"per_layer_config": {"5": {"head_dim": 32}, "11": {"head_dim": 64}}}""", "per_layer_config")]
    [InlineData("""{"num_hidden_layers": 12, "num_kv_shared_layers": 6, "attention_k_eq_v": false, "per_layer_config": {"5": {"head_dim": 512, "num_key_value_heads": 4}, "11": {"head_dim": 512}}}""", "num_kv_shared_layers")]
    [InlineData("""{"rope_parameters": {"full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.001}, "sliding_attention": {"rope_type": "default"}}}""", "partial_rotary_factor")]
    [InlineData("""{"use_bidirectional_attention": "all"}""", "use_bidirectional_attention")]
    [InlineData("""{"global_head_dim": 8192}""", "global_head_dim")]
    public void What_cannot_be_followed_is_named(string change, string says)
    {
        var fields = JsonNode.Parse(Large)!.AsObject();
        foreach (var (name, value) in JsonNode.Parse(change)!.AsObject())
        {
            fields[name] = value?.DeepClone();
        }

        var error = Assert.ThrowsAny<HeadInferException>(() => Read(fields.ToJsonString()));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_plan_counts_copies_of_the_heads_that_have_some_and_what_wide_ones_take()
    {
        var config = Read(Large);
        var weights = WeightNeeds.Of(ByteSize.FromGiB(60));
        MemoryPlan Plan(ModelConfig of, Func<HeadKey, HeadPlacement>? placement = null) => MemoryPlanner.Plan(
            of, weights, TorchSharp.torch.ScalarType.BFloat16, new HeadInferOptions { Placement = placement, SegmentTokens = 8192 }, new MemoryBudget(ByteSize.FromGiB(200), ByteSize.FromGiB(140)));
        var plan = Plan(config, head => config.Windows[head.Layer] is null ? HeadPlacement.Resident : HeadPlacement.Streamed);
        Assert.Equal(10 * 4 * 2 * 512 * 2, plan.ResidentPerToken.Bytes); // 10 layers of 4 heads in 16 bits
        ByteSize Activations(int dim) => Plan(config with { LayerHeads = [.. config.LayerHeads.Select(h => h.Dim == 512 ? h with { Dim = dim } : h)] }).Gpu!.Activations;
        var (queriesAndOutputs, joined) = (2 * 32 * 256 * 2, 8 * 256 * (4 + 2 + 2)); // of a token: 256 dimensions more of all heads, and of those of one KV head in float32 and of two parts
        Assert.InRange((Activations(512) - Activations(256)).Bytes, 8192L * (queriesAndOutputs + joined), 8192L * (queriesAndOutputs + joined) * 5 / 4);
        Assert.True(Activations(520) - Activations(512) > new ByteSize(ExplicitAttention.MaxScores * 12), "no fused kernel takes these: scores are written out");
    }

    private static ModelConfig Read(string text) => ModelConfigReader.Parse(text, "config.json");
}
