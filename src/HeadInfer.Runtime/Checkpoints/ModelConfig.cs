using System.Collections.Frozen;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The shape of a decoder-only transformer, as its <c>config.json</c> gives it.</summary>
public sealed record ModelConfig
{
    /// <summary>Architecture name, such as <c>Qwen3ForCausalLM</c>.</summary>
    public required string Architecture { get; init; }

    /// <summary>Tokens in the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Number of layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Query heads of a layer.</summary>
    public required int Heads { get; init; }

    /// <summary>Key/value heads of a layer; divides <see cref="Heads"/>.</summary>
    public required int KvHeads { get; init; }

    /// <summary>Dimensions of a head.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Width of the dense MLP.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Tokens the model was made for, prompt and answer together.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Rotary position embeddings.</summary>
    public required RopeConfig Rope { get; init; }

    /// <summary>The window of each layer in tokens (a token sees itself and so many less one before it), or null for all. Of Llama 4 it is the chunk: a token sees those of its own chunk before it.</summary>
    public required IReadOnlyList<int?> Windows { get; init; }

    /// <summary>Epsilon of the norms.</summary>
    public required double NormEpsilon { get; init; }

    /// <summary>Factor of the attention scores.</summary>
    public required double AttentionScale { get; init; }

    /// <summary>Activation of the MLP: <c>silu</c>, <c>gelu</c>, <c>gelu_pytorch_tanh</c> or <c>clamped_swiglu</c>; of one without a gate <c>relu2</c>, <c>gelu_pytorch_tanh</c> or <c>xielu</c>.</summary>
    public required string Activation { get; init; }

    /// <summary>Whether the output layer is the embedding.</summary>
    public bool TiedEmbeddings { get; init; }

    /// <summary>Whether the configuration says so, or that it is not.</summary>
    internal bool SaysWhetherTied { get; init; }

    /// <summary>Cap of the attention scores, or null.</summary>
    public double? AttentionSoftCap { get; init; }

    /// <summary>Cap of the logits, or null.</summary>
    public double? LogitSoftCap { get; init; }

    /// <summary>Experts of a mixture layer; 0 for a dense model.</summary>
    public int Experts { get; init; }

    /// <summary>Experts that see a token.</summary>
    public int ExpertsPerToken { get; init; }

    /// <summary>Width of an expert.</summary>
    public int ExpertIntermediateSize { get; init; }

    /// <summary>Whether the chosen experts' weights are normalised to one.</summary>
    public bool NormalizeExpertWeights { get; init; }

    /// <summary>The layers that are mixtures of experts.</summary>
    public IReadOnlySet<int> ExpertLayers { get; init; } = new HashSet<int>();

    /// <summary>Tokens that end a sequence, as the configuration names them.</summary>
    public IReadOnlyList<int> EndTokens { get; init; } = [];

    internal ModelFamily Family => ModelFamily.Of(Architecture);

    /// <summary>Added to every norm's weight when it is read.</summary>
    internal double NormOffset { get; init; }

    /// <summary>How a mixture's experts are chosen, but for what a checkpoint adds to their scores.</summary>
    internal Compute.Routing Routing { get; init; } = new(0, false);

    /// <summary>Layers that a checkpoint has beyond the model's, to guess tokens with: they are not read.</summary>
    internal int GuessingLayers { get; init; }

    /// <summary>Layers that keep a state: in place of keys and values, or beside them.</summary>
    internal IReadOnlySet<int> StateLayers { get; init; } = FrozenSet<int>.Empty;

    /// <summary>What such a layer computes, or null where there is none.</summary>
    internal Compute.RecurrentShape? Recurrent { get; init; }

    /// <summary>Layers of an MLP or a mixture alone.</summary>
    internal IReadOnlySet<int> LoneMlps { get; init; } = FrozenSet<int>.Empty;

    /// <summary>Layers without an MLP or a mixture.</summary>
    internal IReadOnlySet<int> BareLayers { get; init; } = FrozenSet<int>.Empty;

    /// <summary>What heads are made of, where attention is latent; else null.</summary>
    internal LatentShape? Latent { get; init; }

    /// <summary>[layer] heads, where not all layers' are alike; else empty.</summary>
    internal IReadOnlyList<Compute.HeadShape> LayerHeads { get; init; } = [];

    /// <summary>[layer] the layer whose keys and values it attends, where some attend those of an earlier one; else empty.</summary>
    internal IReadOnlyList<int> CacheOf { get; init; } = [];

    /// <summary>Layers whose values are their keys, before norms and rotation.</summary>
    internal IReadOnlySet<int> EqualLayers { get; init; } = FrozenSet<int>.Empty;

    /// <summary>Width of what each layer is told of a token beside the stream; 0 for nothing.</summary>
    internal int PerLayerSize { get; init; }

    /// <summary>Tokens for which it is told.</summary>
    internal int PerLayerVocabulary { get; init; }

    /// <summary>Layers that attend an earlier one's keys have an MLP twice as wide.</summary>
    internal bool WideWhereShared { get; init; }

    /// <summary>Width of the experts that see every token; 0 for none.</summary>
    internal int SharedExpertSize { get; init; }

    /// <summary>Rotary position embeddings of each layer; <see cref="Rope"/> for all if it is empty.</summary>
    internal IReadOnlyList<RopeConfig> LayerRopes { get; init; } = [];

    internal double EmbeddingScale { get; init; } = 1;

    /// <summary>Factor of what layers add.</summary>
    internal double ResidualScale { get; init; } = 1;

    /// <summary>Factor of what heads attend.</summary>
    internal double AttendedScale { get; init; } = 1;

    /// <summary>Factors of the gates of MLPs and of what they add; null for ones.</summary>
    internal (double Gate, double Down)? MlpScales { get; init; }

    /// <summary>[layer] numbers of xIELU, where the configuration has them and not the checkpoint; else empty.</summary>
    internal IReadOnlyList<Compute.XieluNumbers> Xielus { get; init; } = [];

    internal double LogitScale { get; init; } = 1;

    /// <summary>Queries grow by <c>beta ln(1 + position / original)</c>, of whole lengths; or null. Where only layers grow that do not rotate, positions are counted from 1.</summary>
    internal (double Beta, int Original)? QueryGrowth { get; init; }

    /// <summary>What it says of quantized weights, or null.</summary>
    internal QuantizationConfig? Quantization { get; init; }

    internal HeadNorm QkNorm { get; init; }

    internal bool QkvBias { get; init; }

    internal bool OutputBias { get; init; }

    internal bool MlpBias { get; init; }

    /// <summary>Rotary position embeddings of a layer.</summary>
    internal RopeConfig RopeOf(int layer) => LayerRopes.Count == 0 ? Rope : LayerRopes[layer];

    /// <summary>Which of its rotations a sequence has that may become so long.</summary>
    internal int RotationOf(long tokens) => Rope.LongDivisors is not null && tokens > Rope.Scaling.OriginalMaxPositions ? 1 : 0;

    /// <summary>Factor of the queries at a position.</summary>
    internal double QueryScale(long position) => QueryGrowth is var (beta, original) ? 1 + (beta * Math.Log(1 + ((position + (Family.TunesStillLayers ? 1 : 0)) / original))) : 1;

    /// <summary>Whether queries of a layer have that factor.</summary>
    internal bool GrowsQueries(int layer) => !Family.TunesStillLayers || RopeOf(layer).IsStill;

    /// <summary>What queries of a layer see.</summary>
    internal Compute.Visibility ViewOf(int layer) => Family.Chunked ? new(null, Windows[layer]) : new(Windows[layer]);

    internal Compute.HeadShape HeadsOf(int layer) => LayerHeads.Count == 0 ? new(Heads, KvHeads, HeadDim) : LayerHeads[layer];

    /// <summary>Heads of all kinds.</summary>
    internal IReadOnlyList<Compute.HeadShape> HeadKinds => [new(Heads, KvHeads, HeadDim), .. LayerHeads.Where(h => h != new Compute.HeadShape(Heads, KvHeads, HeadDim)).Distinct()];

    /// <summary>Whether a layer keeps keys and values of its own.</summary>
    internal bool KeepsKeys(int layer) => Attends(layer) && (CacheOf.Count == 0 || CacheOf[layer] == layer);

    internal bool Attends(int layer) => (Family.AttendsBesideStates || !StateLayers.Contains(layer)) && !LoneMlps.Contains(layer);

    /// <summary>Width of a layer's dense MLP.</summary>
    internal int IntermediateOf(int layer) => WideWhereShared && !KeepsKeys(layer) ? 2 * IntermediateSize : IntermediateSize;

    internal IReadOnlyList<int> AttendingLayers => [.. Enumerable.Range(0, Layers).Where(Attends)];

    /// <summary>The same without windows that no context reaches, such as Phi-3's of 262,144 tokens: what sees all has copies on a GPU.</summary>
    /// <param name="tokens">of the longest context</param>
    internal ModelConfig Within(int tokens) => Windows.Any(w => w >= tokens) ? this with { Windows = [.. Windows.Select(w => w >= tokens ? null : w)] } : this;

    internal IReadOnlyList<int?> KvWindows => [.. AttendingLayers.Select(layer => Windows[layer])];

    /// <summary>The layers that keep keys and values, in order.</summary>
    internal IReadOnlyList<int> KvLayers => [.. Enumerable.Range(0, Layers).Where(KeepsKeys)];

    /// <summary>Elements of the KV cache for one token, all layers together. Pages are alike: those of layers with fewer or smaller heads are not full.</summary>
    internal long KvElementsPerToken => 2L * KvLayers.Count * HeadKinds.Max(h => h.Keys);

    /// <summary>Elements of the keys and values of one token that a layer attends.</summary>
    internal long AttendedElements(int layer) => 2L * HeadsOf(layer).Keys;

    /// <summary>Reads the <c>config.json</c> of a model folder, or the metadata of a GGUF file.</summary>
    /// <exception cref="CheckpointException">It is missing, not JSON, or has values out of range.</exception>
    /// <exception cref="UnsupportedModelException">The architecture or one of its options is not supported.</exception>
    public static ModelConfig Load(string folder) => ModelFolder.Configure(folder, null, null);
}
