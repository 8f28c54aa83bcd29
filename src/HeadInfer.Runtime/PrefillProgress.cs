namespace HeadInfer.Runtime;

/// <summary>How far a request is: in the queue, then in reading its prompt.</summary>
/// <param name="Tokens">Tokens that are to be read; those that were known are not among them.</param>
/// <param name="Fraction">Share of the work that is done, 0 to 1. Work grows with the square of the length, so this is not a share of the tokens.</param>
/// <param name="Elapsed">Time since the reading began, without what was given to others meanwhile.</param>
public readonly record struct PrefillProgress(int Tokens, double Fraction, TimeSpan Elapsed)
{
    /// <summary>Place in the queue, from 1; 0 when the prompt is being read.</summary>
    public int Place { get; init; }

    /// <summary>Tokens a second so far, had all tokens the same share of the work.</summary>
    public double TokensPerSecond => Elapsed > TimeSpan.Zero ? Tokens * Fraction / Elapsed.TotalSeconds : 0;

    /// <summary>An estimate of the time left; null until there is something to estimate from.</summary>
    public TimeSpan? Remaining => Fraction > 0 ? Elapsed * ((1 - Fraction) / Fraction) : null;
}
