using System.Text.Json.Nodes;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Configurations of Llama 4.</summary>
public sealed class Llama4ConfigTests
{
    // The text's part of meta-llama/Llama-4-Scout-17B-16E-Instruct.
    private const string Scout = """
        {"architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4", "tie_word_embeddings": false, "vision_config": {"model_type": "llama4_vision_model"},
         "text_config": {"attention_bias": false, "attention_chunk_size": 8192, "attn_scale": 0.1, "attn_temperature_tuning": 4, "eos_token_id": [200001, 200007, 200008], "floor_scale": 8192,
          "head_dim": 128, "hidden_act": "silu", "hidden_size": 5120, "interleave_moe_layer_step": 1, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
          "max_position_embeddings": 10485760, "model_type": "llama4_text", "no_rope_layers": [], "num_attention_heads": 40, "num_experts_per_tok": 1, "num_hidden_layers": 48,
          "num_key_value_heads": 8, "num_local_experts": 16, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "use_qk_norm": true, "vocab_size": 202048,
          "rope_scaling": {"factor": 16.0, "high_freq_factor": 1.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}}}
        """;

    [Fact]
    public void Published_fields_mean_what_they_mean_there()
    {
        var scout = Read(Scout);
        Assert.Equal(("Llama4ForCausalLM", 16, 1, 8192, 8192, 16_384), (scout.Architecture, scout.Experts, scout.ExpertsPerToken, scout.ExpertIntermediateSize, scout.SharedExpertSize, scout.IntermediateSize));
        Assert.Equal((48, HeadNorm.Each, (0.1, 8192)), (scout.ExpertLayers.Count, scout.QkNorm, scout.QueryGrowth));
        Assert.Equal([8192, 8192, 8192, null, 8192], scout.Windows.Take(5));
        Assert.Equal([false, false, false, true, false], Enumerable.Range(0, 5).Select(layer => scout.RopeOf(layer).IsStill));
        Assert.Equal(16_384, scout.ViewOf(0).FirstKey(20_000));
        Assert.Equal(0, scout.ViewOf(3).FirstKey(20_000));
        Assert.All(scout.Within(8192).Windows, Assert.Null); // such a context has one chunk
        Assert.Equal(8192, scout.Within(8193).Windows[0]);
        var maverick = Read(Scout, ("interleave_moe_layer_step", "2"), ("num_local_experts", "128"), ("use_qk_norm", "false"), ("attn_temperature_tuning", "0"));
        Assert.Equal([1, 3, 5], maverick.ExpertLayers.Order().Take(3));
        Assert.Equal((24, HeadNorm.None, null), (maverick.ExpertLayers.Count, maverick.QkNorm, maverick.QueryGrowth));
        Assert.Equal([0, 5], Read(Scout, ("moe_layers", "[5, 0]")).ExpertLayers.Order());
    }

    [Fact]
    public void Frequencies_are_divided_or_kept_where_nothing_lies_between()
    {
        // Of 64 frequencies those that turn less than once in 8192 positions are a 16th.
        var rope = new Decoder.Rope(Read(Scout).Rope);
        float[] cosines = new float[64], sines = new float[64];
        rope.HalfAngles(1, cosines, sines);
        for (var i = 0; i < 64; i++)
        {
            var frequency = Math.Pow(500_000, -i / 64.0);
            Assert.Equal(Math.Sin(8192 * frequency < 2 * Math.PI ? frequency / 16 : frequency), sines[i], 1e-7);
        }
    }

    [Theory]
    [InlineData("layer_types", "[\"sliding_attention\", \"full_attention\"]", "'sliding_attention'")]
    [InlineData("attention_chunk_size", "null", "attention_chunk_size")]
    [InlineData("no_rope_layers", "[1, 0]", "no_rope_layers")]
    [InlineData("interleave_moe_layer_step", "0", "interleave_moe_layer_step")]
    public void What_cannot_be_followed_is_named(string field, string value, string says) =>
        Assert.Contains(says, Assert.ThrowsAny<Exception>(() => Read(Scout, (field, value))).Message, StringComparison.Ordinal);

    private static ModelConfig Read(string json, params (string Field, string Value)[] text)
    {
        var all = JsonNode.Parse(json)!;
        foreach (var (field, value) in text)
        {
            all["text_config"]![field] = JsonNode.Parse(value);
        }

        return ModelConfigReader.Parse(all.ToJsonString(), "config.json");
    }
}
