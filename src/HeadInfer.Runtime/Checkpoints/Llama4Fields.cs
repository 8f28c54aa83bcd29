using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The fields of Llama 4, by the names that other families have for the same.</summary>
internal static class Llama4Fields
{
    /// <summary>Tokens of a chunk where nothing says it.</summary>
    public const int Chunk = 8192;

    private const string Chunked = "chunked_attention", Tuning = "attn_temperature_tuning";

    /// <param name="family">Llama 4</param>
    public static ConfigReader Translate(ConfigReader json, ModelFamily family)
    {
        var layers = json.Int("num_hidden_layers", most: 4096);
        var still = ModelConfigReader.ReadStillLayers(json, family, new int?[layers]);
        var types = json.Texts("layer_types") is [_, ..] given ? given : [.. still.Select(s => s ? ModelConfigReader.Full : Chunked)];
        if (types.Contains(ModelConfigReader.Sliding))
        {
            throw new UnsupportedModelException($"'{json.Path}': the layer type '{ModelConfigReader.Sliding}' is not supported in this architecture.");
        }

        var step = json.Int("interleave_moe_layer_step", 1);
        var mixtures = json.Has("moe_layers") ? json.Ints("moe_layers").ToHashSet() : Enumerable.Range(0, layers).Where(layer => (layer + 1) % step == 0).ToHashSet();
        var (ofExperts, ofDense, chunk) = (json.Int("intermediate_size"), json.Int("intermediate_size_mlp"), json.Mentions("attention_chunk_size") ? json.Int("attention_chunk_size") : Chunk);
        (string Name, object Value)[] fields =
        [
            ("layer_types", types.Select(t => t == Chunked ? ModelConfigReader.Sliding : t)),
            ("mlp_layer_types", Enumerable.Range(0, layers).Select(layer => mixtures.Contains(layer) ? "sparse" : "dense")),
            ("sliding_window", chunk),
            ("intermediate_size", ofDense),
            ("moe_intermediate_size", ofExperts),
            ("n_shared_experts", 1),
            ("norm_topk_prob", false),
            ("use_qk_norm", json.Bool("use_qk_norm", true)),
            (Tuning, json.IsNumber(Tuning) ? json.Number(Tuning) != 0 : json.Bool(Tuning, true)), // the first configurations have a number
        ];
        return fields.Aggregate(json, (all, field) => all.With(field.Name, JsonSerializer.Serialize(field.Value)));
    }

    /// <summary>By what queries of layers that do not rotate grow: a factor, and a length in tokens; null if they do not.</summary>
    public static (double Beta, int Original)? ReadGrowth(ConfigReader json) =>
        json.Bool(Tuning, true) ? (json.Positive("attn_scale", 0.1), json.Int("floor_scale", 8192)) : null;
}
