using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Configurations and GGUF files of LFM2, whose layers may be gated convolutions.</summary>
public abstract partial class Lfm2Tests(ComputeDevice device) : NativeTest(device)
{
    private static readonly int[] Tokens = [.. Enumerable.Range(0, 70).Select(i => ((i * 53) + 7) % 320)];

    private static readonly (string From, string To)[] Names =
    [
        ("model.embed_tokens.", "token_embd."), ("model.embedding_norm.", "token_embd_norm."), ("model.layers.", "blk."), ("operator_norm.", "attn_norm."), ("conv.conv.", "shortconv.conv."), ("conv.in_proj.", "shortconv.in_proj."), ("conv.out_proj.", "shortconv.out_proj."),
        ("self_attn.q_layernorm.", "attn_q_norm."), ("self_attn.k_layernorm.", "attn_k_norm."), ("self_attn.q_proj.", "attn_q."), ("self_attn.k_proj.", "attn_k."), ("self_attn.v_proj.", "attn_v."), ("self_attn.out_proj.", "attn_output."),
        ("feed_forward.expert_bias", "exp_probs_b.bias"), ("feed_forward.gate.", "ffn_gate_inp."), ("feed_forward.w1.", "ffn_gate."), ("feed_forward.w2.", "ffn_down."), ("feed_forward.w3.", "ffn_up."),
    ];

    public sealed class OnCpu() : Lfm2Tests(ComputeDevice.Cpu);

    public sealed class OnCuda() : Lfm2Tests(ComputeDevice.Cuda);

    // LFM2-1.2B's fields.
    private const string Small = """
        {"architectures": ["Lfm2ForCausalLM"], "model_type": "lfm2", "block_auto_adjust_ff_dim": true, "block_dim": 2048, "block_ff_dim": 12288, "block_ffn_dim_multiplier": 1.0, "block_mlp_init_scale": 1.0, "block_multiple_of": 256, "block_norm_eps": 1e-05,
         "block_out_init_scale": 1.0, "block_use_swiglu": true, "block_use_xavier_init": true, "conv_L_cache": 3, "conv_bias": false, "conv_dim": 2048, "conv_dim_out": 2048, "conv_use_xavier_init": true, "eos_token_id": 7, "full_attn_idxs": [2, 5, 8, 10, 12, 14],
         "hidden_size": 2048, "initializer_range": 0.02, "max_position_embeddings": 128000, "norm_eps": 1e-05, "num_attention_heads": 32, "num_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "rope_theta": 1000000.0, "use_cache": true, "use_pos_enc": true, "vocab_size": 65536}
        """;

    // LFM2-8B-A1B's fields.
    private const string Mixture = """
        {"architectures": ["Lfm2MoeForCausalLM"], "model_type": "lfm2_moe", "conv_L_cache": 3, "conv_bias": false, "eos_token_id": 7, "hidden_size": 2048, "intermediate_size": 7168, "moe_intermediate_size": 1792,
         "layer_types": ["conv", "conv", "full_attention", "conv", "conv", "conv", "full_attention", "conv", "conv", "conv", "full_attention", "conv", "conv", "conv", "full_attention", "conv", "conv", "conv", "full_attention", "conv", "conv", "full_attention", "conv", "conv"],
         "max_position_embeddings": 128000, "norm_eps": 1e-05, "norm_topk_prob": true, "num_attention_heads": 32, "num_dense_layers": 2, "num_experts": 32, "num_experts_per_tok": 4, "num_hidden_layers": 24, "num_key_value_heads": 8, "rope_theta": 1000000.0,
         "routed_scaling_factor": 1.0, "use_cache": true, "use_expert_bias": true, "vocab_size": 65536}
        """;

    [Fact]
    public void A_published_dense_model_is_read()
    {
        var config = ModelConfigReader.Parse(Small, "config.json");
        Assert.Equal([2, 5, 8, 10, 12, 14], config.AttendingLayers);
        Assert.Equal(RecurrentShape.OfConvolution(2048, 3, bias: false), config.Recurrent);
        Assert.Equal((8192, 64, HeadNorm.Each, true), (config.IntermediateSize, config.HeadDim, config.QkNorm, config.TiedEmbeddings));
        Assert.Equal(1_170_340_608, Parameters(config)); // the 1.2B of its name
    }

    [Fact]
    public void A_published_mixture_is_read()
    {
        var config = ModelConfigReader.Parse(Mixture, "config.json");
        Assert.Equal((6, 18, 22), (config.AttendingLayers.Count, config.StateLayers.Count, config.ExpertLayers.Count));
        Assert.Equal((32, 4, 1792, 0), (config.Experts, config.ExpertsPerToken, config.ExpertIntermediateSize, config.SharedExpertSize));
        Assert.Equal((true, true, 1.0), (config.Routing.Sigmoid, config.Routing.OfChosen, config.Routing.Scale));
        Assert.Equal(8_300_000_000, Parameters(config), 50_000_000.0); // the 8.3B of its card
    }

    /// <summary>As transformers' class makes the width of what is given.</summary>
    [Theory]
    [InlineData("{}", 8192)]
    [InlineData("""{"block_ff_dim": 10000}""", 6912)] // 6666, and then the next of 256
    [InlineData("""{"block_ff_dim": 10000, "block_ffn_dim_multiplier": 1.3, "block_multiple_of": 100}""", 8700)] // 8665
    [InlineData("""{"block_ff_dim": 10000, "block_ffn_dim_multiplier": null}""", 6666)]
    [InlineData("""{"block_ff_dim": null, "intermediate_size": 8192, "block_auto_adjust_ff_dim": false}""", 8192)]
    public void The_width_of_the_MLP_is_made_of_what_is_given(string fields, int width)
    {
        var json = JsonNode.Parse(Small)!.AsObject();
        foreach (var (name, value) in JsonNode.Parse(fields)!.AsObject())
        {
            json[name] = value?.DeepClone();
        }

        Assert.Equal(width, ModelConfigReader.Parse(json.ToJsonString(), "config.json").IntermediateSize);
    }

    [Theory]
    [InlineData("layer_types", """["conv", "mamba"]""", "layer_types names 2 layers")]
    [InlineData("full_attn_idxs", "[]", "no layer attends")]
    [InlineData("conv_L_cache", "0", "'conv_L_cache' is 0")]
    [InlineData("block_ffn_dim_multiplier", "-1", "'block_ffn_dim_multiplier' is -1")]
    [InlineData("block_multiple_of", "0", "'block_multiple_of' is 0")]
    [InlineData("block_ff_dim", "1", "'intermediate_size' is 0")]
    public void What_no_model_has_is_named(string field, string value, string says)
    {
        var json = JsonNode.Parse(Small)!.AsObject();
        (json[field], json["block_multiple_of"]) = (JsonNode.Parse(value), field == "block_multiple_of" ? JsonNode.Parse(value) : 1);
        Assert.Contains(says, Assert.ThrowsAny<HeadInferException>(() => ModelConfigReader.Parse(json.ToJsonString(), "config.json")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_router_without_corrections_is_named()
    {
        var json = JsonNode.Parse(Mixture)!.AsObject();
        json["use_expert_bias"] = false;
        Assert.Contains("use_expert_bias is false", Assert.Throws<UnsupportedModelException>(() => ModelConfigReader.Parse(json.ToJsonString(), "config.json")).Message, StringComparison.Ordinal);
    }

    /// <summary>As llama.cpp's conversion/lfm2.py converts it. No file has the factor of shares, which is one in published models.</summary>
    [Theory]
    [InlineData("lfm2")]
    [InlineData("lfm2-moe")]
    public async Task A_converted_folder_is_the_folders_model(string name)
    {
        using var folder = new ScratchFolder(Fixtures.Model(name));
        var json = JsonNode.Parse(File.ReadAllText(folder.File("config.json")))!.AsObject();
        json["routed_scaling_factor"] = 1.0;
        File.WriteAllText(folder.File("config.json"), json.ToJsonString());
        using var other = new ScratchFolder();
        Converted(folder.Path).Write(other.File("m.gguf"));
        var (expected, got) = (await Logits(folder.Path), await Logits(other.File("m.gguf")));
        Assert.InRange(expected.Zip(got, (a, b) => Math.Abs(a - b)).Max(), 0, 2e-5 * expected.Max(Math.Abs));

        var warnings = new List<string>();
        var (theirs, config) = (ModelConfig.Load(folder.Path), ModelFolder.Configure(other.File("m.gguf"), null, warnings.Add));
        Assert.Empty(warnings);
        Assert.Equal((theirs.Recurrent, theirs.IntermediateSize, theirs.Routing, theirs.ExpertIntermediateSize), (config.Recurrent, config.IntermediateSize, config.Routing, config.ExpertIntermediateSize));
        Assert.Equal(theirs.AttendingLayers, config.AttendingLayers);
        Assert.Equal(theirs.ExpertLayers.Order(), config.ExpertLayers.Order());
    }

    [Theory]
    [InlineData("lfm2.attention.head_count_kv", new[] { 0, 2 }, "an array of 2; expected one of 3")]
    [InlineData("lfm2.attention.head_count_kv", new[] { 0, 0, 0 }, "nor all zero")]
    [InlineData("lfm2.shortconv.l_cache", 65, "'conv_L_cache' is 65")]
    public void What_no_file_has_is_named(string key, object value, string says)
    {
        using var folder = new ScratchFolder();
        Converted(Fixtures.Model("lfm2")).Without(key).With(key, value).Write(folder.File("m.gguf"));
        Assert.Contains(says, Assert.ThrowsAny<HeadInferException>(() => ModelConfig.Load(folder.File("m.gguf"))).Message, StringComparison.Ordinal);
    }

    private static GgufWriter Converted(string folder)
    {
        var config = ModelConfig.Load(folder);
        var name = config.Experts > 0 ? "lfm2moe" : "lfm2";
        var writer = new GgufWriter().With("general.architecture", name).With("general.name", "made by a test").With($"{name}.context_length", config.MaxPositions).With($"{name}.embedding_length", config.HiddenSize).With($"{name}.block_count", config.Layers)
            .With($"{name}.feed_forward_length", config.IntermediateSize).With($"{name}.attention.head_count", config.Heads).With($"{name}.attention.head_count_kv", Enumerable.Range(0, config.Layers).Select(layer => config.Attends(layer) ? config.KvHeads : 0).ToArray())
            .With($"{name}.attention.layer_norm_rms_epsilon", (float)config.NormEpsilon).With($"{name}.rope.freq_base", (float)config.Rope.Theta).With($"{name}.vocab_size", config.VocabularySize).With($"{name}.shortconv.l_cache", config.Recurrent!.Taps);
        writer = config.Experts == 0 ? writer
            : writer.With($"{name}.expert_count", config.Experts).With($"{name}.expert_used_count", config.ExpertsPerToken).With($"{name}.expert_feed_forward_length", config.ExpertIntermediateSize)
                .With($"{name}.leading_dense_block_count", config.Layers - config.ExpertLayers.Count).With($"{name}.expert_gating_func", 2);
        using var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));
        foreach (var group in file.Entries.Values.GroupBy(e => Expert().Replace(e.Name, m => $"{m.Groups[1].Value}ffn_{m.Groups[3].Value switch { "w1" => "gate", "w2" => "down", _ => "up" }}_exps.weight")))
        {
            var entries = group.OrderBy(e => e.Name, StringComparer.Ordinal).ToList();
            var full = Names.Aggregate(group.Key, (text, pair) => text.Replace(pair.From, pair.To, StringComparison.Ordinal));
            long[] shape = entries[0].Shape is [var rows, 1, var taps] ? [rows, taps] : entries[0].Shape;
            writer.Tensor(full, full.EndsWith("_exps.weight", StringComparison.Ordinal) ? [entries.Count, .. shape] : shape, [.. entries.SelectMany(e => GgufConversion.Read(file, e))]);
        }

        return writer;
    }

    private async Task<float[]> Logits(string path)
    {
        await using var model = await Load(path, new HeadInferOptions { PageTokens = 8, TileTokens = 11, SegmentTokens = 32, ChunkTokens = 16 });
        using var session = model.CreateSession();
        return [.. (await session.LogitsAsync(Tokens)).SelectMany(row => row)];
    }

    private static long Parameters(ModelConfig config)
    {
        using var tensors = new ShapeCheckpoint("shape", config, ShapeCheckpoint.PackingOf("BF16"));
        return tensors.Tensors.Values.Sum(t => t.Shape.Aggregate(1L, (product, n) => product * n));
    }

    [GeneratedRegex(@"^(model\.layers\.\d+\.)feed_forward\.experts\.(\d+)\.(w\d)\.weight$")]
    private static partial Regex Expert();
}
