using System.Text.Json.Nodes;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>GGUF files of hybrids with state spaces give what the folders give that they are made of, which the reference tests hold against transformers.</summary>
public abstract class GgufHybridTests(ComputeDevice device) : NativeTest(device)
{
    private const string BlockOfExperts = ".block_sparse_moe.", Biases = "_proj.bias";

    private static readonly int[] Tokens = [.. Enumerable.Range(0, 70).Select(i => ((i * 53) + 7) % 320)];

    public sealed class OnCpu() : GgufHybridTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : GgufHybridTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData("nemotron-h", "{}", "-")]
    [InlineData("nemotron-h-moe", """{"layers_block_type": ["mamba", "moe", "mamba", "attention", "moe"]}""", ".layers.5.")] // files of mixtures have no dense MLPs
    [InlineData("granite-hybrid-moe", """{"mamba_proj_bias": false}""", Biases)] // nor biases of projections
    [InlineData("granite-hybrid-moe", """{"mamba_proj_bias": false, "num_local_experts": 0}""", BlockOfExperts)]
    [InlineData("granite-hybrid-rope", """{"position_embedding_type": "nope"}""", "-")]
    public async Task A_converted_folder_is_the_folders_model(string name, string fields, string without)
    {
        using var folder = new ScratchFolder(Fixtures.Model(name));
        var json = JsonNode.Parse(File.ReadAllText(folder.File("config.json")))!.AsObject();
        foreach (var (field, value) in JsonNode.Parse(fields)!.AsObject())
        {
            json[field] = value?.DeepClone();
        }

        File.WriteAllText(folder.File("config.json"), json.ToJsonString());
        File.WriteAllBytes(folder.File("model.safetensors"), Kept(folder.File("model.safetensors"), tensor => !tensor.Contains(without, StringComparison.Ordinal) && (without != BlockOfExperts || !tensor.EndsWith(Biases, StringComparison.Ordinal))));
        using var other = new ScratchFolder();
        GgufHybrid.Of(folder.Path).Write(other.File("m.gguf"));
        var (expected, got) = (await Logits(folder.Path), await Logits(other.File("m.gguf")));
        Assert.InRange(expected.Zip(got, (a, b) => Math.Abs(a - b)).Max(), 0, 2e-5 * expected.Max(Math.Abs));

        var warnings = new List<string>();
        var (theirs, config) = (ModelConfig.Load(folder.Path), ModelFolder.Configure(other.File("m.gguf"), null, warnings.Add));
        Assert.Empty(warnings);
        Assert.Equal(theirs.Recurrent, config.Recurrent);
        Assert.Equal(theirs.AttendingLayers, config.AttendingLayers);
        Assert.Equal(theirs.LoneMlps.Order(), config.LoneMlps.Order());
        Assert.Equal(theirs.ExpertLayers.Order(), config.ExpertLayers.Order());
        Assert.Equal((theirs.Experts, theirs.ExpertsPerToken, theirs.ExpertIntermediateSize, theirs.SharedExpertSize, theirs.Routing), (config.Experts, config.ExpertsPerToken, config.ExpertIntermediateSize, config.SharedExpertSize, config.Routing));
    }

    [Theory]
    [InlineData("nemotron_h.attention.head_count_kv", new[] { 0, 0, 2 }, "an array of 3; expected one of 6")]
    [InlineData("nemotron_h.feed_forward_length", new[] { 0, -96, 0, 0, 96, 0 }, "not below zero")]
    [InlineData("nemotron_h.ssm.time_step_rank", 7, "a multiple of 'nemotron_h.ssm.time_step_rank' (7)")]
    [InlineData("nemotron_h.ssm.group_count", 3, "a multiple of mamba_n_groups (3)")]
    [InlineData("nemotron_h.ssm.state_size", 512, "'mamba_d_state' is 512")]
    [InlineData("nemotron_h.moe_latent_size", 16, "'nemotron_h.moe_latent_size'")]
    public void What_no_file_has_is_named(string key, object value, string says)
    {
        using var folder = new ScratchFolder();
        GgufHybrid.Of(Fixtures.Model("nemotron-h")).Without(key).With(key, value).Write(folder.File("m.gguf"));
        Assert.Contains(says, Assert.ThrowsAny<HeadInferException>(() => ModelConfig.Load(folder.File("m.gguf"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_hybrid_that_rotates_is_named()
    {
        using var folder = new ScratchFolder();
        GgufHybrid.Of(Fixtures.Model("granite-hybrid-rope")).Without("granitehybrid.rope.scaling.finetuned").With("granitehybrid.rope.scaling.finetuned", true).Write(folder.File("m.gguf"));
        Assert.Contains("'granitehybrid' with rotary embeddings", Assert.Throws<UnsupportedModelException>(() => ModelConfig.Load(folder.File("m.gguf"))).Message, StringComparison.Ordinal);
    }

    private async Task<float[]> Logits(string path)
    {
        await using var model = await Load(path, new HeadInferOptions { PageTokens = 8, TileTokens = 11, SegmentTokens = 32, ChunkTokens = 16 });
        using var session = model.CreateSession();
        return [.. (await session.LogitsAsync(Tokens)).SelectMany(row => row)];
    }

    private static byte[] Kept(string path, Func<string, bool> isKept)
    {
        using var file = SafetensorsFile.Open(path);
        var writer = new SafetensorsWriter();
        foreach (var entry in file.Entries.Values.Where(e => isKept(e.Name)))
        {
            writer.Add(entry.Name, "F32", [.. entry.Shape.Select(d => (int)d)], GgufConversion.ReadBytes(file, entry));
        }

        return writer.ToArray();
    }
}
