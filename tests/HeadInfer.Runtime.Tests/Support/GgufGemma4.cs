using System.Text.Json.Nodes;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>What is Gemma 4's own in a GGUF file, as llama.cpp's conversion/gemma.py writes it: layers that are not alike, what they are told of a token, and experts beside the MLP.</summary>
internal static class GgufGemma4
{
    public const string Architecture = "gemma4";

    // gguf-py/gguf/constants.py; gates lie before what they are for, as in the folder.
    private static readonly (string From, string To)[] Names =
    [
        ("model.embed_tokens_per_layer", "per_layer_token_embd"), ("model.per_layer_model_projection", "per_layer_model_proj"), ("model.per_layer_projection_norm", "per_layer_proj_norm"),
        ("post_per_layer_input_norm", "post_norm"), ("per_layer_input_gate", "inp_gate"), ("per_layer_projection", "proj"), ("layer_scalar", "layer_output_scale.weight"),
        ("pre_feedforward_layernorm_2", "pre_ffw_norm_2"), ("post_feedforward_layernorm_1", "post_ffw_norm_1"), ("post_feedforward_layernorm_2", "post_ffw_norm_2"),
        ("router.scale", "ffn_gate_inp.scale"), ("router.per_expert_scale", "ffn_down_exps.scale"), ("mlp.experts.gate_up_proj", "ffn_gate_up_exps.weight"), ("mlp.experts.down_proj", "ffn_down_exps.weight"),
    ];

    /// <summary>The name of a tensor, where it is one of these.</summary>
    public static string Renamed(string tensor) => Names.Aggregate(tensor, (name, n) => name.Replace(n.From, n.To, StringComparison.Ordinal));

    /// <summary>Writes the keys in place of those of other models.</summary>
    public static GgufWriter Keys(GgufWriter writer, ModelConfig config, JsonNode json)
    {
        var windowed = config.Windows.Select(w => w is not null).ToArray();
        var (local, full) = (config.HeadsOf(Array.IndexOf(windowed, true)), config.HeadsOf(Array.IndexOf(windowed, false)));
        void Set(string key, object value) => writer.Without($"{Architecture}.{key}").With($"{Architecture}.{key}", value);
        Set("attention.shared_kv_layers", (int)json["num_kv_shared_layers"]!);
        Set("embedding_length_per_layer_input", config.PerLayerSize);
        Set("attention.sliding_window_pattern", windowed);
        Set("attention.key_length", full.Dim);
        Set("attention.value_length", full.Dim);
        Set("attention.key_length_swa", local.Dim);
        Set("attention.value_length_swa", local.Dim);
        Set("rope.dimension_count", full.Dim);
        Set("rope.dimension_count_swa", local.Dim);
        if (config.WideWhereShared)
        {
            Set("feed_forward_length", Enumerable.Range(0, config.Layers).Select(config.IntermediateOf).ToArray());
        }

        // Where the configuration has a number for layers that attend all.
        if (full.KvHeads != local.KvHeads)
        {
            Set("attention.head_count_kv", windowed.Select(isWindowed => isWindowed ? local.KvHeads : full.KvHeads).ToArray());
        }

        return config.LogitSoftCap is { } cap ? writer.With($"{Architecture}.final_logit_softcapping", (float)cap) : writer;
    }

    /// <summary>What the frequencies of layers that attend all are divided by: those that stand still by 1e30.</summary>
    public static float[] Divisors(ModelConfig config) =>
        [.. config.RopeOf(config.Layers - 1).FrequencyDivisors!.Select(d => float.IsInfinity(d) ? 1e30f : d)];
}
