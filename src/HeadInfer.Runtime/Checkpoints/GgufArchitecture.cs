using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>What is read of a GGUF file's architecture.</summary>
/// <param name="Name">As <c>general.architecture</c> names it; its keys begin with it.</param>
/// <param name="Family">The same elsewhere.</param>
/// <param name="Heads">Query heads of a layer.</param>
/// <param name="KvHeads">Key/value heads of a layer; 0 where layers are not alike, of which <see cref="GgufLayers"/> reads.</param>
internal sealed record GgufArchitecture(string Name, ModelFamily Family, int Heads, int KvHeads)
{
    public const int MostExperts = 65_536, LargestHead = 4096;

    private const int MaverickExperts = 128;

    public const string GptOss = "gpt-oss", Olmo = "olmo2", Gemma4 = "gemma4";

    public const string Pattern = "attention.sliding_window_pattern", KeyHeads = "attention.head_count_kv", Base = "rope.freq_base", LocalBase = "rope.freq_base_swa";

    private const string Llama = "llama", Granite = "granite", SmolLm3 = "smollm3", Mistral3 = "mistral3", InternLm2 = "internlm2", Arcee = "arcee", Exaone = "exaone4", Glm4 = "glm4", Glm4Moe = "glm4moe", Qwen2Moe = "qwen2moe", Olmoe = "olmoe", Qwen35 = "qwen35", Qwen35Moe = "qwen35moe";
    private const string GraniteHybrid = "granitehybrid", NemotronH = "nemotron_h", NemotronHMoe = "nemotron_h_moe";
    private const string ValueHeads = "ssm.time_step_rank", States = "attention.recurrent_layers";
    private const string Finetuned = "rope.scaling.finetuned", Sections = "rope.dimension_sections", Pictured = "n_deepstack_layers", Guessing = "nextn_predict_layers", Gating = "expert_gating_func", Clip = "attention.clamp_kqv", LatentExperts = "moe_latent_size", ExpertScale = "expert_weights_scale", SharedWidth = "expert_shared_feed_forward_length";

    // An architecture has an entry when all its keys and tensors are known here, not when its family is.
    private static readonly Dictionary<string, string> Known = new(StringComparer.Ordinal)
    {
        [Llama] = "LlamaForCausalLM", // and Mistral and Mixtral
        ["qwen2"] = "Qwen2ForCausalLM",
        [Qwen2Moe] = "Qwen2MoeForCausalLM",
        ["qwen3"] = "Qwen3ForCausalLM",
        ["qwen3moe"] = "Qwen3MoeForCausalLM",
        ["qwen3vl"] = "Qwen3ForCausalLM",
        ["qwen3vlmoe"] = "Qwen3MoeForCausalLM",
        ["qwen3next"] = "Qwen3NextForCausalLM",
        [Qwen35] = "Qwen3_5ForCausalLM",
        [Qwen35Moe] = "Qwen3_5MoeForCausalLM",
        ["gemma"] = "GemmaForCausalLM",
        ["gemma2"] = "Gemma2ForCausalLM",
        ["gemma3"] = "Gemma3ForCausalLM",
        [Gemma4] = "Gemma4ForCausalLM",
        ["phi3"] = "Phi3ForCausalLM",
        [GptOss] = "GptOssForCausalLM",
        [Granite] = "GraniteForCausalLM",
        [GraniteHybrid] = "GraniteMoeHybridForCausalLM",
        [NemotronH] = "NemotronHForCausalLM",
        [NemotronHMoe] = "NemotronHForCausalLM",
        [SmolLm3] = "SmolLM3ForCausalLM",
        [Glm4] = "Glm4ForCausalLM",
        [Glm4Moe] = "Glm4MoeForCausalLM",
        ["deepseek2"] = "DeepseekV3ForCausalLM", // and GLM-4.7-Flash, and DeepSeek V2
        ["cohere2"] = "Cohere2ForCausalLM",
        [Olmo] = "Olmo2ForCausalLM",
        [Olmoe] = "OlmoeForCausalLM",
        [Exaone] = "Exaone4ForCausalLM",
        ["minimax-m2"] = "MiniMaxM2ForCausalLM",
        ["dots1"] = "Dots1ForCausalLM",
        ["ernie4_5"] = "Ernie4_5ForCausalLM",
        ["ernie4_5-moe"] = "Ernie4_5_MoeForCausalLM",
        ["hunyuan-dense"] = "HunYuanDenseV1ForCausalLM",
        ["hunyuan-moe"] = "HunYuanMoEV1ForCausalLM",
        ["command-r"] = "CohereForCausalLM",
        ["seed_oss"] = "SeedOssForCausalLM",
        ["llama4"] = "Llama4ForCausalLM",
        ["apertus"] = "ApertusForCausalLM",
        ["starcoder2"] = "Starcoder2ForCausalLM",
        ["nemotron"] = "NemotronForCausalLM",
        ["lfm2"] = "Lfm2ForCausalLM",
        ["lfm2moe"] = "Lfm2MoeForCausalLM",
        [InternLm2] = "InternLM2ForCausalLM",
        [Arcee] = "ArceeForCausalLM",
        [Mistral3] = "Ministral3ForCausalLM", // and Mistral Small 3, which has no YaRN
    };

    /// <summary>The architectures that are read.</summary>
    public static IReadOnlyCollection<string> Names => Known.Keys;

    /// <summary>Whether the rows of queries and keys were put in another order, so that rotary pairs are neighbours. Those of a family that has them so anyway are as they were.</summary>
    public bool PairsAreNeighbours => Name is Llama or Granite or SmolLm3 or Mistral3 or InternLm2 or Arcee or GraniteHybrid or NemotronH or NemotronHMoe;

    /// <summary>Whether it is GLM.</summary>
    public bool IsGlm => Name is Glm4 or Glm4Moe;

    /// <summary>Whether queries may grow with their positions.</summary>
    public bool QueriesGrow => Name == Mistral3;

    /// <summary>The part of a head that is rotated: its product with the head's dimensions is cut to a whole number.</summary>
    public static double Part(int rotary, int head) => rotary == head ? 1 : (rotary + 0.25) / head;

    /// <summary>Finds what a file's architecture is.</summary>
    /// <exception cref="UnsupportedModelException">It is none that is supported, or the file is no model.</exception>
    public static GgufArchitecture Of(GgufMetadata metadata)
    {
        var (type, name) = (metadata.Text("general.type"), metadata.Text("general.architecture") ?? throw metadata.Lacks("general.architecture"));
        if (type == "adapter")
        {
            throw new UnsupportedModelException($"'{metadata.Path}' is an adapter (LoRA), and adapters are not applied. Merge it into the model it was made for, and convert that.");
        }

        if (type == "mmproj" || name == "clip")
        {
            throw new UnsupportedModelException($"'{metadata.Path}' is a projector of images or sounds (mmproj), which are not read. Name the model's own file, which lies beside it.");
        }

        if (type is not (null or "model"))
        {
            throw new UnsupportedModelException($"'{metadata.Path}' is of the type '{type}' (general.type), and no model.");
        }

        if (!Known.TryGetValue(name, out var family))
        {
            throw new UnsupportedModelException($"'{metadata.Path}': the architecture '{name}' is not supported in GGUF files. Supported: {string.Join(", ", Names)}.");
        }

        // Mixtral is llama with experts. Mistral is llama with a window; files that were converted lately do not say it. OLMo 3 is olmo2 with windows.
        var windowed = metadata.Int($"{name}.attention.sliding_window") > 0;
        family = name == Llama && metadata.Int($"{name}.expert_count") > 0 ? "MixtralForCausalLM"
            : name == Llama && windowed ? "MistralForCausalLM"
            : name == Olmo && windowed ? "Olmo3ForCausalLM"
            : family;
        var heads = metadata.RequiredInt($"{name}.attention.head_count", most: 65_536);
        var its = ModelFamily.Of(family);
        return new GgufArchitecture(name, its, heads, its.HeadsByLayer ? 0 : (its.SpaceLayers || its.ConvolutionLayers) && metadata.IsArray($"{name}.{KeyHeads}") ? Math.Clamp(metadata.Ints($"{name}.{KeyHeads}").Append(1).Max(), 1, 65_536) : metadata.Int($"{name}.{KeyHeads}", 1, 65_536) ?? heads);
    }

    /// <summary>What it is once the tensors are known: routers of DeepSeek V2 have no correction, and its first files do not say how they score.</summary>
    public GgufArchitecture With(GgufCheckpoint checkpoint) =>
        Family.Latent && checkpoint.Metadata.Int($"{Name}.{Gating}") is null or 0 or 1 && !checkpoint.Names.Any(n => n.EndsWith(TensorNames.RouterCorrection, StringComparison.Ordinal))
            ? this with { Family = ModelFamily.Of("DeepseekV2ForCausalLM") } : this;

    /// <summary>Gives the configuration: the metadata as the <c>config.json</c> that it was made from.</summary>
    /// <param name="checkpoint">the file</param>
    /// <param name="scaling">scaling of rotary embeddings in place of the file's; null takes that</param>
    /// <param name="warn">told of what is not followed</param>
    public static ModelConfig Configure(GgufCheckpoint checkpoint, RopeScaling? scaling, Action<string>? warn)
    {
        var (metadata, architecture) = (checkpoint.Metadata, checkpoint.Architecture);
        var json = JsonSerializer.SerializeToElement(architecture.Fields(metadata, checkpoint, scaling is not null, warn).Where(f => f.Value is not null).ToDictionary(f => f.Key, f => f.Value));
        var config = ModelConfigReader.Read(new ConfigReader(json, metadata.Path, warn), scaling) with { NormOffset = 0 }; // it is in the weights
        if (metadata.Number($"{architecture.Name}.attention.scale") is > 0 and var scale)
        {
            config = config with { AttentionScale = scale };
        }

        if (config.Activation == Compute.Device.Xielu)
        {
            config = config with { Xielus = GgufLayers.Xielus(metadata, config.Layers) };
        }

        if (config.Recurrent is { } delta && architecture.Name is Qwen35 or Qwen35Moe)
        {
            // Converters put value heads into an order in which ggml repeats keys.
            config = config with { Recurrent = delta with { SharersApart = true } };
        }

        foreach (var key in metadata.Unasked.Where(k => k.StartsWith($"{architecture.Name}.", StringComparison.Ordinal) && !k.Contains(".rope.scaling.", StringComparison.Ordinal) && !architecture.IsIdle(k)))
        {
            warn?.Invoke($"'{metadata.Path}': '{key}' is not followed.");
        }

        if (checkpoint.RopeFactors is not [_, ..] || scaling is not null || architecture.Family.HeadsByLayer) // they are in the configuration
        {
            return config;
        }

        // Layers that do not rotate have divisors already.
        RopeConfig Divided(RopeConfig rope) => rope.FrequencyDivisors is null ? rope with { FrequencyDivisors = checkpoint.RopeFactors } : rope;
        return checkpoint.RopeFactors.Length == config.Rope.RotaryDim / 2
            ? config with { Rope = Divided(config.Rope), LayerRopes = [.. config.LayerRopes.Select(Divided)] }
            : throw new CheckpointException($"'{metadata.Path}': tensor '{GgufNames.RopeFactors}' has {checkpoint.RopeFactors.Length} numbers, and {config.Rope.RotaryDim} dimensions are rotated.");
    }

    // Whether a key changes nothing: of layers to which pictures, which are not read, would be added; where experts for all tokens are counted, their width; where norms are of squares alone, what others would add; and of what Granite 4's dense models lack of the hybrids that they are published as.
    private bool IsIdle(string key) => (Family.OneMixer && key == $"{Name}.attention.layer_norm_epsilon") || key == $"{Name}.{Pictured}" || (Family.GroupsExperts && key == $"{Name}.{SharedWidth}")
        || (Name == Granite && key.StartsWith($"{Name}.ssm.", StringComparison.Ordinal)) || (Name is Granite or GraniteHybrid && key.StartsWith($"{Name}.expert_", StringComparison.Ordinal));

    // [field of config.json] what the file says; null where it says nothing. Windows of the Qwen families are off, as in nearly all published models: no file has them.
    private Dictionary<string, object?> Fields(GgufMetadata metadata, GgufCheckpoint checkpoint, bool isScaled, Action<string>? warn)
    {
        string Key(string key) => $"{Name}.{key}";
        double? Factor(string key) => metadata.Number(Key(key)) is { } factor && factor != 0 ? factor : null; // zero is none
        int? Count(string key) => metadata.Int(Key(key)) is > 0 and var count ? count : null;
        RefuseOthers(metadata, checkpoint, isScaled);
        int hidden = metadata.RequiredInt(Key("embedding_length")), blocks = metadata.RequiredInt(Key("block_count"), most: 4096);
        var guessing = metadata.Int(Key(Guessing), most: blocks - 1) ?? 0; // they are the last ones
        var layers = blocks - guessing;
        // Where attention is latent, lengths are those of what is kept of a token, and others those of heads.
        var head = metadata.Int(Key("attention.key_length_mla"), 2, LargestHead) ?? metadata.Int(Key("attention.key_length"), 2, LargestHead) ?? (hidden % Heads == 0 ? hidden / Heads : throw metadata.Lacks(Key("attention.key_length")));
        var ofValue = metadata.Int(Key("attention.value_length_mla"), 2, LargestHead) ?? metadata.Int(Key("attention.value_length")) ?? head;
        if (ofValue != head && !Family.Latent)
        {
            throw new UnsupportedModelException($"'{metadata.Path}': keys and values have different lengths ({Key("attention.value_length")}), which is not supported.");
        }

        var rotary = metadata.Int(Key("rope.dimension_count"), 2, LargestHead) ?? head;
        // The embedding knows: some files count only tokens that are used.
        var vocabulary = metadata.Int(Key("vocab_size")) is var named && checkpoint.Tensors.TryGetValue(TensorNames.Embedding, out var embedding) ? embedding.Rows : named ?? throw metadata.Lacks(Key("vocab_size"));
        var mixes = Family.Experts && (Family.ExpertsField is null || Count("expert_count") is not null);
        var ofExperts = !mixes || Family.SpaceLayers ? null : Family.ExpertsAsMlps ? Count("expert_feed_forward_length") : metadata.RequiredInt(Key("expert_feed_forward_length"));
        (int All, int Kept)? groups = !Family.Latent ? null : Count("expert_count") switch { 256 => (8, 4), 160 => (8, 3), _ => null }; // of V3 and V2, whose first files do not say it
        var epsilon = Family.CenteredNorms ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
        var window = metadata.Int(Key("attention.sliding_window"));
        var fields = new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["architectures"] = new[] { Family.Architecture },
            ["hidden_size"] = hidden,
            ["num_hidden_layers"] = layers,
            ["num_nextn_predict_layers"] = guessing,
            ["num_attention_heads"] = Heads,
            ["num_key_value_heads"] = KvHeads,
            ["head_dim"] = head,
            ["intermediate_size"] = Family.HeadsByLayer || Family.SpaceLayers ? null : Count("feed_forward_length") ?? ofExperts ?? throw metadata.Lacks(Key("feed_forward_length")),
            ["moe_intermediate_size"] = ofExperts,
            ["num_experts"] = mixes ? metadata.RequiredInt(Key("expert_count"), most: MostExperts) : null,
            ["num_experts_per_tok"] = mixes ? metadata.RequiredInt(Key("expert_used_count"), most: MostExperts) : null,
            ["norm_topk_prob"] = mixes ? metadata.Bool(Key("expert_weights_norm")) ?? (!Family.Latent && !Family.Chunked && Name is not (Qwen2Moe or Olmoe)) : null, // qwen3moe's files do not say it, and deepseek2's only where it is so
            ["decoder_sparse_step"] = Family.Chunked || Family.Router == RouterRule.Corrected ? metadata.RequiredInt(Key("interleave_moe_layer_step")) : null,
            ["shared_expert_intermediate_size"] = Family.SharedExpertGate ? metadata.Int(Key(SharedWidth)) : null,
            ["n_shared_experts"] = Family.Chunked ? 1 : Family.GroupsExperts ? metadata.Int(Key("expert_shared_count")) : null,
            ["first_k_dense_replace"] = Family.GroupsExperts ? metadata.Int(Key("leading_dense_block_count")) ?? 0 : null,
            ["n_group"] = Family.GroupsExperts ? Count("expert_group_count") ?? groups?.All : null,
            ["topk_group"] = Family.GroupsExperts ? Count("expert_group_used_count") ?? groups?.Kept : null,
            ["topk_method"] = Family.Router == RouterRule.Groups ? "group_limited_greedy" : null, // without groups it is greedy
            ["routed_scaling_factor"] = Family.GroupsExperts ? Factor(ExpertScale) : null,
            ["vocab_size"] = vocabulary,
            ["max_position_embeddings"] = metadata.RequiredInt(Key("context_length")),
            [Family.NormEpsilonField] = metadata.Number(Key(epsilon)) ?? throw metadata.Lacks(Key(epsilon)),
            ["rope_theta"] = metadata.Number(Key(Base)),
            ["partial_rotary_factor"] = Family.Latent ? null : Part(rotary, head),
            ["q_lora_rank"] = Family.Latent ? Count("attention.q_lora_rank") ?? 0 : null,
            ["kv_lora_rank"] = Family.Latent ? metadata.RequiredInt(Key("attention.kv_lora_rank")) : null,
            ["qk_rope_head_dim"] = Family.Latent ? rotary : null,
            ["qk_nope_head_dim"] = Family.Latent ? head - rotary : null,
            ["v_head_dim"] = Family.Latent ? ofValue : null,
            ["rope_scaling"] = GgufRopeScaling.Read(checkpoint, isScaled, warn),
            ["sliding_window"] = Family.Chunked ? Llama4Fields.Chunk : Family.Windows is WindowRule.EveryLayer or WindowRule.Pattern && window > 0 ? window : null,
            ["sliding_window_pattern"] = Family.Windows == WindowRule.Pattern && !metadata.IsArray(Key(Pattern)) ? metadata.Int(Key(Pattern), 1) : null,
            ["layer_types"] = Family.DeltaLayers ? metadata.Bools(Key(States)) is [_, ..] states ? states.Take(layers).Select(keeps => keeps ? ModelConfigReader.Delta : ModelConfigReader.Full) : null
                : Family.Windows != WindowRule.Pattern ? null
                : metadata.IsArray(Key(Pattern)) ? metadata.Bools(Key(Pattern)).Select(isWindowed => isWindowed ? ModelConfigReader.Sliding : ModelConfigReader.Full)
                : Name == Exaone && window is null or 0 ? Enumerable.Repeat(ModelConfigReader.Full, layers) : null, // its small model has no windows
            ["full_attention_interval"] = Family.DeltaLayers ? metadata.Int(Key("full_attention_interval"), 1) : null,
            ["linear_num_key_heads"] = Family.DeltaLayers ? metadata.RequiredInt(Key("ssm.group_count")) : null,
            ["linear_num_value_heads"] = Family.DeltaLayers ? metadata.RequiredInt(Key(ValueHeads)) : null,
            ["linear_key_head_dim"] = Family.DeltaLayers ? metadata.RequiredInt(Key("ssm.state_size")) : null,
            ["linear_value_head_dim"] = Family.DeltaLayers ? metadata.RequiredInt(Key("ssm.inner_size")) / metadata.RequiredInt(Key(ValueHeads)) : null,
            ["linear_conv_kernel_dim"] = Family.DeltaLayers ? metadata.RequiredInt(Key("ssm.conv_kernel")) : null,
            ["attn_logit_softcapping"] = metadata.Number(Key("attn_logit_softcapping")),
            ["final_logit_softcapping"] = metadata.Number(Key("final_logit_softcapping")),
            ["embedding_multiplier"] = Family.Multipliers ? Factor("embedding_scale") : null,
            ["residual_multiplier"] = Family.Multipliers ? Factor("residual_scale") : null,
            ["attention_multiplier"] = Family.Multipliers ? 1 / Math.Sqrt(head) : null, // unless the file has a scale of scores
            ["logits_scaling"] = Family.Multipliers ? Factor("logit_scale") ?? throw metadata.Lacks(Key("logit_scale")) : null, // a divisor
            ["logit_scale"] = Family.LogitFactor is null ? null : metadata.Number(Key("logit_scale")) ?? throw metadata.Lacks(Key("logit_scale")), // a factor
            // Gemma's scale is in no file: the largest of each kind, of 46 and of 62 layers, has that of its width.
            ["query_pre_attn_scalar"] = layers == (Name == "gemma2" ? 46 : 62) ? (double)hidden / Heads : head,
            ["rope_local_base_freq"] = Family.LocalTheta is null ? null : metadata.Number(Key(LocalBase)),
            ["tie_word_embeddings"] = !checkpoint.Has(TensorNames.Output),
            ["use_qk_norm"] = Family.BareHeadNorms ? Count("expert_count") != MaverickExperts : // whose heads have none, and no file says it
                checkpoint.Has(TensorNames.Layer(0, TensorNames.QueryNorm)),
            ["attention_out_bias"] = checkpoint.Has(TensorNames.BiasOf(TensorNames.Layer(0, TensorNames.AttentionOutput))),
            ["attention_bias"] = !Family.QkvBias && checkpoint.Has(TensorNames.BiasOf(TensorNames.Layer(0, TensorNames.Query))),
            ["mlp_bias"] = checkpoint.Has(TensorNames.BiasOf(TensorNames.Layer(0, TensorNames.Mlp(Family.Ungated ? TensorNames.Up : TensorNames.Gate)))),
        };
        foreach (var (field, value) in Family.HeadsByLayer ? GgufLayers.Fields(checkpoint, layers) : Family.SpaceLayers ? GgufHybrids.Fields(checkpoint, layers) : Family.ConvolutionLayers ? GgufHybrids.ConvolutionFields(checkpoint, layers) : [])
        {
            fields[field] = value;
        }

        return fields;
    }

    // Experts in a family that has none here are of another model.
    private void RefuseOthers(GgufMetadata metadata, GgufCheckpoint checkpoint, bool isScaled)
    {
        var what = !Family.Experts && metadata.Int($"{Name}.expert_count") > 0 ? $"'{Name}' with experts"
            : Name == GraniteHybrid && metadata.Bool($"{Name}.{Finetuned}") == true ? $"'{Name}' with rotary embeddings ('{Name}.{Finetuned}')" // Bamba
            : metadata.Int($"{Name}.{LatentExperts}") > 0 ? $"'{Name}.{LatentExperts}'"
            : Name == Granite && metadata.Bool($"{Name}.{Finetuned}") == false ? $"'{Name}' without rotary embeddings ('{Name}.{Finetuned}')"
            : metadata.Ints($"{Name}.{Sections}").Any(section => section != 0) && Family.NeighbourPairs ? $"'{Name}' of a model that sees ('{Name}.{Sections}')" // its rows are in another order
            : Family.LocalTheta is null && metadata.Number($"{Name}.{LocalBase}") is { } local && local != metadata.Number($"{Name}.{Base}") ? $"'{Name}.{LocalBase}' other than '{Name}.{Base}'"
            : Name != GptOss && metadata.Int($"{Name}.{Gating}") is > 0 and var gating && gating != (Family.Router is RouterRule.Sigmoid or RouterRule.Inputs ? 2 : 1) ? $"'{Name}.{Gating}' {gating}" // 1 softmax, 2 sigmoid
            : !Family.GroupsExperts && metadata.Number($"{Name}.{ExpertScale}") is not (null or 0 or 1) ? $"'{Name}.{ExpertScale}' other than 1"
            : Family.HeadsByLayer && !isScaled && (metadata.Text($"{Name}.rope.scaling.type") is not (null or "none") || metadata.Has($"{Name}.rope.scale_linear")) ? $"'{Name}' with positions that are scaled ('{Name}.rope.scaling.type')"
            : metadata.Number($"{Name}.{Clip}") > 0 ? $"'{Name}.{Clip}'"
            : Family.Chunked && metadata.Int($"{Name}.attention.sliding_window") == 0 ? $"'{Name}' without chunks ('{Name}.attention.sliding_window')"
            : GgufRopeScaling.Unknown(this, metadata) is { } key ? $"'{key}'"
            : null;
        if (what is not null)
        {
            throw new UnsupportedModelException($"'{metadata.Path}': {what} is not supported.");
        }
    }
}
