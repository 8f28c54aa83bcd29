using System.Text.Json;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads configurations of models whose layers may be state spaces.</summary>
internal static class HybridFields
{
    /// <summary>Types of layers that do nothing else.</summary>
    public const string Mlp = "mlp", Mixture = "moe";

    /// <summary>Heads of a state space: more than any has, and so few that the numbers of a state can be counted.</summary>
    public const int MostHeads = 4096;

    private const string Letters = "hybrid_override_pattern", Attending = "attn_layer_indices";

    private static readonly string[] Biases = ["projectors_bias", "attention_bias", "mlp_bias"];

    /// <summary>The fields that other families have, in place of those that hybrids have for the same.</summary>
    /// <exception cref="UnsupportedModelException">Layers are of a kind that is not read.</exception>
    public static ConfigReader Translate(ConfigReader json, ModelFamily family)
    {
        // Of Falcon-H1 all are alike, and are not named.
        var layers = json.Int("num_hidden_layers", 0, least: 0, most: 4096);
        var types = family.AttendsBesideStates ? [.. Enumerable.Repeat(ModelConfigReader.Delta, layers)]
            : json.Texts("layer_types") is [_, ..] given ? given : json.Texts("layers_block_type") is [_, ..] older ? older
            : json.Has(Attending) ? [.. Enumerable.Range(0, layers).Select(layer => json.Ints(Attending).Contains(layer) ? ModelConfigReader.Full : ModelConfigReader.Delta)]
            : ByLetters(json);
        if (types.Length == 0)
        {
            throw new UnsupportedModelException($"'{json.Path}': a model without layer_types, none of whose layers attends, is not supported.");
        }

        if (family.PositionsField is { } field && json.Text(field) is { } positions && positions is not ("rope" or "nope"))
        {
            throw new UnsupportedModelException($"'{json.Path}': {field} '{positions}' is not supported.");
        }

        json = json.With("layer_types", JsonSerializer.Serialize(types.Select(t => t switch
        {
            "attention" => ModelConfigReader.Full,
            "mamba" => ModelConfigReader.Delta,
            _ => t,
        })));
        if (!family.OneMixer)
        {
            // The dense MLP is the shared one, and experts are as wide as elsewhere MLPs.
            return json.With(json.Only(("intermediate_size", "moe_intermediate_size"), ("shared_intermediate_size", "intermediate_size")), (_, _, _) => null);
        }

        if ((json.Has("moe_latent_size") ? "moe_latent_size" : json.Int("n_shared_experts", 1, least: 0) != 1 ? "n_shared_experts" : null) is { } what && types.Contains(Mixture))
        {
            throw new UnsupportedModelException($"'{json.Path}': {what} {json.Raw(what)} is not supported in this architecture.");
        }

        return (types.Contains(Mixture) ? json : json.With("n_routed_experts", "0"))
            .With("mlp_layer_types", JsonSerializer.Serialize(types.Select(t => t == Mixture ? "sparse" : "dense")))
            .Over(("num_hidden_layers", types.Length));
    }

    /// <summary>The model with its layers that are state spaces.</summary>
    /// <exception cref="CheckpointException">Sizes are none that such layers may have.</exception>
    public static ModelConfig WithSpaces(ModelConfig config, ConfigReader json)
    {
        var types = json.Texts("layer_types");
        var states = Enumerable.Range(0, config.Layers).Where(layer => types[layer] == ModelConfigReader.Delta).ToHashSet();
        if (!config.Family.AttendsBesideStates && !types.Contains(ModelConfigReader.Full))
        {
            throw new UnsupportedModelException($"'{json.Path}': no layer attends, which is not supported.");
        }

        if (config.Family.OneMixer)
        {
            var alone = Enumerable.Range(0, config.Layers).Where(layer => types[layer] is Mlp or Mixture).ToHashSet();
            config = config with { LoneMlps = alone, BareLayers = Enumerable.Range(0, config.Layers).Except(alone).ToHashSet() };
        }

        config = states.Count == 0 ? config : config with { StateLayers = states, Recurrent = ReadShape(config, json) };
        return config.Family.AttendsBesideStates ? WithFactors(config, json) : config;
    }

    // Falcon-H1's. Keys grow by a factor, and all that heads look at by another: scores have the one, and the other twice. What heads look at, their values have once.
    private static ModelConfig WithFactors(ModelConfig config, ConfigReader json)
    {
        double Of(string name) => json.Positive(name, 1);
        double[] List(string name, int count) => !json.Has(name) ? [.. Enumerable.Repeat(1.0, count)]
            : json.PositiveList(name) is { } list && list.Length == count ? [.. list.Select(x => (double)x)] : throw json.Invalid(name, $"{count} positive numbers");

        var (given, mlp, spaces) = (Of("attention_in_multiplier"), List("mlp_multipliers", 2), List("ssm_multipliers", 5));
        var factors = spaces.Select(x => x * Of("ssm_in_multiplier")).Append(Of("ssm_out_multiplier")).ToArray();
        return config with
        {
            EmbeddingScale = Of("embedding_multiplier"),
            AttentionScale = config.AttentionScale * given * given * Of("key_multiplier"),
            AttendedScale = given * Of("attention_out_multiplier"),
            MlpScales = mlp is [1, 1] ? null : (mlp[0], mlp[1]),
            Recurrent = config.Recurrent! with { Space = config.Recurrent.Space! with { Factors = factors.All(f => f == 1) ? null : new(factors[0], factors[1], factors[2], factors[3], factors[4], factors[5]) } },
        };
    }

    private static string[] ByLetters(ConfigReader json) => json.Text(Letters) is not { } letters ? []
        : [.. letters.Select(c => c switch
        {
            'M' => ModelConfigReader.Delta,
            '*' => ModelConfigReader.Full,
            '-' => Mlp,
            'E' => Mixture,
            _ => throw json.Invalid(Letters, "of the letters M, *, - and E"),
        })];

    private static RecurrentShape ReadShape(ModelConfig config, ConfigReader json)
    {
        var beside = config.Family.AttendsBesideStates;
        int heads = json.Int("mamba_n_heads", 128, most: MostHeads), groups = json.Int("mamba_n_groups", 1, most: MostHeads);
        var expanded = beside && json.Has("mamba_d_ssm") ? json.Int("mamba_d_ssm") : (long)json.Int("mamba_expand", 2, most: 64) * config.HiddenSize;
        var dim = !json.Has("mamba_d_head") || (json.IsText("mamba_d_head") && json.Text("mamba_d_head") == "auto") ? (int)Math.Min(expanded / heads, int.MaxValue) : json.Int("mamba_d_head", most: ModelConfigReader.LargestState);
        if (heads % groups != 0)
        {
            throw json.Invalid("mamba_n_heads", $"a multiple of mamba_n_groups ({groups})");
        }

        if (dim is < 1 or > ModelConfigReader.LargestState || (!config.Family.OneMixer && heads * dim != expanded))
        {
            throw json.Invalid("mamba_d_head", $"from 1 to {ModelConfigReader.LargestState}, and with mamba_n_heads ({heads}) mamba_expand * hidden_size ({expanded})");
        }

        if (json.Text(config.Family.OneMixer ? "mamba_hidden_act" : "hidden_act") is { } activation && activation != "silu")
        {
            throw new UnsupportedModelException($"'{json.Path}': the activation '{activation}' is not supported in layers of state spaces.");
        }

        // Biases of projections would have factors of their own.
        var hasNorm = !beside || json.Bool("mamba_rms_norm", false);
        if ((!beside ? null
            : hasNorm && json.Bool("mamba_norm_before_gate", true) ? "mamba_norm_before_gate"
            : json.Bool("mamba_proj_bias", false) ? "mamba_proj_bias"
            : Biases.FirstOrDefault(name => json.Bool(name, false))) is { } what)
        {
            throw new UnsupportedModelException($"'{json.Path}': {what} is true, which is not supported in this architecture.");
        }

        var (least, most) = json.Range("time_step_limit") ?? (0, double.PositiveInfinity);
        return new RecurrentShape(groups, heads, json.Int("mamba_d_state", 256, most: ModelConfigReader.LargestState), dim, json.Int("mamba_d_conv", 4, most: 64))
        {
            Space = new SpaceShape((float)least, (float)most, !hasNorm ? 0 : config.Family.GroupedSpaceNorm ? groups : 1, json.Bool("mamba_conv_bias", true), json.Bool("mamba_proj_bias", false)),
        };
    }
}
