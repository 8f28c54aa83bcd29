using System.Text;

namespace HeadInfer.Runtime.Generation;

/// <summary>Finds stop sequences in streamed text and holds back what may be the beginning of one.</summary>
internal sealed class StopMatcher(IReadOnlyList<string> stops)
{
    private readonly StringBuilder _held = new();

    /// <returns>the text that may be shown, and whether a stop sequence came; it and what follows are dropped</returns>
    public (string Text, bool Stopped) Append(string text)
    {
        if (stops.Count == 0)
        {
            return (text, false);
        }

        var all = _held.Append(text).ToString();
        var first = stops.Select(s => all.IndexOf(s, StringComparison.Ordinal)).Where(i => i >= 0).DefaultIfEmpty(-1).Min();
        if (first >= 0)
        {
            _held.Clear();
            return (all[..first], true);
        }

        var safe = all.Length - LongestBeginning(all);
        _held.Clear().Append(all, safe, all.Length - safe);
        return (all[..safe], false);
    }

    /// <summary>Ends the text.</summary>
    /// <returns>what was held back</returns>
    public string Flush()
    {
        var rest = _held.ToString();
        _held.Clear();
        return rest;
    }

    // Characters at the end of the text that begin some stop sequence.
    private int LongestBeginning(string text)
    {
        for (var length = Math.Min(text.Length, stops.Max(s => s.Length) - 1); length > 0; length--)
        {
            if (stops.Any(s => s.Length > length && text.AsSpan(text.Length - length).SequenceEqual(s.AsSpan(0, length))))
            {
                return length;
            }
        }

        return 0;
    }
}
