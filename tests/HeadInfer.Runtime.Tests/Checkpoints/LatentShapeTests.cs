using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>What configurations say of latent attention.</summary>
public sealed class LatentShapeTests
{
    private const string Yarn = "{\"rope_type\": \"yarn\", \"factor\": 40, \"original_max_position_embeddings\": 4096, \"mscale\": 1, \"mscale_all_dim\": ALL}";

    private static double Growth => 1 + (0.1 * Math.Log(40));

    [Fact]
    public void Sizes_that_are_left_out_are_the_class()
    {
        var config = Read("\"rope_theta\": 10000");
        Assert.Equal(new LatentShape(1536, 512, 64, 128, 128, Paired: true), config.Latent);
        Assert.Equal((192, 16, 16, 64, 8, 4), (config.HeadDim, config.Heads, config.KvHeads, config.Rope.RotaryDim, config.Routing.Groups, config.Routing.KeptGroups));
        Assert.Equal(0, Read("\"rope_theta\": 10000, \"q_lora_rank\": null").Latent!.QueryRank); // queries of the stream, as Moonlight's
    }

    [Fact]
    public void Scores_grow_with_YaRN_wherever_it_stands_but_not_with_zero_or_with_another_scaling()
    {
        var (growing, still) = (Growth * Growth / Math.Sqrt(192), 1 / Math.Sqrt(192));
        var yarn = Yarn.Replace("ALL", "1", StringComparison.Ordinal);
        Assert.Equal(growing, Read($"\"rope_parameters\": {yarn}").AttentionScale, 1e-9);
        Assert.Equal(growing, Read($"\"rope_parameters\": {{\"rope_theta\": 10000}}, \"rope_scaling\": {yarn}").AttentionScale, 1e-9);
        Assert.Equal(still, Read($"\"rope_scaling\": {Yarn.Replace("ALL", "0", StringComparison.Ordinal)}").AttentionScale, 1e-9);
        Assert.Equal(still, Read($"\"rope_scaling\": {yarn}", new RopeScaling()).AttentionScale, 1e-9);
    }

    [Fact]
    public void Layers_without_experts_are_no_more_than_there_are()
    {
        Assert.Empty(Read("\"first_k_dense_replace\": 1073741824").ExpertLayers);
        Assert.Equal([1, 3], Read("\"mlp_layer_types\": [\"dense\", \"sparse\", \"dense\", \"sparse\"]").ExpertLayers.Order());
        Assert.Contains("kv_lora_rank", Assert.Throws<CheckpointException>(() => Read("\"kv_lora_rank\": 100000")).Message, StringComparison.Ordinal);
        Assert.Contains("attention_bias", Assert.Throws<UnsupportedModelException>(() => Read("\"attention_bias\": true")).Message, StringComparison.Ordinal);
    }

    // A plan by shape counts what a checkpoint of that type would have.
    [Theory]
    [InlineData(128, "F")] // values are shorter than keys: attention's output has columns that are not stored
    [InlineData(192, "")]
    public void What_is_filled_is_not_packed(int values, string filled)
    {
        using var shape = new ShapeCheckpoint("shape", Read($"\"v_head_dim\": {values}"), ShapeCheckpoint.PackingOf("q8_0"));
        bool IsDense(string name) => shape.Tensors[TensorNames.Layer(0, name)].Packing is DensePacking;
        Assert.True(IsDense(TensorNames.LatentUp));
        Assert.False(IsDense(TensorNames.QueryUp));
        Assert.Equal(filled.Length > 0, IsDense(TensorNames.AttentionOutput));
    }

    private static ModelConfig Read(string more, RopeScaling? scaling = null) => ModelConfigReader.Parse(
        $$"""
        {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 320, "hidden_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 16, "intermediate_size": 96,
         "max_position_embeddings": 4096, "n_routed_experts": 64, "num_experts_per_tok": 2, "moe_intermediate_size": 32, {{more}}}
        """, "test", scaling);
}
