using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Models in GGUF against the references: of transformers for converted ones, of ggml's unpacked weights for packed ones.</summary>
public abstract class GgufModelTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : GgufModelTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : GgufModelTests(ComputeDevice.Cuda);

    public static TheoryData<string> Folders() => [.. Directory.GetDirectories(Path.Combine(Fixtures.Root, "models")).Where(GgufConversion.Takes).Select(d => Path.GetFileName(d)).Order(StringComparer.Ordinal)];

    public static TheoryData<string> Packed() => [.. Directory.GetDirectories(Path.Combine(Fixtures.Root, "gguf")).Select(d => Path.GetFileName(d)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Folders))]
    public Task A_converted_folder_is_the_folders_model(string name) => Converted_is_the_same(Fixtures.Model(name));

    [Theory]
    [InlineData("exaone4")]
    [InlineData("gpt-oss")] // experts that are not packed
    [InlineData("mixtral")]
    [InlineData("olmo2")]
    [InlineData("seed-oss")]
    public Task A_converted_folder_of_the_larger_collection_is_its_model(string name)
    {
        var file = Fixtures.Shared("fixtures", "families", "models", name, "model.safetensors");
        Assert.SkipWhen(file is null, "the larger collection of fixtures is not here");
        return Converted_is_the_same(Path.GetDirectoryName(file)!);
    }

    [Fact]
    public Task Latent_attention_is_read_as_its_first_files_have_it() => Converted_is_the_same(Fixtures.Model("deepseek-v3"), apart: false);

    [Theory]
    [InlineData("qwen3", "qwen3vl")]
    [InlineData("qwen3-moe", "qwen3vlmoe")]
    public async Task The_text_of_a_model_that_sees_is_its_familys(string name, string architecture)
    {
        using var folder = new ScratchFolder();
        // As llama.cpp's conversion/qwen3vl.py and conversion/base.py write them.
        var writer = GgufConversion.Of(Fixtures.Model(name), architecture: architecture).With($"{architecture}.rope.dimension_sections", new[] { 24, 20, 20, 0 }).With($"{architecture}.n_deepstack_layers", 3);
        await Written_is_the_same(Fixtures.Model(name), writer);
        var warnings = new List<string>();
        writer.Tensor("v.patch_embd.weight", [2, 2], [1, 2, 3, 4]).Write(folder.File("m.gguf"));
        await using var model = await Load(folder.File("m.gguf"), new HeadInferOptions { Warning = warnings.Add });
        Assert.Contains("text alone", Assert.Single(warnings), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Granite_4s_dense_models_are_read_without_a_warning()
    {
        // As llama.cpp's conversion/granite.py writes them: heads of each layer, and what they lack of hybrids and mixtures.
        var writer = GgufConversion.Of(Fixtures.Model("granite")).Without("granite.attention.head_count_kv").With("granite.attention.head_count_kv", new[] { 2, 2, 2, 2 }).With("granite.rope.scaling.finetuned", true)
            .With("granite.expert_count", 0).With("granite.expert_used_count", 0).With("granite.expert_shared_feed_forward_length", 96)
            .With("granite.ssm.conv_kernel", 4).With("granite.ssm.state_size", 256).With("granite.ssm.group_count", 1).With("granite.ssm.inner_size", 128).With("granite.ssm.time_step_rank", 128);
        await Written_is_the_same(Fixtures.Model("granite"), writer);
        using var folder = new ScratchFolder();
        writer.Write(folder.File("m.gguf"));
        var warnings = new List<string>();
        ModelFolder.Configure(folder.File("m.gguf"), null, warnings.Add);
        Assert.Empty(warnings);
    }

    private Task Converted_is_the_same(string source, bool apart = true) => Written_is_the_same(source, GgufConversion.Of(source, apart: apart));

    private async Task Written_is_the_same(string source, GgufWriter writer)
    {
        using var folder = new ScratchFolder();
        File.Copy(Path.Combine(source, "reference.safetensors"), folder.File("reference.safetensors"));
        writer.Write(folder.File(ModelReference.Gguf));
        foreach (var layout in (string[])["one-piece", "odd-mixed"])
        {
            var (ok, figure) = await ModelReference.CheckAsync(folder.Path, ModelReference.On(ModelReference.Layouts.Single(l => l.Name == layout).Options, Device));
            Assert.True(ok, figure);
        }

        var (expected, config) = (ModelConfig.Load(source), ModelConfig.Load(folder.File(ModelReference.Gguf)));
        Assert.Equal(expected.Windows, config.Windows);
        Assert.Equal(expected.ExpertLayers.Order(), config.ExpertLayers.Order());
        Assert.Equal(expected.StateLayers.Order(), config.StateLayers.Order());
        Assert.Equal(expected.LayerHeads, config.LayerHeads);
        Assert.Equal(expected.CacheOf, config.CacheOf);
        Assert.Equal(expected.EqualLayers.Order(), config.EqualLayers.Order());
        Assert.Equal(expected.Latent is null ? expected.GuessingLayers : 0, config.GuessingLayers); // DeepSeek's are left out
        expected = expected with { Xielus = config.Xielus, LayerHeads = config.LayerHeads, CacheOf = config.CacheOf, EqualLayers = config.EqualLayers, GuessingLayers = config.GuessingLayers };
        Assert.Equal(expected with { Windows = [], EndTokens = [], Quantization = null, ExpertLayers = config.ExpertLayers, StateLayers = config.StateLayers, Recurrent = expected.Recurrent is { } delta ? delta with { SharersApart = config.Architecture != "Qwen3NextForCausalLM" } : null, Rope = config.Rope, LayerRopes = config.LayerRopes, NormOffset = 0, AttentionScale = config.AttentionScale }, config with { Windows = [], EndTokens = [] });
        Assert.Equal(expected.AttentionScale, config.AttentionScale, 1e-7);
    }

    [Fact]
    public void Experts_that_lie_by_themselves_are_the_same()
    {
        using var folder = new ScratchFolder();
        var source = Fixtures.Model("qwen3-moe");
        GgufConversion.Of(source, stacks: false).Write(folder.File("m.gguf"));
        using var checkpoint = Checkpoint.Open(folder.File("m.gguf"));
        using var original = Checkpoint.Open(source);
        Assert.Equal(original.Names.Order(StringComparer.Ordinal), checkpoint.Names.Order(StringComparer.Ordinal));
        Assert.All(original.Tensors.Values.Where(t => t.Name.Contains(".experts.", StringComparison.Ordinal)), expert =>
        {
            var (expected, got) = (new byte[expert.Length], new byte[expert.Length]);
            original.ReadBytes(expert, 0, expected);
            checkpoint.ReadBytes(checkpoint.Tensors[expert.Name], 0, got);
            Assert.True(got.AsSpan().SequenceEqual(expected));
        });
    }

    [Fact]
    public void Llama_with_experts_is_Mixtral()
    {
        using var folder = new ScratchFolder();
        GgufConversion.Of(Fixtures.Model("llama3")).With("llama.expert_count", 8).With("llama.expert_used_count", 2).Write(folder.File("m.gguf"));
        var config = ModelConfig.Load(folder.File("m.gguf"));
        Assert.Equal(("MixtralForCausalLM", 8, 2, config.IntermediateSize, true, config.Layers), (config.Architecture, config.Experts, config.ExpertsPerToken, config.ExpertIntermediateSize, config.NormalizeExpertWeights, config.ExpertLayers.Count));
    }

    [Fact]
    public void Layers_with_a_state_are_read_as_older_and_newer_files_have_them()
    {
        const string rates = "blk.0.ssm_a", gate = "blk.0.ffn_gate_inp_shexp.weight";
        using var folder = new ScratchFolder();
        GgufConversion.Of(Fixtures.Model("qwen3.5-moe"), t => t is not (rates or gate)).Without("qwen35moe.feed_forward_length").With("qwen35moe.attention.recurrent_layers", new[] { true, false, true, false })
            .Tensor(gate, [64], new float[64]).Tensor(rates, [4], (float[])[-1, -0.5f, 0, -2]).Write(folder.File("m.gguf"));
        var config = ModelConfig.Load(folder.File("m.gguf"));
        Assert.Equal([0, 2], config.StateLayers.Order());
        Assert.Equal(config.ExpertIntermediateSize, config.IntermediateSize);
        using var checkpoint = Checkpoint.Open(folder.File("m.gguf"));
        Assert.Equal([1L, 64L], checkpoint.Tensors[TensorNames.Layer(0, TensorNames.SharedExpertGate)].Shape);
        var stored = checkpoint.Tensors[TensorNames.Layer(0, TensorNames.StateDecayRate)];
        Assert.Contains($"'{rates}' has numbers that are not negative", Assert.Throws<CheckpointException>(() => checkpoint.ReadBytes(stored, 0, new byte[16])).Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Packed))]
    public async Task Packed_weights_give_the_references_logits_and_tokens(string name)
    {
        foreach (var layout in ModelReference.Layouts)
        {
            var (ok, figure) = await ModelReference.CheckAsync(Path.Combine(Fixtures.Root, "gguf", name), ModelReference.On(layout.Options, Device));
            Assert.True(ok, $"{layout.Name}: {figure}");
        }
    }

    [Fact]
    public async Task All_types_of_the_larger_collection_give_the_references_logits_and_tokens()
    {
        var one = Fixtures.Shared("fixtures", "gguf", "llama-q4_0", ModelReference.Gguf);
        Assert.SkipWhen(one is null, "shared/fixtures/gguf is not here");
        foreach (var folder in Directory.GetDirectories(Path.Combine(Path.GetDirectoryName(one)!, "..")).Where(d => File.Exists(Path.Combine(d, "reference.safetensors"))))
        {
            var (ok, figure) = await ModelReference.CheckAsync(folder, ModelReference.On(ModelReference.Layouts[^2].Options, Device));
            Assert.True(ok, $"{folder}: {figure}");
        }
    }

    [Fact]
    public async Task What_sees_or_hears_is_left_out_and_said_so_once()
    {
        using var folder = new ScratchFolder();
        var source = Fixtures.Model("llama3");
        GgufConversion.Of(source).Tensor("v.patch_embd.weight", [2, 2], [1, 2, 3, 4]).Tensor("mm.0.bias", [1], [1]).Write(folder.File("m.gguf"));
        var warnings = new List<string>();
        await using var model = await Load(folder.File("m.gguf"), new HeadInferOptions { Warning = warnings.Add });
        Assert.Contains("'v.patch_embd.weight'", Assert.Single(warnings, w => w.Contains("text alone", StringComparison.Ordinal)), StringComparison.Ordinal);
        var (tokens, expected) = ModelReference.ReadLogits(source);
        using var session = model.CreateSession();
        Assert.True((await session.LogitsAsync(tokens)).SelectMany(row => row).Zip(expected, (a, b) => Math.Abs(a - b)).Max() < 1e-3);
    }

    [Fact]
    public async Task Shards_are_one_model()
    {
        using var folder = new ScratchFolder();
        var source = Fixtures.Model("llama3");
        var first = GgufConversion.Of(source, t => t.StartsWith("blk.0", StringComparison.Ordinal)).With("split.no", 0).With("split.count", 3).With("split.tensors.count", 31);
        first.Write(folder.File("m-00001-of-00003.gguf"));
        GgufConversion.Of(source, t => t.StartsWith("blk.1", StringComparison.Ordinal)).With("split.no", 1).With("split.count", 3).Write(folder.File("m-00002-of-00003.gguf"));
        GgufConversion.Of(source, t => !t.StartsWith("blk.0", StringComparison.Ordinal) && !t.StartsWith("blk.1", StringComparison.Ordinal)).With("split.no", 2).With("split.count", 3).Write(folder.File("m-00003-of-00003.gguf"));
        await using (var model = await Load(folder.File("m-00001-of-00003.gguf")))
        {
            var (tokens, expected) = ModelReference.ReadLogits(source);
            using var session = model.CreateSession();
            var logits = (await session.LogitsAsync(tokens)).SelectMany(row => row).ToList();
            Assert.True(logits.Zip(expected, (a, b) => Math.Abs(a - b)).Max() < 1e-3);
        }

        async Task Refuses(string file, string says) =>
            Assert.Contains(says, (await Assert.ThrowsAsync<CheckpointException>(() => Load(folder.File(file)))).Message, StringComparison.Ordinal);
        await Refuses("m-00002-of-00003.gguf", "is shard 2 of 3. Name the first");
        File.Move(folder.File("m-00003-of-00003.gguf"), folder.File("x.gguf"));
        await Refuses("m-00001-of-00003.gguf", "m-00003-of-00003.gguf");
        File.Copy(folder.File("m-00002-of-00003.gguf"), folder.File("m-00003-of-00003.gguf"));
        await Refuses("m-00001-of-00003.gguf", "does not say that it is shard 3 of 3");
        File.Move(folder.File("x.gguf"), folder.File("m-00003-of-00003.gguf"), overwrite: true);
        first.Without("split.tensors.count").With("split.tensors.count", 32).Write(folder.File("m-00001-of-00003.gguf"));
        await Refuses("m-00001-of-00003.gguf", "should have 32");
    }

    [Fact]
    public void A_file_that_changes_is_refused()
    {
        using var folder = new ScratchFolder();
        GgufConversion.Of(Fixtures.Model("llama3")).Write(folder.File("m.gguf"));
        using var checkpoint = Checkpoint.Open(folder.File("m.gguf"));
        var (embedding, bytes) = (checkpoint.Tensors[TensorNames.Embedding], new byte[16]);
        checkpoint.ReadBytes(embedding, 0, bytes);
        File.SetLastWriteTimeUtc(folder.File("m.gguf"), DateTime.UtcNow.AddMinutes(1));
        Assert.Contains("was changed", Assert.Throws<CheckpointException>(() => checkpoint.ReadBytes(embedding, 0, bytes)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Rows_of_queries_are_read_from_any_byte_on()
    {
        using var folder = new ScratchFolder();
        GgufConversion.Of(Fixtures.Model("llama3")).Write(folder.File("m.gguf"));
        using var checkpoint = Checkpoint.Open(folder.File("m.gguf"));
        using var original = Checkpoint.Open(Fixtures.Model("llama3"));
        var random = new Random(3);
        foreach (var name in (string[])[TensorNames.Layer(1, TensorNames.Query), TensorNames.Layer(2, TensorNames.Key)])
        {
            var tensor = checkpoint.Tensors[name];
            for (var run = 0; run < 100; run++)
            {
                var at = random.Next((int)tensor.Length);
                var got = new byte[random.Next((int)tensor.Length - at + 1)];
                var expected = new byte[got.Length];
                checkpoint.ReadBytes(tensor, at, got);
                original.ReadBytes(original.Tensors[name], at, expected);
                Assert.True(got.AsSpan().SequenceEqual(expected));
            }
        }
    }
}
