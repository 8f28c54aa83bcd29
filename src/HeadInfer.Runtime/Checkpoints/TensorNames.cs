using System.Text.RegularExpressions;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The names that checkpoints give to tensors, all of them.</summary>
internal static partial class TensorNames
{
    public const string Embedding = "model.embed_tokens.weight";
    public const string FinalNorm = "model.norm.weight";
    public const string Output = "lm_head.weight";

    public const string QkvFused = "self_attn.qkv_proj.weight";
    public const string Query = "self_attn.q_proj.weight";
    public const string Key = "self_attn.k_proj.weight";
    public const string Value = "self_attn.v_proj.weight";
    public const string AttentionOutput = "self_attn.o_proj.weight";
    public const string QueryNorm = "self_attn.q_norm.weight";
    public const string KeyNorm = "self_attn.k_norm.weight";

    public const string QueryDown = "self_attn.q_a_proj.weight";
    public const string QueryDownNorm = "self_attn.q_a_layernorm.weight";
    public const string QueryUp = "self_attn.q_b_proj.weight";
    public const string LatentDown = "self_attn.kv_a_proj_with_mqa.weight";
    public const string LatentNorm = "self_attn.kv_a_layernorm.weight";
    public const string LatentUp = "self_attn.kv_b_proj.weight";
    public const string LatentKeys = "self_attn.k_b_proj.weight"; // these two in its place in GGUF files
    public const string LatentValues = "self_attn.v_b_proj.weight";

    public const string QueryGate = "self_attn.q_gate.weight"; // split off the queries
    public const string SharedExpertGate = "mlp.shared_expert_gate.weight";

    public const string StateJoint = "linear_attn.in_proj_qkvz.weight";
    public const string StateJointGates = "linear_attn.in_proj_ba.weight";
    public const string SpaceJoint = "linear_attn.in_proj.weight"; // of a state space, and of a convolution
    public const string StateHeads = "linear_attn.in_proj_qkv.weight";
    public const string StateOutputGate = "linear_attn.in_proj_z.weight";
    public const string StateWriteGate = "linear_attn.in_proj_b.weight";
    public const string StateDecay = "linear_attn.in_proj_a.weight";
    public const string StateConvolution = "linear_attn.conv1d.weight";
    public const string StateConvolutionBias = "linear_attn.conv1d.bias";
    public const string StateSkip = "linear_attn.D";
    public const string StateDecayRate = "linear_attn.A_log";
    public const string StateDecayBias = "linear_attn.dt_bias";
    public const string StateNorm = "linear_attn.norm.weight";
    public const string StateOutput = "linear_attn.out_proj.weight";

    public const string Sinks = "self_attn.sinks";

    public const string LayerScale = "layer_scalar";

    public const string PerLayerEmbedding = "model.embed_tokens_per_layer.weight";
    public const string PerLayerProjection = "model.per_layer_model_projection.weight";
    public const string PerLayerNorm = "model.per_layer_projection_norm.weight";
    public const string PerLayerGate = "per_layer_input_gate.weight";
    public const string PerLayerOutput = "per_layer_projection.weight";
    public const string PerLayerOutputNorm = "post_per_layer_input_norm.weight";

    public const string RouterInputNorm = "router.scale";
    public const string RouterShares = "router.per_expert_scale";
    public const string ExpertsNorm = "pre_feedforward_layernorm_2.weight";
    public const string DenseOutputNorm = "post_feedforward_layernorm_1.weight";
    public const string ExpertsOutputNorm = "post_feedforward_layernorm_2.weight";

    // The MLP of Granite's hybrids: the one of a dense model, or what sees every token beside experts.
    public const string HybridGates = "shared_mlp.input_linear.weight", HybridDown = "shared_mlp.output_linear.weight";

    public const string GateUpFused = "gate_up_proj.weight";
    public const string Gate = "gate_proj.weight";
    public const string Up = "up_proj.weight";
    public const string Down = "down_proj.weight";
    public const string XieluAbove = "act_fn.alpha_p", XieluBelow = "act_fn.alpha_n", XieluSlope = "act_fn.beta", XieluMost = "act_fn.eps";
    public const string Router = "mlp.gate.weight";
    public const string RouterCorrection = "mlp.gate.e_score_correction_bias";

    // Where the text's part of a model that sees or hears as well has its tensors.
    private static readonly string[] TextPrefixes = ["language_model.model.", "model.language_model.", "model.text_model.", "backbone."]; // the last of Nemotron-H, which reads nothing but text

    // The senses' parts, and what brings them to the text's; the first three in GGUF files.
    private static readonly string[] Senses = ["v.", "a.", "mm.", "vision_tower.", "model.vision_tower.", "visual.", "model.visual.", "multi_modal_projector.", "model.multi_modal_projector.", "vision_model.", "audio_tower.", "model.audio_tower.", "embed_vision.", "model.embed_vision.", "embed_audio.", "model.embed_audio."];

    // The MLP of Llama 4.
    private const string OfLlama4 = ".feed_forward.";

    // The mixture of Mixtral, of MiniMax-M2, and of Granite, whose experts are one tensor; in this order.
    private const string OfMixtral = ".block_sparse_moe.";
    private static readonly (string Theirs, string Ours)[] InMixtral =
    [
        (".w1.", ".gate_proj."), (".w2.", ".down_proj."), (".w3.", ".up_proj."), (".router.layer.", ".gate."), (".input_linear.", ".experts.gate_up_proj."), (".output_linear.", ".experts.down_proj."),
        (".block_sparse_moe.e_score", ".block_sparse_moe.gate.e_score"), (OfMixtral, ".mlp."),
    ];

    // Names of single families, each of which no other has for something else: of HunYuan, of EXAONE 3, of InternLM2 and of LFM2; in this order.
    private static readonly (string Theirs, string Ours)[] Others =
    [
        (".self_attn.query_layernorm.", ".self_attn.q_norm."), (".self_attn.key_layernorm.", ".self_attn.k_norm."), (".mlp.shared_mlp.", ".mlp.shared_experts."), (".mlp.gate.wg.", ".mlp.gate."),
        ("transformer.h.", "model.layers."), ("transformer.wte.", "model.embed_tokens."), ("transformer.ln_f.", "model.norm."), (".ln_1.", ".input_layernorm."), (".ln_2.", ".post_attention_layernorm."),
        (".attn.attention.out_proj.", ".self_attn.o_proj."), (".attn.attention.", ".self_attn."), (".mlp.c_fc_0.", ".mlp.gate_proj."), (".mlp.c_fc_1.", ".mlp.up_proj."), (".mlp.c_proj.", ".mlp.down_proj."),
        ("model.tok_embeddings.", "model.embed_tokens."), (".attention.wqkv.", ".self_attn.qkv_proj."), (".attention.wo.", ".self_attn.o_proj."), (".attention_norm.", ".input_layernorm."), (".ffn_norm.", ".post_attention_layernorm."),
        (".w1.", ".gate_proj."), (".w2.", ".down_proj."), (".w3.", ".up_proj."), // of a feed_forward, and of its experts
        (".operator_norm.", ".input_layernorm."), ("model.embedding_norm.", "model.norm."), (".conv.conv.", ".linear_attn.conv1d."), (".conv.in_proj.", ".linear_attn.in_proj."), (".conv.out_proj.", ".linear_attn.out_proj."), (".self_attn.q_layernorm.", ".self_attn.q_norm."),
        (".self_attn.k_layernorm.", ".self_attn.k_norm."), (".self_attn.out_proj.", ".self_attn.o_proj."), (".mlp.expert_bias", ".mlp.gate.e_score_correction_bias"),
        (".mlp.router.gate.", ".mlp.gate."), (".self_attn.gate_proj.", ".self_attn.q_gate."), (".mlp.e_score_correction_bias", ".mlp.gate.e_score_correction_bias"), // of Trinity and EXAONE's mixtures, and of Ling
        ("model.word_embeddings.", "model.embed_tokens."), (".attention.query_key_value.", ".self_attn.qkv_proj."), (".attention.dense.", ".self_attn.o_proj."), (".attention.query_layernorm.", ".self_attn.q_norm."), (".attention.key_layernorm.", ".self_attn.k_norm."), (".mlp.gate.expert_bias", ".mlp.gate.e_score_correction_bias"),
        (".attention_layernorm.", ".input_layernorm."), (".feedforward_layernorm.", ".post_attention_layernorm."), (".mlp.c_fc.", ".mlp.up_proj."), // of Apertus and StarCoder2
        (".pre_ff_layernorm.", ".post_attention_layernorm."), ("model.final_layernorm.", "model.norm."), // of Falcon-H1 and Bamba
        (".mamba.", ".linear_attn."), // of hybrids; and of Nemotron-H, which has one name for all that a layer may be
        ("model.embeddings.", "model.embed_tokens."), ("model.norm_f.", "model.norm."), (".mixer.q_proj.", ".self_attn.q_proj."), (".mixer.k_proj.", ".self_attn.k_proj."), (".mixer.v_proj.", ".self_attn.v_proj."), (".mixer.o_proj.", ".self_attn.o_proj."),
        (".mixer.up_proj.", ".mlp.up_proj."), (".mixer.down_proj.", ".mlp.down_proj."), (".mixer.gate.", ".mlp.gate."), (".mixer.experts.", ".mlp.experts."), (".mixer.shared_experts.", ".mlp.shared_experts."), (".mixer.", ".linear_attn."),
    ];

    /// <summary>The shape that a tensor has here: a number is a vector of one, ERNIE's correction of its router is a matrix of one row, and GGUF files have numbers of state spaces as matrices.</summary>
    public static long[] ShapeOf(string name, long[] stored) => stored.Length == 0 ? [1] : stored is not [var rows, var columns] ? stored
        : rows == 1 && name.EndsWith($".{RouterCorrection}", StringComparison.Ordinal) ? [columns]
        : name.EndsWith($".{StateNorm}", StringComparison.Ordinal) || (columns == 1 && (name.EndsWith($".{StateDecayRate}", StringComparison.Ordinal) || name.EndsWith($".{StateSkip}", StringComparison.Ordinal))) ? [rows * columns]
        : stored;

    /// <summary>The name that a tensor of a checkpoint goes by here.</summary>
    public static string Canonical(string name)
    {
        name = BesideDense().Replace(name, "${layer}mlp.${part}").Replace(OfLlama4, ".mlp.", StringComparison.Ordinal);
        foreach (var prefix in TextPrefixes)
        {
            if (name.StartsWith(prefix, StringComparison.Ordinal))
            {
                return Canonical($"model.{name[prefix.Length..]}");
            }
        }

        if (name.StartsWith("language_model.lm_head.", StringComparison.Ordinal))
        {
            return name["language_model.".Length..];
        }

        if (name.StartsWith("output.", StringComparison.Ordinal))
        {
            return $"lm_head.{name["output.".Length..]}"; // InternLM2's
        }

        if (name.Contains(OfMixtral, StringComparison.Ordinal))
        {
            foreach (var (theirs, ours) in InMixtral)
            {
                name = name.Replace(theirs, ours, StringComparison.Ordinal);
            }
        }

        foreach (var (theirs, ours) in Others)
        {
            name = name.Replace(theirs, ours, StringComparison.Ordinal);
        }

        return name.Replace(".mlp.moe_statics.", ".mlp.gate.", StringComparison.Ordinal).Replace(".mlp.router.proj.", ".mlp.gate.", StringComparison.Ordinal).Replace(".mlp.router.", ".mlp.gate.", StringComparison.Ordinal).Replace(".mlp.shared_expert.", ".mlp.shared_experts.", StringComparison.Ordinal);
    }

    // Experts and their router, where they stand beside the dense MLP.
    [GeneratedRegex(@"^(?<layer>.*layers\.[0-9]+\.)(?<part>experts\.|router\.proj\.)", RegexOptions.ExplicitCapture | RegexOptions.CultureInvariant)]
    private static partial Regex BesideDense();

    /// <summary>Whether a tensor is of a model's eyes or ears.</summary>
    public static bool IsOfSenses(string name) => Senses.Any(s => name.StartsWith(s, StringComparison.Ordinal));

    /// <summary>The bias beside a weight.</summary>
    public static string BiasOf(string weight) => weight[..^".weight".Length] + ".bias";

    public static bool IsBias(string name) => name.EndsWith(".bias", StringComparison.Ordinal);

    public static string Layer(int layer, string name) => $"model.layers.{layer}.{name}";

    /// <summary>What <see cref="Layer"/> was given; a name of no layer as it is.</summary>
    public static string WithinLayer(string name) => name.StartsWith("model.layers.", StringComparison.Ordinal) && name.IndexOf('.', "model.layers.".Length) is > 0 and var dot ? name[(dot + 1)..] : name;

    public static string Mlp(string name) => $"mlp.{name}";

    public static string SharedExpert(string name) => $"mlp.shared_experts.{name}";

    /// <summary>Whether a tensor is of layers beyond the model's that guess tokens.</summary>
    public static bool IsOfGuessing(string name) => name.StartsWith("mtp.", StringComparison.Ordinal) || name.StartsWith("model.mtp_", StringComparison.Ordinal);

    public static string Expert(int expert, string name) => $"mlp.experts.{expert}.{name}";

    /// <summary>Tensors that some checkpoints carry and that nothing needs: they can be computed.</summary>
    public static bool IsRedundant(string name) =>
        name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal) || name.EndsWith("self_attn.masked_bias", StringComparison.Ordinal);
}
