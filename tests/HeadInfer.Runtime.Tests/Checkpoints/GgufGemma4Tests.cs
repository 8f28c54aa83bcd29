using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Gemma 4's GGUF files: what they say layer by layer, against the configurations of the same models.</summary>
public sealed class GgufGemma4Tests
{
    private const string Fixture = "gemma4-e";

    public static TheoryData<string, object?, string> Faults() => new()
    {
        { "attention.sliding_window_pattern", null, "lacks 'gemma4.attention.sliding_window_pattern'" },
        { "attention.sliding_window_pattern", new[] { true, false }, "expected one of 8" },
        { "attention.sliding_window_pattern", new[] { true, true, true, true, true, false, true, true }, "per_layer_config" }, // the last layer attends all in every model
        { "attention.value_length_swa", 8, "value_length_swa" },
        { "attention.head_count_kv", new[] { 2, 2 }, "expected one number, or 8" },
        { "attention.key_length", 64, "attention.value_length" },
        { "attention.shared_kv_layers", 8, "attention.shared_kv_layers" },
        { "feed_forward_length", new[] { 96, 96, 96, 96, 96, 96, 96, 192 }, "is 96 for layer 6; expected 192" },
        { "feed_forward_length", new[] { 96, 96, 192, 96, 96, 96, 192, 192 }, "is 192 for layer 2; expected 96" },
        { "rope.dimension_count", 16, "rope.dimension_count" },
        { "rope.scaling.type", "linear", "rope.scaling.type" },
        { "rope.scale_linear", 2f, "rope.scaling.type" },
    };

    [Fact]
    public void A_small_one_is_the_model_of_its_configuration()
    {
        var (windowed, layers) = (Enumerable.Range(0, 35).Select(layer => layer % 5 != 4).ToArray(), 35);
        var writer = Published(layers, 1536, 131_072).With("gemma4.feed_forward_length", Enumerable.Range(0, layers).Select(layer => layer < 15 ? 6144 : 12_288).ToArray())
            .With("gemma4.attention.head_count", 8).With("gemma4.attention.head_count_kv", 1).With("gemma4.attention.sliding_window", 512).With("gemma4.attention.sliding_window_pattern", windowed)
            .With("gemma4.attention.shared_kv_layers", 20).With("gemma4.embedding_length_per_layer_input", 256).With("gemma4.final_logit_softcapping", 30f);
        foreach (var layer in Enumerable.Range(0, 15))
        {
            writer.Tensor($"blk.{layer}.attn_v.weight", [1], [1f]); // is looked for, and not read
        }

        Same(Gemma4ConfigTests.Small, writer);
    }

    [Fact]
    public void A_large_one_is_the_model_of_its_configuration()
    {
        var (windowed, layers) = (Enumerable.Range(0, 60).Select(layer => layer % 6 != 5).ToArray(), 60);
        var writer = Published(layers, 5376, 262_144).With("gemma4.feed_forward_length", 21_504).With("gemma4.attention.head_count", 32)
            .With("gemma4.attention.head_count_kv", windowed.Select(isWindowed => isWindowed ? 16 : 4).ToArray()).With("gemma4.attention.sliding_window", 1024).With("gemma4.attention.sliding_window_pattern", windowed)
            .With("gemma4.attention.shared_kv_layers", 0).With("gemma4.embedding_length_per_layer_input", 0);
        foreach (var layer in Enumerable.Range(0, layers).Where(layer => windowed[layer]))
        {
            writer.Tensor($"blk.{layer}.attn_v.weight", [1], [1f]);
        }

        Same(Gemma4ConfigTests.Large, writer);
    }

    [Theory]
    [MemberData(nameof(Faults))]
    public void What_cannot_be_followed_is_named(string key, object? value, string says)
    {
        using var folder = new ScratchFolder();
        var writer = GgufConversion.Of(Fixtures.Model(Fixture)).Without($"gemma4.{key}");
        (value is null ? writer : writer.With($"gemma4.{key}", value)).Write(folder.File("m.gguf"));
        Assert.Contains(says, Assert.ThrowsAny<HeadInferException>(() => ModelConfig.Load(folder.File("m.gguf"))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(new[] { 1f, 1, 1, 1, 2, 2, 2, 2, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f }, "1e30 for the rest")]
    [InlineData(new[] { 1f, 1e30f, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, "1e30 for the rest")]
    [InlineData(new[] { 1f, 1, 1 }, "has 3 numbers")]
    [InlineData(null, "lacks the tensor 'rope_freqs.weight'")]
    public void Frequencies_of_another_kind_are_refused(float[]? divisors, string says)
    {
        using var folder = new ScratchFolder();
        var writer = GgufConversion.Of(Fixtures.Model(Fixture), name => name != "rope_freqs.weight");
        (divisors is null ? writer : writer.Tensor("rope_freqs.weight", [divisors.Length], divisors)).Write(folder.File("m.gguf"));
        Assert.Contains(says, Assert.ThrowsAny<HeadInferException>(() => ModelConfig.Load(folder.File("m.gguf"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Tokens_that_end_answers_and_those_that_must_not_come_are_found()
    {
        using var folder = new ScratchFolder();
        string[] tokens = [.. Enumerable.Range(0, 320).Select(id => id switch { 0 => "<pad>", 1 => "<eos>", 2 => "<bos>", 106 => "<turn|>", 50 => "<|tool_response>", 60 => "<|tool_call>", < 50 or > 63 => $"t{id}", _ => $"{(char)id}" })];
        var types = tokens.Select((_, id) => id is 0 or 1 or 2 or 106 ? 3 : id is 50 or 60 ? 4 : 1).ToArray(); // shown, so no control tokens
        GgufConversion.Of(Fixtures.Model(Fixture)).With("tokenizer.ggml.model", "gemma4").With("tokenizer.ggml.tokens", tokens).With("tokenizer.ggml.token_type", types).With("tokenizer.ggml.merges", new[] { "4 5" })
            .With("tokenizer.ggml.bos_token_id", 2).With("tokenizer.ggml.eos_token_id", 106).With("tokenizer.ggml.add_bos_token", true).With("tokenizer.ggml.add_space_prefix", false)
            .With("tokenizer.ggml.suppress_tokens", new[] { 7, 8 }).Write(folder.File("m.gguf"));
        var warnings = new List<string>();
        var model = ModelFolder.Open(folder.File("m.gguf"), new HeadInferOptions { Warning = warnings.Add });
        Assert.Equal([1, 50, 106], model.EndTokens.Order());
        Assert.Equal([2, .. model.Tokenizer!.Encode("45")], model.Tokenizer.Encode("45", addSpecial: true));
        Assert.Contains("suppress_tokens", Assert.Single(warnings), StringComparison.Ordinal);
    }

    private static GgufWriter Published(int layers, int hidden, int context) => new GgufWriter().With("general.architecture", "gemma4").With("gemma4.block_count", layers).With("gemma4.embedding_length", hidden)
        .With("gemma4.context_length", context).With("gemma4.vocab_size", 262_144).With("gemma4.attention.layer_norm_rms_epsilon", 1e-6f)
        .With("gemma4.attention.key_length", 512).With("gemma4.attention.value_length", 512).With("gemma4.attention.key_length_swa", 256).With("gemma4.attention.value_length_swa", 256)
        .With("gemma4.rope.dimension_count", 512).With("gemma4.rope.dimension_count_swa", 256).With("gemma4.rope.freq_base", 1e6f).With("gemma4.rope.freq_base_swa", 1e4f)
        .Tensor("rope_freqs.weight", [256], [.. Enumerable.Range(0, 256).Select(i => i < 64 ? 1 : 1e30f)]);

    private static void Same(string json, GgufWriter writer)
    {
        using var folder = new ScratchFolder();
        writer.Write(folder.File("m.gguf"));
        var warnings = new List<string>();
        var (expected, config) = (ModelConfigReader.Parse(json, "config.json"), ModelFolder.Open(folder.File("m.gguf"), new HeadInferOptions { Warning = warnings.Add }).Config);
        Assert.Empty(warnings); // every key is followed
        Assert.All(Enumerable.Range(0, expected.Layers), layer =>
        {
            var (rope, its) = (expected.RopeOf(layer), config.RopeOf(layer));
            Assert.Equal(rope.FrequencyDivisors, its.FrequencyDivisors);
            Assert.Equal(rope with { FrequencyDivisors = null }, its with { FrequencyDivisors = null });
            Assert.Equal((expected.HeadsOf(layer), expected.Windows[layer], expected.KeepsKeys(layer), expected.IntermediateOf(layer)), (config.HeadsOf(layer), config.Windows[layer], config.KeepsKeys(layer), config.IntermediateOf(layer)));
        });
        Assert.Equal(expected.CacheOf, config.CacheOf);
        Assert.Equal(expected.EqualLayers.Order(), config.EqualLayers.Order());
        Assert.Equal((expected.PerLayerSize, expected.PerLayerVocabulary, expected.LogitSoftCap, expected.EmbeddingScale, expected.AttentionScale, expected.Activation), (config.PerLayerSize, config.PerLayerVocabulary, config.LogitSoftCap, config.EmbeddingScale, config.AttentionScale, config.Activation));
        Assert.Equal((expected.HiddenSize, expected.MaxPositions, expected.VocabularySize, expected.TiedEmbeddings, expected.NormEpsilon, expected.Experts), (config.HiddenSize, config.MaxPositions, config.VocabularySize, config.TiedEmbeddings, config.NormEpsilon, config.Experts));
    }
}
