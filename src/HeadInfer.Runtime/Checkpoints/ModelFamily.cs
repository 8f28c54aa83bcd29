namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Which layers of a family see only a window of recent tokens.</summary>
internal enum WindowRule
{
    /// <summary>None, whatever the configuration says.</summary>
    None,

    /// <summary>All of them, if the configuration gives a window.</summary>
    EveryLayer,

    /// <summary>Those from <c>max_window_layers</c> on, if <c>use_sliding_window</c> is set.</summary>
    UpperLayers,

    /// <summary>Every second one, beginning with the first.</summary>
    Alternating,
}

/// <summary>What sets a model architecture apart from the others; the decoder itself is one.</summary>
/// <param name="Architecture">Its name in <c>architectures</c>.</param>
/// <param name="ModelType">Its name in <c>model_type</c>.</param>
internal sealed record ModelFamily(string Architecture, string ModelType)
{
    public static IReadOnlyList<ModelFamily> All { get; } =
    [
        new("LlamaForCausalLM", "llama"),
        new("MistralForCausalLM", "mistral") { Windows = WindowRule.EveryLayer, DefaultWindow = 4096 },
        new("Qwen2ForCausalLM", "qwen2") { QkvBias = true, Windows = WindowRule.UpperLayers, DefaultWindow = 4096 },
        new("Qwen3ForCausalLM", "qwen3") { QkNorm = true, Windows = WindowRule.UpperLayers, DefaultWindow = 4096 },
        new("Qwen3MoeForCausalLM", "qwen3_moe") { QkNorm = true, Experts = true, Windows = WindowRule.UpperLayers, DefaultWindow = 4096 },
        new("Gemma2ForCausalLM", "gemma2")
        {
            FourNorms = true, NormOffset = 1, ScaledEmbedding = true, SoftCaps = true, TiedByDefault = true,
            Windows = WindowRule.Alternating, DefaultWindow = 4096, DefaultActivation = "gelu_pytorch_tanh",
        },
        new("Phi3ForCausalLM", "phi3") { FusedProjections = true, Windows = WindowRule.EveryLayer, DefaultNormEpsilon = 1e-5 },
    ];

    /// <summary>Biases of the query, key and value projections, whatever <c>attention_bias</c> says.</summary>
    public bool QkvBias { get; init; }

    /// <summary>Norms of each query and key head.</summary>
    public bool QkNorm { get; init; }

    /// <summary>The checkpoint holds query, key and value, and gate and up, as one matrix each.</summary>
    public bool FusedProjections { get; init; }

    /// <summary>Norms after attention and after the MLP as well as before.</summary>
    public bool FourNorms { get; init; }

    /// <summary>Added to every norm's weight.</summary>
    public double NormOffset { get; init; }

    /// <summary>Embeddings are multiplied by the square root of the hidden size.</summary>
    public bool ScaledEmbedding { get; init; }

    /// <summary>Scores and logits are capped by tanh, and scores scaled by <c>query_pre_attn_scalar</c>.</summary>
    public bool SoftCaps { get; init; }

    /// <summary>Layers may be mixtures of experts.</summary>
    public bool Experts { get; init; }

    /// <summary>Which layers are windowed.</summary>
    public WindowRule Windows { get; init; }

    /// <summary>The window where the configuration does not mention one.</summary>
    public int? DefaultWindow { get; init; }

    /// <summary>Whether the output layer is the embedding where the configuration does not say.</summary>
    public bool TiedByDefault { get; init; }

    public string DefaultActivation { get; init; } = "silu";

    public double DefaultNormEpsilon { get; init; } = 1e-6;

    /// <summary>The family of an architecture name.</summary>
    /// <exception cref="UnsupportedModelException">There is none.</exception>
    public static ModelFamily Of(string architecture) => All.FirstOrDefault(f => f.Architecture == architecture) ?? throw Unsupported($"architecture {architecture}");

    public static UnsupportedModelException Unsupported(string what) =>
        new($"The {what} is not supported. Supported: {string.Join(", ", All.Select(f => f.Architecture))}.");
}
