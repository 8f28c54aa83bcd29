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

    /// <summary>Those that do not rotate, if <c>use_sliding_window</c> is set.</summary>
    StillLayers,

    /// <summary>All but every n-th one.</summary>
    Pattern,
}

/// <summary>How gates and what they are for lie where the experts of a layer are one tensor.</summary>
internal enum ExpertStacks
{
    /// <summary>There are no such tensors.</summary>
    None,

    /// <summary>All gates first.</summary>
    Halves,

    /// <summary>By turns.</summary>
    Turns,
}

/// <summary>How routers choose experts.</summary>
internal enum RouterRule
{
    /// <summary>By softmax, with the fields of Mixtral and Qwen.</summary>
    Softmax,

    /// <summary>By softmax, with the fields of DeepSeek V2: in groups if <c>topk_method</c> says so.</summary>
    Groups,

    /// <summary>By softmax, with the fields of DeepSeek's mixtures and a correction where scores are compared (ERNIE 4.5).</summary>
    Corrected,

    /// <summary>By sigmoids, with a correction where scores are compared, and in groups (DeepSeek V3).</summary>
    Sigmoid,

    /// <summary>By logits; the sigmoids are factors of what experts see (Llama 4).</summary>
    Inputs,
}

/// <summary>Norms of queries and keys.</summary>
internal enum HeadNorm
{
    None,

    /// <summary>Of each head by itself.</summary>
    Each,

    /// <summary>The same, where each head has weights of its own.</summary>
    Own,

    /// <summary>Of all heads of a token together.</summary>
    Whole,
}

/// <summary>The norms of a layer by the names that checkpoints give them; null where a family has none.</summary>
/// <param name="BeforeAttention">of what attention looks at</param>
/// <param name="AfterAttention">of what it adds</param>
/// <param name="BeforeMlp">of what the MLP looks at</param>
/// <param name="AfterMlp">of what it adds</param>
internal sealed record LayerNormNames(string? BeforeAttention, string? AfterAttention, string? BeforeMlp, string? AfterMlp)
{
    private const string Input = "input_layernorm.weight", PostAttention = "post_attention_layernorm.weight", PreMlp = "pre_feedforward_layernorm.weight", PostMlp = "post_feedforward_layernorm.weight";

    public static readonly LayerNormNames Before = new(Input, null, PostAttention, null);

    public static readonly LayerNormNames After = new(null, PostAttention, null, PostMlp);

    public static readonly LayerNormNames Both = new(Input, PostAttention, PreMlp, PostMlp);

    public static readonly LayerNormNames BothOfMlp = new(Input, PostAttention, "pre_mlp_layernorm.weight", "post_mlp_layernorm.weight");

    public static readonly LayerNormNames Glm = new(Input, "post_self_attn_layernorm.weight", PostAttention, "post_mlp_layernorm.weight");

    /// <summary>One of a layer that attends, has a state or is an MLP.</summary>
    public static readonly LayerNormNames Single = new("norm.weight", null, "norm.weight", null);

    /// <summary>One for attention and MLP.</summary>
    public static readonly LayerNormNames Shared = new(Input, null, null, null);
}
