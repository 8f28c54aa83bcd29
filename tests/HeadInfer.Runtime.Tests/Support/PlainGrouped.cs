using System.Text.Json.Nodes;
using static HeadInfer.Runtime.Tests.Support.PlainMath;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Decoders with grouped queries in plain loops and float64, token by token, as transformers' modeling_*.py say: the oracle of families that have no reference of transformers.</summary>
/// <remarks>What a family has of biases, norms of heads, experts and an output layer is told by its tensors.</remarks>
/// <param name="config">its <c>config.json</c>, with <c>rope_parameters</c></param>
/// <param name="tensors">by the names of the checkpoint</param>
internal sealed class PlainGrouped(JsonNode config, IReadOnlyDictionary<string, float[]> tensors)
{
    private readonly string _type = (string)config["model_type"]!;
    private readonly int _heads = (int)config["num_attention_heads"]!, _keyHeads = (int)config["num_key_value_heads"]!, _hidden = (int)config["hidden_size"]!;
    private readonly int _dim = (int?)config["head_dim"] ?? ((int)config["hidden_size"]! / (int)config["num_attention_heads"]!);

    /// <summary>How often other experts would be chosen if nothing corrected their scores.</summary>
    public int Telling { get; private set; }

    private bool IsGemma => _type is "gemma" or "gemma2";

    private bool IsCohere => _type is "cohere" or "cohere2";

    private bool HasNeighbours => IsCohere || _type is "glm" or "glm4" or "ernie4_5" or "ernie4_5_moe" or "helium";

    /// <summary>Names of the norms before and after attention, and before and after the MLP.</summary>
    public static (string? Before, string? After, string? BeforeMlp, string? AfterMlp) NormsOf(string type) => type switch
    {
        "cohere" or "cohere2" => ("input_layernorm", null, null, null),
        "olmo3" => (null, "post_attention_layernorm", null, "post_feedforward_layernorm"),
        "gemma2" => ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"),
        "glm4" => ("input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm"),
        _ => ("input_layernorm", null, "post_attention_layernorm", null),
    };

    /// <returns>[tokens, vocabulary]</returns>
    public double[][] Logits(int[] tokens)
    {
        var (before, after, beforeMlp, afterMlp) = NormsOf(_type);
        var (embedding, scale, residual) = (tensors["model.embed_tokens.weight"], IsGemma ? Math.Sqrt(_hidden) : Number("embedding_multiplier") ?? 1, Number("residual_multiplier") ?? 1);
        double[][] stream = [.. tokens.Select(t => Enumerable.Range(t * _hidden, _hidden).Select(i => embedding[i] * scale).ToArray())];
        for (var layer = 0; layer < (int)config["num_hidden_layers"]!; layer++)
        {
            var prefix = $"model.layers.{layer}.";
            double[] Normed(string? name, double[] x) => name is null ? [.. x] : Norm(tensors[$"{prefix}{name}.weight"], x);
            double[][] seen = [.. stream.Select(x => Normed(before, x))];
            var attended = Attend(layer, prefix, seen);
            for (var token = 0; token < tokens.Length; token++)
            {
                Add(stream[token], Normed(after, attended[token]), residual);
                Add(stream[token], Normed(afterMlp, Mlp(prefix, IsCohere ? seen[token] : Normed(beforeMlp, stream[token]))), residual);
            }
        }

        var (output, factor) = (tensors.GetValueOrDefault("lm_head.weight", embedding), (IsCohere ? Number("logit_scale") : 1 / Number("logits_scaling")) ?? 1);
        return [.. stream.Select(x => Times(output, Norm(tensors["model.norm.weight"], x)).Select(l => Capped(l * factor, "final_logit_softcapping")).ToArray())];
    }

    private double[][] Attend(int layer, string prefix, double[][] all)
    {
        double[] Projected(string name, double[] x)
        {
            var made = Times(tensors[$"{prefix}self_attn.{name}_proj.weight"], x);
            return tensors.TryGetValue($"{prefix}self_attn.{name}_proj.bias", out var bias) ? [.. made.Zip(bias, (m, b) => m + b)] : made;
        }

        // [heads][dimensions]
        double[][] Heads(string name, int position)
        {
            var (made, weight, after) = (Projected(name, all[position]), tensors.GetValueOrDefault($"{prefix}self_attn.{name}_norm.weight"), tensors.GetValueOrDefault($"{prefix}self_attn.{(name == "q" ? "query" : "key")}_layernorm.weight"));
            made = weight is not null && weight.Length > _dim && !IsCohere ? Norm(weight, made) : made;
            double[] Normed(double[] head, int number) => weight is null || (weight.Length > _dim && !IsCohere) ? head : Norm(IsCohere ? weight[(number * _dim)..((number + 1) * _dim)] : weight, head);
            return [.. made.Chunk(_dim).Select((head, number) => Turned(Normed(head, number), position, layer)).Select(head => after is null ? head : Norm(after, head))];
        }

        double[][][] keys = [.. all.Select((_, position) => Heads("k", position))], values = [.. all.Select(x => Projected("v", x).Chunk(_dim).ToArray())];
        var window = TypeOf(layer) == "sliding_attention" ? (int)config["sliding_window"]! : int.MaxValue;
        var scale = Number("attention_multiplier") ?? (1 / Math.Sqrt(Number("query_pre_attn_scalar") ?? _dim));
        return [.. all.Select((_, position) =>
        {
            var (queries, first) = (Heads("q", position), Math.Max(0, position - window + 1));
            var output = Enumerable.Range(0, _heads).SelectMany(head =>
            {
                var shared = head / (_heads / _keyHeads);
                var shares = Softmax([.. Enumerable.Range(first, position + 1 - first).Select(key => Capped(scale * Dot(queries[head], keys[key][shared]), "attn_logit_softcapping"))]);
                return Enumerable.Range(0, _dim).Select(i => shares.Select((share, key) => share * values[first + key][shared][i]).Sum());
            }).ToArray();
            return Projected("o", output);
        })];
    }

    private string TypeOf(int layer) => (string?)config["layer_types"]?[layer] ?? "full_attention";

    private double[] Turned(double[] x, int position, int layer)
    {
        if (_type == "cohere2" && TypeOf(layer) == "full_attention")
        {
            return x;
        }

        var rope = config["rope_parameters"]![TypeOf(layer)] ?? config["rope_parameters"]!;
        var rotated = (int?)config["rotary_dim"] ?? (int)(_dim * ((double?)rope["partial_rotary_factor"] ?? Number("partial_rotary_factor") ?? 1));
        var (frequencies, magnitude) = Frequencies(rope, rotated);
        return [.. x.Select((value, i) =>
        {
            if (i >= rotated)
            {
                return value;
            }

            var (pair, isFirst) = HasNeighbours ? (i / 2, i % 2 == 0) : (i % (rotated / 2), i < rotated / 2);
            var other = x[HasNeighbours ? (isFirst ? i + 1 : i - 1) : (isFirst ? i + (rotated / 2) : i - (rotated / 2))];
            var (sine, cosine) = Math.SinCos(position * frequencies[pair]);
            return magnitude * ((value * cosine) + (isFirst ? -other * sine : other * sine));
        })];
    }

    // arXiv 2309.00071
    private static (double[] Frequencies, double Magnitude) Frequencies(JsonNode rope, int rotated)
    {
        var theta = (double)rope["rope_theta"]! * Math.Pow((double?)rope["alpha"] ?? 1, rotated / (rotated - 2.0)); // the last is HunYuan's
        double[] plain = [.. Enumerable.Range(0, rotated / 2).Select(i => Math.Pow(theta, -2.0 * i / rotated))];
        if ((string)rope["rope_type"]! is "default" or "dynamic")
        {
            return (plain, 1);
        }

        double Dimension(double turns) => rotated * Math.Log((double)rope["original_max_position_embeddings"]! / (turns * 2 * Math.PI)) / (2 * Math.Log(theta));
        var (low, high) = (Math.Max(0, Math.Floor(Dimension((double)rope["beta_fast"]!))), Math.Min(rotated - 1, Math.Ceiling(Dimension((double)rope["beta_slow"]!))));
        double[] scaled = [.. plain.Select((f, i) =>
        {
            var divided = Math.Clamp((i - low) / (high - low), 0, 1);
            return (f * (1 - divided)) + (f / (double)rope["factor"]! * divided);
        })];
        return (scaled, (double)rope["attention_factor"]!);
    }

    private double[] Mlp(string prefix, double[] x)
    {
        prefix += tensors.ContainsKey($"{prefix}block_sparse_moe.router.layer.weight") || tensors.ContainsKey($"{prefix}block_sparse_moe.gate.weight") ? "block_sparse_moe." : "mlp.";
        if ((tensors.GetValueOrDefault($"{prefix}gate.weight") ?? tensors.GetValueOrDefault($"{prefix}gate.wg.weight") ?? tensors.GetValueOrDefault($"{prefix}router.layer.weight")) is not { } router)
        {
            return Gated(prefix, x);
        }

        var correction = tensors.GetValueOrDefault($"{prefix}gate.e_score_correction_bias") ?? tensors.GetValueOrDefault($"{prefix}e_score_correction_bias") ?? tensors.GetValueOrDefault($"{prefix}moe_statics.e_score_correction_bias");
        var output = new double[_hidden];
        foreach (var shared in ((string[])["shared_experts.", "shared_expert.", "shared_mlp."]).Where(name => tensors.ContainsKey($"{prefix}{name}gate_proj.weight")))
        {
            Add(output, Gated(prefix + shared, x), tensors.TryGetValue($"{prefix}shared_expert_gate.weight", out var gate) ? Sigmoid(Times(gate, x)[0]) : 1);
        }

        foreach (var (expert, share) in Shares(Times(router, x), correction))
        {
            Add(output, tensors.ContainsKey($"{prefix}input_linear.weight") ? Gated(Slice("input_linear", expert, router), Slice("output_linear", expert, router), x) : Gated($"{prefix}experts.{expert}.", x), share);
        }

        return output;

        float[] Slice(string name, int expert, float[] of)
        {
            var (all, count) = (tensors[$"{prefix}{name}.weight"], of.Length / _hidden);
            return all[(expert * (all.Length / count))..((expert + 1) * (all.Length / count))];
        }
    }

    private IEnumerable<(int Expert, double Share)> Shares(double[] logits, float[]? correction)
    {
        var scores = correction is null || _type == "ernie4_5_moe" ? Softmax(logits) : [.. logits.Select(Sigmoid)];
        int[] Best(Func<int, double> rank) => [.. Enumerable.Range(0, scores.Length).OrderByDescending(rank).Take((int)(config["num_experts_per_tok"] ?? config["moe_k"] ?? config["moe_topk"]![0])!)];
        var chosen = Best(i => scores[i] + (correction?[i] ?? 0));
        Telling += chosen.ToHashSet().SetEquals(Best(i => scores[i])) ? 0 : 1;
        var (sum, normalized) = (chosen.Sum(i => scores[i]), (bool?)config["norm_topk_prob"] ?? _type is "minimax_m2" or "granitemoe" or "ernie4_5_moe" or "hunyuan_v1_moe");
        return chosen.Select(i => (i, scores[i] * (Number("routed_scaling_factor") ?? 1) / (normalized ? sum : 1)));
    }

    private double[] Gated(string prefix, double[] x) =>
        _type == "arcee" ? Times(tensors[$"{prefix}down_proj.weight"], [.. Times(tensors[$"{prefix}up_proj.weight"], x).Select(u => Math.Max(u, 0) * Math.Max(u, 0))])
        : tensors.TryGetValue($"{prefix}gate_up_proj.weight", out var both) ? Gated(both, tensors[$"{prefix}down_proj.weight"], x)
        : tensors.TryGetValue($"{prefix}w1.weight", out var gate) ? Gated([.. gate, .. tensors[$"{prefix}w3.weight"]], tensors[$"{prefix}w2.weight"], x)
        : Gated([.. tensors[$"{prefix}gate_proj.weight"], .. tensors[$"{prefix}up_proj.weight"]], tensors[$"{prefix}down_proj.weight"], x);

    private double[] Gated(float[] gateUp, float[] down, double[] x)
    {
        var both = Times(gateUp, x);
        double Active(double g) => IsGemma ? g / 2 * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (g + (0.044715 * g * g * g)))) : g * Sigmoid(g);
        return Times(down, [.. both[..(both.Length / 2)].Zip(both[(both.Length / 2)..], (g, u) => Active(g) * u)]);
    }

    private double[] Norm(float[] weight, double[] x)
    {
        var mean = IsCohere ? x.Average() : 0;
        var size = Math.Sqrt(x.Average(v => (v - mean) * (v - mean)) + (Number(IsCohere ? "layer_norm_eps" : "rms_norm_eps") ?? 0));
        return [.. x.Select((v, i) => (v - mean) / size * (weight[i] + (IsGemma ? 1 : 0)))];
    }

    private static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    private static void Add(double[] sum, double[] x, double factor)
    {
        for (var i = 0; i < sum.Length; i++)
        {
            sum[i] += x[i] * factor;
        }
    }

    private double Capped(double x, string field) => Number(field) is { } cap ? cap * Math.Tanh(x / cap) : x;

    private double? Number(string field) => (double?)config[field];
}
