namespace HeadInfer.Runtime.Requests;

/// <summary>What the scheduler knows of a request.</summary>
/// <param name="Priority">higher goes first</param>
/// <param name="Deadline">when its first token must be there; null for whenever</param>
/// <param name="Served">seconds of prefill that it had</param>
/// <param name="Number">in which order it came</param>
/// <param name="TokensLeft">tokens that are to be read yet</param>
internal readonly record struct Candidate(int Priority, DateTimeOffset? Deadline, double Served, long Number, int TokensLeft);

/// <summary>What the engine does next.</summary>
internal enum TurnKind
{
    /// <summary>There is nothing to do.</summary>
    Nothing,

    /// <summary>One token of every answer.</summary>
    Decode,

    /// <summary>A piece of a prompt.</summary>
    Prefill,
}

/// <param name="Kind">what it does</param>
/// <param name="Reader">of a prefill, which of those that read</param>
internal readonly record struct Turn(TurnKind Kind, int Reader = -1);

/// <summary>Decides whose turn it is. Pure.</summary>
internal static class Scheduler
{
    /// <summary>Chooses between a step of all answers and a piece of a prompt.</summary>
    /// <param name="reading">prompts that are being read; in a gap of one of them the others</param>
    /// <param name="answers">answers that can take a step</param>
    /// <param name="owed">time that answers are owed for what prompts took before</param>
    /// <param name="gapTokens">in a gap of a prefill, tokens that another prompt may have left to be read there; else null</param>
    public static Turn Next(IReadOnlyList<Candidate> reading, int answers, TimeSpan owed, int? gapTokens)
    {
        var next = -1;
        for (var i = 0; i < reading.Count; i++)
        {
            if (reading[i].TokensLeft <= (gapTokens ?? int.MaxValue) && (next < 0 || Compare(reading[i], reading[next]) < 0))
            {
                next = i;
            }
        }

        // A short prompt in a gap is read at once: its first token is what somebody waits for.
        var decodes = answers > 0 && (owed > TimeSpan.Zero || (next < 0 && gapTokens is null));
        return gapTokens is not null && next >= 0 ? new Turn(TurnKind.Prefill, next)
            : decodes ? new Turn(TurnKind.Decode)
            : next >= 0 ? new Turn(TurnKind.Prefill, next)
            : default;
    }

    /// <summary>Who goes first: by priority, by deadline, by how little they had, by when they came.</summary>
    public static int Compare(Candidate a, Candidate b)
    {
        var byPriority = b.Priority.CompareTo(a.Priority);
        var byDeadline = (a.Deadline ?? DateTimeOffset.MaxValue).CompareTo(b.Deadline ?? DateTimeOffset.MaxValue);
        var byServed = a.Served.CompareTo(b.Served);
        return byPriority != 0 ? byPriority : byDeadline != 0 ? byDeadline : byServed != 0 ? byServed : a.Number.CompareTo(b.Number);
    }

    /// <summary>What answers are owed for time that a prompt took.</summary>
    /// <param name="share">the answers' share of all time, from 0 to below 1</param>
    public static TimeSpan Owed(TimeSpan taken, double share) => taken * (share / (1 - share));
}
