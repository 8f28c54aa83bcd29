using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Cache;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Native;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Sessions;
using static TorchSharp.torch;

namespace HeadInfer.Runtime;

/// <summary>How far the loading of a model is.</summary>
/// <param name="LayersDone">Layers whose weights are in place.</param>
/// <param name="Layers">Layers in all.</param>
public readonly record struct LoadProgress(int LayersDone, int Layers);

/// <summary>A loaded model: weights, tokenizer, chat template, and the plan of its memory. Safe for concurrent use.</summary>
/// <remarks>All sessions compute on one thread of the model's, in the order they ask. Disposing the model disposes them.</remarks>
public sealed class HeadInferModel : IDisposable, IAsyncDisposable
{
    private static readonly ByteSize SlabSize = ByteSize.FromMiB(64);

    private readonly Lock _gate = new();
    private readonly HashSet<HeadInferSession> _sessions = [];
    private readonly ModelFolder _folder;
    private readonly AttentionLayout _layout;
    private readonly AttentionKernel _kernel;
    private readonly HostAttention _host;
    private readonly DecoderWeights _weights;
    private readonly PagePool _pool;
    private readonly TileRing _ring;
    private bool _disposed;

    private HeadInferModel(ModelFolder folder, HeadInferOptions options, MemoryPlan plan, ScalarType type, EngineThread engine, DecoderWeights weights)
    {
        (_folder, Plan, Engine, _weights) = (folder, plan, engine, weights);
        _layout = MemoryPlanner.Layout(Config, options, plan);
        var softCap = options.IgnoreAttentionSoftCap ? null : Config.AttentionSoftCap;
        _kernel = new AttentionKernel(Config.AttentionScale, softCap);
        _host = new HostAttention(Config.AttentionScale, softCap);
        _pool = new PagePool(new PageShape(Config.KvHeads, plan.PageTokens, Config.HeadDim, type), SlabSize, plan.PageBudget);
        _ring = new TileRing(MemoryPlanner.TileSlots, plan.HeadGroupSize, plan.TileTokens, Config.HeadDim, type, CPU);
        Decoder = new TransformerDecoder(Config, weights, plan.ChunkTokens);
    }

    /// <summary>The model's shape.</summary>
    public ModelConfig Config => _folder.Config;

    /// <summary>What the model takes, and how long a context fits.</summary>
    public MemoryPlan Plan { get; }

    /// <summary>Text to tokens and back.</summary>
    /// <exception cref="TokenizerException">The model folder has no tokenizer.json.</exception>
    public Tokenizer Tokenizer => _folder.Tokenizer ?? throw new TokenizerException($"'{_folder.Path}' has no tokenizer.json.");

    /// <summary>How a conversation is written for the model; null if the model folder has no chat template.</summary>
    public ChatTemplate? ChatTemplate => _folder.ChatTemplate;

    /// <summary>Generation defaults of the model's <c>generation_config.json</c>.</summary>
    public GenerationOptions Defaults => _folder.Defaults;

    /// <summary>Tokens that end a generation unless the caller names others.</summary>
    public IReadOnlyList<int> EndTokens => _folder.EndTokens;

    /// <summary>One line that says which libtorch is in use, and how it was loaded.</summary>
    public static string NativeLibraries => LibTorch.EnsureLoaded();

    internal Tokenizer? TokenizerOrNull => _folder.Tokenizer;

    internal EngineThread Engine { get; }

    internal TransformerDecoder Decoder { get; }

    /// <summary>Loads a model folder as <c>save_pretrained</c> writes it and as it is published: config.json, safetensors, tokenizer.json.</summary>
    /// <param name="path">the folder</param>
    /// <param name="options">how to run it; null plans everything</param>
    /// <param name="progress">told after each layer</param>
    /// <param name="cancellationToken">cancels; nothing stays allocated</param>
    /// <exception cref="CheckpointException">A file is missing, damaged, or contradicts the others.</exception>
    /// <exception cref="UnsupportedModelException">The architecture, tokenizer or template uses something that is not supported.</exception>
    /// <exception cref="MemoryBudgetException">The weights do not fit.</exception>
    /// <exception cref="NativeLibraryException">libtorch does not load.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is out of range.</exception>
    public static Task<HeadInferModel> LoadAsync(
        string path, HeadInferOptions? options = null, IProgress<LoadProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        options ??= new HeadInferOptions();
        options.Validate();
        return Task.Run(() => Load(path, options, progress, cancellationToken), cancellationToken);
    }

    /// <summary>Begins an empty sequence. Its memory is taken as it grows.</summary>
    public HeadInferSession CreateSession()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var attention = new TiledAttention(_layout, _kernel, _host, _pool, _ring, CPU);
            var session = new HeadInferSession(this, new SequenceState(Decoder, attention, Plan.SegmentTokens));
            _sessions.Add(session);
            return session;
        }
    }

    /// <summary>Disposes the sessions, then frees the weights. Waits for the work under way.</summary>
    public void Dispose()
    {
        List<HeadInferSession> sessions;
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            sessions = [.. _sessions];
        }

        sessions.ForEach(s => s.Dispose());
        Engine.Run(() =>
        {
            _ring.Dispose();
            _pool.Dispose();
            _weights.Dispose();
        });
        Engine.Dispose();
    }

    /// <inheritdoc cref="Dispose"/>
    public ValueTask DisposeAsync() => new(Task.Run(Dispose));

    internal void Release(HeadInferSession session, SequenceState state)
    {
        lock (_gate)
        {
            if (!_sessions.Remove(session))
            {
                return;
            }
        }

        Engine.Run(state.Dispose);
    }

    private static HeadInferModel Load(string path, HeadInferOptions options, IProgress<LoadProgress>? progress, CancellationToken cancellationToken)
    {
        var folder = ModelFolder.Open(path);
        LibTorch.EnsureLoaded();
        using var checkpoint = Checkpoint.Open(path);
        using var check = new WeightCheck(checkpoint);
        DecoderWeights.Read(folder.Config, check);
        check.RefuseOthers();

        // Half-precision products crawl on CPUs without AVX-512, so the CPU computes in float32 whatever is stored.
        const ScalarType type = ScalarType.Float32;
        var plan = MemoryPlanner.Plan(folder.Config, check.Elements, type, options, new MemoryBudget(options.HostMemory ?? MemoryBudget.Detect().Host));
        var engine = new EngineThread("HeadInfer engine");
        try
        {
            return engine.RunAsync(() =>
            {
                if (options.Threads is { } threads)
                {
                    set_num_threads(threads); // here: libtorch keeps the number for each thread that calls it
                }

                var source = new CheckpointWeights(checkpoint, type, CPU);
                try
                {
                    var weights = DecoderWeights.Read(folder.Config, source, layer =>
                    {
                        cancellationToken.ThrowIfCancellationRequested();
                        progress?.Report(new LoadProgress(layer, folder.Config.Layers));
                    });
                    return new HeadInferModel(folder, options, plan, type, engine, weights);
                }
                catch
                {
                    source.Dispose();
                    throw;
                }
            }, cancellationToken).GetAwaiter().GetResult();
        }
        catch
        {
            engine.Dispose();
            throw;
        }
    }
}
