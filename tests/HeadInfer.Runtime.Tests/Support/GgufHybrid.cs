using System.Text.RegularExpressions;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Converts a folder of Granite 4's hybrids or of Nemotron-H, as llama.cpp's conversion/granite.py, mamba.py and nemotron.py do it.</summary>
internal static partial class GgufHybrid
{
    private static readonly (string From, string To)[] Names =
    [
        ("input_layernorm.", "attn_norm."), ("post_attention_layernorm.", "ffn_norm."), ("self_attn.o_proj.", "attn_output."), ("self_attn.q_proj.", "attn_q."), ("self_attn.k_proj.", "attn_k."), ("self_attn.v_proj.", "attn_v."),
        ("linear_attn.in_proj.", "ssm_in."), ("linear_attn.out_proj.", "ssm_out."), ("linear_attn.conv1d.", "ssm_conv1d."), ("linear_attn.norm.", "ssm_norm."), ("linear_attn.A_log", "ssm_a"), ("linear_attn.D", "ssm_d"), ("linear_attn.dt_bias", "ssm_dt.bias"),
        ("mlp.gate.e_score_correction_bias", "exp_probs_b.bias"), ("mlp.gate.", "ffn_gate_inp."), ("mlp.shared_experts.up_proj.", "ffn_up_shexp."), ("mlp.shared_experts.down_proj.", "ffn_down_shexp."), ("mlp.up_proj.", "ffn_up."), ("mlp.down_proj.", "ffn_down."),
        ("mlp.experts.down_proj.", "ffn_down_exps."), ("mlp.experts.gate_up_proj.", "ffn_gate_up_exps."),
    ];

    /// <summary>What the file would have.</summary>
    public static GgufWriter Of(string folder)
    {
        var config = ModelConfig.Load(folder);
        var (state, experts) = (config.Recurrent!, config.Experts);
        var isGranite = config.Architecture == "GraniteMoeHybridForCausalLM";
        var name = isGranite ? "granitehybrid" : experts > 0 ? "nemotron_h_moe" : "nemotron_h";
        int[] Each(Func<int, bool> has, int number) => [.. Enumerable.Range(0, config.Layers).Select(layer => has(layer) ? number : 0)];
        var writer = new GgufWriter().With("general.architecture", name).With("general.name", "made by a test").With($"{name}.context_length", config.MaxPositions).With($"{name}.embedding_length", config.HiddenSize).With($"{name}.block_count", config.Layers)
            .With($"{name}.attention.head_count", config.Heads).With($"{name}.attention.head_count_kv", Each(config.Attends, config.KvHeads)).With($"{name}.attention.layer_norm_rms_epsilon", (float)config.NormEpsilon)
            .With($"{name}.rope.dimension_count", config.HeadDim).With($"{name}.rope.freq_base", 10_000f).With($"{name}.rope.scaling.finetuned", false).With($"{name}.vocab_size", config.VocabularySize)
            .With($"{name}.ssm.conv_kernel", state.Taps).With($"{name}.ssm.state_size", state.KeyDim).With($"{name}.ssm.group_count", state.KeyHeads).With($"{name}.ssm.inner_size", state.Values).With($"{name}.ssm.time_step_rank", state.ValueHeads);
        writer = isGranite || experts > 0 ? writer.With($"{name}.expert_count", experts).With($"{name}.expert_used_count", config.ExpertsPerToken) : writer;
        writer = isGranite
            ? writer.With($"{name}.feed_forward_length", experts > 0 ? config.ExpertIntermediateSize : config.IntermediateSize).With($"{name}.expert_shared_feed_forward_length", config.IntermediateSize)
                .With($"{name}.attention.scale", (float)config.AttentionScale).With($"{name}.embedding_scale", (float)config.EmbeddingScale).With($"{name}.residual_scale", (float)config.ResidualScale).With($"{name}.logit_scale", (float)(1 / config.LogitScale))
            : writer.With($"{name}.feed_forward_length", Each(config.LoneMlps.Contains, experts > 0 ? config.ExpertIntermediateSize : config.IntermediateSize)).With($"{name}.attention.key_length", config.HeadDim).With($"{name}.attention.value_length", config.HeadDim)
                .With($"{name}.attention.layer_norm_epsilon", (float)config.NormEpsilon);
        writer = isGranite || experts == 0 ? writer
            : writer.With($"{name}.expert_feed_forward_length", config.ExpertIntermediateSize).With($"{name}.expert_shared_feed_forward_length", config.SharedExpertSize).With($"{name}.expert_shared_count", 1)
                .With($"{name}.expert_weights_norm", config.NormalizeExpertWeights).With($"{name}.expert_weights_scale", (float)config.Routing.Scale).With($"{name}.expert_group_count", 1);

        using var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));
        var stacks = new SortedDictionary<string, SortedDictionary<int, (long[] Shape, float[] Data)>>(StringComparer.Ordinal);
        foreach (var entry in file.Entries.Values)
        {
            Add(TensorNames.Canonical(entry.Name), entry.Shape, GgufConversion.Read(file, entry));
        }

        foreach (var (part, stack) in stacks)
        {
            writer.Tensor(part, [stack.Count, .. stack[0].Shape], [.. stack.Values.SelectMany(e => e.Data)]);
        }

        return writer;

        void Add(string tensor, long[] shape, float[] data)
        {
            if (Expert().Match(tensor) is { Success: true } expert)
            {
                stacks.TryAdd(expert.Result("blk.$1.ffn_$3_exps.weight"), []);
                stacks[expert.Result("blk.$1.ffn_$3_exps.weight")][int.Parse(expert.Groups[2].Value)] = (shape, data);
                return;
            }

            var full = tensor.Replace("model.layers.", "blk.", StringComparison.Ordinal).Replace("model.embed_tokens.", "token_embd.", StringComparison.Ordinal).Replace("model.norm.", "output_norm.", StringComparison.Ordinal).Replace("lm_head.", "output.", StringComparison.Ordinal);
            full = OneNorm().Replace(full, "$1.attn_norm.");
            foreach (var (from, to) in Names)
            {
                full = full.Replace(from, to, StringComparison.Ordinal);
            }

            var of = experts > 0 ? "_shexp" : "";
            if (full.EndsWith(TensorNames.HybridGates, StringComparison.Ordinal))
            {
                writer.Tensor(full.Replace(TensorNames.HybridGates, $"ffn_gate{of}.weight", StringComparison.Ordinal), [shape[0] / 2, shape[1]], data.AsSpan(0, data.Length / 2));
                writer.Tensor(full.Replace(TensorNames.HybridGates, $"ffn_up{of}.weight", StringComparison.Ordinal), [shape[0] / 2, shape[1]], data.AsSpan(data.Length / 2));
                return;
            }

            if (full.Contains("ffn_gate_up_exps", StringComparison.Ordinal))
            {
                foreach (var (i, half) in ((string[])["gate", "up"]).Index())
                {
                    writer.Tensor(full.Replace("gate_up", half, StringComparison.Ordinal), [shape[0], shape[1] / 2, shape[2]], [.. data.Chunk((int)(shape[1] * shape[2] / 2)).Where((_, at) => at % 2 == i).SelectMany(x => x)]);
                }

                return;
            }

            full = full.Replace(TensorNames.HybridDown, $"ffn_down{of}.weight", StringComparison.Ordinal);
            (shape, data) = full.Split('.').ElementAtOrDefault(2) switch
            {
                "ssm_conv1d" when shape.Length == 3 => ([shape[0], shape[2]], data),
                "ssm_a" => ([shape[0], 1], Array.ConvertAll(data, x => -MathF.Exp(x))),
                "ssm_d" => ([shape[0], 1], data),
                "ssm_norm" => ([isGranite ? state.KeyHeads : state.Space!.NormGroups, shape[0] / (isGranite ? state.KeyHeads : state.Space!.NormGroups)], data),
                "attn_q" => (shape, GgufConversion.Neighbours(data, shape, config.Heads)),
                "attn_k" => (shape, GgufConversion.Neighbours(data, shape, config.KvHeads)),
                _ => (shape, data),
            };
            writer.Tensor(full, shape, data);
        }
    }

    [GeneratedRegex(@"^model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.(up|down)_proj\.weight$")]
    private static partial Regex Expert();

    [GeneratedRegex(@"^(blk\.\d+)\.norm\.")]
    private static partial Regex OneNorm();
}
