namespace HeadInfer.Tool.Serving;

/// <summary>How far the reading of a prompt is.</summary>
internal sealed class Reading : IProgress<PrefillProgress>
{
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private PrefillProgress? _last;

    /// <summary>Done when something was told: by then the request is made ready, and has its place in the queue.</summary>
    public Task Begun => _begun.Task;

    /// <summary>What was told last; null if nothing was.</summary>
    public PrefillProgress? Last
    {
        get
        {
            lock (_gate)
            {
                return _last;
            }
        }
    }

    /// <summary>As a comment of a stream of events, with its end.</summary>
    public string Comment => Last switch
    {
        null or { Fraction: 0 } => ": waiting\n\n",
        { Fraction: >= 1 } => ": writing\n\n",
        { Fraction: var fraction } => string.Create(CultureInfo.InvariantCulture, $": reading {fraction * 100:F0}%\n\n"),
    };

    /// <summary>As an event for who asked for it.</summary>
    public ProgressBody Body => Last is { } p
        ? new ProgressBody(p.Place > 0 ? "waiting" : p.Fraction >= 1 ? "writing" : "reading", p.Place > 0 ? p.Place : null, p.Tokens, p.Fraction, p.Elapsed.TotalSeconds, p.Remaining?.TotalSeconds)
        : new ProgressBody("waiting", null, null, 0, 0, null);

    public void Report(PrefillProgress value)
    {
        lock (_gate)
        {
            _last = value;
        }

        _begun.TrySetResult();
    }
}

/// <summary>How far a reading is, on the wire.</summary>
/// <param name="State">waiting, reading or writing</param>
/// <param name="Place">in the queue, from 1</param>
/// <param name="Tokens">that are to be read, without those that were known; null if that is not known yet</param>
/// <param name="Fraction">of the work that is done</param>
/// <param name="ElapsedSeconds">since the reading began</param>
/// <param name="RemainingSeconds">an estimate</param>
internal sealed record ProgressBody(string State, int? Place, int? Tokens, double Fraction, double ElapsedSeconds, double? RemainingSeconds);
