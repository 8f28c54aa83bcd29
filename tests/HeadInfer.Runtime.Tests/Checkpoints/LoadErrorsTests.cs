using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Model folders that cannot be used: each a clear error, and nothing stays allocated.</summary>
public sealed class LoadErrorsTests : NativeTest
{
    [Fact]
    public async Task A_missing_or_empty_folder_is_named()
    {
        using var folder = new ScratchFolder();
        Assert.Contains("no config.json", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
        Assert.Contains("no model folder", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.File("none")))).Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<ArgumentException>(() => HeadInferModel.LoadAsync(""));
        File.Copy(Path.Combine(Fixtures.Model("llama3"), "config.json"), folder.File("config.json"));
        Assert.Contains("no weights", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 0", "num_hidden_layers")]
    [InlineData("\"num_hidden_layers\": 3", "\"num_hidden_layers\": -3", "num_hidden_layers")]
    [InlineData("\"num_hidden_layers\": 3", "\"num_hidden_layers\": \"3\"", "num_hidden_layers")]
    [InlineData("\"num_attention_heads\": 4", "\"num_attention_heads\": 3", "multiple of num_key_value_heads")]
    [InlineData("\"hidden_size\": 64", "\"hidden_size\": null", "lacks 'hidden_size'")]
    [InlineData("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": -1", "rms_norm_eps")]
    [InlineData("\"head_dim\": 16", "\"head_dim\": 15", "rotary dimensions")]
    [InlineData("\"vocab_size\": 320", "\"vocab_size\": 321", "shape")]
    [InlineData("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4", "lacks the tensor")]
    [InlineData("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2", "no place for")]
    [InlineData("{", "", "cannot be read")]
    public async Task A_configuration_out_of_range_is_refused(string old, string changed, string says)
    {
        using var folder = new ScratchFolder(Fixtures.Model("llama3"));
        folder.Edit("config.json", old, changed);
        var error = await Assert.ThrowsAnyAsync<HeadInferException>(() => HeadInferModel.LoadAsync(folder.Path));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("LlamaForCausalLM", "MambaForCausalLM", "MambaForCausalLM")]
    [InlineData("\"rope_type\": \"llama3\"", "\"rope_type\": \"dynamic\"", "dynamic")]
    [InlineData("\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu2\"", "relu2")]
    public async Task What_is_not_supported_is_named_before_any_weight_is_read(string old, string changed, string says)
    {
        using var folder = new ScratchFolder(Fixtures.Model("llama3"));
        folder.Edit("config.json", old, changed);
        File.Delete(folder.File("model.safetensors"));
        var error = await Assert.ThrowsAsync<UnsupportedModelException>(() => HeadInferModel.LoadAsync(folder.Path));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Truncated_weights_are_refused()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        var bytes = File.ReadAllBytes(folder.File("model.safetensors"));
        File.WriteAllBytes(folder.File("model.safetensors"), bytes[..(bytes.Length / 2)]);
        Assert.Contains("truncated", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Weights_of_a_wrong_type_are_refused()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        EditHeader(folder.File("model.safetensors"), header => header["model.norm.weight"]!["dtype"] = "I32");
        Assert.Contains("has the type I32;", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Shards_are_read_through_their_index()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        var names = JsonNode.Parse(Header(File.ReadAllBytes(folder.File("model.safetensors"))))!.AsObject().Select(p => p.Key).Where(n => n != "__metadata__").ToList();
        File.Move(folder.File("model.safetensors"), folder.File("model-00001-of-00001.safetensors"));
        var map = new JsonObject(names.Select(n => KeyValuePair.Create(n, (JsonNode?)"model-00001-of-00001.safetensors")));
        File.WriteAllText(folder.File("model.safetensors.index.json"), new JsonObject { ["weight_map"] = map }.ToJsonString());
        await using (var model = await HeadInferModel.LoadAsync(folder.Path))
        {
            Assert.Equal(3, model.Config.Layers);
        }

        map["model.norm.weight"] = "../elsewhere.safetensors";
        File.WriteAllText(folder.File("model.safetensors.index.json"), new JsonObject { ["weight_map"] = map.DeepClone() }.ToJsonString());
        Assert.Contains("not in the folder", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("[]")]
    [InlineData("{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}")]
    [InlineData("not json")]
    public async Task A_tokenizer_that_is_not_one_is_refused(string text)
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        File.WriteAllText(folder.File("tokenizer.json"), text);
        Assert.Contains("tokenizer.json", (await Assert.ThrowsAnyAsync<HeadInferException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Weights_that_do_not_fit_are_refused_with_numbers_and_the_knob()
    {
        var error = await Assert.ThrowsAsync<MemoryBudgetException>(() => HeadInferModel.LoadAsync(Fixtures.Model("qwen2"), new HeadInferOptions { HostMemory = ByteSize.FromMiB(100) }));
        Assert.Contains("100 MiB", error.Message, StringComparison.Ordinal);
        Assert.Contains("HostMemory", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Options_out_of_range_are_named()
    {
        foreach (var options in (HeadInferOptions[])[new() { PageTokens = 0 }, new() { TileTokens = -1 }, new() { HeadGroupSize = 0 }, new() { SegmentTokens = 0 }, new() { ChunkTokens = 0 }, new() { MaxContextTokens = 0 }, new() { Threads = 0 }, new() { HostMemory = ByteSize.Zero }])
        {
            await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => HeadInferModel.LoadAsync(Fixtures.Model("qwen2"), options));
        }
    }

    [Fact]
    public async Task A_cancelled_load_leaves_nothing()
    {
        using var cancel = new CancellationTokenSource();
        var progress = new Direct<LoadProgress>(p => cancel.Cancel());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => HeadInferModel.LoadAsync(Fixtures.Model("llama3"), progress: progress, cancellationToken: cancel.Token));
    }

    private static string Header(byte[] file) => Encoding.UTF8.GetString(file, 8, (int)BinaryPrimitives.ReadInt64LittleEndian(file));

    private static void EditHeader(string path, Action<JsonNode> edit)
    {
        var bytes = File.ReadAllBytes(path);
        var header = JsonNode.Parse(Header(bytes))!;
        edit(header);
        var json = Encoding.UTF8.GetBytes(header.ToJsonString());
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        File.WriteAllBytes(path, [.. length, .. json, .. bytes[(8 + (int)BinaryPrimitives.ReadInt64LittleEndian(bytes))..]]);
    }
}
