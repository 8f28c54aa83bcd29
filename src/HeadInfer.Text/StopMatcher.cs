namespace HeadInfer.SemanticKernel;

/// <summary>What an answer says, as it streams in, up to a stop sequence. A beginning of one is held back until it is known what it is.</summary>
/// <param name="stops">the texts that end it, and are no part of it</param>
internal sealed class SaidText(string[] stops)
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
        var stop = Markup.First(all, stops, out _);
        var shown = stop >= 0 ? stop : all.Length - Markup.Held(all, stops);
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
}
