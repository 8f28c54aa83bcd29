namespace HeadInfer.Runtime.Compute;

/// <summary>The tokens from <paramref name="Start"/> up to, not including, <paramref name="End"/>.</summary>
internal readonly record struct TokenRange(int Start, int End)
{
    public int Count => End - Start;

    public bool IsEmpty => End <= Start;

    public TokenRange Intersect(TokenRange other) => new(Math.Max(Start, other.Start), Math.Min(End, other.End));

    /// <summary>The range in pieces of at most <paramref name="size"/> tokens.</summary>
    public IEnumerable<TokenRange> Split(int size)
    {
        for (var start = Start; start < End;)
        {
            var end = size < End - start ? start + size : End; // a size may be the largest number there is
            yield return new TokenRange(start, end);
            start = end;
        }
    }

    /// <summary>The range cut at whole multiples of <paramref name="size"/>.</summary>
    public IEnumerable<TokenRange> SplitAligned(int size)
    {
        for (var start = Start; start < End;)
        {
            var end = size - (start % size) < End - start ? start + size - (start % size) : End;
            yield return new TokenRange(start, end);
            start = end;
        }
    }
}
