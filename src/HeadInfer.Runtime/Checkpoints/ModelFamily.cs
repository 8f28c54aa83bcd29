namespace HeadInfer.Runtime.Checkpoints;

/// <summary>What sets a model architecture apart from the others; the decoder itself is one.</summary>
/// <param name="Architecture">Its name in <c>architectures</c>.</param>
/// <param name="ModelType">Its name in <c>model_type</c>.</param>
internal sealed record ModelFamily(string Architecture, string ModelType)
{
    private const string KeyHeads = "num_key_value_heads", HeadDim = "head_dim";

    private static readonly ModelFamily Gemma4 = new("Gemma4ForCausalLM", "gemma4_text")
    {
        Norms = LayerNormNames.Both, QkNorm = HeadNorm.Each, ValueNorm = true, ScaledEmbedding = true, ScoresAsTheyAre = true, SoftCaps = (null, null), TiedByDefault = true, HeadsByLayer = true, LayerScale = true, PerLayerByDefault = 256,
        Defaults = [("vocab_size", 262_144), ("hidden_size", 2304), ("intermediate_size", 9216), ("num_hidden_layers", 30), ("num_attention_heads", 8), ("num_key_value_heads", 4), ("head_dim", 256), ("max_position_embeddings", 131_072)],
        ExpertsField = "enable_moe_block", Experts = true, ExpertsBeside = true, SharesByDefault = true, Stacks = ExpertStacks.Halves, StacksAsMatrices = true,
        Windows = WindowRule.Pattern, FullEvery = 6, DefaultWindow = 512, LocalTheta = 10_000, DefaultTheta = 1_000_000, Proportional = 0.25, DefaultActivation = "gelu_pytorch_tanh",
    };

    private static readonly ModelFamily Ernie = new("Ernie4_5ForCausalLM", "ernie4_5") { Defaults = [(KeyHeads, 2), (HeadDim, 128)], NeighbourPairs = true, TiedByDefault = true, DefaultNormEpsilon = 1e-5, DefaultTheta = 500_000 };

    private static readonly ModelFamily HunYuan = new("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense") { QkNorm = HeadNorm.Each, NormsRotated = true, DynamicRope = true, DefaultNormEpsilon = 1e-5 };

    public static IReadOnlyList<ModelFamily> All { get; } =
    [
        new("LlamaForCausalLM", "llama"),
        new("MistralForCausalLM", "mistral") { Defaults = [(KeyHeads, 8)], NestedDefaults = Sizes(32_000, 4096, 14_336, 32, 32, 131_072), Windows = WindowRule.EveryLayer, DefaultWindow = 4096 },
        new("Qwen2ForCausalLM", "qwen2") { Defaults = [(KeyHeads, 32)], QkvBias = true, Windows = WindowRule.UpperLayers, DefaultWindow = 4096 },
        new("MiMoForCausalLM", "mimo") { Defaults = [(KeyHeads, 32)], QkvBias = true, Windows = WindowRule.UpperLayers, DefaultWindow = 4096 }, // Qwen2's, and layers that guess tokens
        new("Qwen2MoeForCausalLM", "qwen2_moe") { Defaults = [(KeyHeads, 16), ("max_window_layers", 28), ("shared_expert_intermediate_size", 5632)], QkvBias = true, Experts = true, SharedExpertGate = true, Windows = WindowRule.UpperLayers, DefaultWindow = 4096 },
        new("Qwen3ForCausalLM", "qwen3") { QkNorm = HeadNorm.Each, Defaults = [(KeyHeads, 32), (HeadDim, 128)], NestedTypes = ["qwen3_vl_text"], NestedDefaults = Sizes(151_936, 4096, 22_016, 32, 32, 128_000), Windows = WindowRule.UpperLayers, DefaultWindow = 4096 },
        new("Qwen3MoeForCausalLM", "qwen3_moe") { QkNorm = HeadNorm.Each, Defaults = [(KeyHeads, 4)], NestedTypes = ["qwen3_vl_moe_text"], NestedDefaults = [.. Sizes(151_936, 2048, 5632, 24, 16, 128_000), (KeyHeads, 16), ("moe_intermediate_size", 1408), ("num_experts_per_tok", 4)], Experts = true, Stacks = ExpertStacks.Halves, Windows = WindowRule.UpperLayers, DefaultWindow = 4096 },
        new("GemmaForCausalLM", "gemma") { NormOffset = 1, ScaledEmbedding = true, TiedByDefault = true, Defaults = [(KeyHeads, 16), (HeadDim, 256)], DefaultActivation = "gelu_pytorch_tanh" },
        new("Gemma2ForCausalLM", "gemma2")
        {
            Norms = LayerNormNames.Both, NormOffset = 1, ScaledEmbedding = true, SoftCaps = (50, 30), TiedByDefault = true, Defaults = [(KeyHeads, 4), (HeadDim, 256)],
            Windows = WindowRule.Pattern, FullEvery = 2, DefaultWindow = 4096, DefaultActivation = "gelu_pytorch_tanh",
        },
        new("Gemma3ForCausalLM", "gemma3_text")
        {
            Norms = LayerNormNames.Both, NormOffset = 1, QkNorm = HeadNorm.Each, ScaledEmbedding = true, SoftCaps = (null, null), TiedByDefault = true,
            Defaults = [("vocab_size", 262_208), ("hidden_size", 2304), ("intermediate_size", 9216), ("num_hidden_layers", 26), ("num_attention_heads", 8), ("num_key_value_heads", 4), ("head_dim", 256), ("max_position_embeddings", 131_072)],
            Windows = WindowRule.Pattern, FullEvery = 6, DefaultWindow = 4096, LocalTheta = 10_000, DefaultTheta = 1_000_000, DefaultActivation = "gelu_pytorch_tanh",
        },
        Gemma4,
        Gemma4 with { Architecture = "Gemma4UnifiedForCausalLM", ModelType = "gemma4_unified_text", DefaultWindow = 1024, PerLayerByDefault = 0 },
        new("Phi3ForCausalLM", "phi3") { FusedQkv = true, FusedGates = true, Windows = WindowRule.EveryLayer, DefaultNormEpsilon = 1e-5 },
        new("MixtralForCausalLM", "mixtral") { Defaults = [(KeyHeads, 8)], Experts = true, SharesByDefault = true, ExpertsAsMlps = true, Windows = WindowRule.EveryLayer, DefaultNormEpsilon = 1e-5, DefaultTheta = 1_000_000 },
        new("MiniMaxM2ForCausalLM", "minimax_m2") { FirstType = "minimax", RotationField = "rotary_dim", QkNorm = HeadNorm.Whole, Defaults = [(KeyHeads, 8), (HeadDim, 128), ("first_k_dense_replace", 0)], Experts = true, SharesByDefault = true, ExpertsAsMlps = true, Router = RouterRule.Sigmoid, DefaultTheta = 5_000_000 },
        new("Ministral3ForCausalLM", "ministral3")
        {
            Defaults = [(KeyHeads, 8), (HeadDim, 128)], NestedDefaults = Sizes(131_072, 4096, 14_336, 34, 32, 262_144), Windows = WindowRule.EveryLayer, DefaultNormEpsilon = 1e-5,
            DefaultRope = """{"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 16.0, "original_max_position_embeddings": 16384, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}""",
        },
        new("GptOssForCausalLM", "gpt_oss")
        {
            BiasByDefault = true, Sinks = true, Experts = true, SharesByDefault = true, ExpertsAsMlps = true, RouterBias = true, ExpertBias = true, Stacks = ExpertStacks.Turns, Activation = Compute.Device.ClampedSwiGlu, DefaultNormEpsilon = 1e-5, DefaultTheta = 150_000,
            Windows = WindowRule.Pattern, FullEvery = 2, DefaultWindow = 128, Defaults = [(KeyHeads, 8), (HeadDim, 64)],
            DefaultRope = """{"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "truncate": false}""",
        },
        new("Glm4MoeForCausalLM", "glm4_moe") { Defaults = [(KeyHeads, 8), ("n_shared_experts", 1)], QkNormField = ("use_qk_norm", HeadNorm.Each), OutputBiasField = "", Experts = true, SharesByDefault = true, Router = RouterRule.Sigmoid, DefaultNormEpsilon = 1e-5, DefaultRotation = 0.5 },
        new("Dots1ForCausalLM", "dots1") { QkNorm = HeadNorm.Each, Defaults = [(KeyHeads, 32), ("first_k_dense_replace", 0), ("max_window_layers", 62)], Experts = true, Router = RouterRule.Sigmoid, Windows = WindowRule.UpperLayers, WindowsByDefault = true, DefaultWindow = 4096 },
        new("DeepseekV3ForCausalLM", "deepseek_v3") { Latent = true, Defaults = [("q_lora_rank", 1536), ("kv_lora_rank", 512), ("qk_rope_head_dim", 64), ("qk_nope_head_dim", 128), ("v_head_dim", 128), ("n_shared_experts", 1), ("n_group", 8), ("topk_group", 4), ("first_k_dense_replace", 3)], Experts = true, SharesByDefault = true, Router = RouterRule.Sigmoid },
        new("DeepseekV2ForCausalLM", "deepseek_v2") { Latent = true, Defaults = [("q_lora_rank", 1536), ("kv_lora_rank", 512), ("qk_rope_head_dim", 64), ("qk_nope_head_dim", 128), ("v_head_dim", 128), ("n_routed_experts", 64), ("n_shared_experts", 2), ("moe_intermediate_size", 1407), ("first_k_dense_replace", 0)], Experts = true, Router = RouterRule.Groups },
        new("Glm4MoeLiteForCausalLM", "glm4_moe_lite") { Latent = true, Defaults = [("n_shared_experts", 1), ("q_lora_rank", 768), ("kv_lora_rank", 512), ("qk_rope_head_dim", 64), ("qk_nope_head_dim", 192), ("v_head_dim", 256)], Experts = true, SharesByDefault = true, Router = RouterRule.Sigmoid, DefaultNormEpsilon = 1e-5 },
        new("Qwen3NextForCausalLM", "qwen3_next")
        {
            QkNorm = HeadNorm.Each, NormOffset = 1, DeltaLayers = true, JointDelta = true, GatedAttention = true, FullEvery = 4, DefaultRotation = 0.25,
            Experts = true, SharesByDefault = true, SharedExpertGate = true,
            Defaults = [("head_dim", 256), ("num_attention_heads", 16), ("num_key_value_heads", 2), ("intermediate_size", 5632), ("shared_expert_intermediate_size", 512), ("moe_intermediate_size", 512), ("num_experts", 512), ("num_experts_per_tok", 10), ("vocab_size", 151_936), ("hidden_size", 2048), ("num_hidden_layers", 48), ("max_position_embeddings", 32_768)],
        },
        new("Qwen3_5ForCausalLM", "qwen3_5_text")
        {
            QkNorm = HeadNorm.Each, NormOffset = 1, DeltaLayers = true, GatedAttention = true, FullEvery = 4, DefaultRotation = 0.25,
            Defaults = [("head_dim", 256), ("num_attention_heads", 16), ("num_key_value_heads", 4), ("intermediate_size", 12_288), ("vocab_size", 248_320), ("hidden_size", 4096), ("num_hidden_layers", 32), ("max_position_embeddings", 32_768)],
        },
        new("Qwen3_5MoeForCausalLM", "qwen3_5_moe_text")
        {
            QkNorm = HeadNorm.Each, NormOffset = 1, DeltaLayers = true, GatedAttention = true, FullEvery = 4, DefaultRotation = 0.25,
            Experts = true, SharesByDefault = true, Stacks = ExpertStacks.Halves, StacksAsMatrices = true, SharedExpertGate = true,
            Defaults = [("head_dim", 256), ("num_attention_heads", 16), ("num_key_value_heads", 2), ("intermediate_size", 512), ("shared_expert_intermediate_size", 512), ("moe_intermediate_size", 512), ("num_experts", 256), ("num_experts_per_tok", 8), ("vocab_size", 248_320), ("hidden_size", 2048), ("num_hidden_layers", 40), ("max_position_embeddings", 32_768)],
        },
        new("Llama4ForCausalLM", "llama4_text")
        {
            NeighbourPairs = true, Chunked = true, Windows = WindowRule.Pattern, FullEvery = 4, StillEvery = 4, QkNormField = ("use_qk_norm", HeadNorm.Each), BareHeadNorms = true, TunesStillLayers = true, DefaultNormEpsilon = 1e-5, DefaultTheta = 500_000,
            Experts = true, Router = RouterRule.Inputs, Stacks = ExpertStacks.Halves,
            Defaults = [("intermediate_size_mlp", 16_384), ("num_local_experts", 16), ("num_experts_per_tok", 1), (KeyHeads, 8), (HeadDim, 128)], NestedDefaults = Sizes(202_048, 5120, 8192, 48, 40, 131_072),
        },
        new("GraniteForCausalLM", "granite") { Multipliers = true },
        new("GraniteMoeForCausalLM", "granitemoe") { Multipliers = true, Experts = true, SharesByDefault = true, ExpertsAsMlps = true, Stacks = ExpertStacks.Halves, StacksAsMatrices = true },
        new("GraniteMoeHybridForCausalLM", "granitemoehybrid")
        {
            Multipliers = true, SpaceLayers = true, SharedMlp = true, PositionsField = "position_embedding_type",
            Experts = true, ExpertsField = "num_local_experts", SharesByDefault = true, Stacks = ExpertStacks.Halves, StacksAsMatrices = true, SharedExpertField = "shared_intermediate_size",
            Defaults = [("shared_intermediate_size", 1024), ("num_local_experts", 8), ("num_experts_per_tok", 2)],
        },
        new("NemotronHForCausalLM", "nemotron_h")
        {
            Norms = LayerNormNames.Single, NormEpsilonField = "layer_norm_epsilon", DefaultNormEpsilon = 1e-5, Ungated = true, DefaultActivation = Compute.Device.SquaredRelu, PositionsField = "",
            SpaceLayers = true, GroupedSpaceNorm = true, OneMixer = true, Experts = true, ExpertsField = "n_routed_experts", SharesByDefault = true, Router = RouterRule.Sigmoid, SharedExpertField = "moe_shared_expert_intermediate_size",
            Renamed =
            [
                ("mlp_hidden_act", "hidden_act"), ("attention_head_dim", "head_dim"), ("mamba_num_heads", "mamba_n_heads"), ("mamba_head_dim", "mamba_d_head"), ("n_groups", "mamba_n_groups"),
                ("ssm_state_size", "mamba_d_state"), ("conv_kernel", "mamba_d_conv"), ("use_conv_bias", "mamba_conv_bias"), ("mamba_dt_limit", "time_step_limit"),
            ],
            Defaults = [(KeyHeads, 8), (HeadDim, 128), ("mamba_d_head", 64), ("mamba_n_groups", 8), ("mamba_d_state", 128), ("n_routed_experts", 8), ("num_experts_per_tok", 2), ("moe_intermediate_size", 7688), ("moe_shared_expert_intermediate_size", 7688)],
        },
        new("FalconH1ForCausalLM", "falcon_h1") { SpaceLayers = true, GroupedSpaceNorm = true, AttendsBesideStates = true, DefaultNormEpsilon = 1e-5, Defaults = [(KeyHeads, 8), ("mamba_d_ssm", 1024)], LogitFactor = ("lm_head_multiplier", 1) },
        new("BambaForCausalLM", "bamba") { SpaceLayers = true, DefaultNormEpsilon = 1e-5, Defaults = [(KeyHeads, 8)], DefaultRotation = 0.5 },
        new("SmolLM3ForCausalLM", "smollm3") { Defaults = [(KeyHeads, 4)], TiedByDefault = true, Windows = WindowRule.StillLayers, DefaultTheta = 2_000_000, StillEvery = 4 },
        new("Olmo2ForCausalLM", "olmo2") { Norms = LayerNormNames.After, QkNorm = HeadNorm.Whole, DefaultNormEpsilon = 1e-5 },
        new("OlmoeForCausalLM", "olmoe") { QkNorm = HeadNorm.Whole, Experts = true, ExpertsAsMlps = true, DefaultNormEpsilon = 1e-5 },
        new("Olmo3ForCausalLM", "olmo3")
        {
            Norms = LayerNormNames.After, QkNorm = HeadNorm.Whole, DefaultNormEpsilon = 1e-5, DefaultTheta = 500_000,
            Windows = WindowRule.Pattern, FullEvery = 4, DefaultWindow = 4096, ScalesFullOnly = true,
        },
        new("ExaoneForCausalLM", "exaone") { Renamed = [("num_layers", "num_hidden_layers"), ("activation_function", "hidden_act")], NormEpsilonField = "layer_norm_epsilon", DefaultNormEpsilon = 1e-5, TiedByDefault = true },
        new("Exaone4ForCausalLM", "exaone4")
        {
            Norms = LayerNormNames.After, QkNorm = HeadNorm.Each, DefaultNormEpsilon = 1e-5, Defaults = [(KeyHeads, 32)],
            Windows = WindowRule.Pattern, FullEvery = 4, DefaultWindow = 4096, StillWhereFull = true,
        },
        new("SeedOssForCausalLM", "seed_oss") { Defaults = [(KeyHeads, 8), (HeadDim, 128)], BiasByDefault = true, OutputBiasField = "attention_out_bias" },
        new("GlmForCausalLM", "glm") { Defaults = [(KeyHeads, 2), (HeadDim, 128)], BiasByDefault = true, FusedGates = true, NeighbourPairs = true, OutputBiasField = "", DefaultNormEpsilon = 1.5625e-7, DefaultRotation = 0.5 },
        new("Glm4ForCausalLM", "glm4") { Defaults = [(KeyHeads, 2), (HeadDim, 128)], BiasByDefault = true, Norms = LayerNormNames.Glm, FusedGates = true, NeighbourPairs = true, OutputBiasField = "", DefaultNormEpsilon = 1.5625e-7, DefaultRotation = 0.5 },
        Ernie,
        Ernie with { Architecture = "Ernie4_5_ForCausalLM" }, // as its first configurations say
        Ernie with
        {
            Architecture = "Ernie4_5_MoeForCausalLM", ModelType = "ernie4_5_moe", Experts = true, AlwaysShares = true, Router = RouterRule.Corrected,
            Renamed = [("moe_num_experts", "num_experts"), ("moe_k", "num_experts_per_tok"), ("moe_num_shared_experts", "n_shared_experts"), ("moe_layer_start_index", "first_k_dense_replace"), ("moe_layer_interval", "decoder_sparse_step")],
            Defaults = [(KeyHeads, 4), ("num_experts", 64), ("num_experts_per_tok", 6), ("n_shared_experts", 2), ("first_k_dense_replace", 1), ("moe_intermediate_size", 1536)],
        },
        new("HeliumForCausalLM", "helium") { Defaults = [(KeyHeads, 20), (HeadDim, 128)], NeighbourPairs = true, OutputBiasField = "", DefaultNormEpsilon = 1e-8, DefaultTheta = 100_000 },
        new("ArceeForCausalLM", "arcee") { Ungated = true, DefaultActivation = Compute.Device.SquaredRelu, DefaultNormEpsilon = 1e-5 },
        new("InternLM2ForCausalLM", "internlm2") { GroupedQkv = true, DynamicRope = true },
        new("InternLM3ForCausalLM", "internlm3") { DynamicRope = true },
        HunYuan,
        HunYuan with
        {
            Architecture = "HunYuanMoEV1ForCausalLM", ModelType = "hunyuan_v1_moe", Experts = true, ExpertsAsMlps = true, AlwaysShares = true, Router = RouterRule.Groups,
            Renamed = [("moe_topk", "num_experts_per_tok"), ("num_shared_expert", "n_shared_experts")], Listed = ["num_experts", "moe_topk", "num_shared_expert", "moe_intermediate_size"],
            Defaults = [("n_shared_experts", 1), ("first_k_dense_replace", 0)],
        },
        new("CohereForCausalLM", "cohere")
        {
            Norms = LayerNormNames.Shared, NormEpsilonField = "layer_norm_eps", DefaultNormEpsilon = 1e-5, CenteredNorms = true, NeighbourPairs = true, LogitFactor = ("logit_scale", 0.0625),
            TiedByDefault = true, DefaultTheta = 500_000, LengthField = "model_max_length", QkNormField = ("use_qk_norm", HeadNorm.Own),
        },
        new("Cohere2ForCausalLM", "cohere2")
        {
            Norms = LayerNormNames.Shared, NormEpsilonField = "layer_norm_eps", DefaultNormEpsilon = 1e-5, CenteredNorms = true, NeighbourPairs = true, LogitFactor = ("logit_scale", 0.0625),
            TiedByDefault = true, Windows = WindowRule.Pattern, FullEvery = 4, DefaultWindow = 4096, StillWhereFull = true,
        },
    ];

    /// <summary>Biases of the query, key and value projections, whatever <c>attention_bias</c> says, unless <c>qkv_bias</c> says that there are none.</summary>
    public bool QkvBias { get; init; }

    /// <summary>What its first configurations call its type; null if that has not changed.</summary>
    public string? FirstType { get; init; }

    /// <summary>Other names of its type, within configurations of models that see or hear as well.</summary>
    public string[] NestedTypes { get; init; } = [];

    /// <summary>Fields that say what other families have by other names, and those names.</summary>
    public (string Field, string As)[] Renamed { get; init; } = [];

    /// <summary>Fields that may be lists with the same number for each layer.</summary>
    public string[] Listed { get; init; } = [];

    /// <summary>Fields that configurations may leave out, and what they are then for transformers. Sizes are not among them, unless published ones leave them out: without them nothing is said.</summary>
    public (string Field, int Value)[] Defaults { get; init; } = [];

    /// <summary>Such fields within configurations of models that see, where all that is as in the class is left out when a model is saved.</summary>
    public (string Field, int Value)[] NestedDefaults { get; init; } = [];

    /// <summary>The <c>rope_parameters</c> of a configuration that has neither them nor <c>rope_scaling</c>; null for embeddings that are not scaled.</summary>
    public string? DefaultRope { get; init; }

    /// <summary>The field of the tokens that the model was made for, where that is there and not <c>max_position_embeddings</c>.</summary>
    public string? LengthField { get; init; }

    /// <summary>What <c>attention_bias</c> is where the configuration does not say.</summary>
    public bool BiasByDefault { get; init; }

    /// <summary>The field that says whether attention's output has a bias; null if it is <c>attention_bias</c>, and empty if there is none.</summary>
    public string? OutputBiasField { get; init; }

    /// <summary>Norms of queries and keys.</summary>
    public HeadNorm QkNorm { get; init; }

    /// <summary>The field that says whether heads have norms, where that is for the configuration to say, and which.</summary>
    public (string Field, HeadNorm Norm)? QkNormField { get; init; }

    /// <summary>Norms of heads have no weights, and only layers that rotate have them.</summary>
    public bool BareHeadNorms { get; init; }

    /// <summary>Heads are normed after they are rotated.</summary>
    public bool NormsRotated { get; init; }

    /// <summary>Queries of layers that do not rotate grow with their positions: <c>attn_temperature_tuning</c>.</summary>
    public bool TunesStillLayers { get; init; }

    /// <summary>Windows are chunks: a token sees those of its own alone.</summary>
    public bool Chunked { get; init; }

    /// <summary>The checkpoint holds query, key and value as one matrix.</summary>
    public bool FusedQkv { get; init; }

    /// <summary>The checkpoint holds them as one matrix in which the queries of a key, that key and its value follow each other.</summary>
    public bool GroupedQkv { get; init; }

    /// <summary>The checkpoint holds gate and up as one matrix.</summary>
    public bool FusedGates { get; init; }

    /// <summary>MLPs have no gate.</summary>
    public bool Ungated { get; init; }

    /// <summary>Which norms a layer has.</summary>
    public LayerNormNames Norms { get; init; } = LayerNormNames.Before;

    /// <summary>All but every n-th layer keep a state by the gated delta rule in place of keys and values, unless <c>layer_types</c> says otherwise.</summary>
    public bool DeltaLayers { get; init; }

    /// <summary>Layers may be state spaces: <see cref="HybridFields"/>.</summary>
    public bool SpaceLayers { get; init; }

    /// <summary>Layers with states attend as well, and what both give is added.</summary>
    public bool AttendsBesideStates { get; init; }

    /// <summary>The outputs of a state space are normed by the groups of heads that share a query and a key; else all together.</summary>
    public bool GroupedSpaceNorm { get; init; }

    /// <summary>A layer attends, or is a state space, or an MLP or a mixture, with one norm.</summary>
    public bool OneMixer { get; init; }

    /// <summary>The checkpoint holds what a layer of the delta rule projects head by head in two matrices.</summary>
    public bool JointDelta { get; init; }

    /// <summary>Attention's output has a gate; the checkpoint holds it beside the queries, head by head.</summary>
    public bool GatedAttention { get; init; }

    /// <summary>Norms take the mean off first.</summary>
    public bool CenteredNorms { get; init; }

    /// <summary>Attention and MLP look at the same, and what both add is added together.</summary>
    public bool ParallelBlocks => Norms.BeforeMlp is null && Norms.AfterMlp is null;

    /// <summary>Heads are made of few numbers: see <see cref="LatentShape"/>.</summary>
    public bool Latent { get; init; }

    /// <summary>The dimensions of a head that are rotated together are neighbours in the checkpoint; elsewhere they are half of them apart.</summary>
    public bool NeighbourPairs { get; init; }

    /// <summary>Embeddings, scores, what layers add, and logits have factors of the configuration.</summary>
    public bool Multipliers { get; init; }

    /// <summary>The checkpoint calls the dense MLP shared, and that beside experts too.</summary>
    public bool SharedMlp { get; init; }

    /// <summary>The field of a factor of the logits, and its default.</summary>
    public (string Field, double Default)? LogitFactor { get; init; }

    /// <summary>The field that says <c>rope</c> where layers rotate; null where they do, and empty where none does.</summary>
    public string? PositionsField { get; init; }

    /// <summary>Layers that attend all do not rotate, where others have windows.</summary>
    public bool StillWhereFull { get; init; }

    /// <summary>Every n-th layer does not rotate, unless <c>no_rope_layers</c> says otherwise; 0 for none.</summary>
    public int StillEvery { get; init; }

    /// <summary>Scaling of the positions is for layers that attend all.</summary>
    public bool ScalesFullOnly { get; init; }

    /// <summary>The base of the frequencies of layers with windows, where it is another one; in <c>rope_local_base_freq</c>.</summary>
    public double? LocalTheta { get; init; }

    public double DefaultTheta { get; init; } = 10_000;

    /// <summary>Configurations may have the rope type <c>dynamic</c>, which changes nothing up to the length that the model was made for; or another base at once, by <c>alpha</c>.</summary>
    public bool DynamicRope { get; init; }

    /// <summary>The part of a head that is rotated where the configuration does not say.</summary>
    public double DefaultRotation { get; init; } = 1;

    /// <summary>The field of how many dimensions of a head are rotated, where that is said so.</summary>
    public string? RotationField { get; init; }

    /// <summary>Added to every norm's weight.</summary>
    public double NormOffset { get; init; }

    /// <summary>Embeddings are multiplied by the square root of the hidden size.</summary>
    public bool ScaledEmbedding { get; init; }

    /// <summary>Scores are scaled by <c>query_pre_attn_scalar</c>, and they and logits may be capped by tanh: the defaults. Null where a family has none of it.</summary>
    public (double? Scores, double? Logits)? SoftCaps { get; init; }

    /// <summary>Layers may be mixtures of experts.</summary>
    public bool Experts { get; init; }

    /// <summary>The field that says whether they are, or of how many, where that is for the configuration to say.</summary>
    public string? ExpertsField { get; init; }

    /// <summary>Experts stand beside the dense MLP, with norms of their own.</summary>
    public bool ExpertsBeside { get; init; }

    /// <summary>Heads of layers that attend all are of another size, and perhaps others share keys: <c>per_layer_config</c>, <c>global_head_dim</c>, <c>num_kv_shared_layers</c>.</summary>
    public bool HeadsByLayer { get; init; }

    /// <summary>Width of what each layer is told of a token beside the stream where the configuration does not say.</summary>
    public int PerLayerByDefault { get; init; }

    /// <summary>Values have a norm without weights.</summary>
    public bool ValueNorm { get; init; }

    /// <summary>The stream is multiplied by a number after each layer.</summary>
    public bool LayerScale { get; init; }

    /// <summary>Scores have no factor: the norms of queries and keys have it.</summary>
    public bool ScoresAsTheyAre { get; init; }

    /// <summary>Where the configuration has no rotary embeddings, the part of a head's pairs that layers without windows rotate; null for what others do.</summary>
    public double? Proportional { get; init; }

    /// <summary>The chosen experts' weights are normalised to one where the configuration does not say.</summary>
    public bool SharesByDefault { get; init; }

    /// <summary>They are, whatever the configuration says.</summary>
    public bool AlwaysShares { get; init; }

    /// <summary>Experts are as wide as other families' MLPs where the configuration does not say.</summary>
    public bool ExpertsAsMlps { get; init; }

    /// <summary>The field of the width of the expert that sees every token, where that has one of its own.</summary>
    public string? SharedExpertField { get; init; }

    /// <summary>The expert that sees every token has a gate.</summary>
    public bool SharedExpertGate { get; init; }

    /// <summary>How routers choose.</summary>
    public RouterRule Router { get; init; }

    /// <summary>Whether configurations have the fields of DeepSeek's mixtures.</summary>
    public bool GroupsExperts => Router != RouterRule.Softmax;

    /// <summary>Routers have biases.</summary>
    public bool RouterBias { get; init; }

    /// <summary>Each head attends, beside its keys, nothing with a score of its own.</summary>
    public bool Sinks { get; init; }

    /// <summary>The activation, whatever the configuration says.</summary>
    public string? Activation { get; init; }

    /// <summary>How gates and what they are for lie where the experts of a layer are one tensor.</summary>
    public ExpertStacks Stacks { get; init; }

    /// <summary>Experts that are one tensor lie as matrices do; elsewhere transposed.</summary>
    public bool StacksAsMatrices { get; init; }

    /// <summary>Biases of the experts.</summary>
    public bool ExpertBias { get; init; }

    /// <summary>Which layers are windowed.</summary>
    public WindowRule Windows { get; init; }

    /// <summary>What <c>use_sliding_window</c> is where the configuration does not say.</summary>
    public bool WindowsByDefault { get; init; }

    /// <summary>Of <see cref="WindowRule.Pattern"/> and <see cref="DeltaLayers"/>: every n-th layer attends all.</summary>
    public int FullEvery { get; init; }

    /// <summary>The window where the configuration does not mention one.</summary>
    public int? DefaultWindow { get; init; }

    /// <summary>Whether the output layer is the embedding where the configuration does not say.</summary>
    public bool TiedByDefault { get; init; }

    public string DefaultActivation { get; init; } = "silu";

    public double DefaultNormEpsilon { get; init; } = 1e-6;

    public string NormEpsilonField { get; init; } = "rms_norm_eps";

    /// <summary>The family of an architecture name.</summary>
    /// <exception cref="UnsupportedModelException">There is none.</exception>
    public static ModelFamily Of(string architecture) => All.FirstOrDefault(f => f.Architecture == architecture) ?? throw Unsupported($"architecture {architecture}");

    /// <summary>The family of a type, as configurations of models that see or hear as well name that of their text.</summary>
    public static ModelFamily? OfType(string? type) => All.FirstOrDefault(f => f.ModelType == type || f.NestedTypes.Contains(type));

    public static UnsupportedModelException Unsupported(string what) =>
        new($"The {what} is not supported. Supported: {string.Join(", ", All.Select(f => f.Architecture))}.");

    private static (string, int)[] Sizes(int vocabulary, int hidden, int intermediate, int layers, int heads, int positions) =>
        [("vocab_size", vocabulary), ("hidden_size", hidden), ("intermediate_size", intermediate), ("num_hidden_layers", layers), ("num_attention_heads", heads), ("max_position_embeddings", positions)];
}
