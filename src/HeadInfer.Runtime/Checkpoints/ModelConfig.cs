using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The shape of a decoder-only transformer, as its <c>config.json</c> gives it.</summary>
public sealed record ModelConfig
{
    /// <summary>Architecture name, such as <c>Qwen3ForCausalLM</c>.</summary>
    public required string Architecture { get; init; }

    /// <summary>Tokens in the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Number of layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Query heads of a layer.</summary>
    public required int Heads { get; init; }

    /// <summary>Key/value heads of a layer; divides <see cref="Heads"/>.</summary>
    public required int KvHeads { get; init; }

    /// <summary>Dimensions of a head.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Width of the dense MLP.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Tokens the model was made for, prompt and answer together.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Rotary position embeddings.</summary>
    public required RopeConfig Rope { get; init; }

    /// <summary>The window of each layer in tokens (a token sees itself and so many less one before it), or null for all.</summary>
    public required IReadOnlyList<int?> Windows { get; init; }

    /// <summary>Epsilon of the norms.</summary>
    public required double NormEpsilon { get; init; }

    /// <summary>Factor of the attention scores.</summary>
    public required double AttentionScale { get; init; }

    /// <summary>Activation of the MLP: <c>silu</c>, <c>gelu</c> or <c>gelu_pytorch_tanh</c>.</summary>
    public required string Activation { get; init; }

    /// <summary>Whether the output layer is the embedding.</summary>
    public bool TiedEmbeddings { get; init; }

    /// <summary>Cap of the attention scores, or null.</summary>
    public double? AttentionSoftCap { get; init; }

    /// <summary>Cap of the logits, or null.</summary>
    public double? LogitSoftCap { get; init; }

    /// <summary>Experts of a mixture layer; 0 for a dense model.</summary>
    public int Experts { get; init; }

    /// <summary>Experts that see a token.</summary>
    public int ExpertsPerToken { get; init; }

    /// <summary>Width of an expert.</summary>
    public int ExpertIntermediateSize { get; init; }

    /// <summary>Whether the chosen experts' weights are normalised to one.</summary>
    public bool NormalizeExpertWeights { get; init; }

    /// <summary>The layers that are mixtures of experts.</summary>
    public IReadOnlySet<int> ExpertLayers { get; init; } = new HashSet<int>();

    /// <summary>Tokens that end a sequence, as the configuration names them.</summary>
    public IReadOnlyList<int> EndTokens { get; init; } = [];

    internal ModelFamily Family => ModelFamily.Of(Architecture);

    internal bool QkvBias { get; init; }

    internal bool OutputBias { get; init; }

    internal bool MlpBias { get; init; }

    /// <summary>Elements of the KV cache for one token, all layers together.</summary>
    internal long KvElementsPerToken => 2L * Layers * KvHeads * HeadDim;

    /// <summary>Reads the <c>config.json</c> of a model folder.</summary>
    /// <exception cref="CheckpointException">It is missing, not JSON, or has values out of range.</exception>
    /// <exception cref="UnsupportedModelException">The architecture or one of its options is not supported.</exception>
    public static ModelConfig Load(string folder)
    {
        var path = Path.Combine(folder, "config.json");
        if (!Directory.Exists(folder))
        {
            throw new CheckpointException($"There is no model folder '{folder}'.");
        }

        if (!File.Exists(path))
        {
            throw new CheckpointException($"'{folder}' is not a model folder: it has no config.json.");
        }

        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(path));
            return Parse(new ConfigReader(json.RootElement, path));
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException or InvalidOperationException)
        {
            throw new CheckpointException($"'{path}' cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Reads the text of a <c>config.json</c>; <paramref name="name"/> stands for its path in messages.</summary>
    internal static ModelConfig Parse(string text, string name)
    {
        using var json = JsonDocument.Parse(text);
        return Parse(new ConfigReader(json.RootElement, name));
    }

    private static ModelConfig Parse(ConfigReader json)
    {
        var architecture = json.Texts("architectures") is [var name, ..] ? name : throw new CheckpointException($"'{json.Path}' names no architecture.");
        var family = ModelFamily.Of(architecture);
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
        if (json.Has("use_bidirectional_attention") && json.Bool("use_bidirectional_attention", false))
        {
            throw new UnsupportedModelException($"'{json.Path}': use_bidirectional_attention is not supported.");
        }

        var bias = json.Bool("attention_bias", false);
        var positions = json.Int("max_position_embeddings");
        var rope = RopeConfigReader.Read(json, headDim, positions);
        var config = new ModelConfig
        {
            Architecture = architecture,
            VocabularySize = json.Int("vocab_size"),
            HiddenSize = hidden,
            Layers = layers,
            Heads = heads,
            KvHeads = kvHeads,
            HeadDim = headDim,
            IntermediateSize = json.Int("intermediate_size"),
            Rope = rope,
            MaxPositions = Math.Max(positions, rope.Kind == RopeKind.Yarn ? (int)Math.Min(rope.OriginalMaxPositions * rope.Factor, 1 << 30) : 0),
            Windows = ReadWindows(json, family, layers),
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

    private static string ReadActivation(ConfigReader json, ModelFamily family)
    {
        var activation = json.Text("hidden_activation") ?? json.Text("hidden_act") ?? family.DefaultActivation;
        return activation is "silu" or "gelu" or "gelu_pytorch_tanh"
            ? activation
            : throw new UnsupportedModelException($"'{json.Path}': the activation '{activation}' is not supported.");
    }

    private static int?[] ReadWindows(ConfigReader json, ModelFamily family, int layers)
    {
        var windows = new int?[layers];
        var window = json.Mentions("sliding_window") ? json.OptionalInt("sliding_window") : family.DefaultWindow;
        if (window is null || (family.Windows == WindowRule.UpperLayers && !json.Bool("use_sliding_window", false)))
        {
            return windows;
        }

        var types = json.Texts("layer_types");
        if (types.Length > 0 && types.Length != layers)
        {
            throw new CheckpointException($"'{json.Path}': layer_types names {types.Length} layers and num_hidden_layers is {layers}.");
        }

        var first = family.Windows == WindowRule.UpperLayers ? json.Int("max_window_layers", family.Experts ? 0 : 28, least: 0) : 0;
        for (var layer = 0; layer < layers; layer++)
        {
            var windowed = types.Length > 0
                ? types[layer] switch
                {
                    "sliding_attention" => true,
                    "full_attention" => false,
                    var other => throw new UnsupportedModelException($"'{json.Path}': the layer type '{other}' is not supported."),
                }
                : family.Windows switch
                {
                    WindowRule.EveryLayer => true,
                    WindowRule.UpperLayers => layer >= first,
                    WindowRule.Alternating => layer % 2 == 0,
                    _ => false,
                };
            windows[layer] = windowed ? window : null;
        }

        return windows;
    }
}
