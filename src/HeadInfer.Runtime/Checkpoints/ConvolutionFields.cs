using System.Globalization;
using System.Text.Json;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads configurations of models whose layers may be gated convolutions of a few tokens (LFM2).</summary>
internal static class ConvolutionFields
{
    private const string Attending = "full_attn_idxs", Width = "intermediate_size", Multiplier = "block_ffn_dim_multiplier", Correction = "use_expert_bias";

    /// <summary>The fields that other families have, in place of those that this one has for the same.</summary>
    /// <exception cref="UnsupportedModelException">Experts are chosen in a way that is not read.</exception>
    public static ConfigReader Translate(ConfigReader json, ModelFamily family)
    {
        var layers = json.Int("num_hidden_layers", most: 4096);
        var types = json.Texts("layer_types") is [_, ..] given ? given
            : [.. Enumerable.Range(0, layers).Select(layer => !json.Has(Attending) || json.Ints(Attending).Contains(layer) ? ModelConfigReader.Full : ModelConfigReader.Delta)];
        json = json.With("layer_types", JsonSerializer.Serialize(types.Select(t => t == "conv" ? ModelConfigReader.Delta : t)));
        if (family.Experts)
        {
            return json.Bool(Correction, true) ? json : throw new UnsupportedModelException($"'{json.Path}': {Correction} is false, which is not supported.");
        }

        // What is given is three halves of what a gated MLP has.
        if (!json.Bool("block_auto_adjust_ff_dim", true))
        {
            return json;
        }

        var width = Math.Floor(2.0 * json.Int(Width) / 3);
        if (json.Has(Multiplier) || !json.Mentions(Multiplier))
        {
            var multiple = json.Int("block_multiple_of", 256);
            width = Math.Ceiling(Math.Floor(json.Positive(Multiplier, 1) * width) / multiple) * multiple;
        }

        return json.With(Width, width.ToString("R", CultureInfo.InvariantCulture));
    }

    /// <summary>The model with its layers that are convolutions.</summary>
    public static ModelConfig WithConvolutions(ModelConfig config, ConfigReader json)
    {
        var types = json.Texts("layer_types");
        var states = Enumerable.Range(0, config.Layers).Where(layer => types[layer] == ModelConfigReader.Delta).ToHashSet();
        return states.Count == 0 ? config
            : states.Count == config.Layers ? throw new UnsupportedModelException($"'{json.Path}': no layer attends, which is not supported.")
            : config with { StateLayers = states, Recurrent = RecurrentShape.OfConvolution(config.HiddenSize, json.Int("conv_L_cache", 3, most: 64), json.Bool("conv_bias", false)) };
    }
}
