using System.Runtime.CompilerServices;

namespace HeadInfer.SemanticKernel;

/// <summary>Answers for callers who keep no session: each prompt is whole, and what a model has read before is found by the model itself.</summary>
/// <param name="model">the model; not owned</param>
/// <param name="logger">told when a reading begins, and what was forgotten before</param>
internal sealed class Answering(HeadInferModel model, ILogger logger)
{
    private long _forgotten = model.Memory.Forgotten.Bytes;

    /// <inheritdoc cref="IChatEngine.GenerateAsync"/>
    public async IAsyncEnumerable<GenerationStep> GenerateAsync(
        IReadOnlyList<int> prompt, GenerationOptions options, string key, Action<int, bool> reused, Action<int, int> drafted, IProgress<PrefillProgress>? progress, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var forgotten = model.Memory.Forgotten.Bytes;
        if (Interlocked.Exchange(ref _forgotten, forgotten) is var before && before < forgotten)
        {
            HeadInferLog.Forgot(logger, new ByteSize(forgotten - before));
        }

        using var session = model.CreateSession(key);
        var told = false;
        var watch = new Reading(value =>
        {
            if (value.Place == 0 && !told)
            {
                told = true;
                HeadInferLog.Reading(logger, value.Tokens, prompt.Count - value.Tokens);
            }

            progress?.Report(value);
        });
        var isFirst = true;
        await foreach (var step in session.GenerateAsync(prompt, options, watch, cancellationToken).ConfigureAwait(false))
        {
            if (isFirst)
            {
                reused(session.Reused, session.Diverged);
                isFirst = false;
            }

            drafted(session.Drafted, session.Accepted);
            yield return step;
        }
    }

    private sealed class Reading(Action<PrefillProgress> report) : IProgress<PrefillProgress>
    {
        public void Report(PrefillProgress value) => report(value);
    }
}
