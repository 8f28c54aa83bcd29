using System.Globalization;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The names that GGUF files give to tensors, and what those are called elsewhere.</summary>
internal static class GgufNames
{
    public const string Embedding = "token_embd.weight";
    public const string Output = "output.weight";
    public const string RopeFactors = "rope_freqs.weight";
    public const string LongRopeFactors = "rope_factors_long.weight";
    public const string ShortRopeFactors = "rope_factors_short.weight";

    private const string Layer = "blk.";
    private const string DecayRate = "ssm_a", SharedGate = "ffn_gate_inp_shexp.weight";
    private const string Weight = ".weight", Bias = ".bias", Experts = "_exps";

    private static readonly Dictionary<string, string> Model = new(StringComparer.Ordinal)
    {
        [Embedding] = TensorNames.Embedding,
        [Output] = TensorNames.Output,
        ["output_norm.weight"] = TensorNames.FinalNorm,
        ["token_embd_norm.weight"] = TensorNames.FinalNorm, // LFM2's
        ["per_layer_token_embd.weight"] = TensorNames.PerLayerEmbedding,
        ["per_layer_model_proj.weight"] = TensorNames.PerLayerProjection,
        ["per_layer_proj_norm.weight"] = TensorNames.PerLayerNorm,
    };

    private static readonly Dictionary<string, string> Parts = new(StringComparer.Ordinal)
    {
        ["attn_norm.weight"] = LayerNormNames.Both.BeforeAttention!,
        ["attn_qkv.weight"] = TensorNames.QkvFused,
        ["attn_q.weight"] = TensorNames.Query,
        ["attn_k.weight"] = TensorNames.Key,
        ["attn_v.weight"] = TensorNames.Value,
        ["attn_output.weight"] = TensorNames.AttentionOutput,
        ["attn_q_norm.weight"] = TensorNames.QueryNorm,
        ["attn_k_norm.weight"] = TensorNames.KeyNorm,
        ["attn_q_a.weight"] = TensorNames.QueryDown,
        ["attn_q_a_norm.weight"] = TensorNames.QueryDownNorm,
        ["attn_q_b.weight"] = TensorNames.QueryUp,
        ["attn_kv_a_mqa.weight"] = TensorNames.LatentDown,
        ["attn_kv_a_norm.weight"] = TensorNames.LatentNorm,
        ["attn_kv_b.weight"] = TensorNames.LatentUp,
        ["attn_k_b.weight"] = TensorNames.LatentKeys,
        ["attn_v_b.weight"] = TensorNames.LatentValues,
        ["ffn_gate_inp.weight"] = TensorNames.Router,
        [SharedGate] = TensorNames.SharedExpertGate,
        ["ffn_gate_shexp.weight"] = TensorNames.SharedExpert(TensorNames.Gate),
        ["ffn_up_shexp.weight"] = TensorNames.SharedExpert(TensorNames.Up),
        ["ffn_down_shexp.weight"] = TensorNames.SharedExpert(TensorNames.Down),
        ["ffn_gate.weight"] = TensorNames.Mlp(TensorNames.Gate),
        ["ffn_up.weight"] = TensorNames.Mlp(TensorNames.Up),
        ["ffn_down.weight"] = TensorNames.Mlp(TensorNames.Down),
        ["layer_output_scale.weight"] = TensorNames.LayerScale,
        ["inp_gate.weight"] = TensorNames.PerLayerGate,
        ["proj.weight"] = TensorNames.PerLayerOutput,
        ["post_norm.weight"] = TensorNames.PerLayerOutputNorm,
        ["ffn_gate_inp.scale"] = TensorNames.RouterInputNorm,
        ["ffn_down_exps.scale"] = TensorNames.RouterShares,
        ["pre_ffw_norm_2.weight"] = TensorNames.ExpertsNorm,
        ["post_ffw_norm_1.weight"] = TensorNames.DenseOutputNorm,
        ["post_ffw_norm_2.weight"] = TensorNames.ExpertsOutputNorm,
    };

    // Of layers with a state; ssm_in is of the first files of Qwen3-Next.
    private static readonly Dictionary<string, string> DeltaParts = new(StringComparer.Ordinal)
    {
        ["attn_qkv.weight"] = TensorNames.StateHeads,
        ["attn_gate.weight"] = TensorNames.StateOutputGate,
        ["ssm_in.weight"] = TensorNames.StateJoint,
        ["ssm_ba.weight"] = TensorNames.StateJointGates,
        ["ssm_beta.weight"] = TensorNames.StateWriteGate,
        ["ssm_alpha.weight"] = TensorNames.StateDecay,
        ["ssm_conv1d.weight"] = TensorNames.StateConvolution,
        [DecayRate] = TensorNames.StateDecayRate,
        ["ssm_dt.bias"] = TensorNames.StateDecayBias,
        ["ssm_norm.weight"] = TensorNames.StateNorm,
        ["ssm_out.weight"] = TensorNames.StateOutput,
    };

    // Of layers that are state spaces.
    private static readonly Dictionary<string, string> SpaceParts = new(StringComparer.Ordinal)
    {
        ["ssm_in.weight"] = TensorNames.SpaceJoint,
        ["ssm_conv1d.weight"] = TensorNames.StateConvolution,
        ["ssm_conv1d.bias"] = TensorNames.StateConvolutionBias,
        [DecayRate] = TensorNames.StateDecayRate,
        ["ssm_d"] = TensorNames.StateSkip,
        ["ssm_dt.bias"] = TensorNames.StateDecayBias,
        ["ssm_norm.weight"] = TensorNames.StateNorm,
        ["ssm_out.weight"] = TensorNames.StateOutput,
    };

    // Of layers that are convolutions.
    private static readonly Dictionary<string, string> ConvolutionParts = new(StringComparer.Ordinal)
    {
        ["shortconv.in_proj.weight"] = TensorNames.SpaceJoint,
        ["shortconv.conv.weight"] = TensorNames.StateConvolution,
        ["shortconv.out_proj.weight"] = TensorNames.StateOutput,
    };

    // What the rows of an expert's tensor are, in their order.
    private static readonly Dictionary<string, string[]> ExpertParts = new(StringComparer.Ordinal)
    {
        ["ffn_gate"] = [TensorNames.Gate],
        ["ffn_up"] = [TensorNames.Up],
        ["ffn_down"] = [TensorNames.Down],
        ["ffn_gate_up"] = [TensorNames.Gate, TensorNames.Up],
    };

    /// <summary>What a tensor is called elsewhere; its own name if it is known nowhere.</summary>
    public static string Of(string name, ModelFamily family)
    {
        if (Split(name) is not var (layer, part))
        {
            return name == "output_norm.bias" ? TensorNames.BiasOf(TensorNames.FinalNorm) : Model.GetValueOrDefault(name, name);
        }

        if ((family.DeltaLayers ? DeltaParts : family.SpaceLayers ? SpaceParts : family.ConvolutionLayers ? ConvolutionParts : null)?.TryGetValue(part, out var ofState) == true)
        {
            return TensorNames.Layer(layer, ofState);
        }

        // Older files have each expert's tensors by themselves.
        if (part.Split('.') is [var stem, var number, "weight"] && ExpertParts.TryGetValue(stem, out var parts) && parts is [var ofExpert] && int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var expert))
        {
            return TensorNames.Layer(layer, TensorNames.Expert(expert, ofExpert));
        }

        // Some tensors of layers that guess tokens, which are not read.
        if (part == "exp_probs_b.bias" || part.StartsWith("nextn.", StringComparison.Ordinal))
        {
            return TensorNames.Layer(layer, part == "exp_probs_b.bias" ? TensorNames.RouterCorrection : part);
        }

        var isBias = TensorNames.IsBias(part);
        var weight = isBias ? part[..^Bias.Length] + Weight : part;
        var known = weight switch
        {
            "post_attention_norm.weight" => family.Norms.AfterAttention ?? family.Norms.BeforeMlp, // it stands after attention in either case
            "attn_norm.weight" when family.OneMixer => family.Norms.BeforeAttention,
            "ffn_norm.weight" => family.Norms.BeforeMlp,
            "post_ffw_norm.weight" => family.Norms.AfterMlp,
            "attn_sinks.weight" when !isBias => TensorNames.Sinks,
            "ffn_up.weight" when family.FusedGates => TensorNames.Mlp(TensorNames.GateUpFused),
            _ => Parts.GetValueOrDefault(weight),
        };
        return known is null ? name : TensorNames.Layer(layer, isBias ? TensorNames.BiasOf(known) : known);
    }

    /// <summary>What the parts of a tensor are called that has those of all experts, by the expert and in the order of its rows; null if it is another.</summary>
    public static Func<int, string[]>? OfExperts(string name)
    {
        if (Split(name) is not var (layer, part))
        {
            return null;
        }

        var isBias = TensorNames.IsBias(part);
        var stem = isBias ? part[..^Bias.Length] : part.EndsWith(Weight, StringComparison.Ordinal) ? part[..^Weight.Length] : part;
        return stem.EndsWith(Experts, StringComparison.Ordinal) && ExpertParts.TryGetValue(stem[..^Experts.Length], out var known)
            ? expert => [.. known.Select(each => TensorNames.Layer(layer, TensorNames.Expert(expert, isBias ? TensorNames.BiasOf(each) : each)))]
            : null;
    }

    /// <summary>Whether a tensor's rows are queries.</summary>
    public static bool IsQuery(string name) => Split(name)?.Part is "attn_q.weight" or "attn_q.bias";

    /// <summary>Whether a tensor's rows are keys.</summary>
    public static bool IsKey(string name) => Split(name)?.Part is "attn_k.weight" or "attn_k.bias";

    /// <summary>Whether a tensor has how fast heads forget: what it is made of has its logarithm, without the sign.</summary>
    public static bool IsDecayRate(string name) => Split(name)?.Part == DecayRate;

    /// <summary>Whether a tensor is the gate of the expert that sees every token: a matrix of one row, which some files have as a vector.</summary>
    public static bool IsSharedGate(string name) => Split(name)?.Part == SharedGate;

    // blk.LAYER.PART
    private static (int Layer, string Part)? Split(string name) =>
        name.StartsWith(Layer, StringComparison.Ordinal) && name.IndexOf('.', Layer.Length) is > 0 and var dot
        && int.TryParse(name.AsSpan(Layer.Length, dot - Layer.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var layer)
            ? (layer, name[(dot + 1)..])
            : null;
}
