namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads what a <c>config.json</c> says of experts.</summary>
internal static class MixtureReader
{
    private const string LastMixture = "moe_layer_end_index"; // ERNIE's

    /// <param name="config">the model without them</param>
    public static ModelConfig WithExperts(ModelConfig config, ConfigReader json)
    {
        var family = config.Family;
        var experts = json.Int(json.Has("num_experts") ? "num_experts" : json.Has("n_routed_experts") ? "n_routed_experts" : "num_local_experts", most: 65_536);
        var step = json.Int("decoder_sparse_step", 1);
        var dense = json.Ints("mlp_only_layers").ToHashSet();
        if (family.GroupsExperts)
        {
            // Newer configurations name the type of each layer's MLP.
            var types = json.Texts("mlp_layer_types");
            dense.UnionWith(types.Length == config.Layers ? Enumerable.Range(0, config.Layers).Where(l => types[l] == "dense") : Enumerable.Range(0, Math.Min(json.Int("first_k_dense_replace", 1, least: 0), config.Layers)));
            dense.UnionWith(Enumerable.Range(0, config.Layers).Where(l => json.Has(LastMixture) && json.Number(LastMixture) is >= 0 and var last && l > last)); // below zero it is the last layer
        }

        // Qwen3-VL's mixtures always share among the chosen.
        var (perToken, normalized, width) = (json.Int(json.Has("top_k_experts") ? "top_k_experts" : json.Has("num_experts_per_tok") ? "num_experts_per_tok" : "experts_per_token", most: experts),
            family.AlwaysShares || json.Bool("norm_topk_prob", family.SharesByDefault || json.Has(ModelConfigReader.Nested)), json.Int("moe_intermediate_size", family.ExpertsAsMlps ? config.IntermediateSize : null));
        var inGroups = family.GroupsExperts && (family.Router != RouterRule.Groups || ReadsGroups(json));
        var groups = inGroups ? json.Int("n_group", 1, most: experts) : 1;
        if (experts % groups != 0)
        {
            throw json.Invalid("n_group", $"a divisor of the number of experts ({experts})");
        }

        var keptGroups = inGroups ? json.Int("topk_group", 1, most: groups) : 1;
        if (perToken > experts / groups * keptGroups)
        {
            throw json.Invalid("topk_group", $"enough groups for {perToken} experts of a token");
        }

        return config with
        {
            Experts = experts,
            ExpertsPerToken = perToken,
            ExpertIntermediateSize = width,
            NormalizeExpertWeights = normalized,
            Routing = new Compute.Routing(perToken, normalized)
            {
                Sigmoid = family.Router is RouterRule.Sigmoid or RouterRule.Inputs,
                OfInputs = family.Router == RouterRule.Inputs,
                Groups = groups,
                KeptGroups = keptGroups,
                Scale = family.GroupsExperts && !(family.Router == RouterRule.Groups && normalized && perToken > 1) ? json.Positive("routed_scaling_factor", 1) : 1, // V2's own code has one or the other
            },
            SharedExpertSize = family.SharedExpertField is { } field ? json.Int(field) : family.SharedExpertGate ? json.Int("shared_expert_intermediate_size", 512, least: 0) : family.GroupsExperts ? json.Int("n_shared_experts", 0, least: 0, most: 1024) * width : 0,
            ExpertLayers = Enumerable.Range(0, config.Layers).Where(l => !dense.Contains(l) && (l + 1) % step == 0).ToHashSet(),
        };
    }

    // Whether DeepSeek V2 chooses groups of experts first.
    private static bool ReadsGroups(ConfigReader json)
    {
        var (method, scores) = (json.Text("topk_method") ?? "greedy", json.Text("scoring_func") ?? "softmax");
        return scores != "softmax" ? throw new UnsupportedModelException($"'{json.Path}': scoring_func '{scores}' is not supported in this architecture.")
            : method is "greedy" or "gready" ? false // as its own code spells it
            : method == "group_limited_greedy" ? true
            : throw new UnsupportedModelException($"'{json.Path}': topk_method '{method}' is not supported in this architecture.");
    }
}
