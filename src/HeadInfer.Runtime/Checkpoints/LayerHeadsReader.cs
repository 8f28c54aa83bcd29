using System.Collections.Frozen;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads of a configuration in what layers are not alike: heads, keys of earlier layers, widths of MLPs (Gemma 4).</summary>
internal static class LayerHeadsReader
{
    /// <summary>[layer] heads: those of layers that attend all are others, unless it is said layer by layer.</summary>
    /// <param name="usual">heads of layers with windows</param>
    /// <param name="windows">[layer] its window, or null for all</param>
    public static Compute.HeadShape[] Read(ConfigReader json, Compute.HeadShape usual, int?[] windows)
    {
        var heads = Enumerable.Repeat(usual, windows.Length).ToArray();
        Compute.HeadShape Of(ConfigReader own, string dim, string kv, int otherDim, int otherKv) => own.Int(kv, otherKv, most: 65_536) is var keys && usual.Count % keys == 0
            ? new(usual.Count, keys, own.Int(dim, otherDim, least: 2, most: 4096))
            : throw own.Invalid(kv, $"a divisor of num_attention_heads ({usual.Count})");
        if (json.Object("per_layer_config") is { } perLayer)
        {
            foreach (var name in perLayer.Names)
            {
                if (!int.TryParse(name, out var layer) || layer < 0 || layer >= heads.Length || perLayer.Object(name) is not { } own || own.Names.Any(n => n is not ("head_dim" or "num_key_value_heads")))
                {
                    throw new UnsupportedModelException($"'{json.Path}': per_layer_config has '{name}'; what is supported there is head_dim and num_key_value_heads of layers by their numbers.");
                }

                heads[layer] = Of(own, "head_dim", "num_key_value_heads", usual.Dim, usual.KvHeads);
            }
        }
        else
        {
            var global = Of(json, "global_head_dim", json.Bool("attention_k_eq_v", false) ? "num_global_key_value_heads" : "num_key_value_heads", 512, usual.KvHeads);
            for (var layer = 0; layer < heads.Length; layer++)
            {
                heads[layer] = windows[layer] is null ? global : usual;
            }
        }

        return heads.Index().Any(h => heads[Array.FindIndex(windows, w => (w is null) == (windows[h.Index] is null))].Dim != h.Item.Dim)
            ? throw new UnsupportedModelException($"'{json.Path}': per_layer_config gives layers of one type heads of different sizes, which is not supported.")
            : heads;
    }

    /// <summary>The configuration with what layers have of earlier ones, and are told beside the stream.</summary>
    public static ModelConfig WithShares(ModelConfig config, ConfigReader json)
    {
        var (shared, equal) = (json.Int("num_kv_shared_layers", 0, least: 0, most: config.Layers - 1), json.Bool("attention_k_eq_v", false));
        int Lender(int layer) => layer < config.Layers - shared ? layer
            : Enumerable.Range(0, config.Layers - shared).LastOrDefault(l => (config.Windows[l] is null) == (config.Windows[layer] is null), -1);
        int[] caches = [.. Enumerable.Range(0, config.Layers).Select(Lender)];
        return caches.Contains(-1) || caches.Index().Any(c => config.LayerHeads[c.Item].KvHeads != config.LayerHeads[c.Index].KvHeads)
            ? throw json.Invalid("num_kv_shared_layers", "so few that each of those layers has one of its type before them, with as many key/value heads")
            : config with
            {
                CacheOf = shared == 0 ? [] : caches,
                EqualLayers = equal ? Enumerable.Range(0, config.Layers).Where(l => config.Windows[l] is null).ToHashSet() : FrozenSet<int>.Empty,
                PerLayerSize = json.Int("hidden_size_per_layer_input", config.Family.PerLayerByDefault, least: 0, most: 65_536),
                PerLayerVocabulary = json.Int("vocab_size_per_layer_input", config.VocabularySize, least: config.VocabularySize),
                WideWhereShared = json.Bool("use_double_wide_mlp", false),
            };
    }
}
