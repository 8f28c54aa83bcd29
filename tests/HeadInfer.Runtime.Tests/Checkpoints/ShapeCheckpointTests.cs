using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>The weights of a configuration alone are stored as its models are published.</summary>
public sealed class ShapeCheckpointTests
{
    private const string Config = """
        {"architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 448, "num_hidden_layers": 1, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 1024, "tie_word_embeddings": false}
        """;

    [Theory]
    [InlineData("awq", "int4", 4.156)]
    [InlineData("GPTQ", "int4", 4.125)]
    [InlineData("fp8", "FP8", 8.25)]
    [InlineData("nvfp4", "NVFP4", 4.625)]
    public void Folders_have_their_layers_packed_and_what_is_outside_of_them_in_16_bits(string type, string name, double bits)
    {
        using var checkpoint = new ShapeCheckpoint("small", ModelConfigReader.Parse(Config, "config.json"), ShapeCheckpoint.PackingOf(type));
        var query = checkpoint.Tensors["model.layers.0.self_attn.q_proj.weight"];
        Assert.Equal(name, query.Packing.Name);
        Assert.Equal(bits, query.Length * 8 / (256.0 * 256), 0.4); // rows are filled up to 16 bytes
        Assert.All(
            [TensorNames.Embedding, TensorNames.Output, TensorNames.FinalNorm, "model.layers.0.mlp.down_proj.weight"], // 448 columns are no whole groups
            other => Assert.IsType<DensePacking>(checkpoint.Tensors[other].Packing));
    }

    [Fact]
    public void A_file_has_its_embedding_packed_too()
    {
        using var checkpoint = new ShapeCheckpoint("small", ModelConfigReader.Parse(Config, "config.json"), ShapeCheckpoint.PackingOf("q8_0"));
        Assert.All([TensorNames.Embedding, TensorNames.Output, "model.layers.0.mlp.down_proj.weight"], name => Assert.Equal("Q8_0", checkpoint.Tensors[name].Packing.Name));
        var refused = Assert.Throws<FormatException>(() => ShapeCheckpoint.PackingOf("exl2"));
        Assert.Contains("Q4_K", refused.Message, StringComparison.Ordinal);
        Assert.Contains("AWQ", refused.Message, StringComparison.Ordinal);
    }
}
