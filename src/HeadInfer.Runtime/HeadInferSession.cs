using HeadInfer.Runtime.Generation;
using HeadInfer.Runtime.Requests;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime;

/// <summary>A sequence of tokens that a model has read. One operation at a time.</summary>
/// <remarks>
/// Its KV cache lies in blocks that sessions share: what any session of the model has read is found again by its tokens, and
/// is not computed twice. An operation that is cancelled or fails leaves the session as it was, and what it had computed is
/// found again too. Blocks outlive their session as long as nobody needs the room.
///
/// If memory ends, an answer may have to give its blocks to others for a while: one whose reader lags, or one without
/// <see cref="GenerationOptions.MaxTokens"/>. A caller that leaves it then loses no token. What is not known any more is read
/// again by the next operation, before its own tokens.
/// </remarks>
public sealed class HeadInferSession : IDisposable, IAsyncDisposable
{
    private readonly HeadInferModel _model;
    private readonly Sequence _sequence;
    private readonly TokenList _tokens = new(); // what the caller has seen; changed under the gate
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _freed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _rotation; // of the sequence since the last operation that began
    private Request? _request; // the operation under way
    private bool _busy, _disposed, _released;

    internal HeadInferSession(HeadInferModel model, Sequence sequence, ReadOnlySpan<int> tokens)
    {
        (_model, _sequence, _rotation) = (model, sequence, sequence.Rotation);
        _tokens.Append(tokens);
    }

    /// <summary>Tokens read and generated so far. May be read at any time.</summary>
    public int Length => _tokens.Count;

    /// <summary>The tokens themselves; changes when an operation ends or a step is given. May be read at any time.</summary>
    public IReadOnlyList<int> Tokens => _tokens;

    /// <summary>Tokens of the last operation's prompt that were known, and were not read again.</summary>
    public int Reused { get; private set; }

    /// <summary>Whether other requests with the same key went on otherwise after those: the next token differs from what was known. If not, nothing was known after them.</summary>
    public bool Diverged { get; private set; }

    /// <summary>Tokens of the last answer so far that were guessed and computed (<see cref="HeadInferOptions.DraftTokens"/>).</summary>
    public int Drafted { get; private set; }

    /// <summary>Those of <see cref="Drafted"/> that came: so many passes were spared.</summary>
    public int Accepted { get; private set; }

    /// <summary>Memory of the KV cache. May be read at any time.</summary>
    public CacheSize CacheSize
    {
        get
        {
            var (own, shared) = _sequence.Pool.CountShared(_sequence);
            return new CacheSize(_sequence.Pool.BlockSize * own, _sequence.Pool.BlockSize * shared, _model.ResidentSize(_sequence));
        }
    }

    internal Sequence Sequence => _sequence;

    /// <summary>Reads tokens after those the session has.</summary>
    /// <param name="tokens">the tokens; none is fine</param>
    /// <param name="progress">told of the place in the queue and of the reading, some times a second</param>
    /// <param name="cancellationToken">cancels; the session's length is then unchanged</param>
    /// <exception cref="ContextLengthException">They are more than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">They are more than the memory holds.</exception>
    /// <exception cref="QueueFullException">Too many requests wait already.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A token id is not in the vocabulary.</exception>
    public async Task PrefillAsync(IReadOnlyList<int> tokens, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        Enter();
        try
        {
            Check(tokens, room: 0);
            if (tokens.Count > 0)
            {
                var (lost, read) = (Lost(tokens.Count), (int[])[.. tokens]);
                await ReadAsync(new Request(_sequence, [.. lost, .. read], null, 0) { Lost = lost.Length }, progress, cancellationToken).ConfigureAwait(false);
                Keep(read);
            }
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Reads a prompt after what the session has, then generates.</summary>
    /// <param name="prompt">the tokens to read first; one at least</param>
    /// <param name="options">what to generate; null for the model's defaults</param>
    /// <param name="progress">told of the place in the queue and of the reading, some times a second</param>
    /// <param name="cancellationToken">cancels; the session then has what was generated before</param>
    /// <returns>the steps as they come, the last one with the reason. The token of the last step that was given is not part of the session.</returns>
    /// <exception cref="ContextLengthException">The prompt is longer than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">The prompt is longer than the memory holds.</exception>
    /// <exception cref="QueueFullException">Too many requests wait already.</exception>
    /// <exception cref="TimeoutException">The deadline passed before the first step.</exception>
    /// <exception cref="ArgumentException">The prompt is empty, has unknown token ids, or an option is out of range.</exception>
    public IAsyncEnumerable<GenerationStep> GenerateAsync(
        IReadOnlyList<int> prompt, GenerationOptions? options = null, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        options ??= _model.Defaults;
        options.Validate();
        if (options.StopSequences.Count > 0 && _model.TokenizerOrNull is null)
        {
            throw new ArgumentException("GenerationOptions.StopSequences needs text, and the model folder has no tokenizer.", nameof(options));
        }

        if (options.Constraint is not null && _model.TokenizerOrNull is null)
        {
            throw new ArgumentException("GenerationOptions.Constraint needs text, and the model folder has no tokenizer.", nameof(options));
        }

        if (prompt.Count == 0)
        {
            throw new ArgumentException("The prompt is empty; there is nothing to continue.", nameof(prompt));
        }

        Check(prompt, room: 1);
        return StepsAsync([.. prompt], options, progress, cancellationToken);
    }

    /// <summary>Forgets the tokens from <paramref name="length"/> on. What they were computed to stays known as long as there is room.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The session has fewer tokens.</exception>
    /// <exception cref="InvalidOperationException">An operation is under way.</exception>
    public void Truncate(int length)
    {
        Enter();
        try
        {
            ArgumentOutOfRangeException.ThrowIfNegative(length);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length);
            lock (_gate)
            {
                _tokens.Truncate(length);
            }
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Makes another session with the same tokens. It shares the memory of this one, and goes its own way from here.</summary>
    /// <exception cref="InvalidOperationException">An operation is under way.</exception>
    public HeadInferSession Fork()
    {
        Enter();
        try
        {
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(_disposed, this); // meanwhile; the blocks may be gone
                return _model.Add(_sequence.Fork(), _tokens.From(0));
            }
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Ends the operation under way and gives the blocks back. Returns at once.</summary>
    public void Dispose()
    {
        Request? request;
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            (_disposed, request) = (true, _request);
        }

        request?.Cancel(new ObjectDisposedException(nameof(HeadInferSession)));
        _model.Wake();
        if (request is null)
        {
            Release();
        }
        else
        {
            // Also where its enumerator was left without a word.
            request.Ended.ContinueWith(_ => Release(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
    }

    /// <summary>Disposes the session, and waits until its memory is there for others. The system may get it a little later, between two pieces of work.</summary>
    public async ValueTask DisposeAsync()
    {
        Dispose();
        await _freed.Task.ConfigureAwait(false);
    }

    /// <summary>Reads tokens and gives the logits after each of them.</summary>
    internal async Task<List<float[]>> LogitsAsync(IReadOnlyList<int> tokens, CancellationToken cancellationToken = default)
    {
        Enter();
        try
        {
            Check(tokens, room: 0);
            var (lost, read, rows) = (Lost(tokens.Count), (int[])[.. tokens], new List<float[]>());
            await ReadAsync(new Request(_sequence, [.. lost, .. read], null, 0) { EveryToken = hidden => rows.AddRange(_model.LogitsOf(hidden)) }, null, cancellationToken).ConfigureAwait(false);
            Keep(read);
            return rows[^read.Length..];
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Takes tokens as read, with random keys and values: what a benchmark of decoding begins with.</summary>
    internal async Task FillAsync(int tokens)
    {
        Enter();
        try
        {
            _model.Plan.EnsureFits((long)Length + tokens);
            _sequence.Rotate(_rotation = _model.Config.RotationOf(_model.Plan.LongestContext));
            await _model.FillAsync(_sequence, tokens).ConfigureAwait(false);
            Keep(new int[tokens]);
        }
        finally
        {
            Leave();
        }
    }

    private async IAsyncEnumerable<GenerationStep> StepsAsync(
        int[] prompt, GenerationOptions options, IProgress<PrefillProgress>? progress, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        Enter();
        try
        {
            Check(prompt, room: 1); // again: the session may have grown since the call
            var generator = new Generator(options, _model.TokenizerOrNull, _model.StopTokens(options), Math.Min(options.MaxTokens ?? int.MaxValue, _model.Plan.LongestContext - Length - prompt.Length));
            var lost = Lost(prompt.Length + (long)(options.MaxTokens ?? int.MaxValue));
            var request = new Request(_sequence, [.. lost, .. prompt], generator, options.MaxTokens) { Lost = lost.Length, Priority = options.Priority, Deadline = options.Deadline };
            await using var running = Submit(request, cancellationToken);
            var computed = prompt; // since the step before
            await foreach (var told in request.Events.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                cancellationToken.ThrowIfCancellationRequested();
                if (request.Read(told))
                {
                    _model.Wake();
                }

                if (told.Progress is { } reading)
                {
                    progress?.Report(reading);
                    continue;
                }

                (Reused, Diverged) = request.Found;
                (Drafted, Accepted) = (request.Drafted, request.Accepted);
                Keep(computed);
                computed = [told.Step.TokenId]; // by the next step
                yield return told.Step;
            }
        }
        finally
        {
            Leave();
        }
    }

    private async Task ReadAsync(Request request, IProgress<PrefillProgress>? progress, CancellationToken cancellationToken)
    {
        await using (Submit(request, cancellationToken))
        {
            await foreach (var told in request.Events.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                ObjectDisposedException.ThrowIf(_disposed, this); // also where the engine was done before it heard of it
                cancellationToken.ThrowIfCancellationRequested();
                request.Read(told);
                progress?.Report(told.Progress!.Value);
            }
        }

        (Reused, Diverged) = request.Found;
    }

    // Until it is disposed the session is the engine's.
    private Running Submit(Request request, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _model.Submit(request);
            (_request, _rotation) = (request, _sequence.Rotation);
        }

        return new Running(_model, request, cancellationToken.UnsafeRegister(
            state =>
            {
                request.Cancel(new OperationCanceledException(cancellationToken));
                _model.Wake();
            },
            null));
    }

    private void Check(IReadOnlyList<int> tokens, int room)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _model.Plan.EnsureFits((long)Length + tokens.Count + room);
        _model.EnsureKnown(tokens);
    }

    private void Enter()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _busy = !_busy ? true : throw new InvalidOperationException("The session is busy with another operation. Wait for it to end, or create a session for each caller.");
        }
    }

    // Tokens whose keys and values made room for others. They are read again before what an operation asks for.
    private int[] Lost(long more)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _sequence.Rotate(Math.Max(_tokens.Count == 0 ? 0 : _sequence.Rotation, _model.Config.RotationOf(Math.Min(Length + more, _model.Plan.LongestContext))));
            return [.. _tokens.From(_sequence.Length)];
        }
    }

    // What the caller sees from now on.
    private void Keep(ReadOnlySpan<int> tokens)
    {
        lock (_gate)
        {
            if (!_released)
            {
                _tokens.Append(tokens);
            }
        }
    }

    // The sequence has nothing but what the caller has seen, and perhaps less.
    private void Leave()
    {
        lock (_gate)
        {
            var rotation = _request is null ? _rotation : _sequence.Rotation; // what was not admitted has changed nothing
            (_busy, _request) = (false, null);
            if (!_released)
            {
                _sequence.Rotate(rotation);
                _sequence.Truncate(_tokens.Count);
            }
        }
    }

    /// <summary>Gives the blocks back, once; the engine has let go of them. From any thread.</summary>
    internal void Release()
    {
        lock (_gate)
        {
            if (_released)
            {
                return;
            }

            _released = true;
            _tokens.Truncate(0);
            _sequence.Dispose();
        }

        _model.Remove(this);
        _freed.TrySetResult();
    }

    /// <summary>A request until the engine has let go of it.</summary>
    private readonly struct Running(HeadInferModel model, Request request, CancellationTokenRegistration registration) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            await registration.DisposeAsync().ConfigureAwait(false);
            if (!request.Ended.IsCompleted)
            {
                request.Cancel(new OperationCanceledException());
                model.Wake();
                await request.Ended.ConfigureAwait(false);
            }
        }
    }
}
