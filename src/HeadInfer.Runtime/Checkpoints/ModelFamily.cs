namespace HeadInfer.Runtime.Checkpoints;

/// <summary>What sets a model architecture apart from the others; the decoder itself is one.</summary>
/// <param name="Architecture">Its name in <c>architectures</c>.</param>
/// <param name="ModelType">Its name in <c>model_type</c>.</param>
internal sealed partial record ModelFamily(string Architecture, string ModelType)
{
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

    /// <summary>What <c>mlp_bias</c> is where the configuration does not say.</summary>
    public bool MlpBiasByDefault { get; init; }

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

    /// <summary>Layers may be convolutions: <see cref="ConvolutionFields"/>.</summary>
    public bool ConvolutionLayers { get; init; }

    /// <summary>Which layers have states may be for the configuration to say.</summary>
    public bool MayKeepStates => DeltaLayers || SpaceLayers || ConvolutionLayers;

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

    /// <summary>It holds that gate by itself.</summary>
    public bool GateApart { get; init; }

    /// <summary>Norms take the mean off first.</summary>
    public bool CenteredNorms { get; init; }

    /// <summary>Such norms add a bias.</summary>
    public bool NormBias { get; init; }

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

    /// <summary>The field that says whether they are, in double precision, where that is for the configuration to say.</summary>
    public string? ScaledEmbeddingField { get; init; }

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
}
