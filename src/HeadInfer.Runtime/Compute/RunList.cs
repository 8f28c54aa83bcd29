using System.Runtime.CompilerServices;

namespace HeadInfer.Runtime.Compute;

/// <summary>The kernels' struct <c>Run</c>: keys that lie end to end, where the end of them lies else, and where their splits and results are counted from.</summary>
internal readonly record struct KeyRun(nint Keys, nint Values, long Head, nint MoreKeys, nint MoreValues, long MoreHead, int Count, int More, int First, int Rows, int Split, int Partial);

/// <summary>As many runs as a kernel takes.</summary>
[InlineArray(Most)]
internal struct KeyRuns
{
    public const int Most = 32;

    private KeyRun _first;
}

/// <summary>Spans for one call of a kernel: as many as its arguments, and the room for its results, allow.</summary>
/// <param name="row">bytes of a token's key</param>
/// <param name="most">results of a query and a split that there is room for</param>
internal sealed class RunList(long row, long most)
{
    private KeyRuns _runs;
    private long _partials;

    public KeyRuns Runs => _runs;

    public int Count { get; private set; }

    /// <summary>Splits of all runs.</summary>
    public int Splits { get; private set; }

    /// <summary>Rows of a run at most.</summary>
    public int MostRows { get; private set; }

    public void Clear() => (Count, Splits, MostRows, _partials) = (0, 0, 0, 0);

    /// <summary>Adds the beginning of what is left of a span.</summary>
    /// <param name="work">has the span</param>
    /// <param name="queriesPerRow">over all heads that are attended</param>
    /// <param name="done">tokens of the span that were added before; grows</param>
    /// <returns>whether all of it is added; if not, there is no more room</returns>
    public bool TryAdd(AttentionWork work, KeySpan span, int queriesPerRow, ref int done)
    {
        var (keys, end) = (work.Sources[span.Source], span.Sources > 1 ? work.Sources[span.Source + 1] : default);
        var (left, perSplit) = (keys.Count + end.Count - done, span.Count * queriesPerRow);
        var splits = (int)Math.Min((left + work.SplitTokens - 1) / work.SplitTokens, (most - _partials) / perSplit);
        if (splits == 0 || Count == KeyRuns.Most)
        {
            return false;
        }

        var taken = Math.Min(left, splits * work.SplitTokens);
        var (first, more) = (Math.Min(taken, keys.Count - done), Math.Max(0, done + taken - keys.Count));
        _runs[Count++] = new KeyRun(
            keys.Keys + (nint)(done * row), keys.Values + (nint)(done * row), keys.Head, end.Keys, end.Values, end.Head, first, more, span.First, span.Count, Splits, (int)_partials);
        (Splits, MostRows, _partials, done) = (Splits + splits, Math.Max(MostRows, span.Count), _partials + ((long)splits * perSplit), done + taken);
        return taken == left;
    }
}
