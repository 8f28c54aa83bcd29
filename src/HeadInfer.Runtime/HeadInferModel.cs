using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Generation;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Requests;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Text;
using static TorchSharp.torch;

namespace HeadInfer.Runtime;

/// <summary>How far the loading of a model is.</summary>
/// <param name="LayersDone">Layers whose weights are in place.</param>
/// <param name="Layers">Layers in all.</param>
public readonly record struct LoadProgress(int LayersDone, int Layers);

/// <summary>Memory that a model takes, by place, and the traffic between the places.</summary>
/// <param name="Weights">The weights, where they compute.</param>
/// <param name="HostCache">Blocks of the KV cache in host memory, of all sessions; shared ones once.</param>
/// <param name="KeptCache">Blocks in host memory that nobody has, kept for requests that begin alike.</param>
/// <param name="DeviceCache">Resident copies on the device, of all sessions; shared ones once.</param>
/// <param name="Forgotten">What of blocks that nobody had was forgotten so far, to make room.</param>
/// <param name="Uploaded">Bytes of the KV cache that were moved to the device so far; none where the CPU computes.</param>
/// <param name="Downloaded">Bytes that were moved to the host so far; none where the CPU computes.</param>
public readonly record struct ModelMemory(ByteSize Weights, ByteSize HostCache, ByteSize KeptCache, ByteSize DeviceCache, ByteSize Forgotten, ByteSize Uploaded, ByteSize Downloaded);

/// <summary>A loaded model: weights, tokenizer, chat template, and the plan of its memory. Safe for concurrent use.</summary>
/// <remarks>Sessions are served together, on one thread of the model's. Disposing the model disposes them.</remarks>
/// <example>
/// <code>
/// using HeadInfer.Runtime;
/// using HeadInfer.Text;
///
/// await using var model = await HeadInferModel.LoadAsync("path/to/a/model");
/// Console.WriteLine(model.Plan); // what it takes, and the longest context that fits
/// using var session = model.CreateSession();
/// var prompt = model.ChatTemplate!.Encode([new ChatTurn("user", "Hello")], model.Tokenizer);
/// await foreach (var step in session.GenerateAsync(prompt))
/// {
///     Console.Write(step.Text);
/// }
/// </code>
/// </example>
public sealed class HeadInferModel : IDisposable, IAsyncDisposable
{
    private const double DefaultAnswerShare = 0.65;
    private const int DefaultQueue = 256;

    private readonly Lock _gate = new();
    private readonly HashSet<HeadInferSession> _sessions = [];
    private readonly ModelFolder _folder;
    private readonly DecoderWeights _weights;
    private readonly TiledAttention _attention;
    private readonly RowBuffers _buffers;
    private readonly Admissions _admissions;
    private readonly Device _device;
    private readonly MemoryPromise _promise;
    private readonly TaskCompletionSource _freed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _disposed;

    internal HeadInferModel(ModelFolder folder, HeadInferOptions options, MemoryPlan plan, MemoryPromise promise, EngineThread thread, Device device, DecoderWeights weights, TiledAttention attention, RowBuffers buffers)
    {
        (_folder, Plan, _promise, Thread, _device, _weights, _attention, _buffers) = (folder, plan, promise, thread, device, weights, attention, buffers);
        Decoder = new TransformerDecoder(Config, weights, plan.ChunkTokens, device);
        _admissions = new Admissions(attention.Pool, plan.LongestContext, options.MaxQueuedRequests ?? DefaultQueue, thread.Wake, Config.Recurrent is null ? int.MaxValue : plan.MostStates);
        thread.Step = new Engine(Decoder, new StepDecoder(Config, weights, attention, buffers), attention, Config, plan, options.AnswerShare ?? DefaultAnswerShare, Math.Min(options.DraftTokens ?? PromptLookup.Most, Config.Recurrent is null ? PromptLookup.Most : RecurrentShape.MostRows - 1), _admissions).Step;
        var fixedSize = plan.Process + (device.HasOwnMemory ? plan.HostWeights + plan.HostTables : plan.Weights);
        promise.Counts(() => fixedSize + (attention.Pool.BlockSize * (attention.Pool.Count.InUse + attention.Pool.Count.Kept)) + (device.HasOwnMemory ? ByteSize.Zero : attention.Resident.Arena.InUse));
    }

    /// <summary>The model's name: that of its folder, what a GGUF file calls it, or <c>org/name</c> where the folder is in a hub's cache (<c>models--org--name</c>).</summary>
    public string Name => _folder.Name;

    /// <summary>The model's shape.</summary>
    public ModelConfig Config => _folder.Config;

    /// <summary>What the model takes, and how long a context fits.</summary>
    public MemoryPlan Plan { get; }

    /// <summary>Text to tokens and back.</summary>
    /// <exception cref="TokenizerException">The model folder has no tokenizer.</exception>
    public Tokenizer Tokenizer => _folder.Tokenizer ?? throw new TokenizerException(GgufFile.IsNamed(_folder.Path) ? $"'{_folder.Path}' has no tokenizer in its metadata." : $"'{_folder.Path}' has no tokenizer.json, no tokenizer.model and no tekken.json.");

    /// <summary>How a conversation is written for the model; null if the model folder has no chat template.</summary>
    /// <exception cref="ChatTemplateException">It has one that cannot be used, and <see cref="HeadInferOptions.ChatTemplate"/> named no other.</exception>
    public ChatTemplate? ChatTemplate => _folder.ChatFault is not { } fault ? _folder.ChatTemplate
        : throw new ChatTemplateException($"The model '{Name}' cannot hold a conversation: {fault.Message} Set HeadInferOptions.ChatTemplate to the template that it was published with.", fault);

    /// <summary>Generation defaults of the model's <c>generation_config.json</c>.</summary>
    public GenerationOptions Defaults => _folder.Defaults;

    /// <summary>Tokens that end a generation unless the caller names others.</summary>
    public IReadOnlyList<int> EndTokens => _folder.EndTokens;

    /// <summary>One line that says which libtorch is in use, and how it was loaded.</summary>
    public static string NativeLibraries => LibTorch.EnsureLoaded();

    /// <summary>What the model takes now, and what it has moved. May be read at any time.</summary>
    public ModelMemory Memory => new(Plan.Weights, _attention.Pool.BlockSize * _attention.Pool.Count.InUse, _attention.Pool.BlockSize * _attention.Pool.Count.Kept, _attention.Resident.Arena.InUse + _attention.Windows.InUse, _attention.Pool.BlockSize * _attention.Pool.Evicted, _device.Traffic.Uploaded, _device.Traffic.Downloaded);

    /// <summary>What computes: the GPU's name, or <c>CPU</c>.</summary>
    public string Device => _device.Name;

    internal Tokenizer? TokenizerOrNull => _folder.Tokenizer;

    internal Device Hardware => _device;

    internal EngineThread Thread { get; }

    internal TransformerDecoder Decoder { get; }

    /// <summary>Loads a model folder as <c>save_pretrained</c> writes it and as it is published: config.json, safetensors, tokenizer.json; or a GGUF file, which is a model by itself.</summary>
    /// <param name="path">the folder, or the file; of a file in shards the first one</param>
    /// <param name="options">how to run it; null plans everything</param>
    /// <param name="progress">told after each layer</param>
    /// <param name="cancellationToken">cancels; nothing stays allocated</param>
    /// <exception cref="CheckpointException">A file is missing, damaged, or contradicts the others.</exception>
    /// <exception cref="UnsupportedModelException">The architecture, tokenizer or template uses something that is not supported.</exception>
    /// <exception cref="MemoryBudgetException">The weights do not fit.</exception>
    /// <exception cref="NativeLibraryException">libtorch does not load.</exception>
    /// <exception cref="DeviceException">A GPU was asked for, and there is none that can be used.</exception>
    /// <exception cref="ArgumentException">An option is out of range, or is for a device that is not there.</exception>
    public static Task<HeadInferModel> LoadAsync(
        string path, HeadInferOptions? options = null, IProgress<LoadProgress>? progress = null, CancellationToken cancellationToken = default) =>
        LoadAsync(path, options, ModelLoading.OpenDevice, progress, cancellationToken);

    /// <summary>Loads a model folder onto a device of the caller's making, which becomes the model's.</summary>
    internal static Task<HeadInferModel> LoadAsync(
        string path, HeadInferOptions? options, Func<HeadInferOptions, Device> open, IProgress<LoadProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        options = (options ?? new HeadInferOptions()).ForModel();
        options.Validate();
        return Task.Run(() => ModelLoading.Load(path, options, open, progress, cancellationToken), cancellationToken);
    }

    /// <summary>Begins an empty sequence. Its memory is taken as it grows.</summary>
    /// <param name="key">sessions with different keys never share what they have read, so that none can tell what others asked. Default: one for all.</param>
    public HeadInferSession CreateSession(string? key = null) => Add(new Sequence(_attention.Pool, key ?? ""), []);

    /// <summary>Forgets what was read by sessions that have ended, or been cut back since.</summary>
    public void ClearCache() => _attention.Pool.Clear();

    /// <summary>Whether it was disposed.</summary>
    public bool IsDisposed => Volatile.Read(ref _disposed);

    /// <summary>Disposes the sessions and ends their operations; the weights are freed when the work under way has ended. Returns at once.</summary>
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
        Thread.RunAsync(() =>
        {
            Thread.Step = null;
            Free(sessions);
        });
        Thread.End();
    }

    /// <summary>Disposes the model, and waits until its memory is free. Throws the first failure of a part that could not be freed, when all others are.</summary>
    public async ValueTask DisposeAsync()
    {
        Dispose();
        await Thread.Ended.ConfigureAwait(false);
        await _freed.Task.ConfigureAwait(false);
    }

    // Each part whatever became of those before it.
    private void Free(List<HeadInferSession> sessions)
    {
        var failures = Parts.Run(
        [
            () => _admissions.EndAll(new ObjectDisposedException(nameof(HeadInferModel))),
            .. sessions.Select(s => (Action)s.Release), // also those whose requests have just ended, and which would do it themselves
            _attention.Dispose,
            _buffers.Dispose,
            _weights.Dispose,
            _promise.Dispose,
            _device.Dispose,
        ]);
        if (failures.Count > 0)
        {
            _freed.SetException(failures);
        }
        else
        {
            _freed.SetResult();
        }
    }

    internal HeadInferSession Add(Sequence sequence, ReadOnlySpan<int> tokens)
    {
        var session = new HeadInferSession(this, sequence, tokens);
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _sessions.Add(session);
        }

        return session;
    }

    /// <summary>Gives the system what no session needs any more, now that one has given its blocks back.</summary>
    internal void Remove(HeadInferSession session)
    {
        lock (_gate)
        {
            _sessions.Remove(session);
        }

        Thread.RunAsync(_attention.Pool.Trim);
    }

    // Refuses tokens that the model does not have.
    internal void EnsureKnown(IReadOnlyList<int> tokens)
    {
        for (var i = 0; i < tokens.Count; i++)
        {
            if ((uint)tokens[i] >= (uint)Config.VocabularySize)
            {
                throw new ArgumentOutOfRangeException(nameof(tokens), tokens[i], $"Token {i} of the prompt is {tokens[i]}; token ids of this model are from 0 to {Config.VocabularySize - 1}.");
            }
        }
    }

    // A stop sequence that is a special token never shows as text, so it stops as a token; so does one with a line's end.
    internal HashSet<int> StopTokens(GenerationOptions options) =>
    [
        .. options.StopTokens ?? EndTokens,
        .. options.StopSequences.Select(s => TokenizerOrNull?.AddedToken(s) ?? TokenizerOrNull?.AddedToken(s.Trim())).OfType<int>(),
    ];

    internal void Submit(Request request) => _admissions.Submit(request);

    /// <summary>Says that the engine may have something to do.</summary>
    internal void Wake() => Thread.Wake();

    internal ByteSize ResidentSize(Sequence sequence) => _attention.Resident.SizeOf(sequence.Blocks);

    internal TiledAttention Attention => _attention;

    /// <summary>Logits of every row of what a forward pass returned. On the engine's thread.</summary>
    internal IEnumerable<float[]> LogitsOf(Tensor hidden)
    {
        for (var row = 0L; row < hidden.shape[0]; row++)
        {
            using var one = hidden.narrow(0, row, 1);
            using var logits = Decoder.Logits(one);
            var values = new float[Config.VocabularySize];
            TensorMemory.Read(logits, values);
            yield return values;
        }
    }

    /// <summary>Takes tokens as read, with random keys and values.</summary>
    internal Task FillAsync(Sequence sequence, int tokens) => Thread.RunAsync(() =>
    {
        sequence.Reserve(tokens);
        foreach (var segment in new TokenRange(0, tokens).Split(Plan.SegmentTokens))
        {
            for (var layer = 0; layer < _attention.Layout.Layers; layer++)
            {
                _attention.Keep(sequence, layer, segment.Count, kv => kv.normal_());
            }

            sequence.Commit(new int[segment.Count]);
        }

        if (sequence.Pool.HasStates)
        {
            sequence.Pretend();
        }
    });
}
