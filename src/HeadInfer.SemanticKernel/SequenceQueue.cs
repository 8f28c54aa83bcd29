using System.Runtime.CompilerServices;
using HeadInfer.Runtime;
using Microsoft.Extensions.Logging;

namespace HeadInfer.SemanticKernel;

/// <summary>One sequence of a model for callers who keep none: each prompt continues it as far as it begins like the last one.</summary>
/// <remarks>Callers are served one after the other. The model is not owned.</remarks>
internal sealed class SequenceQueue(HeadInferModel model, ILogger logger) : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1, 1);
    private HeadInferSession? _session;
    private bool _disposed;

    /// <param name="prompt">the whole prompt</param>
    /// <param name="options">what to generate</param>
    /// <param name="reused">told once, before the first step, how many tokens of the prompt were known from before</param>
    /// <param name="progress">told how far the reading is</param>
    /// <param name="cancellationToken">cancels</param>
    public async IAsyncEnumerable<GenerationStep> GenerateAsync(
        IReadOnlyList<int> prompt, GenerationOptions options, Action<int> reused, IProgress<PrefillProgress>? progress, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        model.Plan.EnsureFits(prompt.Count + 1L); // of the whole prompt, before anybody waits and before what was read is forgotten
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _session ??= model.CreateSession();
            if (_disposed)
            {
                _session.Dispose(); // made while the queue went
            }

            var before = _session.Length;
            var known = _session.Reuse(prompt);
            if (before > known)
            {
                HeadInferLog.Forgot(logger, before - known, known);
            }

            reused(known);
            int[] unread = [.. prompt.Skip(known)];
            HeadInferLog.Reading(logger, unread.Length, known);
            await foreach (var step in _session.GenerateAsync(unread, options, progress, cancellationToken).ConfigureAwait(false))
            {
                yield return step;
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Frees the sequence; an answer under way ends with an <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose()
    {
        _disposed = true;
        _session?.Dispose();
    }
}
