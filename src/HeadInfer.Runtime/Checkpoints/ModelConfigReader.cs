using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads a <c>config.json</c>: each field that means something is followed or refused by name.</summary>
internal static class ModelConfigReader
{
    /// <summary>A field that a configuration within another has here.</summary>
    public const string Nested = "text_config of";

    /// <summary>Types of layers.</summary>
    public const string Full = "full_attention", Sliding = "sliding_attention", Delta = "linear_attention";

    private const string Pattern = "sliding_window_pattern";
    public const int LargestState = 256; // dimensions of a key and of a value; kernels have a part of a head's state in shared memory

    // Models that see, whose text is read as that of a model that does not.
    private static readonly string[] Seeing = ["gemma3", "mistral3", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "gemma4", "gemma4_unified", "llama4"];

    // Fields that some published models have, for which the decoder has no place, and the value that changes nothing.
    private static readonly (string Name, bool Neutral)[] Switches =
        [("is_causal", true), ("use_bidirectional_attention", false), ("is_encoder_decoder", false), ("add_cross_attention", false), ("rope_interleaved", false), ("use_parallel_residual", false), ("use_bias", false), ("use_cla", false)];

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
        json = TextOf(json);
        var family = ReadFamily(json); // what is not supported at all is said first
        json = json.Single(family.Listed);
        json = json.With(json.Only(family.Renamed), (_, _, _) => null).Over(family.Defaults);
        json = family.SpaceLayers ? HybridFields.Translate(json, family) : family.ConvolutionLayers ? ConvolutionFields.Translate(json, family) : family.Chunked ? Llama4Fields.Translate(json, family) : json;
        json = family.DefaultRope is { } rope && !json.Has(RopeConfigReader.Parameters) && !json.Has(RopeConfigReader.Scaling) ? json.With(RopeConfigReader.Parameters, rope) : json;
        var quantization = QuantizationConfig.Read(json);
        return Read(json, scaling) with { Quantization = quantization };
    }

    /// <summary>Reads the fields of a <c>config.json</c>; nothing beside its file is looked at.</summary>
    /// <param name="json">the fields</param>
    /// <param name="scaling">scaling of rotary embeddings in place of the configuration's; null takes that</param>
    public static ModelConfig Read(ConfigReader json, RopeScaling? scaling)
    {
        var family = ReadFamily(json);
        RefuseSwitches(json, family);
        int hidden = json.Int("hidden_size"), layers = json.Int("num_hidden_layers", most: 4096), heads = json.Int("num_attention_heads", most: 65_536);
        var latent = family.Latent ? LatentShape.Read(json) : null;
        var kvHeads = latent is null ? json.Int("num_key_value_heads", heads, most: 65_536) : heads;
        if (heads % kvHeads != 0)
        {
            throw new CheckpointException($"'{json.Path}': num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kvHeads}).");
        }

        if (latent is null && !json.Has("head_dim") && hidden % heads != 0)
        {
            throw new CheckpointException($"'{json.Path}': hidden_size ({hidden}) is not a multiple of num_attention_heads ({heads}) and head_dim is not given.");
        }

        var headDim = latent?.Dim ?? json.Int("head_dim", hidden / heads, least: 2, most: 4096);
        var bias = json.Bool("attention_bias", family.BiasByDefault);
        var positions = json.Int(family.LengthField is { } length && json.Has(length) ? length : "max_position_embeddings");
        var windows = ReadWindows(json, family, layers);
        string TypeOf(int layer) => windows[layer] is null ? Full : Sliding;
        Compute.HeadShape[] kinds = family.HeadsByLayer ? LayerHeadsReader.Read(json, new Compute.HeadShape(heads, kvHeads, headDim), windows) : [];
        int DimOf(string type) => latent is not null ? latent.Rotated : kinds.Length > 0 ? kinds[Array.FindIndex(windows, w => (w is null) == (type == Full))].Dim : headDim;
        var ropes = RopeConfigReader.Read(json, family, DimOf, positions, Enumerable.Range(0, layers).Select(TypeOf).ToHashSet(), scaling);
        var rope = ropes.GetValueOrDefault(Full, ropes.Values.First());
        var isStill = ReadStillLayers(json, family, windows);
        var still = RopeConfig.Still(rope.RotaryDim);
        var extended = scaling is not null || rope.Scaling.Kind == RopeKind.Yarn ? (int)Math.Min(rope.Scaling.OriginalMaxPositions!.Value * rope.Scaling.Factor, 1 << 30) : 0;
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
            LayerRopes = ropes.Count == 1 && !isStill.Contains(true) ? [] : [.. Enumerable.Range(0, layers).Select(layer => isStill[layer] ? still : ropes.GetValueOrDefault(TypeOf(layer), rope))],
            GuessingLayers = json.Int("num_nextn_predict_layers", 0, least: 0, most: 64),
            QueryGrowth = family.TunesStillLayers ? Llama4Fields.ReadGrowth(json) : ReadQueryGrowth(json, rope),
            EmbeddingScale = family.ScaledEmbedding || (family.ScaledEmbeddingField is { } scaled && json.Bool(scaled, false)) ? Math.Sqrt(hidden) : family.Multipliers ? json.Positive("embedding_multiplier", 1) : 1,
            ResidualScale = family.Multipliers ? json.Positive("residual_multiplier", 1) : 1,
            LogitScale = family.Multipliers ? 1 / json.Positive("logits_scaling", 1) : family.LogitFactor is var (factor, usual) ? json.Positive(factor, usual) : 1,
            MaxPositions = Math.Max(positions, extended),
            Windows = windows,
            NormOffset = family.NormOffset,
            NormEpsilon = json.Positive(family.NormEpsilonField, family.DefaultNormEpsilon),
            Latent = latent,
            AttentionScale = latent is not null ? latent.ScaleOf(json, scaling) : family.ScoresAsTheyAre ? 1 : family.Multipliers ? json.Positive("attention_multiplier", 1) : 1 / Math.Sqrt(family.SoftCaps is null ? headDim : json.Positive("query_pre_attn_scalar", 256)),
            Activation = ReadActivation(json, family),
            SaysWhetherTied = json.Has("tie_word_embeddings"),
            TiedEmbeddings = json.Bool("tie_word_embeddings", family.TiedByDefault),
            AttentionSoftCap = family.SoftCaps is { } caps ? SoftCap(json, "attn_logit_softcapping", caps.Scores) : null,
            LogitSoftCap = family.SoftCaps is { } its ? SoftCap(json, "final_logit_softcapping", its.Logits) : null,
            QkNorm = family.QkNormField is var (norms, kind) && json.Bool(norms, false) ? kind : family.QkNorm,
            QkvBias = (family.QkvBias && json.Bool("qkv_bias", true)) || bias,
            OutputBias = family.OutputBiasField is null ? bias && !family.QkvBias : family.OutputBiasField.Length > 0 && json.Bool(family.OutputBiasField, false),
            MlpBias = json.Bool("mlp_bias", family.MlpBiasByDefault),
            EndTokens = json.Ints("eos_token_id"),
        };
        config = family.DeltaLayers ? WithStates(config, json) : family.SpaceLayers ? HybridFields.WithSpaces(config, json) : family.ConvolutionLayers ? ConvolutionFields.WithConvolutions(config, json) : config;
        config = family.HeadsByLayer ? LayerHeadsReader.WithShares(config with { LayerHeads = kinds }, json) : config;
        return family.Experts && (family.ExpertsField is not { } says || (json.IsNumber(says) ? json.Int(says, least: 0) > 0 : json.Bool(says, false))) ? MixtureReader.WithExperts(config, json) : config;
    }

    private static ModelConfig WithStates(ModelConfig config, ConfigReader json)
    {
        int Size(string name, int usual, int most = 65_536) => json.Int(name, usual, most: most);
        var (types, every) = (json.Texts("layer_types"), json.Int("full_attention_interval", config.Family.FullEvery));
        var shape = new Compute.RecurrentShape(Size("linear_num_key_heads", 16), Size("linear_num_value_heads", 32), Size("linear_key_head_dim", 128, LargestState), Size("linear_value_head_dim", 128, LargestState), json.Int("linear_conv_kernel_dim", 4, most: 64));
        if (shape.ValueHeads % shape.KeyHeads != 0)
        {
            throw json.Invalid("linear_num_value_heads", $"a multiple of linear_num_key_heads ({shape.KeyHeads})");
        }

        if (json.Text("hidden_act") is { } activation && activation != "silu")
        {
            throw new UnsupportedModelException($"'{json.Path}': the activation '{activation}' is not supported in layers of {Delta}.");
        }

        var states = Enumerable.Range(0, config.Layers).Where(layer => types.Length > 0 ? types[layer] == Delta : (layer + 1) % every != 0).ToHashSet();
        return states.Count == 0 ? config
            : states.Count == config.Layers ? throw new UnsupportedModelException($"'{json.Path}': no layer attends ({Delta} alone), which is not supported.")
            : config with { StateLayers = states, Recurrent = shape };
    }

    // Of a model that sees or hears as well it is the part that reads text.
    private static ConfigReader TextOf(ConfigReader json)
    {
        if (json.Object("text_config") is not { } text || (json.Texts("architectures") is [var architecture, ..] && ModelFamily.All.Any(f => f.Architecture == architecture)))
        {
            return json;
        }

        // Others attend what they see in both directions, or add it within layers: their text alone is not the model.
        if (json.Text("model_type") is { } outer && !Seeing.Contains(outer))
        {
            throw ModelFamily.Unsupported($"model type {outer}, which has a text_config,");
        }

        // Without a type it is the one that its whole has by its class.
        var type = text.Text("model_type") ?? (json.Text("model_type") is { } whole ? whole == "mistral3" ? "mistral" : $"{whole}_text" : null);
        var family = ModelFamily.OfType(type) ?? throw ModelFamily.Unsupported($"model type {type ?? "of its text_config"}");
        if (family.NestedTypes.Contains(type) && !RopeConfigReader.HasTheta(text))
        {
            throw new CheckpointException($"'{json.Path}': text_config lacks 'rope_theta', and versions of transformers take different ones for '{type}'. Take it from the model that this one was made of.");
        }

        json.Warn($"the model is read as {family.Architecture}, by its text_config: it reads text alone.");
        (string, string)[] kept = [.. ((string[])["quantization_config", "compression_config", "quantization", "tie_word_embeddings"]).Concat(text.Has("eos_token_id") ? [] : ["eos_token_id"]).Select(name => (name, name))];
        return text.Without("architectures").Without("model_type").With(json.Only(kept), (_, _, _) => null).Over([.. family.NestedDefaults]).As(("model_type", family.ModelType), (Nested, text.Path));
    }

    /// <summary>Which layers do not rotate.</summary>
    public static bool[] ReadStillLayers(ConfigReader json, ModelFamily family, int?[] windows)
    {
        if (family.PositionsField is { } field && json.Text(field) != "rope")
        {
            return [.. windows.Select(_ => true)];
        }

        if (family.StillEvery == 0)
        {
            return [.. windows.Select(w => family.StillWhereFull && w is null && windows.Any(other => other is not null))];
        }

        // Ones rotate.
        var given = json.Ints("no_rope_layers");
        if (given.Length > 0 && (given.Length != windows.Length || given.Any(n => n is not (0 or 1))))
        {
            throw json.Invalid("no_rope_layers", $"{windows.Length} ones and zeros");
        }

        var every = json.Int("no_rope_layer_interval", family.StillEvery);
        return [.. Enumerable.Range(0, windows.Length).Select(layer => given.Length > 0 ? given[layer] == 0 : (layer + 1) % every == 0)];
    }

    private static (double, int)? ReadQueryGrowth(ConfigReader json, RopeConfig rope) =>
        (json.Object("rope_parameters") ?? json.Object("rope_scaling")) is { } scaling && RopeConfigReader.Scale(scaling, "llama_4_scaling_beta") is { } beta
            ? (beta, scaling.Int("original_max_position_embeddings", rope.Scaling.OriginalMaxPositions)) : null;

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
        return type is null || type == family.ModelType || type == family.FirstType
            ? family
            : throw new UnsupportedModelException($"'{json.Path}': architectures names {architecture}, whose model_type is '{family.ModelType}', and model_type is '{type}'. Which of the two the model is cannot be told.");
    }

    private static void RefuseSwitches(ConfigReader json, ModelFamily family)
    {
        if ((family.QkNorm == HeadNorm.None && family.QkNormField is null && json.Bool("use_qk_norm", false) ? "use_qk_norm" : json.Has("clip_qkv") ? "clip_qkv" : null) is { } what)
        {
            throw new UnsupportedModelException($"'{json.Path}': {what} {json.Raw(what)} is not supported in this architecture.");
        }

        foreach (var (name, neutral) in Switches)
        {
            if (name == "use_bidirectional_attention" && json.IsText(name) && json.Text(name) == "vision")
            {
                continue; // text is attended as ever
            }

            if (json.Bool(name, neutral) != neutral && !family.Renamed.Any(renamed => renamed.Field == name))
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
    private static double? SoftCap(ConfigReader json, string name, double? fallback) =>
        json.Mentions(name) ? json.OptionalPositive(name) : fallback;

    // Gemma's hidden_act is a relic: only hidden_activation counts there, and only hidden_act elsewhere.
    private static string ReadActivation(ConfigReader json, ModelFamily family)
    {
        if (family.Activation is { } always)
        {
            return json.Positive("swiglu_limit", 7) == 7 && json.Positive("swiglu_alpha", 1.702) == 1.702 ? always
                : throw new UnsupportedModelException($"'{json.Path}': swiglu_limit and swiglu_alpha other than 7 and 1.702 are not supported; published models have these.");
        }

        var activation = json.Text(family.ScaledEmbedding ? "hidden_activation" : "hidden_act") ?? family.DefaultActivation;
        return (family.Ungated ? activation == family.DefaultActivation : activation is "silu" or "gelu" or "gelu_pytorch_tanh")
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

        if (types.FirstOrDefault(t => t is not (Full or Sliding) && !(family.MayKeepStates && t == Delta) && !(family.OneMixer && t is HybridFields.Mlp or HybridFields.Mixture)) is { } other)
        {
            throw new UnsupportedModelException($"'{json.Path}': the layer type '{other}' is not supported.");
        }

        // Where windows are off, the field may be zero.
        var used = family.Windows != WindowRule.None && (family.Windows is not (WindowRule.UpperLayers or WindowRule.StillLayers) || json.Bool("use_sliding_window", family.WindowsByDefault));
        var window = !used ? null : json.Mentions("sliding_window") ? json.OptionalInt("sliding_window") : family.DefaultWindow;
        var windowed = window is not null;
        if (!windowed && types.Contains(Sliding))
        {
            throw new UnsupportedModelException($"'{json.Path}': layer_types names layers of {Sliding}, and the model has no window ({(family.Windows == WindowRule.None ? family.Architecture : "sliding_window, use_sliding_window")}).");
        }

        var every = family.Windows == WindowRule.Pattern ? json.Int(json.IsNumber(Pattern) ? Pattern : $"_{Pattern}", family.FullEvery) : 1;
        var first = family.Windows == WindowRule.UpperLayers ? json.Int("max_window_layers", family.Experts ? 0 : 28, least: 0) : 0;
        var letters = family.Windows == WindowRule.Pattern && types.Length == 0 && json.IsText(Pattern) ? json.Text(Pattern)! : null;
        if (letters is not null && (letters.Length == 0 || letters.Any(c => c is not ('L' or 'G'))))
        {
            throw json.Invalid(Pattern, "a number, or L for layers with windows and G for others");
        }

        var still = family.Windows == WindowRule.StillLayers ? ReadStillLayers(json, family, new int?[layers]) : [];
        // Gemma 4's last layer attends all, whatever is said of it.
        bool IsWindowed(int layer) => (!family.HeadsByLayer || layer < layers - 1) && (types.Length > 0 ? types[layer] == Sliding : family.Windows switch
        {
            WindowRule.EveryLayer => true,
            WindowRule.UpperLayers => layer >= first,
            WindowRule.StillLayers => still[layer],
            WindowRule.Pattern when letters is not null => letters[layer % letters.Length] == 'L' && layer < layers - 1,
            WindowRule.Pattern => (layer + 1) % every != 0,
            _ => false,
        });
        return [.. Enumerable.Range(0, layers).Select(layer => windowed && IsWindowed(layer) ? window : null)];
    }
}
