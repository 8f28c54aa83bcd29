namespace HeadInfer.Runtime.Checkpoints;

internal sealed partial record ModelFamily
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

    private static readonly ModelFamily Lfm2 = new("Lfm2ForCausalLM", "lfm2")
    {
        ConvolutionLayers = true, QkNorm = HeadNorm.Each, NormEpsilonField = "norm_eps", DefaultNormEpsilon = 1e-5, DefaultTheta = 1_000_000, TiedByDefault = true,
        Renamed = [("block_ff_dim", "intermediate_size"), ("tie_embedding", "tie_word_embeddings"), ("theta", "rope_theta"), ("num_dense_layers", "first_k_dense_replace")], Defaults = [(KeyHeads, 8)],
    };

    private static readonly ModelFamily ExaoneMoe = new("ExaoneMoeForCausalLM", "exaone_moe")
    {
        QkNorm = HeadNorm.Each, DefaultNormEpsilon = 1e-5, Windows = WindowRule.Pattern, FullEvery = 4, DefaultWindow = 4096, StillWhereFull = true,
        Experts = true, SharesByDefault = true, Router = RouterRule.Sigmoid, Renamed = [("num_shared_experts", "n_shared_experts"), ("first_last_k_dense_replace", "first_k_dense_replace")],
        Defaults = [(KeyHeads, 32), ("num_experts", 64), ("num_experts_per_tok", 8), ("n_shared_experts", 1), ("moe_intermediate_size", 1024)],
    };

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
        new("SolarOpenForCausalLM", "solar_open")
        {
            Defaults = [(KeyHeads, 8), (HeadDim, 128), ("intermediate_size", 1280), ("moe_intermediate_size", 1280), ("n_routed_experts", 128), ("num_experts_per_tok", 8), ("n_shared_experts", 1), ("first_k_dense_replace", 0)], OutputBiasField = "",
            Experts = true, SharesByDefault = true, Router = RouterRule.Sigmoid, DefaultNormEpsilon = 1e-5, DefaultTheta = 1_000_000,
        },
        new("BailingMoeV2ForCausalLM", "bailing_moe")
        {
            FirstType = "bailing_moe_v2", FusedQkv = true, QkNormField = ("use_qk_norm", HeadNorm.Each), DefaultRotation = 0.5, DefaultTheta = 600_000, Experts = true, SharesByDefault = true, Router = RouterRule.Sigmoid,
            Renamed = [("use_qkv_bias", "attention_bias"), ("num_shared_experts", "n_shared_experts")], OutputBiasField = "",
        },
        new("AfmoeForCausalLM", "afmoe")
        {
            Norms = LayerNormNames.BothOfMlp, QkNorm = HeadNorm.Each, GatedAttention = true, GateApart = true, ScaledEmbeddingField = "mup_enabled", DefaultNormEpsilon = 1e-5,
            Windows = WindowRule.Pattern, FullEvery = 4, DefaultWindow = 1024, StillWhereFull = true, Experts = true, AlwaysShares = true, Router = RouterRule.Sigmoid,
            Renamed = [("num_dense_layers", "first_k_dense_replace"), ("num_shared_experts", "n_shared_experts"), ("route_scale", "routed_scaling_factor"), ("global_attn_every_n_layers", "sliding_window_pattern")],
            Defaults = [(HeadDim, 128), ("num_experts", 64), ("num_experts_per_tok", 6), ("n_shared_experts", 2), ("moe_intermediate_size", 1408)],
        },
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
        new("NemotronForCausalLM", "nemotron")
        {
            NormEpsilonField = "norm_eps", DefaultNormEpsilon = 1e-5, CenteredNorms = true, NormOffset = 1, NormBias = true, Ungated = true, DefaultActivation = Compute.Device.SquaredRelu, DefaultRotation = 0.5,
        },
        new("FalconH1ForCausalLM", "falcon_h1") { SpaceLayers = true, GroupedSpaceNorm = true, AttendsBesideStates = true, DefaultNormEpsilon = 1e-5, Defaults = [(KeyHeads, 8), ("mamba_d_ssm", 1024)], LogitFactor = ("lm_head_multiplier", 1) },
        new("BambaForCausalLM", "bamba") { SpaceLayers = true, DefaultNormEpsilon = 1e-5, Defaults = [(KeyHeads, 8)], DefaultRotation = 0.5 },
        Lfm2,
        Lfm2 with
        {
            Architecture = "Lfm2MoeForCausalLM", ModelType = "lfm2_moe", Experts = true, SharesByDefault = true, Router = RouterRule.Sigmoid, Stacks = ExpertStacks.Halves, StacksAsMatrices = true,
            Defaults = [(KeyHeads, 8), ("first_k_dense_replace", 2), ("moe_intermediate_size", 1792), ("num_experts", 32), ("num_experts_per_tok", 4)],
        },
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
        ExaoneMoe,
        ExaoneMoe with { Architecture = "ExaoneMoEForCausalLM" }, // as its first configurations say
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
        new("ApertusForCausalLM", "apertus")
        {
            QkNorm = HeadNorm.Each, Ungated = true, DefaultActivation = Compute.Device.Xielu, DefaultNormEpsilon = 1e-5, DefaultTheta = 12_000_000,
            DefaultRope = """{"rope_type": "llama3", "rope_theta": 12000000.0, "factor": 8.0, "original_max_position_embeddings": 8192, "low_freq_factor": 1.0, "high_freq_factor": 4.0}""",
        },
        new("Starcoder2ForCausalLM", "starcoder2")
        {
            Defaults = [(KeyHeads, 2)], NormEpsilonField = "norm_epsilon", DefaultNormEpsilon = 1e-5, CenteredNorms = true, NormBias = true, Ungated = true, DefaultActivation = "gelu_pytorch_tanh",
            Renamed = [("use_bias", "attention_bias"), ("use_bias", "mlp_bias")], BiasByDefault = true, MlpBiasByDefault = true, Windows = WindowRule.EveryLayer, TiedByDefault = true,
        },
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

    private static (string, int)[] Sizes(int vocabulary, int hidden, int intermediate, int layers, int heads, int positions) =>
        [("vocab_size", vocabulary), ("hidden_size", hidden), ("intermediate_size", intermediate), ("num_hidden_layers", layers), ("num_attention_heads", heads), ("max_position_embeddings", positions)];
}
