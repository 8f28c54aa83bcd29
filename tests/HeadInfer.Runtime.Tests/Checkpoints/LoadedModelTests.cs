using System.Text.Json.Nodes;
using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>What is loaded is what the checkpoint means, by the reference's logits.</summary>
public sealed class LoadedModelTests : NativeTest
{
    private const string Embedding = "model.embed_tokens.weight", Head = "lm_head.weight";

    [Fact]
    public async Task A_head_beside_a_tied_embedding_is_the_head()
    {
        using var folder = new ScratchFolder(Fixtures.Model("llama-mha-tied"));
        SafetensorsEdit.Add(folder.File("model.safetensors"), Head, Embedding, values =>
        {
            for (var i = 0; i < values.Length; i++)
            {
                values[i] *= -2; // exact, so that the logits are too
            }
        });
        var (tokens, expected) = ModelReference.ReadLogits(folder.Path);
        await using var model = await Load(folder.Path);
        using var session = model.CreateSession();
        var logits = (await session.LogitsAsync(tokens)).SelectMany(row => row).ToArray();
        Assert.False(model.Config.TiedEmbeddings);
        Assert.All(logits.Zip(expected), pair => Assert.Equal(-2 * pair.Second, pair.First, 1e-4));
    }

    [Fact]
    public async Task A_head_that_is_the_embedding_takes_no_memory()
    {
        using var folder = new ScratchFolder(Fixtures.Model("llama-mha-tied"));
        SafetensorsEdit.Add(folder.File("model.safetensors"), Head, Embedding, _ => { });
        await using var model = await Load(folder.Path);
        await using var plain = await Load(Fixtures.Model("llama-mha-tied"));
        Assert.True(model.Config.TiedEmbeddings);
        Assert.Equal(plain.Plan.Weights, model.Plan.Weights);
    }

    [Fact]
    public async Task A_head_of_another_shape_is_refused()
    {
        using var folder = new ScratchFolder(Fixtures.Model("llama-mha-tied"));
        SafetensorsEdit.Add(folder.File("model.safetensors"), Head, Embedding, _ => { }, [64, 320]);
        var error = await Assert.ThrowsAsync<CheckpointException>(() => Load(folder.Path));
        Assert.Contains(Head, error.Message, StringComparison.Ordinal);
        Assert.Contains("[64, 320]", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_scaling_of_the_options_is_the_same_as_one_of_the_configuration()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2-yarn"));
        var config = JsonNode.Parse(File.ReadAllText(folder.File("config.json")))!.AsObject();
        config["rope_parameters"] = new JsonObject { ["rope_theta"] = (double)config["rope_parameters"]!["rope_theta"]!, ["rope_type"] = "default" };
        config["max_position_embeddings"] = 64;
        File.WriteAllText(folder.File("config.json"), config.ToJsonString());
        var options = ModelReference.On(new HeadInferOptions { MaxContextTokens = 256 }, Device);
        Assert.False((await ModelReference.CheckAsync(folder.Path, options)).Ok);
        var (ok, figure) = await ModelReference.CheckAsync(folder.Path, options with { MaxContextTokens = null, RopeScaling = new RopeScaling { Kind = RopeKind.Yarn, Factor = 4 } });
        Assert.True(ok, figure);
    }
}
