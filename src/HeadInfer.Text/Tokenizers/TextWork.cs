using System.Diagnostics;
using System.Text.RegularExpressions;

namespace HeadInfer.Text.Tokenizers;

/// <summary>The encoding of one text: what it may cost, and whether anybody still waits. One thread uses it at a time, but for <see cref="Look"/>.</summary>
/// <remarks>
/// Steps are counted, so that a text is refused on every machine or on none. Expressions cannot be counted: they have a
/// time, many times what any published tokenizer takes.
/// </remarks>
internal sealed class TextWork
{
    private const int MatchesAtATime = 64;
    private const int MatchesALook = 8; // the clock costs as much as a short match
    private const long StepsACharacter = 16; // finding added tokens takes one or two
    private const int PatternShown = 200;
    private const int Spare = 1 << 20;
    private const long LongestForm = 1 << 22;

    private static readonly long LeastTicks = Stopwatch.Frequency / 2;
    private const long CharactersASecond = 4_000_000;

    private readonly WorkBudget _steps;
    private readonly long _longest;
    private long _ticksLeft;
    private long _taken;

    /// <param name="length">characters of the text</param>
    /// <param name="cancellationToken">ends the work</param>
    public TextWork(int length, CancellationToken cancellationToken = default)
    {
        _steps = new WorkBudget(
            (StepsACharacter * length) + Spare,
            0,
            (_, count) => new TokenizerException(string.Create(CultureInfo.InvariantCulture, $"The tokenizer's added tokens repeat so much of each other that finding them in {length:N0} characters takes more than {count:N0} steps. Remove the longest of them from the tokenizer's files.")),
            cancellationToken);
        (_longest, CancellationToken) = (Math.Max(LongestForm, 2L * length), cancellationToken);
        _ticksLeft = LeastTicks + (length * Stopwatch.Frequency / CharactersASecond);
    }

    public CancellationToken CancellationToken { get; }

    /// <exception cref="OperationCanceledException">The caller has cancelled.</exception>
    public void Look() => CancellationToken.ThrowIfCancellationRequested();

    /// <summary>Counts steps of finding added tokens.</summary>
    public void Count(int steps) => _steps.Spend(steps);

    /// <summary>Counts characters that are encoded, so that what is put before each of many parts counts too.</summary>
    public void Take(int length) => RequireLength(_taken += length);

    /// <summary>Refuses normalizers that make a text too long.</summary>
    public void RequireLength(long length)
    {
        if (length > _longest)
        {
            throw new TokenizerException(string.Create(CultureInfo.InvariantCulture, $"The tokenizer's normalizers make more than {_longest:N0} characters of a text. Split the text, or correct the normalizers in tokenizer.json."));
        }
    }

    /// <summary>Where an expression matches, and how many characters that are.</summary>
    /// <exception cref="TokenizerException">It takes too long.</exception>
    public IEnumerable<(int Index, int Length)> Matches(Regex expression, string text)
    {
        // Several at a time, so that what the caller does between them is not timed.
        var found = new (int Index, int Length)[Math.Min(MatchesAtATime, text.Length + 1)];
        for (var at = 0; at <= text.Length;)
        {
            var count = Find(expression, text, ref at, found);
            for (var i = 0; i < count; i++)
            {
                yield return found[i];
            }
        }
    }

    /// <param name="at">where it goes on; beyond the text's end where nothing more matches</param>
    /// <param name="found">gets the matches</param>
    /// <returns>how many were found</returns>
    private int Find(Regex expression, string text, ref int at, Span<(int Index, int Length)> found)
    {
        var (count, looked) = (0, Stopwatch.GetTimestamp());
        try
        {
            foreach (var match in expression.EnumerateMatches(text, at))
            {
                at = match.Index + Math.Max(1, match.Length);
                found[count++] = (match.Index, match.Length);
                if (count == found.Length)
                {
                    Spend(expression, ref looked);
                    return count;
                }

                if (count % MatchesALook == 0)
                {
                    Spend(expression, ref looked);
                }
            }

            at = text.Length + 1;
        }
        catch (RegexMatchTimeoutException)
        {
            // This thread may have been kept waiting: it is tried again while there is time.
        }

        Spend(expression, ref looked);
        return count;
    }

    private void Spend(Regex expression, ref long looked)
    {
        Look();
        var now = Stopwatch.GetTimestamp();
        _ticksLeft -= now - looked;
        looked = now;
        if (_ticksLeft < 0)
        {
            var (pattern, shown) = (expression.ToString(), Math.Min(expression.ToString().Length, PatternShown));
            throw new TokenizerException($"The expression '{pattern[..shown]}'{(shown < pattern.Length ? " (the beginning of it)" : "")} of the tokenizer takes too long on a text. Correct it in tokenizer.json, where it is in the normalizer or the pre_tokenizer.");
        }
    }
}
