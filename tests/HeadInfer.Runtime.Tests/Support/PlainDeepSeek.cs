using System.Text.Json.Nodes;
using static HeadInfer.Runtime.Tests.Support.PlainMath;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>DeepSeek V2 and V3 in plain loops and float64, token by token, as their papers and published code say: the oracle of what has no reference of transformers.</summary>
/// <param name="config">its <c>config.json</c>; that it has sigmoids is told by its <c>architectures</c></param>
/// <param name="tensors">by the names of the checkpoint</param>
internal sealed class PlainDeepSeek(JsonNode config, IReadOnlyDictionary<string, float[]> tensors)
{
    private const double LatentEpsilon = 1e-6;

    private readonly bool _isV3 = (string)config["architectures"]![0]! == "DeepseekV3ForCausalLM";

    /// <summary>How often groups of experts would be others if they were compared as V3 does it.</summary>
    public int Telling { get; private set; }

    /// <returns>[tokens, vocabulary]</returns>
    public double[][] Logits(int[] tokens)
    {
        var hidden = Whole("hidden_size");
        var stream = tokens.Select(t => tensors["model.embed_tokens.weight"].Skip(t * hidden).Take(hidden).Select(x => (double)x).ToArray()).ToArray();
        for (var layer = 0; layer < Whole("num_hidden_layers"); layer++)
        {
            string Name(string part) => $"model.layers.{layer}.{part}.weight";
            var attended = Attend(Name, [.. stream.Select(x => Norm(Name("input_layernorm"), x, Number("rms_norm_eps")))]);
            for (var token = 0; token < tokens.Length; token++)
            {
                Add(stream[token], attended[token]);
                var x = Norm(Name("post_attention_layernorm"), stream[token], Number("rms_norm_eps"));
                Add(stream[token], layer < Whole("first_k_dense_replace") ? Mlp(n => Name($"mlp.{n}"), x) : Mixture(Name, x));
            }
        }

        return [.. stream.Select(x => Times("lm_head.weight", Norm("model.norm.weight", x, Number("rms_norm_eps"))))];
    }

    private double[][] Attend(Func<string, string> name, double[][] all)
    {
        var (heads, rank, still, rotated, values) = (Whole("num_attention_heads"), Whole("kv_lora_rank"), Whole("qk_nope_head_dim"), Whole("qk_rope_head_dim"), Whole("v_head_dim"));
        var (frequencies, magnitude, growth) = Frequencies(rotated);
        double[] Turned(double[] x, int position) => [.. x.Select((value, i) =>
        {
            var (sine, cosine) = Math.SinCos(position * frequencies[i / 2]);
            return magnitude * (i % 2 == 0 ? (value * cosine) - (x[i + 1] * sine) : (value * cosine) + (x[i - 1] * sine));
        })];
        var made = all.Select((x, position) =>
        {
            var both = Times(name("self_attn.kv_a_proj_with_mqa"), x);
            return (Up: Times(name("self_attn.kv_b_proj"), Norm(name("self_attn.kv_a_layernorm"), both[..rank], LatentEpsilon)), Turned: Turned(both[rank..], position));
        }).ToArray();
        return [.. all.Select((x, position) =>
        {
            var queries = config["q_lora_rank"] is null ? Times(name("self_attn.q_proj"), x)
                : Times(name("self_attn.q_b_proj"), Norm(name("self_attn.q_a_layernorm"), Times(name("self_attn.q_a_proj"), x), LatentEpsilon));
            var output = new double[heads * values];
            for (var head = 0; head < heads; head++)
            {
                var query = queries[(head * (still + rotated))..((head + 1) * (still + rotated))];
                var turned = Turned(query[still..], position);
                var first = head * (still + values);
                var scores = Enumerable.Range(0, position + 1).Select(key => growth * (Dot(query[..still], made[key].Up[first..(first + still)]) + Dot(turned, made[key].Turned)) / Math.Sqrt(still + rotated)).ToArray();
                var shares = Softmax(scores);
                for (var i = 0; i < values; i++)
                {
                    output[(head * values) + i] = Enumerable.Range(0, position + 1).Sum(key => shares[key] * made[key].Up[first + still + i]);
                }
            }

            return Times(name("self_attn.o_proj"), output);
        })];
    }

    // arXiv 2309.00071; DeepSeek's scores grow with it beside.
    private (double[] Frequencies, double Magnitude, double Growth) Frequencies(int rotated)
    {
        var rope = config["rope_parameters"]!;
        var theta = (double)rope["rope_theta"]!;
        double[] plain = [.. Enumerable.Range(0, rotated / 2).Select(i => Math.Pow(theta, -2.0 * i / rotated))];
        if ((string)rope["rope_type"]! == "default")
        {
            return (plain, 1, 1);
        }

        var (factor, original) = ((double)rope["factor"]!, (double)rope["original_max_position_embeddings"]!);
        double Dimension(double turns) => rotated * Math.Log(original / (turns * 2 * Math.PI)) / (2 * Math.Log(theta));
        double Magnitude(string scale) => (0.1 * (double)rope[scale]! * Math.Log(factor)) + 1;
        var (low, high) = (Math.Max(0, Math.Floor(Dimension((double)rope["beta_fast"]!))), Math.Min(rotated - 1, Math.Ceiling(Dimension((double)rope["beta_slow"]!))));
        double[] scaled = [.. plain.Select((f, i) =>
        {
            var divided = Math.Clamp((i - low) / (high - low), 0, 1);
            return (f * (1 - divided)) + (f / factor * divided);
        })];
        return (scaled, Magnitude("mscale") / Magnitude("mscale_all_dim"), Math.Pow(Magnitude("mscale_all_dim"), 2));
    }

    private double[] Mixture(Func<string, string> name, double[] x)
    {
        var (output, shares) = (Mlp(n => name($"mlp.shared_experts.{n}"), x), Shares(Times(name("mlp.gate"), x), _isV3 ? tensors[name("mlp.gate").Replace("weight", "e_score_correction_bias", StringComparison.Ordinal)] : null));
        foreach (var (expert, share) in shares)
        {
            Add(output, [.. Mlp(n => name($"mlp.experts.{expert}.{n}"), x).Select(value => share * value)]);
        }

        return output;
    }

    private IEnumerable<(int Expert, double Share)> Shares(double[] logits, float[]? correction)
    {
        var scores = correction is null ? Softmax(logits) : [.. logits.Select(l => 1 / (1 + Math.Exp(-l)))];
        double[] ranks = [.. scores.Select((s, i) => s + (correction?[i] ?? 0))];
        var (count, kept) = correction is not null || (string?)config["topk_method"] == "group_limited_greedy" ? (Whole("n_group"), Whole("topk_group")) : (1, 1);
        var size = ranks.Length / count;
        int[] Kept(int best) => [.. Enumerable.Range(0, count).OrderByDescending(g => ranks[(g * size)..((g + 1) * size)].OrderDescending().Take(best).Sum()).Take(kept).Order()];
        var groups = Kept(correction is null ? 1 : 2);
        Telling += groups.SequenceEqual(Kept(2)) ? 0 : 1;
        int[] chosen = [.. Enumerable.Range(0, ranks.Length).Where(i => groups.Contains(i / size)).OrderByDescending(i => ranks[i]).Take(Whole("num_experts_per_tok"))];
        var (sum, scale, normalized) = (chosen.Sum(i => scores[i]), Number("routed_scaling_factor"), (bool)config["norm_topk_prob"]!);
        return chosen.Select(i => (i, scores[i] * (!normalized ? scale : correction is null ? 1 / sum : scale / sum)));
    }

    private double[] Mlp(Func<string, string> name, double[] x)
    {
        var (gate, up) = (Times(name("gate_proj"), x), Times(name("up_proj"), x));
        return Times(name("down_proj"), [.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)]);
    }

    private double[] Norm(string name, double[] x, double epsilon)
    {
        var size = Math.Sqrt((x.Sum(v => v * v) / x.Length) + epsilon);
        return [.. x.Select((v, i) => v / size * tensors[name][i])];
    }

    private double[] Times(string name, double[] x) => PlainMath.Times(tensors[name], x);

    private static void Add(double[] sum, double[] x)
    {
        for (var i = 0; i < sum.Length; i++)
        {
            sum[i] += x[i];
        }
    }

    private int Whole(string field) => (int)config[field]!;

    private double Number(string field) => (double)config[field]!;
}
