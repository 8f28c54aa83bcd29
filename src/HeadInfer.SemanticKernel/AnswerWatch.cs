using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace HeadInfer.SemanticKernel;

/// <summary>One answer's tokens and times, from the request to its end. Tells telemetry and the log, however it ends.</summary>
/// <param name="modelId">the model's name</param>
/// <param name="promptTokens">tokens of the whole prompt</param>
/// <param name="progress">who else is told how far the reading is</param>
/// <param name="logger">told of reading, end and failure</param>
internal sealed class AnswerWatch(string modelId, int promptTokens, IProgress<PrefillProgress>? progress, ILogger logger) : IProgress<PrefillProgress>, IDisposable
{
    private readonly Stopwatch _clock = Stopwatch.StartNew(); // before anybody hears of the request
    private readonly Activity? _activity = HeadInferTelemetry.Start(modelId, promptTokens);
    private TimeSpan _firstToken;
    private Exception? _failure;

    /// <summary>Tokens of the prompt that were known from before.</summary>
    public int Cached { get; set; }

    /// <summary>Tokens of the answer that were guessed and computed, and those of them that came.</summary>
    public (int Tokens, int Accepted) Drafted { get; set; }

    /// <summary>Whether all of the answer is there.</summary>
    public bool IsComplete { get; set; }

    /// <summary>Tokens generated so far.</summary>
    public int Generated { get; private set; }

    /// <summary>Time from the request until its reading began: others came first.</summary>
    public TimeSpan Queue { get; private set; }

    /// <summary>Time in which the prompt was read.</summary>
    public TimeSpan Prefill { get; private set; }

    /// <summary>Time since the first token.</summary>
    public TimeSpan Decode => Generated > 0 ? _clock.Elapsed - _firstToken : TimeSpan.Zero;

    /// <summary>The tokens so far, as callers are told of them.</summary>
    public UsageDetails Usage => new()
    {
        InputTokenCount = promptTokens,
        OutputTokenCount = Generated,
        TotalTokenCount = promptTokens + Generated,
        CachedInputTokenCount = Cached,
        AdditionalCounts = new() { ["DraftedTokenCount"] = Drafted.Tokens, ["AcceptedTokenCount"] = Drafted.Accepted },
    };

    /// <summary>Passes an answer on. A watch of its own is begun each time the result is enumerated.</summary>
    public static async IAsyncEnumerable<T> OverAsync<T>(
        Func<AnswerWatch> begin, Func<AnswerWatch, CancellationToken, IAsyncEnumerable<T>> answer, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var watch = begin();
        var parts = answer(watch, cancellationToken).GetAsyncEnumerator(cancellationToken);
        await using var owned = parts.ConfigureAwait(false);
        while (await watch.MoveNextAsync(parts).ConfigureAwait(false))
        {
            yield return parts.Current;
        }
    }

    /// <summary>Tells of a request that fails before anything is read.</summary>
    public static void Refuse(string modelId, Exception failure, ILogger logger)
    {
        using var watch = new AnswerWatch(modelId, promptTokens: 0, progress: null, logger);
        watch._failure = failure;
    }

    /// <inheritdoc/>
    public void Report(PrefillProgress value)
    {
        if (value.Fraction >= 1)
        {
            Prefill = value.Elapsed;
            Queue = _clock.Elapsed - value.Elapsed;
        }

        progress?.Report(value);
    }

    /// <summary>Counts a token that was generated.</summary>
    public void Step()
    {
        if (Generated++ == 0)
        {
            _firstToken = _clock.Elapsed;
            HeadInferLog.Read(logger, promptTokens - Cached, Prefill.TotalSeconds, Queue.TotalSeconds);
        }
    }

    /// <summary>Ends the watch. An answer that is neither complete nor failed is one that nobody wants any more.</summary>
    public void Dispose()
    {
        if (Generated > 0)
        {
            HeadInferTelemetry.Record(_activity, modelId, promptTokens, this);
        }

        switch (_failure)
        {
            case null when IsComplete:
                HeadInferLog.Answered(logger, Generated, Decode.TotalSeconds);
                break;
            case null or OperationCanceledException:
                HeadInferLog.Cancelled(logger, Generated);
                break;
            case HeadInferException or ArgumentException or NotSupportedException or TimeoutException:
                HeadInferLog.Refused(logger, _failure.Message); // the caller can act on it, and a stack would tell nothing more
                break;
            default:
                HeadInferLog.Failed(logger, _failure, Generated);
                break;
        }

        HeadInferTelemetry.End(_activity, modelId, IsComplete, _failure);
        _activity?.Dispose();
    }

    private async ValueTask<bool> MoveNextAsync<T>(IAsyncEnumerator<T> parts)
    {
        try
        {
            return await parts.MoveNextAsync().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            _failure = e;
            throw;
        }
    }
}
