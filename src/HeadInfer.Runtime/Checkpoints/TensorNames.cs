namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The names that checkpoints give to tensors, all of them.</summary>
internal static class TensorNames
{
    public const string Embedding = "model.embed_tokens.weight";
    public const string FinalNorm = "model.norm.weight";
    public const string Output = "lm_head.weight";

    public const string InputNorm = "input_layernorm.weight";
    public const string PostAttentionNorm = "post_attention_layernorm.weight";
    public const string PreMlpNorm = "pre_feedforward_layernorm.weight";
    public const string PostMlpNorm = "post_feedforward_layernorm.weight";

    public const string QkvFused = "self_attn.qkv_proj.weight";
    public const string Query = "self_attn.q_proj.weight";
    public const string Key = "self_attn.k_proj.weight";
    public const string Value = "self_attn.v_proj.weight";
    public const string AttentionOutput = "self_attn.o_proj.weight";
    public const string QueryNorm = "self_attn.q_norm.weight";
    public const string KeyNorm = "self_attn.k_norm.weight";

    public const string GateUpFused = "gate_up_proj.weight";
    public const string Gate = "gate_proj.weight";
    public const string Up = "up_proj.weight";
    public const string Down = "down_proj.weight";
    public const string Router = "mlp.gate.weight";

    /// <summary>The bias beside a weight.</summary>
    public static string BiasOf(string weight) => weight[..^".weight".Length] + ".bias";

    public static bool IsBias(string name) => name.EndsWith(".bias", StringComparison.Ordinal);

    public static string Layer(int layer, string name) => $"model.layers.{layer}.{name}";

    public static string Mlp(string name) => $"mlp.{name}";

    public static string Expert(int expert, string name) => $"mlp.experts.{expert}.{name}";

    /// <summary>Tensors that some checkpoints carry and that nothing needs: they can be computed.</summary>
    public static bool IsRedundant(string name) =>
        name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal) || name.EndsWith("self_attn.masked_bias", StringComparison.Ordinal);
}
