namespace HeadInfer.Text;

/// <summary>A text, as it streams in, up to a stop sequence. A beginning of one is held back until it is known what it is.</summary>
/// <param name="stops">the texts that end it, and are no part of it</param>
internal sealed class StopMatcher(string[] stops)
{
    private string _held = "";

    /// <summary>Whether a stop sequence came.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>Characters that came from the stop sequence on.</summary>
    public int Dropped { get; private set; }

    /// <summary>Takes the next piece of it.</summary>
    /// <returns>what may be shown by now</returns>
    public string Append(string text)
    {
        var all = _held + text;
        var stop = First(all, stops, out _);
        var shown = stop >= 0 ? stop : all.Length - Held(all, stops);
        (IsStopped, Dropped, _held) = stop >= 0 ? (true, all.Length - stop, "") : (false, 0, all[shown..]);
        return all[..shown];
    }

    /// <summary>Ends it for now: what was held back is no stop sequence.</summary>
    public string Flush()
    {
        var rest = _held;
        _held = "";
        return rest;
    }

    /// <summary>Characters at the end of a text that may be the beginning of a marker.</summary>
    public static int Held(string text, params ReadOnlySpan<string> markers)
    {
        var held = 0;
        foreach (var marker in markers)
        {
            for (var length = Math.Min(marker.Length - 1, text.Length); length > held; length--)
            {
                if (text.AsSpan().EndsWith(marker.AsSpan(0, length)))
                {
                    held = length;
                }
            }
        }

        return held;
    }

    /// <summary>Where the first of some markers is in a text; -1 if none is.</summary>
    public static int First(string text, ReadOnlySpan<string> markers, out string marker)
    {
        var first = -1;
        marker = "";
        foreach (var candidate in markers)
        {
            if (text.IndexOf(candidate, StringComparison.Ordinal) is >= 0 and var at && (first < 0 || at < first))
            {
                (first, marker) = (at, candidate);
            }
        }

        return first;
    }
}
