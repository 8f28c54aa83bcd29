using System.Diagnostics;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Files that are not what their names say, and folders that are no model's: each is refused at once, in words that help.</summary>
public sealed class ModelFilesTests : NativeTest
{
    private static readonly TimeSpan Guard = TimeSpan.FromMinutes(1); // a file that is waited for is waited for, for ever

    public static TheoryData<string> Files() =>
        ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "model.safetensors", "adapter_config.json"];

    [Theory]
    [MemberData(nameof(Files))]
    public async Task A_pipe_or_a_device_is_not_waited_for(string file)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no such files");
        using var folder = new ScratchFolder(Fixtures.DemoModel);
        File.Delete(folder.File(file));
        using (var make = Process.Start("mkfifo", folder.File("pipe")))
        {
            await make.WaitForExitAsync();
        }

        foreach (var target in (string[])[folder.File("pipe"), "/dev/zero"])
        {
            File.CreateSymbolicLink(folder.File("link"), target);
            File.CreateSymbolicLink(folder.File(file), "link");
            var error = await Assert.ThrowsAnyAsync<HeadInferException>(() => HeadInferModel.LoadAsync(folder.Path).WaitAsync(Guard));
            Assert.Contains("a pipe, a socket or a device", error.Message, StringComparison.Ordinal);
            Assert.Contains(file, error.Message, StringComparison.Ordinal);
            File.Delete(folder.File("link"));
            File.Delete(folder.File(file));
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public async Task A_pointer_of_git_lfs_is_named(string file)
    {
        using var folder = new ScratchFolder(Fixtures.DemoModel);
        File.WriteAllText(folder.File(file), "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 123456\n");
        var error = await Assert.ThrowsAnyAsync<HeadInferException>(() => HeadInferModel.LoadAsync(folder.Path));
        Assert.Contains("git lfs pull", error.Message, StringComparison.Ordinal);
        Assert.Contains(file, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Weights_that_are_shortened_or_changed_while_they_are_read_are_an_error()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        var path = folder.File("model.safetensors");
        using (var file = SafetensorsFile.Open(path))
        {
            var last = file.Entries.Values.MaxBy(e => e.Offset)!;
            File.SetLastWriteTimeUtc(path, File.GetLastWriteTimeUtc(path).AddSeconds(1));
            Assert.Contains("changed", Assert.Throws<CheckpointException>(() => file.Read(last, 0, new byte[last.Length])).Message, StringComparison.Ordinal);
        }

        Assert.SkipWhen(OperatingSystem.IsWindows(), Fixtures.OpenFilesStay);
        using (var file = SafetensorsFile.Open(path))
        {
            var last = file.Entries.Values.MaxBy(e => e.Offset)!;
            Shorten(path, last.Offset + 1);
            Assert.Contains("shortened", Assert.Throws<CheckpointException>(() => file.Read(last, 0, new byte[last.Length])).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_model_whose_weights_are_shortened_while_it_loads_is_an_error()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), Fixtures.OpenFilesStay);
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        var progress = new Direct<LoadProgress>(p => Shorten(folder.File("model.safetensors"), p.LayersDone == 1 ? 4096 : 0));
        var error = await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.Path, progress: progress));
        Assert.Contains("model.safetensors", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_hubs_cache_is_followed_through_its_links()
    {
        using var folder = new ScratchFolder();
        var root = folder.File("models--org--name");
        Directory.CreateDirectory(Path.Combine(root, "blobs"));
        var (old, main) = (Path.Combine(root, "snapshots", "aaaa"), Path.Combine(root, "snapshots", "bbbb"));
        Directory.CreateDirectory(old);
        Directory.CreateDirectory(main);
        foreach (var file in Directory.GetFiles(Fixtures.Model("qwen2")))
        {
            File.Copy(file, Path.Combine(root, "blobs", Path.GetFileName(file)));
            Link(Path.Combine(main, Path.GetFileName(file)), Path.Combine("..", "..", "blobs", Path.GetFileName(file)));
        }

        Assert.Contains("aaaa, bbbb", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(root))).Message, StringComparison.Ordinal);
        Directory.CreateDirectory(Path.Combine(root, "refs"));
        File.WriteAllText(Path.Combine(root, "refs", "main"), "bbbb\n");
        Directory.CreateSymbolicLink(folder.File("short"), main);
        foreach (var path in (string[])[root, folder.File("short")])
        {
            await using var model = await HeadInferModel.LoadAsync(path);
            Assert.Equal(3, model.Config.Layers);
        }

        Assert.Equal(3, ModelConfig.Load(root).Layers);
        foreach (var wrong in (string[])["cccc", "../.."])
        {
            File.WriteAllText(Path.Combine(root, "refs", "main"), wrong);
            Assert.Contains(wrong, (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(root))).Message, StringComparison.Ordinal);
        }

        Assert.Contains("cache of the hub", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("config.json", "x.Q4_K_M.gguf", "name the file")]
    [InlineData("", "x.Q4_K_M.gguf", "name the file")]
    [InlineData("config.json", "pytorch_model.bin", "can run code")]
    [InlineData("config.json", "pytorch_model-00001-of-00002.bin", "can run code")]
    [InlineData("config.json", "consolidated.00.pth", "can run code")]
    [InlineData("config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json")]
    [InlineData("", "params.json", "config.json, model.safetensors")]
    [InlineData("config.json", "tf_model.h5", "tf_model.h5")]
    [InlineData("config.json", "quantize_config.json", "quantize_config.json' lacks 'bits'")]
    public async Task A_folder_without_what_is_read_says_what_it_has(string kept, string file, string says)
    {
        using var folder = new ScratchFolder();
        File.WriteAllText(folder.File(file), "{}");
        if (kept.Length > 0)
        {
            File.Copy(Path.Combine(Fixtures.Model("qwen2"), kept), folder.File(kept));
        }

        var error = await Assert.ThrowsAnyAsync<HeadInferException>(() => HeadInferModel.LoadAsync(folder.Path));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("qwen.tiktoken")]
    [InlineData("tiktoken.model")]
    [InlineData("hy.tiktoken")]
    public async Task A_tokenizer_that_is_not_read_is_named_before_weights_are_read(string file)
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        File.Delete(folder.File("model.safetensors"));
        File.WriteAllText(folder.File(file), "{}");
        var error = await Assert.ThrowsAsync<UnsupportedModelException>(() => HeadInferModel.LoadAsync(folder.Path));
        Assert.Contains($"'{file}', which is not read. Put tokenizer.json", error.Message, StringComparison.Ordinal);
        File.Copy(Path.Combine(Fixtures.DemoModel, "tokenizer.json"), folder.File("tokenizer.json"));
        Assert.DoesNotContain(file, (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_tekken_json_alone_is_a_models_tokenizer()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        File.WriteAllText(folder.File("tekken.json"), TekkenWriter.Small().ToJsonString());
        await using (var model = await HeadInferModel.LoadAsync(folder.Path))
        {
            Assert.Equal([3, 8 + 256, 8 + 258], model.Tokenizer.Encode("[INST]hello", parseSpecial: true));
            Assert.Null(model.ChatTemplate);
        }

        folder.Edit("tekken.json", "\"rank\":256", "\"rank\":255");
        Assert.Contains("vocab[256] has the rank 255", (await Assert.ThrowsAsync<TokenizerException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_is_no_folder()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        File.WriteAllText(folder.File("x.gguf"), "GGUF");
        Assert.Contains("Name the model folder", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.File("config.json")))).Message, StringComparison.Ordinal);
        Assert.Contains("is not a GGUF file", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.File("x.gguf")))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task An_adapter_is_refused_alone_and_beside_a_model(bool beside)
    {
        using var folder = new ScratchFolder(beside ? Fixtures.Model("qwen2") : null);
        File.WriteAllText(folder.File("adapter_config.json"), """{"peft_type": "LORA", "base_model_name_or_path": "org/base"}""");
        var error = await Assert.ThrowsAsync<UnsupportedModelException>(() => HeadInferModel.LoadAsync(folder.Path));
        Assert.Contains("org/base", error.Message, StringComparison.Ordinal);
        Assert.Contains("merge_and_unload", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("F8_E4M3")]
    [InlineData("U8")]
    [InlineData("I8")]
    public async Task Quantized_weights_that_no_configuration_tells_of_are_named(string type)
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        SafetensorsEdit.Header(folder.File("model.safetensors"), header =>
        {
            header["model.norm.weight"]!["dtype"] = type;
            header["model.norm.weight"]!["data_offsets"]![1] = (int)header["model.norm.weight"]!["data_offsets"]![0]! + 64;
        });
        Assert.Contains("quantized", (await Assert.ThrowsAsync<UnsupportedModelException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Quantized_weights_are_known_by_their_tensors()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        SafetensorsEdit.Header(folder.File("model.safetensors"), header =>
        {
            var tensor = header["model.layers.0.mlp.up_proj.weight"]!.DeepClone();
            header.Remove("model.layers.0.mlp.up_proj.weight");
            header["model.layers.0.mlp.up_proj.qweight"] = tensor;
        });
        Assert.Contains("up_proj.qweight", (await Assert.ThrowsAsync<UnsupportedModelException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_throws_when_warned_ends_nothing_and_others_are_warned()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        File.WriteAllText(folder.File("generation_config.json"), """{"do_sample": true, "typical_p": 0.9}""");
        var told = new List<string>();
        Action<string> warning = _ => throw new InvalidTimeZoneException();
        await using var model = await HeadInferModel.LoadAsync(folder.Path, new HeadInferOptions { Warning = warning + told.Add });
        Assert.Contains("typical_p", Assert.Single(told), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_the_generation_config_asks_for_in_vain_is_warned_of_once()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        async Task<List<string>> Warnings(string json)
        {
            File.WriteAllText(folder.File("generation_config.json"), json);
            var told = new List<string>();
            await using var model = await HeadInferModel.LoadAsync(folder.Path, new HeadInferOptions { Warning = told.Add });
            return told;
        }

        Assert.Empty(await Warnings("""{"do_sample": true, "top_k": 20, "num_beams": 1, "no_repeat_ngram_size": 0, "typical_p": 1.0, "guidance_scale": null, "suppress_tokens": [], "max_length": 256, "length_penalty": 2.0, "use_cache": true}"""));
        Assert.Empty(await Warnings("""{"do_sample": false, "typical_p": 0.9, "epsilon_cutoff": 0.1}"""));
        string[] fields = ["\"num_beams\": 4", "\"no_repeat_ngram_size\": 3", "\"typical_p\": 0.9", "\"bad_words_ids\": [[5]]", "\"suppress_tokens\": [1]", "\"max_new_tokens\": 9", "\"max_length\": 200", "\"penalty_alpha\": 0.6", "\"forced_eos_token_id\": 2"];
        var warnings = await Warnings($$"""{"do_sample": true, {{string.Join(", ", fields)}} }""");
        Assert.Equal(fields.Length, warnings.Count);
        Assert.All(fields, field => Assert.Single(warnings, w => w.Contains(field.Split('"')[1], StringComparison.Ordinal)));
    }

    [Fact]
    public async Task The_generation_configs_stop_strings_are_the_defaults()
    {
        using var folder = new ScratchFolder(Fixtures.Model("qwen2"));
        File.WriteAllText(folder.File("generation_config.json"), """{"stop_strings": ["END", "STOP"]}""");
        await using var model = await HeadInferModel.LoadAsync(folder.Path);
        Assert.Equal(["END", "STOP"], model.Defaults.StopSequences);
    }

    private static void Link(string path, string target)
    {
        try
        {
            File.CreateSymbolicLink(path, target);
        }
        catch (IOException) when (OperatingSystem.IsWindows())
        {
            Assert.Skip("This account may not make links.");
        }
    }

    private static void Shorten(string path, long length)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        file.SetLength(length);
    }
}
