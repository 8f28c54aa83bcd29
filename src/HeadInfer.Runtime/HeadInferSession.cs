using System.Diagnostics;
using System.Runtime.CompilerServices;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Generation;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Sessions;

namespace HeadInfer.Runtime;

/// <summary>How far a prefill is.</summary>
/// <param name="Tokens">Tokens of the prefill in all.</param>
/// <param name="Fraction">Share of the work that is done, 0 to 1. Work grows with the square of the length, so this is not a share of the tokens.</param>
/// <param name="Elapsed">Time since it began.</param>
public readonly record struct PrefillProgress(int Tokens, double Fraction, TimeSpan Elapsed)
{
    /// <summary>Tokens a second so far, had all tokens the same share of the work.</summary>
    public double TokensPerSecond => Elapsed > TimeSpan.Zero ? Tokens * Fraction / Elapsed.TotalSeconds : 0;

    /// <summary>An estimate of the time left; null until there is something to estimate from.</summary>
    public TimeSpan? Remaining => Fraction > 0 ? Elapsed * ((1 - Fraction) / Fraction) : null;
}

/// <summary>The memory of a session's KV cache, by place.</summary>
/// <param name="Host">Pages in host memory.</param>
/// <param name="Resident">Full copies of resident heads on the device.</param>
public readonly record struct CacheSize(ByteSize Host, ByteSize Resident);

/// <summary>A sequence of tokens that a model has read, and its KV cache. One operation at a time.</summary>
/// <remarks>
/// An operation that is cancelled or fails leaves the session as it was. What it had computed is kept aside, so that the
/// same tokens given again are not computed again.
/// </remarks>
public sealed class HeadInferSession : IDisposable
{
    private readonly HeadInferModel _model;
    private readonly SequenceState _state;
    private readonly List<int> _tokens = []; // what the state has, as the caller of the last finished operation sees it
    private int _busy;
    private bool _disposed;

    internal HeadInferSession(HeadInferModel model, SequenceState state) => (_model, _state) = (model, state);

    /// <summary>Tokens read and generated so far.</summary>
    public int Length => _tokens.Count;

    /// <summary>The tokens themselves; changes when an operation ends or a step is given.</summary>
    public IReadOnlyList<int> Tokens => _tokens;

    /// <summary>Memory of the KV cache.</summary>
    public CacheSize CacheSize => _state.Attention is TiledAttention tiled ? new CacheSize(tiled.HostSize, tiled.ResidentSize) : default;

    /// <summary>Tokens that the resident copies have room for.</summary>
    internal int ResidentCapacity => _state.Attention is TiledAttention tiled ? tiled.ResidentCapacity : 0;

    /// <summary>Reads tokens after those the session has.</summary>
    /// <param name="tokens">the tokens; none is fine</param>
    /// <param name="progress">told of the progress some times a second</param>
    /// <param name="cancellationToken">cancels; the session's length is then unchanged</param>
    /// <exception cref="ContextLengthException">They are more than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">They are more than the memory holds.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A token id is not in the vocabulary.</exception>
    public async Task PrefillAsync(IReadOnlyList<int> tokens, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        using var turn = Enter();
        Check(tokens, room: 0);
        if (tokens.Count > 0)
        {
            await PrefillAsync([.. tokens], new float[_model.Config.VocabularySize], progress, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Reads a prompt after what the session has, then generates.</summary>
    /// <param name="prompt">the tokens to read first; one at least</param>
    /// <param name="options">what to generate; null for the model's defaults</param>
    /// <param name="progress">told of the prefill's progress some times a second</param>
    /// <param name="cancellationToken">cancels; the session then has what was generated before</param>
    /// <returns>the steps as they come, the last one with the reason</returns>
    /// <exception cref="ContextLengthException">The prompt is longer than the model may hold.</exception>
    /// <exception cref="MemoryBudgetException">The prompt is longer than the memory holds.</exception>
    /// <exception cref="ArgumentException">The prompt is empty, has unknown token ids, or an option is out of range.</exception>
    public IAsyncEnumerable<GenerationStep> GenerateAsync(
        IReadOnlyList<int> prompt, GenerationOptions? options = null, IProgress<PrefillProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        options ??= _model.Defaults;
        options.Validate();
        if (options.StopSequences.Count > 0 && _model.TokenizerOrNull is null)
        {
            throw new ArgumentException("GenerationOptions.StopSequences needs text, and the model folder has no tokenizer.json.", nameof(options));
        }

        if (options.Constraint is not null && _model.TokenizerOrNull is null)
        {
            throw new ArgumentException("GenerationOptions.Constraint needs text, and the model folder has no tokenizer.json.", nameof(options));
        }

        if (prompt.Count == 0)
        {
            throw new ArgumentException("The prompt is empty; there is nothing to continue.", nameof(prompt));
        }

        Check(prompt, room: 1);
        return StepsAsync([.. prompt], options, progress, cancellationToken);
    }

    /// <summary>Keeps the longest beginning that the session shares with a prompt, and forgets the rest.</summary>
    /// <param name="prompt">the whole prompt that comes next</param>
    /// <returns>how many of its tokens need not be read again; at least one always remains to be read</returns>
    public int Reuse(IReadOnlyList<int> prompt)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        var shared = 0;
        while (shared < Math.Min(Length, prompt.Count - 1) && prompt[shared] == Tokens[shared])
        {
            shared++;
        }

        Truncate(shared);
        return shared;
    }

    /// <summary>Forgets the tokens from <paramref name="length"/> on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The session has fewer tokens.</exception>
    public void Truncate(int length)
    {
        using var turn = Enter();
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length);
        _model.Engine.Run(() => _state.Truncate(length));
        _tokens.RemoveRange(length, _tokens.Count - length);
    }

    /// <summary>Frees the KV cache, at the latest when the operation under way has ended.</summary>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _model.Release(this, _state);
        }
    }

    /// <summary>Reads tokens and gives the logits after each of those that were computed.</summary>
    internal async Task<List<float[]>> LogitsAsync(IReadOnlyList<int> tokens, CancellationToken cancellationToken = default)
    {
        using var turn = Enter();
        Check(tokens, room: 0);
        int[] copy = [.. tokens];
        var rows = new List<float[]>();
        await ComputeAsync(() => _state.Append(copy, WorkMeter.None, everyToken: true, hidden =>
        {
            for (var row = 0; row < hidden.shape[0]; row++)
            {
                using var one = hidden.narrow(0, row, 1);
                using var logits = _model.Decoder.Logits(one);
                rows.Add(new float[_model.Config.VocabularySize]);
                Native.TensorMemory.Read(logits, rows[^1]);
            }
        }), cancellationToken).ConfigureAwait(false);
        _tokens.AddRange(copy);
        return rows;
    }

    /// <summary>Takes tokens as read, with random keys and values: what a benchmark of decoding begins with.</summary>
    internal async Task FillAsync(int tokens)
    {
        using var turn = Enter();
        _model.Plan.EnsureFits((long)Length + tokens);
        await ComputeAsync(() => _state.Fill(tokens, _model.Config), CancellationToken.None).ConfigureAwait(false);
        _tokens.AddRange(new int[tokens]);
    }

    private async IAsyncEnumerable<GenerationStep> StepsAsync(
        int[] prompt, GenerationOptions options, IProgress<PrefillProgress>? progress, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var turn = Enter();
        Check(prompt, room: 1); // again: the session may have grown since the call
        var logits = new float[_model.Config.VocabularySize];
        await PrefillAsync(prompt, logits, progress, cancellationToken).ConfigureAwait(false);
        var generator = new Generator(options, _model.TokenizerOrNull, StopTokens(options), Math.Min(options.MaxTokens, _model.Plan.LongestContext - Length));
        while (true)
        {
            var step = generator.Next(logits, Tokens);
            if (step.FinishReason is not null)
            {
                yield return step;
                yield break;
            }

            // The next step is computed while the caller looks at this one.
            int[] token = [step.TokenId];
            var next = ComputeAsync(() => _state.Append(token, WorkMeter.None, logits), cancellationToken);
            try
            {
                yield return step;
            }
            finally
            {
                await next.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                if (next.IsCompletedSuccessfully)
                {
                    _tokens.Add(step.TokenId);
                }
            }

            await next.ConfigureAwait(false);
        }
    }

    private async Task PrefillAsync(int[] tokens, float[] logits, IProgress<PrefillProgress>? progress, CancellationToken cancellationToken)
    {
        var clock = Stopwatch.StartNew();
        void Report(double fraction) => progress?.Report(new PrefillProgress(tokens.Length, fraction, clock.Elapsed));
        await ComputeAsync(() =>
        {
            clock.Restart(); // others' work may have come first
            var total = Cost.Prefill(_model.Config, Length + _state.CountRetained(tokens), Length + tokens.Length);
            _state.Append(tokens, new WorkMeter(total, progress is null ? null : Report, cancellationToken), logits);
        }, cancellationToken).ConfigureAwait(false);
        _tokens.AddRange(tokens);
        Report(1);
    }

    private Task ComputeAsync(Action work, CancellationToken cancellationToken) => _model.Engine.RunAsync(() =>
    {
        try
        {
            work();
        }
        catch (Exception e) when (MemoryFault.Explain(e, _model.Plan) is { } explained)
        {
            throw explained;
        }
    }, cancellationToken);

    // A stop sequence that is a special token never shows as text, so it stops as a token; so does one with a line's end.
    private HashSet<int> StopTokens(GenerationOptions options) =>
    [
        .. options.StopTokens ?? _model.EndTokens,
        .. options.StopSequences.Select(s => _model.TokenizerOrNull?.AddedToken(s) ?? _model.TokenizerOrNull?.AddedToken(s.Trim())).OfType<int>(),
    ];

    private void Check(IReadOnlyList<int> tokens, int room)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _model.Plan.EnsureFits((long)Length + tokens.Count + room);
        for (var i = 0; i < tokens.Count; i++)
        {
            if ((uint)tokens[i] >= (uint)_model.Config.VocabularySize)
            {
                throw new ArgumentOutOfRangeException(nameof(tokens), tokens[i], $"Token {i} of the prompt is {tokens[i]}; token ids of this model are from 0 to {_model.Config.VocabularySize - 1}.");
            }
        }
    }

    private Turn Enter()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return Interlocked.Exchange(ref _busy, 1) == 0
            ? new Turn(this)
            : throw new InvalidOperationException("The session is busy with another operation. Wait for it to end, or create a session for each caller.");
    }

    private readonly struct Turn(HeadInferSession session) : IDisposable
    {
        public void Dispose() => Volatile.Write(ref session._busy, 0);
    }
}
