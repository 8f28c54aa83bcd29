using System.Text.Json.Nodes;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>What published configurations say: followed, or refused by name.</summary>
public sealed class ModelConfigTests
{
    private const string Llama = """
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 256, "rms_norm_eps": 1e-05}
        """;

    private const string Yarn = """{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}""";

    [Theory]
    [InlineData("""{"is_causal": false}""", "is_causal")]
    [InlineData("""{"use_bidirectional_attention": true}""", "use_bidirectional_attention")]
    [InlineData("""{"is_encoder_decoder": true}""", "is_encoder_decoder")]
    [InlineData("""{"rope_interleaved": true}""", "rope_interleaved")]
    [InlineData("""{"model_type": "qwen2"}""", "model_type")]
    [InlineData("""{"model_type": 5}""", "model_type")]
    [InlineData("""{"architectures": "LlamaForCausalLM"}""", "architectures")]
    [InlineData("""{"architectures": null, "model_type": "falcon"}""", "falcon")]
    [InlineData("""{"architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": "Infinity"}""", "FalconForCausalLM")]
    [InlineData("""{"layer_types": ["full_attention", "linear_attention"]}""", "linear_attention")]
    [InlineData("""{"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 24}""", "sliding_attention")]
    [InlineData("""{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "layer_types": ["full_attention", "sliding_attention"], "sliding_window": 24}""", "use_sliding_window")]
    [InlineData("""{"rope_scaling": {"type": "dynamic", "factor": 2.0}}""", "dynamic")]
    [InlineData("""{"rope_scaling": {"type": "su", "long_factor": [1.0], "short_factor": [1.0], "original_max_position_embeddings": 64}}""", "short_factor")]
    [InlineData("""{"rope_scaling": {"type": "dynamic", "long_factor": [1.0], "short_factor": [1.0]}}""", "'dynamic'")]
    [InlineData("""{"rope_scaling": {"type": "linear", "rope_type": "yarn", "factor": 2.0}}""", "rope_type")]
    [InlineData("""{"rope_scaling": {"rope_type": "linear", "factor": 0}}""", "factor")]
    [InlineData("""{"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}""", "disagree on rope_type")]
    [InlineData("""{"rope_parameters": {"rope_type": "linear", "factor": 4.0}, "rope_scaling": {"type": "linear", "factor": 2.0}}""", "disagree on factor")]
    [InlineData("""{"rope_theta": 10000, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}""", "rope_theta")]
    [InlineData("""{"rope_parameters": {"full_attention": {"rope_type": "dynamic"}}}""", "dynamic")]
    [InlineData("""{"rope_parameters": {"sliding_attention": {"rope_type": "default"}}}""", "full_attention")]
    [InlineData("""{"rope_parameters": {"full_attention": {"rope_type": "default"}, "rope_theta": 5.0}}""", "rope_theta")]
    [InlineData("""{"num_hidden_layers": 2.5}""", "num_hidden_layers")]
    [InlineData("""{"num_hidden_layers": true}""", "num_hidden_layers")]
    [InlineData("""{"vocab_size": 1e300}""", "vocab_size")]
    public void What_cannot_be_followed_is_refused_by_name(string change, string says)
    {
        var error = Assert.ThrowsAny<HeadInferException>(() => Read(change));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"is_causal": true, "use_bidirectional_attention": null, "is_encoder_decoder": false, "quantization_config": null}""")]
    [InlineData("""{"architectures": null}""")]
    [InlineData("""{"model_type": null}""")]
    [InlineData("""{"hidden_size": 64.0, "num_hidden_layers": 2.0, "vocab_size": 3.2e2, "eos_token_id": [2.0, 1]}""")]
    [InlineData("""{"layer_types": ["full_attention", "full_attention"], "rope_parameters": {"full_attention": {"rope_theta": 10000.0}, "sliding_attention": {"rope_type": "longrope"}}}""")]
    [InlineData("""{"rope_theta": 1e4, "rope_parameters": {"rope_theta": 10000, "type": "default", "rope_type": "default"}, "rope_scaling": {}}""")]
    public void What_says_the_same_in_another_way_is_the_same_model(string change)
    {
        var (config, expected, warnings) = (Read(change, out var warned), Read("{}"), warned);
        Assert.Equal(expected.Rope, config.Rope);
        Assert.Equal((expected.Architecture, expected.HiddenSize, expected.Layers, expected.VocabularySize), (config.Architecture, config.HiddenSize, config.Layers, config.VocabularySize));
        Assert.Empty(warnings);
    }

    [Theory]
    [InlineData("""{"rope_scaling": YARN}""")]
    [InlineData("""{"rope_parameters": YARN}""")]
    [InlineData("""{"rope_parameters": YARN, "rope_scaling": {"type": "yarn", "factor": 4}}""")]
    [InlineData("""{"rope_parameters": {"rope_theta": 10000.0}, "rope_scaling": YARN, "rope_theta": 10000.0}""")]
    [InlineData("""{"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0}, "original_max_position_embeddings": 64}""")]
    [InlineData("""{"rope_parameters": {"full_attention": YARN, "sliding_attention": {"rope_type": "default"}}}""")]
    [InlineData("""{"rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 64.0, "beta_fast": 32, "beta_slow": 1, "truncate": true}}""")]
    public void Yarn_is_read_in_every_form(string change)
    {
        var rope = Read(change.Replace("YARN", Yarn, StringComparison.Ordinal), out var warnings).Rope;
        Assert.Equal(new RopeConfig { RotaryDim = 16, Scaling = new() { Kind = RopeKind.Yarn, Factor = 4, OriginalMaxPositions = 64, AttentionFactor = (0.1 * Math.Log(4)) + 1 } }, rope);
        Assert.Empty(warnings);
    }

    [Theory]
    [InlineData("""{"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attn_factor": 2.0}}""", "attn_factor")]
    [InlineData("""{"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "finetuned": true}}""", "finetuned")]
    [InlineData("""{"rope_scaling": {"type": "linear", "factor": 4.0, "beta_fast": 32}}""", "beta_fast")]
    [InlineData("""{"rope_parameters": {"rope_type": "default", "mrope_section": [1, 2, 3]}}""", "mrope_section")]
    [InlineData("""{"dual_chunk_attention_config": {"chunk_size": 64}}""", "dual_chunk_attention_config")]
    public void What_changes_nothing_here_and_might_elsewhere_is_warned_of_once(string change, string says)
    {
        Read(change, out var warnings);
        Assert.Contains(says, Assert.Single(warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void An_option_replaces_the_scaling_of_the_configuration()
    {
        var asked = new RopeScaling { Kind = RopeKind.Yarn, Factor = 4 };
        var config = Read("{}", asked);
        Assert.Equal((RopeKind.Yarn, 256, 1024), (config.Rope.Scaling.Kind, config.Rope.Scaling.OriginalMaxPositions, config.MaxPositions));
        Assert.Equal(Read($$"""{"rope_scaling": {{Yarn}}}""").Rope, Read("{}", asked with { OriginalMaxPositions = 64 }).Rope);
        Assert.Equal(Read($$"""{"rope_scaling": {{Yarn}}}""").Rope, Read("""{"rope_scaling": {"type": "dynamic", "factor": 9, "original_max_position_embeddings": 64}}""", asked).Rope);
        Assert.Equal(RopeKind.Default, Read($$"""{"rope_scaling": {{Yarn}}}""", new RopeScaling()).Rope.Scaling.Kind);
        Assert.Equal(1024, Read("{}", new RopeScaling { Kind = RopeKind.Linear, Factor = 4 }).MaxPositions);

        // Two scalings that contradict each other, and both are replaced; the base of the frequencies is not.
        Assert.Equal(500_000, Read($$"""{"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500000.0}, "rope_scaling": {{Yarn}}}""", asked).Rope.Theta);
        Assert.Throws<CheckpointException>(() => Read("""{"rope_theta": 10000, "rope_parameters": {"rope_theta": 500000.0}}""", asked));
    }

    public static TheoryData<RopeScaling, string> Faults() => new()
    {
        { new() { Kind = RopeKind.Yarn, Factor = 0.5 }, "Factor" },
        { new() { Kind = RopeKind.Yarn, Factor = double.NaN }, "Factor" },
        { new() { Factor = 4 }, "needs a Kind" },
        { new() { Kind = (RopeKind)9 }, "Kind" },
        { new() { Kind = RopeKind.Yarn, Factor = 4, OriginalMaxPositions = 0 }, "OriginalMaxPositions" },
        { new() { Kind = RopeKind.Yarn, Factor = 4, BetaFast = 1 }, "BetaFast" },
        { new() { Kind = RopeKind.Llama3, Factor = 4, LowFrequencyFactor = 4 }, "HighFrequencyFactor" },
        { new() { Kind = RopeKind.Yarn, Factor = 4, AttentionFactor = 0 }, "AttentionFactor" },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public async Task A_scaling_out_of_range_is_named(RopeScaling scaling, string says)
    {
        var error = await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => HeadInferModel.LoadAsync("nowhere", new HeadInferOptions { RopeScaling = scaling }));
        Assert.Contains("HeadInferOptions.RopeScaling", error.Message, StringComparison.Ordinal);
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Infinity")]
    [InlineData("-Infinity")]
    [InlineData("NaN")]
    public void A_number_that_json_does_not_have_is_named_only_if_it_is_read(string number)
    {
        using var folder = new ScratchFolder();
        void Write(string old, string changed) => File.WriteAllText(folder.File("config.json"), Llama.Replace(old, changed, StringComparison.Ordinal));
        Write("{\"arch", $$"""{"time_step_limit": [0.0, {{number}}], "a \"NaN\" \\": "Infinity", "arch""");
        Assert.Equal(2, ModelConfig.Load(folder.Path).Layers);
        Write("1e-05", number);
        Assert.Contains("rms_norm_eps", Assert.Throws<CheckpointException>(() => ModelConfig.Load(folder.Path)).Message, StringComparison.Ordinal);
        Write("[\"LlamaForCausalLM\"]", $$"""["MambaForCausalLM"], "limit": {{number}}""");
        Assert.Contains("MambaForCausalLM", Assert.Throws<UnsupportedModelException>(() => ModelConfig.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Gemma_goes_by_hidden_activation_alone()
    {
        const string gemma = """{"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_act": "gelu"}""";
        Assert.Equal("gelu_pytorch_tanh", Read(gemma).Activation);
        Assert.Equal("gelu", Read("""{"hidden_act": "gelu", "hidden_activation": "silu"}""").Activation);
    }

    private static ModelConfig Read(string change, RopeScaling? scaling = null) => ModelConfigReader.Parse(Changed(change), "config.json", scaling);

    private static ModelConfig Read(string change, out List<string> warnings)
    {
        var told = warnings = [];
        return ModelConfigReader.Parse(Changed(change), "config.json", warn: told.Add);
    }

    private static string Changed(string change)
    {
        var json = JsonNode.Parse(Llama)!.AsObject();
        foreach (var (name, value) in JsonNode.Parse(change)!.AsObject())
        {
            json[name] = value?.DeepClone();
        }

        return json.ToJsonString();
    }
}
