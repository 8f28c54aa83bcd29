using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads a <c>config.json</c>: each field that means something is followed or refused by name.</summary>
internal static class ModelConfigReader
{
    private const string Full = "full_attention", Sliding = "sliding_attention";

    // Fields that some published models have, for which the decoder has no place, and the value that changes nothing.
    private static readonly (string Name, bool Neutral)[] Switches =
        [("is_causal", true), ("use_bidirectional_attention", false), ("is_encoder_decoder", false), ("add_cross_attention", false), ("rope_interleaved", false)];

    /// <param name="folder">the model folder</param>
    /// <param name="scaling">scaling of rotary embeddings in place of the configuration's; null takes that</param>
    /// <param name="warn">told of what is not followed</param>
    /// <exception cref="CheckpointException">It is missing, not JSON, or has values out of range.</exception>
    /// <exception cref="UnsupportedModelException">The architecture or one of its options is not supported.</exception>
    public static ModelConfig Load(string folder, RopeScaling? scaling, Action<string>? warn)
    {
        if (!Directory.Exists(folder))
        {
            throw FolderContents.NoFolder(folder);
        }

        var path = Path.Combine(folder, "config.json");
        try
        {
            FolderContents.RefuseAdapter(folder);
            if (!File.Exists(path))
            {
                throw FolderContents.NoConfig(folder);
            }

            using var json = ConfigReader.Parse(path);
            return ReadWhole(new ConfigReader(json.RootElement, path, warn), scaling);
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException or InvalidOperationException)
        {
            throw new CheckpointException($"'{path}' cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Reads the text of a <c>config.json</c>.</summary>
    /// <param name="text">the text</param>
    /// <param name="name">stands for its path in messages</param>
    /// <param name="scaling">scaling of rotary embeddings in place of the configuration's; null takes that</param>
    /// <param name="warn">told of what is not followed</param>
    public static ModelConfig Parse(string text, string name, RopeScaling? scaling = null, Action<string>? warn = null)
    {
        using var json = JsonDocument.Parse(text);
        return ReadWhole(new ConfigReader(json.RootElement, name, warn), scaling);
    }

    private static ModelConfig ReadWhole(ConfigReader json, RopeScaling? scaling)
    {
        _ = ReadFamily(json); // what is not supported at all is said first
        var quantization = QuantizationConfig.Read(json);
        return Read(json, scaling) with { Quantization = quantization };
    }

    /// <summary>Reads the fields of a <c>config.json</c>; nothing beside its file is looked at.</summary>
    /// <param name="json">the fields</param>
    /// <param name="scaling">scaling of rotary embeddings in place of the configuration's; null takes that</param>
    public static ModelConfig Read(ConfigReader json, RopeScaling? scaling)
    {
        var family = ReadFamily(json);
        RefuseSwitches(json);
        int hidden = json.Int("hidden_size"), layers = json.Int("num_hidden_layers", most: 4096), heads = json.Int("num_attention_heads", most: 65_536);
        var kvHeads = json.Int("num_key_value_heads", heads, most: 65_536);
        if (heads % kvHeads != 0)
        {
            throw new CheckpointException($"'{json.Path}': num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kvHeads}).");
        }

        if (!json.Has("head_dim") && hidden % heads != 0)
        {
            throw new CheckpointException($"'{json.Path}': hidden_size ({hidden}) is not a multiple of num_attention_heads ({heads}) and head_dim is not given.");
        }

        var headDim = json.Int("head_dim", hidden / heads, least: 2, most: 4096);
        var bias = json.Bool("attention_bias", false);
        var positions = json.Int("max_position_embeddings");
        var windows = ReadWindows(json, family, layers);
        var rope = RopeConfigReader.Read(json, headDim, positions, windows.Select(w => w is null ? Full : Sliding).ToHashSet(), scaling);
        var extended = scaling is not null || rope.Kind == RopeKind.Yarn ? (int)Math.Min(rope.OriginalMaxPositions * rope.Factor, 1 << 30) : 0;
        var config = new ModelConfig
        {
            Architecture = family.Architecture,
            VocabularySize = json.Int("vocab_size"),
            HiddenSize = hidden,
            Layers = layers,
            Heads = heads,
            KvHeads = kvHeads,
            HeadDim = headDim,
            IntermediateSize = json.Int("intermediate_size"),
            Rope = rope,
            MaxPositions = Math.Max(positions, extended),
            Windows = windows,
            NormOffset = family.NormOffset,
            NormEpsilon = json.Positive("rms_norm_eps", family.DefaultNormEpsilon),
            AttentionScale = 1 / Math.Sqrt(family.SoftCaps ? json.Positive("query_pre_attn_scalar", 256) : headDim),
            Activation = ReadActivation(json, family),
            TiedEmbeddings = json.Bool("tie_word_embeddings", family.TiedByDefault),
            AttentionSoftCap = family.SoftCaps ? SoftCap(json, "attn_logit_softcapping", 50) : null,
            LogitSoftCap = family.SoftCaps ? SoftCap(json, "final_logit_softcapping", 30) : null,
            QkvBias = family.QkvBias || bias,
            OutputBias = bias && !family.QkvBias,
            MlpBias = json.Bool("mlp_bias", false),
            EndTokens = json.Ints("eos_token_id"),
        };
        return family.Experts ? WithExperts(config, json) : config;
    }

    private static ModelFamily ReadFamily(ConfigReader json)
    {
        var type = json.Text("model_type");
        if (json.Texts("architectures") is not [var architecture, ..])
        {
            // Without a name of its class, transformers too goes by the type.
            return ModelFamily.All.FirstOrDefault(f => f.ModelType == type)
                ?? throw (type is null ? new CheckpointException($"'{json.Path}' names no architecture.") : ModelFamily.Unsupported($"model type {type}"));
        }

        var family = ModelFamily.Of(architecture);
        return type is null || type == family.ModelType
            ? family
            : throw new UnsupportedModelException($"'{json.Path}': architectures names {architecture}, whose model_type is '{family.ModelType}', and model_type is '{type}'. Which of the two the model is cannot be told.");
    }

    private static void RefuseSwitches(ConfigReader json)
    {
        foreach (var (name, neutral) in Switches)
        {
            if (json.Bool(name, neutral) != neutral)
            {
                throw new UnsupportedModelException($"'{json.Path}': {name} is {json.Raw(name)}, which is not supported.");
            }
        }

        if (json.Has("dual_chunk_attention_config"))
        {
            json.Warn("dual_chunk_attention_config is not followed: attention is exact, and contexts beyond the length of the training are read as they are.");
        }
    }

    // Only an explicit null means that there is none.
    private static double? SoftCap(ConfigReader json, string name, double fallback) =>
        json.Mentions(name) ? json.OptionalPositive(name) : fallback;

    private static ModelConfig WithExperts(ModelConfig config, ConfigReader json)
    {
        var experts = json.Int(json.Has("num_experts") ? "num_experts" : "num_local_experts", most: 65_536);
        var step = json.Int("decoder_sparse_step", 1);
        var dense = json.Ints("mlp_only_layers").ToHashSet();
        return config with
        {
            Experts = experts,
            ExpertsPerToken = json.Int("num_experts_per_tok", most: experts),
            ExpertIntermediateSize = json.Int("moe_intermediate_size"),
            NormalizeExpertWeights = json.Bool("norm_topk_prob", false),
            ExpertLayers = Enumerable.Range(0, config.Layers).Where(l => !dense.Contains(l) && (l + 1) % step == 0).ToHashSet(),
        };
    }

    // Gemma's hidden_act is a relic: only hidden_activation counts there, and only hidden_act elsewhere.
    private static string ReadActivation(ConfigReader json, ModelFamily family)
    {
        var activation = json.Text(family.SoftCaps ? "hidden_activation" : "hidden_act") ?? family.DefaultActivation;
        return activation is "silu" or "gelu" or "gelu_pytorch_tanh"
            ? activation
            : throw new UnsupportedModelException($"'{json.Path}': the activation '{activation}' is not supported.");
    }

    private static int?[] ReadWindows(ConfigReader json, ModelFamily family, int layers)
    {
        var types = json.Texts("layer_types");
        if (types.Length > 0 && types.Length != layers)
        {
            throw new CheckpointException($"'{json.Path}': layer_types names {types.Length} layers and num_hidden_layers is {layers}.");
        }

        if (types.FirstOrDefault(t => t is not (Full or Sliding)) is { } other)
        {
            throw new UnsupportedModelException($"'{json.Path}': the layer type '{other}' is not supported.");
        }

        var window = json.Mentions("sliding_window") ? json.OptionalInt("sliding_window") : family.DefaultWindow;
        var windowed = family.Windows != WindowRule.None && window is not null && (family.Windows != WindowRule.UpperLayers || json.Bool("use_sliding_window", false));
        if (!windowed && types.Contains(Sliding))
        {
            throw new UnsupportedModelException($"'{json.Path}': layer_types names layers of {Sliding}, and the model has no window ({(family.Windows == WindowRule.None ? family.Architecture : "sliding_window, use_sliding_window")}).");
        }

        var first = family.Windows == WindowRule.UpperLayers ? json.Int("max_window_layers", family.Experts ? 0 : 28, least: 0) : 0;
        bool IsWindowed(int layer) => types.Length > 0 ? types[layer] == Sliding : family.Windows switch
        {
            WindowRule.EveryLayer => true,
            WindowRule.UpperLayers => layer >= first,
            WindowRule.Alternating => layer % 2 == 0,
            _ => false,
        };
        return [.. Enumerable.Range(0, layers).Select(layer => windowed && IsWindowed(layer) ? window : null)];
    }
}
