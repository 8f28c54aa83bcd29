using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;
using HeadInfer.Text;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>GGUF files that lie, are damaged, or are no model: each a typed error that names the file and the thing.</summary>
public sealed class GgufFileTests
{
    private static readonly byte[] Row = new byte[8];

    [Fact]
    public void A_whole_file_gives_its_values_and_tensors()
    {
        using var folder = new ScratchFolder();
        byte[] nested = [.. GgufWriter.Bytes(9u), .. GgufWriter.Bytes(9u), .. GgufWriter.Bytes(2UL), .. GgufWriter.Bytes(0u), .. GgufWriter.Bytes(1UL), 7, .. GgufWriter.Bytes(8u), .. GgufWriter.Bytes(0UL)];
        Two().With("text", "naïve").With("flag", true).With("number", 3).With("below", new[] { -3 }).With("real", 1e-6f).With("texts", new[] { "a", "" }).With("ints", new[] { 4, 4 }).With("nested", nested)
            .With("wide", (byte[])[.. GgufWriter.Bytes(10u), .. GgufWriter.Bytes(5UL)]).With("double", (byte[])[.. GgufWriter.Bytes(12u), .. BitConverter.GetBytes(0.25)]).Write(folder.File("x.gguf"));
        using var file = GgufFile.Open(folder.File("x.gguf"));
        var values = file.Metadata;
        Assert.Equal(("naïve", true, 3, -3, 1e-6, 4, 5, 0.25), (values.Text("text"), values.Bool("flag"), values.Int("number"), values.Int("below", -5), values.Number("real"), values.Int("ints"), values.Int("wide"), values.Number("double")));
        Assert.Equal(["a", ""], values.Texts("texts"));
        Assert.Equal([4, 4], values.Ints("ints"));
        Assert.Equal((null, null, null, null), (values.Text("none"), values.Bool("none"), values.Int("none"), values.Number("none")));
        Assert.Equal([2L, 1L], file.Tensors["a"].Stored.Shape);
        Assert.All((Action[])[() => values.Text("flag"), () => values.Bool("text"), () => values.Int("text"), () => values.Int("below"), () => values.Number("texts"), () => values.Texts("ints"), () => values.Ints("texts"), () => values.Floats("ints")], read => Assert.Contains("expected", Assert.Throws<CheckpointException>(read).Message, StringComparison.Ordinal));
    }

    public static TheoryData<string, string> Lies => new()
    {
        { "magic", "is not a GGUF file" }, { "version 1", "version 1" }, { "big-endian", "big-endian" }, { "claims", "claims 99999999 tensors" }, { "more tensors", "truncated" },
        { "key twice", "'a.b' twice" }, { "value type", "unknown type 99" }, { "array", "more than the file has" }, { "deep array", "deep" }, { "text", "truncated" },
        { "alignment", "power of two" }, { "tensor twice", "'a' twice" }, { "dimensions", "5 dimensions" }, { "no numbers", "impossible" }, { "huge", "impossible" },
        { "odd row", "whole blocks of 32" }, { "beyond", "truncated: tensor 'b'" }, { "far beyond", "truncated: tensor 'b'" }, { "overlap", "overlap" }, { "odd place", "impossible" }, { "long name", "may have at most" },
        { "IQ2_XXS", "IQ2_XXS, which is not read. Take" }, { "type 77", "number 77" }, { "pointer", "git lfs pull" },
    };

    [Theory]
    [MemberData(nameof(Lies))]
    public void A_header_that_lies_is_refused(string lie, string says)
    {
        using var folder = new ScratchFolder();
        var path = folder.File("x.gguf");
        var writer = lie switch
        {
            "version 1" => new GgufWriter { Version = 1 },
            "big-endian" => new GgufWriter { Version = 0x03000000 },
            "key twice" => Two().With("a.b", 1).With("a.b", 2),
            "value type" => Two().With("x", GgufWriter.Bytes(99u)),
            "array" => Two().With("x", (byte[])[.. GgufWriter.Bytes(9u), .. GgufWriter.Bytes(8u), .. GgufWriter.Bytes(1UL << 61)]),
            "deep array" => Two().With("x", (byte[])[.. GgufWriter.Bytes(9u), .. Enumerable.Repeat((byte[])[.. GgufWriter.Bytes(9u), .. GgufWriter.Bytes(1UL)], 6).SelectMany(b => b)]),
            "text" => Two().With("x", (byte[])[.. GgufWriter.Bytes(8u), .. GgufWriter.Bytes(ulong.MaxValue)]),
            "alignment" => Two().With("general.alignment", 24),
            "tensor twice" => Two().Tensor("a", [2, 1], 0, Row),
            "dimensions" => Two().Tensor("c", [1, 1, 1, 1, 1], 0, Row),
            "no numbers" => Two().Tensor("c", [0, 2], 0, Row),
            "huge" => Two().Tensor("c", [1L << 40, 1L << 40, 1L << 40], 0, Row),
            "odd row" => Two().Tensor("c", [2, 31], 8, Row),
            "long name" => Two().Tensor(new string('n', 300), [2], 0, Row),
            "IQ2_XXS" => Two().Tensor("c", [1, 256], 16, Row),
            "type 77" => Two().Tensor("c", [1, 256], 77, Row),
            _ => Two(),
        };
        writer.Write(path, (tensor, offset) => tensor == 0 ? offset : lie switch { "beyond" => 64, "far beyond" => ulong.MaxValue - 31, "overlap" => 0, "odd place" => 33, _ => offset });
        var bytes = File.ReadAllBytes(path);
        switch (lie)
        {
            case "magic":
                bytes[0]++;
                break;
            case "claims":
                BitConverter.TryWriteBytes(bytes.AsSpan(8), 99_999_999UL);
                break;
            case "more tensors":
                BitConverter.TryWriteBytes(bytes.AsSpan(8), 60_000UL);
                break;
            case "pointer":
                bytes = [.. "version https://git-lfs.github.com/spec/v1\noid sha256:1234"u8];
                break;
            default:
                break;
        }

        File.WriteAllBytes(path, bytes);
        var error = Assert.ThrowsAny<HeadInferException>(() => GgufFile.Open(path).Dispose());
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
        Assert.Contains(path, error.Message, StringComparison.Ordinal);
    }

    public static TheoryData<string, object, string> Refusals => new()
    {
        { "general.type", "adapter", "adapters are not applied" }, { "general.type", "mmproj", "mmproj" }, { "general.type", "imatrix", "'imatrix'" },
        { "general.architecture", "clip", "mmproj" }, { "general.architecture", "mamba", "'mamba'" }, { "general.architecture", 3, "expected a text" },
        { "llama.expert_count", 8, "expert_used_count" }, { "llama.expert_weights_scale", 2.5f, "expert_weights_scale' other than 1" }, { "llama.expert_gating_func", 2, "expert_gating_func' 2" }, { "llama.attention.value_length", 8, "value_length" }, { "llama.attention.clamp_kqv", 8f, "attention.clamp_kqv" }, { "llama.attention.head_count_kv", new[] { 2, 4, 2 }, "differs between layers" },
        { "llama.attention.head_count", 0, "expected a whole number" }, { "llama.attention.head_count", 7, "heads of an even number" }, { "llama.block_count", 0, "llama.block_count" }, { "llama.block_count", 4, "lacks the tensor" }, { "llama.block_count", 2, "no place for" },
        { "llama.rope.scaling.type", "longrope", "'longrope'" }, { "llama.rope.scaling.yarn_log_multiplier", 0.5f, "yarn_log_multiplier" }, { "llama.rope.scaling.type", "yarn", "lacks 'llama.rope.scaling.factor'" },
        { "llama.rope.freq_base", float.NaN, "expected a number" }, { "llama.attention.layer_norm_rms_epsilon", -1f, "rms_norm_eps" }, { "llama.context_length", "long", "expected a whole number" },
        { "llama.embedding_length", 128, "shape" }, { "llama.rope.dimension_count", 8, "rope_freqs" }, { "tokenizer.ggml.model", "bert", "'bert'" }, { "tokenizer.ggml.eos_token_id", 999, "eos_token_id" }, { "split.count", 2, "shard 1 of 2" },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public async Task What_is_not_supported_or_out_of_range_is_named(string key, object value, string says)
    {
        using var folder = new ScratchFolder();
        GgufConversion.Of(Fixtures.Model("llama3")).With("tokenizer.ggml.tokens", new[] { "a", "b" }).Without(key).With(key, value).Write(folder.File("x.gguf"));
        var error = await Assert.ThrowsAnyAsync<HeadInferException>(() => HeadInferModel.LoadAsync(folder.File("x.gguf")));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
        Assert.Contains("x.gguf", error.Message, StringComparison.Ordinal);
    }

    public static TheoryData<string, string, object, string> OwnRefusals => new()
    {
        { "granite", "granite.rope.scaling.finetuned", false, "without rotary embeddings" }, { "granite", "granite.logit_scale", 0f, "lacks 'granite.logit_scale'" },
        { "ministral3", "mistral3.rope.scaling.type", "none", "temperature_scale' without YaRN" },
        { "glm4", "glm4.rope.dimension_sections", new[] { 8, 12, 12, 0 }, "of a model that sees" }, { "glm4-moe", "glm4moe.nextn_predict_layers", 5, "a whole number from 0 to 4" }, { "glm4-moe", "glm4moe.expert_gating_func", 1, "expert_gating_func' 1" }, { "qwen2", "qwen2.expert_count", 8, "with experts" },
        { "deepseek-v3", "deepseek2.expert_gating_func", 1, "expert_gating_func' 1" }, { "deepseek-v3", "deepseek2.attention.kv_lora_rank", 0, "kv_lora_rank" }, { "deepseek-v3", "deepseek2.attention.key_length_mla", 8, "qk_nope_head_dim" },
        { "olmo3", "olmo2.rope.freq_base_swa", 10_000f, "'olmo2.rope.freq_base_swa' other than" }, { "olmo3", "olmo2.attention.sliding_window_pattern", new[] { true }, "layer_types names 1 layers" },
        { "olmo3", "olmo2.attention.sliding_window_pattern", new[] { 1 }, "expected a list of truth values" }, { "cohere2", "cohere2.attention.sliding_window_pattern", "LLLG", "expected a whole number" },
        { "phi3-longrope", "phi3.rope.scaling.type", "yarn", "'yarn' with 'rope_factors_long.weight'" }, { "phi3-longrope", "phi3.rope.dimension_count", 8, "short_factor" },
    };

    [Theory]
    [MemberData(nameof(OwnRefusals))]
    public void What_an_architecture_of_its_own_has_is_named(string model, string key, object value, string says)
    {
        using var folder = new ScratchFolder();
        GgufConversion.Of(Fixtures.Model(model)).Without(key).With(key, value).Write(folder.File("x.gguf"));
        Assert.Contains(says, Assert.ThrowsAny<HeadInferException>(() => ModelConfig.Load(folder.File("x.gguf"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Latent_attention_grows_with_the_factor_of_YaRN()
    {
        using var folder = new ScratchFolder();
        const string scaling = "deepseek2.rope.scaling.";
        GgufConversion.Of(Fixtures.Model("deepseek-v3")).With(scaling + "type", "yarn").With(scaling + "factor", 40f).With(scaling + "original_context_length", 64).With(scaling + "yarn_log_multiplier", 0.1f).Write(folder.File("x.gguf"));
        var config = ModelConfig.Load(folder.File("x.gguf"));
        Assert.Equal(Math.Pow(1 + (0.1 * Math.Log(40)), 2) / Math.Sqrt(24), config.AttentionScale, 1e-6); // transformers' DeepseekV3Attention
        Assert.Equal((RopeKind.Yarn, 1, 40), (config.Rope.Scaling.Kind, config.Rope.Scaling.AttentionFactor, config.Rope.Scaling.Factor));
    }

    [Fact]
    public void DeepSeek_V2_is_told_apart()
    {
        using var folder = new ScratchFolder();
        GgufConversion.Of(Fixtures.Model("deepseek-v3")).Without("deepseek2.expert_gating_func").Write(folder.File("flash.gguf")); // as the first files of GLM-4.7-Flash
        Assert.True(ModelConfig.Load(folder.File("flash.gguf")).Routing.Sigmoid);
        GgufConversion.Of(Fixtures.Model("deepseek-v3"), t => !t.Contains("exp_probs_b", StringComparison.Ordinal)).Without("deepseek2.expert_gating_func").Write(folder.File("v2.gguf"));
        var config = ModelConfig.Load(folder.File("v2.gguf"));
        Assert.Equal(("DeepseekV2ForCausalLM", false, 2, 1), (config.Architecture, config.Routing.Sigmoid, config.Routing.Groups, config.Routing.KeptGroups));
        GgufConversion.Of(Fixtures.Model("deepseek-v3"), t => !t.Contains("exp_probs_b", StringComparison.Ordinal)).Without("deepseek2.expert_gating_func").Without("deepseek2.expert_group_count").Without("deepseek2.expert_group_used_count")
            .Without("deepseek2.expert_count").With("deepseek2.expert_count", 160).Write(folder.File("first.gguf"));
        Assert.Equal((8, 3), (ModelConfig.Load(folder.File("first.gguf")).Routing.Groups, ModelConfig.Load(folder.File("first.gguf")).Routing.KeptGroups));
    }

    // 1 + ln(factor) / 10 is transformers' without an attention_factor. DeepSeek-R1-0528-Qwen3-8B has the first as attn_factor, which transformers does not read; OLMo 3 the second as attention_factor.
    [Theory]
    [InlineData("qwen3", "qwen3", 4f, 0.87824886f, 1.1386294, true)]
    [InlineData("olmo3", "olmo2", 8f, 1.2079442f, 1.2079442, false)]
    public void A_factor_of_yarn_below_one_is_left_aside(string source, string name, float factor, float given, double expected, bool warns)
    {
        using var folder = new ScratchFolder();
        var (scaling, told) = ($"{name}.rope.scaling.", new List<string>());
        var writer = GgufConversion.Of(Fixtures.Model(source));
        foreach (var (key, value) in ((string, object)[])[("type", "yarn"), ("factor", factor), ("original_context_length", 64), ("yarn_attn_factor", given)])
        {
            writer.Without(scaling + key).With(scaling + key, value);
        }

        writer.Write(folder.File("x.gguf"));
        Assert.Equal(expected, ModelFolder.Configure(folder.File("x.gguf"), null, told.Add).Rope.Scaling.AttentionFactor!.Value, 1e-6);
        Assert.Equal(warns ? 1 : 0, told.Count(t => t.Contains("yarn_attn_factor", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Queries_grow_whatever_scales_positions()
    {
        using var folder = new ScratchFolder();
        GgufConversion.Of(Fixtures.Model("ministral3")).Write(folder.File("x.gguf"));
        var options = new HeadInferOptions { RopeScaling = new RopeScaling { Kind = RopeKind.Linear, Factor = 3 } };
        await using var model = await HeadInferModel.LoadAsync(folder.File("x.gguf"), options);
        await using var original = await HeadInferModel.LoadAsync(Fixtures.Model("ministral3"), options);
        Assert.Equal((0.1, 64), model.Config.QueryGrowth);
        Assert.Equal((original.Config.QueryGrowth, original.Config.Rope), (model.Config.QueryGrowth, model.Config.Rope));
    }

    [Fact]
    public void Divisors_for_long_contexts_alone_are_refused()
    {
        using var folder = new ScratchFolder();
        GgufConversion.Of(Fixtures.Model("phi3-longrope"), t => t != "rope_factors_short.weight").Write(folder.File("x.gguf"));
        Assert.Contains("lacks the tensor 'rope_factors_short.weight'", Assert.Throws<CheckpointException>(() => ModelConfig.Load(folder.File("x.gguf"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_key_that_is_not_followed_is_told_and_a_scaling_of_the_callers_replaces_the_files()
    {
        using var folder = new ScratchFolder();
        var told = new List<string>();
        GgufConversion.Of(Fixtures.Model("qwen2-yarn")).With("qwen2.residual_scale", 2f).Write(folder.File("x.gguf"));
        var options = new HeadInferOptions { Warning = told.Add, RopeScaling = new RopeScaling { Kind = RopeKind.Linear, Factor = 3 } };
        await using var model = await HeadInferModel.LoadAsync(folder.File("x.gguf"), options);
        Assert.Contains("'qwen2.residual_scale' is not followed", Assert.Single(told), StringComparison.Ordinal);
        Assert.Equal((RopeKind.Linear, 3.0, "made by a test"), (model.Config.Rope.Scaling.Kind, model.Config.Rope.Scaling.Factor, model.Name));
        Assert.Contains("no tokenizer in its metadata", Assert.Throws<TokenizerException>(() => model.Tokenizer).Message, StringComparison.Ordinal);
        GgufConversion.Of(Fixtures.Model("llama3")).With("llama.rope.scaling.type", "linear").With("llama.rope.scaling.factor", 4f).Write(folder.File("x.gguf"));
        Assert.Equal((RopeKind.Linear, 4.0), (ModelConfig.Load(folder.File("x.gguf")).Rope.Scaling.Kind, ModelConfig.Load(folder.File("x.gguf")).Rope.Scaling.Factor));
    }

    // A message of gpt-oss is not the end of its answer. GLM begins the next one's turn.
    [Theory]
    [InlineData("q-mxfp4-gpt-oss", "gpt-4o", "<|endoftext|>", "<|return|>", "<|end|>", "<|call|>", new[] { 316, 317, 319 })]
    [InlineData("glm4", "glm4", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|observation|>", new[] { 316, 317, 319 })]
    [InlineData("llama3", "llama-bpe", "<|endoftext|>", "<|eot_id|>", "<|user|>", "<|end|>", new[] { 316, 317, 319 })]
    public async Task What_ends_an_answer_is_the_architectures(string source, string pre, string a, string b, string c, string d, int[] ends)
    {
        using var folder = new ScratchFolder();
        var vocabulary = GgmlVocabularies.Of(Path.Combine(Fixtures.Root, "tokenizers", "llama3-style", "tokenizer.json"), pre);
        string[] tokens = [.. vocabulary.Tokens.Take(316), a, b, c, d];
        int[] types = [.. vocabulary.Types.Take(316), .. vocabulary.Types.TakeLast(4)];
        GgufConversion.Of(Fixtures.Model(source)).With("tokenizer.ggml.model", "gpt2").With("tokenizer.ggml.pre", pre).With("tokenizer.ggml.tokens", tokens).With("tokenizer.ggml.token_type", types)
            .With("tokenizer.ggml.merges", vocabulary.Merges.Take(20).ToList()).With("tokenizer.ggml.eos_token_id", 317).Write(folder.File("x.gguf"));
        await using var model = await HeadInferModel.LoadAsync(folder.File("x.gguf"));
        Assert.Equal(ends, model.EndTokens.Order());
    }

    // Both are cut alike, and have one name. Of Seed-OSS it is not known whether it composes marks.
    [Theory]
    [InlineData("qwen2", true)] // an architecture that has the same keys and tensors
    [InlineData("seed_oss", false)]
    public async Task The_tokenizer_of_Seed_Coder_is_not_taken_for_that_of_Seed_OSS(string architecture, bool taken)
    {
        using var folder = new ScratchFolder();
        var vocabulary = GgmlVocabularies.Of(Path.Combine(Fixtures.Root, "tokenizers", "qwen2-style", "tokenizer.json"), "seed-coder");
        GgufConversion.Of(Fixtures.Model("qwen2"), architecture: architecture).With("tokenizer.ggml.model", "gpt2").With("tokenizer.ggml.pre", "seed-coder").With("tokenizer.ggml.tokens", vocabulary.Tokens.Take(320).ToList())
            .With("tokenizer.ggml.token_type", vocabulary.Types.Take(320).ToList()).With("tokenizer.ggml.merges", vocabulary.Merges.Take(20).ToList()).Write(folder.File("x.gguf"));
        var thrown = await Record.ExceptionAsync(async () =>
        {
            await using var model = await HeadInferModel.LoadAsync(folder.File("x.gguf"));
            Assert.NotEmpty(model.Tokenizer.Encode("x"));
        });
        Assert.True(taken ? thrown is null : thrown is UnsupportedModelException && thrown.Message.Contains("'seed-coder of Seed-OSS', which is not known", StringComparison.Ordinal), thrown?.ToString());
    }

    [Fact]
    public async Task Tokenizer_template_ends_and_defaults_are_the_files()
    {
        using var folder = new ScratchFolder();
        var vocabulary = GgmlVocabularies.Of(Path.Combine(Fixtures.Root, "tokenizers", "llama3-style", "tokenizer.json"), "llama-bpe");
        // The model has 320 tokens: the first bytes, and those that are special.
        string[] tokens = [.. vocabulary.Tokens.Take(315), .. vocabulary.Tokens.TakeLast(5)];
        int[] types = [.. vocabulary.Types.Take(315), .. vocabulary.Types.TakeLast(5)];
        var writer = GgufConversion.Of(Fixtures.Model("llama3")).With("tokenizer.ggml.model", "gpt2").With("tokenizer.ggml.pre", "llama-bpe").With("tokenizer.ggml.tokens", tokens).With("tokenizer.ggml.token_type", types)
            .With("tokenizer.ggml.merges", vocabulary.Merges.Take(20).ToList()).With("tokenizer.ggml.bos_token_id", 315).With("tokenizer.ggml.eos_token_id", 317)
            .With("tokenizer.chat_template", "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}<|eot_id|>{% endfor %}").With("tokenizer.chat_template.tool_use", "{{ tools | length }}")
            .With("general.sampling.temp", 0.6f).With("general.sampling.top_k", 40).With("general.sampling.mirostat", 1);
        writer.Write(folder.File("x.gguf"));
        var told = new List<string>();
        await using (var model = await HeadInferModel.LoadAsync(folder.File("x.gguf"), new HeadInferOptions { Warning = told.Add }))
        {
            Assert.Equal("<|begin_of_text|>user:hi<|eot_id|>", model.ChatTemplate!.Render([new ChatTurn("user", "hi")]));
            Assert.Equal(315, model.ChatTemplate.Encode([new ChatTurn("user", "hi")], model.Tokenizer)[0]);
            Assert.Equal([315, .. model.Tokenizer.Encode("hi")], model.Tokenizer.Encode("hi", addSpecial: true));
            Assert.Equal([316, 317], model.EndTokens.Order()); // <|end_of_text|> by its name
            Assert.Equal((0.6, 40), (model.Defaults.Sampling.Temperature, model.Defaults.Sampling.TopK!.Value));
            Assert.Contains("mirostat", Assert.Single(told), StringComparison.Ordinal);
        }

        await using (var other = await HeadInferModel.LoadAsync(folder.File("x.gguf"), new HeadInferOptions { ChatTemplate = "{{ eos_token }}!{{ messages[0].content }}" }))
        {
            Assert.Equal("<|eot_id|>!hi", other.ChatTemplate!.Render([new ChatTurn("user", "hi")]));
        }

        // Some converters give markers the types of text: the template's still are no text, and still end a turn.
        writer.Without("tokenizer.ggml.token_type").With("tokenizer.ggml.token_type", types.Select(t => t == 3 ? 1 : t).ToList()).Without("tokenizer.ggml.eos_token_id").With("tokenizer.ggml.eos_token_id", 316).Write(folder.File("x.gguf"));
        told.Clear();
        await using (var untyped = await HeadInferModel.LoadAsync(folder.File("x.gguf"), new HeadInferOptions { Warning = told.Add }))
        {
            Assert.Equal([315, .. untyped.Tokenizer.Encode("user:hi"), 317], untyped.ChatTemplate!.Encode([new ChatTurn("user", "hi")], untyped.Tokenizer));
            Assert.Equal([316, 317], untyped.EndTokens.Order());
            Assert.Contains("'<|eot_id|>'", Assert.Single(told, t => !t.Contains("mirostat", StringComparison.Ordinal)), StringComparison.Ordinal);
        }

        writer.Without("tokenizer.ggml.token_type").With("tokenizer.ggml.token_type", types);

        // As llama.cpp's converter has written it: the name of one of its own.
        writer.Without("tokenizer.chat_template").With("tokenizer.chat_template", "mistral-v7").Write(folder.File("x.gguf"));
        await using (var named = await HeadInferModel.LoadAsync(folder.File("x.gguf")))
        {
            var error = Assert.Throws<ChatTemplateException>(() => named.ChatTemplate);
            Assert.Contains("'mistral-v7'", error.Message, StringComparison.Ordinal);
            Assert.Contains("HeadInferOptions.ChatTemplate", error.Message, StringComparison.Ordinal);
            Assert.Equal([316, 317], named.EndTokens.Order());
        }

        await using (var other = await HeadInferModel.LoadAsync(folder.File("x.gguf"), new HeadInferOptions { ChatTemplate = "{{ messages[0].content }}" }))
        {
            Assert.Equal("hi", other.ChatTemplate!.Render([new ChatTurn("user", "hi")]));
        }

        writer.Without("tokenizer.chat_template").With("tokenizer.chat_template", "chatml").Write(folder.File("x.gguf"));
        await using (var known = await HeadInferModel.LoadAsync(folder.File("x.gguf")))
        {
            Assert.StartsWith("<|im_start|>user\nhi", known.ChatTemplate!.Render([new ChatTurn("user", "hi")]), StringComparison.Ordinal);
        }

        writer.Without("tokenizer.chat_template").Without("tokenizer.chat_template.tool_use").Write(folder.File("x.gguf"));
        await using (var bare = await HeadInferModel.LoadAsync(folder.File("x.gguf")))
        {
            Assert.Null(bare.ChatTemplate);
        }

        writer.With("tokenizer.chat_template", "{{ messages }}");
        writer.Without("general.sampling.temp").With("general.sampling.temp", -1f).Write(folder.File("x.gguf"));
        Assert.Contains("temperature", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.File("x.gguf")))).Message, StringComparison.Ordinal);
        writer.Without("tokenizer.ggml.tokens").With("tokenizer.ggml.tokens", (string[])[.. tokens, "more"]).Without("tokenizer.ggml.token_type").Without("general.sampling.temp").Write(folder.File("x.gguf"));
        Assert.Contains("do not belong together", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.File("x.gguf")))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_cut_short_anywhere_is_refused()
    {
        using var folder = new ScratchFolder();
        var (path, random) = (folder.File("x.gguf"), new Random(4));
        var bytes = File.ReadAllBytes(Path.Combine(Fixtures.Root, "gguf", "llama-q2_K", "model.gguf"));
        foreach (var length in Enumerable.Range(0, 2100).Where(n => n < 40 || n % 7 == 0).Concat(Enumerable.Range(0, 100).Select(_ => random.Next(2100, bytes.Length))).Append(bytes.Length - 1))
        {
            File.WriteAllBytes(path, bytes[..length]);
            Assert.Throws<CheckpointException>(() => Open(path));
        }
    }

    [Fact]
    public void Changed_bytes_load_or_fail_with_a_typed_error()
    {
        using var folder = new ScratchFolder();
        GgufConversion.Of(Fixtures.Model("llama3"), t => !t.StartsWith("blk.2", StringComparison.Ordinal)).Write(folder.File("m.gguf"));
        var vocabulary = GgmlVocabularies.Of(Path.Combine(Fixtures.Root, "tokenizers", "llama3-style", "tokenizer.json"), "llama-bpe");
        new GgufWriter().With("general.architecture", "qwen3moe").With("tokenizer.ggml.model", "gpt2").With("tokenizer.ggml.pre", "llama-bpe").With("tokenizer.ggml.tokens", vocabulary.Tokens.Take(300).ToList())
            .With("tokenizer.ggml.token_type", vocabulary.Types.Take(300).ToList()).With("tokenizer.ggml.merges", vocabulary.Merges.Take(40).ToList()).With("tokenizer.ggml.eos_token_id", 5).With("tokenizer.chat_template", "{{ messages }}")
            .With("qwen3moe.attention.head_count", 4).With("qwen3moe.embedding_length", 64).With("qwen3moe.block_count", 1).With("qwen3moe.feed_forward_length", 96).With("qwen3moe.expert_feed_forward_length", 48)
            .With("qwen3moe.expert_count", 6).With("qwen3moe.expert_used_count", 2).With("qwen3moe.context_length", 99).With("qwen3moe.attention.layer_norm_rms_epsilon", 1e-6f)
            .Tensor("token_embd.weight", [300, 64], new float[300 * 64]).Tensor("blk.0.ffn_up_exps.weight", [6, 48, 64], new float[6 * 48 * 64]).Write(folder.File("t.gguf"));
        Flip(folder, File.ReadAllBytes(folder.File("m.gguf")), header: 3200, runs: 1300, seed: 61);
        Flip(folder, File.ReadAllBytes(folder.File("t.gguf")), header: 7500, runs: 700, seed: 62);
    }

    private static void Flip(ScratchFolder folder, byte[] bytes, int header, int runs, int seed)
    {
        var (random, loaded, path) = (new Random(seed), 0, folder.File("x.gguf"));
        for (var run = 0; run < runs; run++)
        {
            var changed = bytes.ToArray();
            for (var flips = random.Next(1, 4); flips > 0; flips--)
            {
                changed[random.Next(header)] = (byte)(random.Next(3) switch { 0 => random.Next(256), 1 => random.Next(16), _ => 255 });
            }

            File.WriteAllBytes(path, changed);
            try
            {
                Open(path);
                loaded++;
            }
            catch (HeadInferException e)
            {
                Assert.NotEmpty(e.Message);
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                Assert.Fail($"run {run} of seed {seed}: {e}");
            }
        }

        Assert.InRange(loaded, 1, runs - 1);
    }

    // All that is done before weights are read, and a beginning of each tensor.
    private static void Open(string path)
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            ModelFolder.Open(path, new HeadInferOptions()).Tokenizer?.Encode("The ship <|eot_id|> 123", parseSpecial: true, addSpecial: true);
            using var checkpoint = Checkpoint.Open(path);
            Assert.All(checkpoint.Tensors.Values, t => checkpoint.ReadBytes(t, 0, new byte[Math.Min(t.Length, 4096)]));
        }
        finally
        {
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 100 << 20);
        }
    }

    private static GgufWriter Two() => new GgufWriter().With("a.b", 1).Tensor("a", [2, 1], 0, Row).Tensor("b", [2], 0, Row);
}
