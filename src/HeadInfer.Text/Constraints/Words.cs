namespace HeadInfer.Text.Constraints;

/// <summary>Within one of many words, all that begin alike at one place: values of an enumeration, names of properties.</summary>
/// <param name="words">in order</param>
/// <param name="from">the first word that begins with what was written</param>
/// <param name="to">the one after the last</param>
/// <param name="bytes">bytes that were written</param>
/// <param name="after">what follows the part that the words begin</param>
internal abstract class WordsFrame(byte[][] words, int from, int to, int bytes, Frame after) : Frame(after)
{
    public override int Weight => 2;

    protected byte[][] Words => words;

    protected (int From, int To, int Bytes) Range => (from, to, bytes);

    public override void Step(byte value, FrameSet into)
    {
        var (first, last) = (Find(value), value == byte.MaxValue ? to : Find((byte)(value + 1)));
        for (; first < last && words[first].Length == bytes + 1; first++)
        {
            if (IsOpen(first))
            {
                into.Add(Next(first));
            }
        }

        for (var word = first; word < last; word++)
        {
            if (IsOpen(word))
            {
                into.Add(Within(first, last, bytes + 1));
                break;
            }
        }
    }

    /// <summary>Whether a word may be chosen.</summary>
    protected abstract bool IsOpen(int word);

    /// <summary>Fewest bytes from a word's end to the end of the part.</summary>
    protected abstract long Beyond(int word);

    /// <summary>What follows a word.</summary>
    protected abstract Frame Next(int word);

    /// <summary>The same within fewer words.</summary>
    protected abstract WordsFrame Within(int from, int to, int bytes);

    protected override int Rest()
    {
        var least = (long)Node.Never;
        for (var word = from; word < to; word++)
        {
            if (IsOpen(word))
            {
                least = Math.Min(least, words[word].Length - bytes + Beyond(word));
            }
        }

        return (int)least;
    }

    protected override bool IsSamePlace(Frame other) => other is WordsFrame w && ReferenceEquals(w.Words, words) && w.Range == Range;

    protected override int PlaceHash() => HashCode.Combine(words.Length, from, to, bytes);

    // The first word whose next byte is this or a later one.
    private int Find(byte value)
    {
        var (low, high) = (from, to);
        while (low < high)
        {
            var middle = (low + high) / 2;
            (low, high) = words[middle][bytes] < value ? (middle + 1, high) : (low, middle);
        }

        return low;
    }
}

/// <summary>One of many literals, such as the values of an enumeration.</summary>
internal sealed class LiteralsNode : Node
{
    private readonly byte[][] _literals; // in order, each once
    private readonly long _shortest;
    private int[]? _byLength;

    public LiteralsNode(IEnumerable<byte[]> literals)
    {
        byte[][] all = [.. literals];
        Array.Sort(all, (a, b) => a.AsSpan().SequenceCompareTo(b));
        _literals = [.. all.Where((literal, i) => i == 0 || !literal.AsSpan().SequenceEqual(all[i - 1]))];
        _shortest = _literals.Select(l => (long)l.Length).DefaultIfEmpty(Never).Min();
    }

    /// <summary>In order, each once.</summary>
    public IReadOnlyList<byte[]> Literals => _literals;

    public override IEnumerable<Node> Parts => [];

    public override void Enter(Frame after, FrameSet into)
    {
        if (_literals.Length > 0)
        {
            into.Add(new LiteralsFrame(this, 0, _literals.Length, 0, after));
        }
    }

    /// <summary>Enters those that are not used yet.</summary>
    /// <param name="used">which are used, by their places</param>
    /// <param name="after">what follows one</param>
    /// <param name="beyond">fewest bytes from the end of one to the end of the list of them, if it is the shortest</param>
    /// <param name="owner">what follows the list of them</param>
    /// <param name="into">gets the frames</param>
    public void EnterUnused(Used? used, Func<int, Frame> after, long beyond, Frame owner, FrameSet into) => into.Add(new UnusedFrame(this, used, after, beyond, 0, _literals.Length, 0, owner));

    /// <summary>Bytes of the shortest that are not used, with a comma each; <see cref="Node.Never"/> if there are not so many.</summary>
    public long ShortestUnused(Used? used, int count)
    {
        var bytes = 0L;
        _byLength ??= [.. Enumerable.Range(0, _literals.Length).OrderBy(i => _literals[i].Length)];
        for (var i = 0; i < _byLength.Length && count > 0; i++)
        {
            if (!Used.Has(used, _byLength[i]))
            {
                (bytes, count) = (bytes + _literals[_byLength[i]].Length + 1, count - 1);
            }
        }

        return count > 0 ? Never : bytes;
    }

    protected override long ShortestBytes() => _shortest;

    protected override long LeastDepth() => _literals.Length > 0 ? 0 : Never;

    private sealed class LiteralsFrame(LiteralsNode node, int from, int to, int bytes, Frame after) : WordsFrame(node._literals, from, to, bytes, after)
    {
        protected override bool IsOpen(int word) => true;

        protected override long Beyond(int word) => 0;

        protected override Frame Next(int word) => After!;

        protected override WordsFrame Within(int from, int to, int bytes) => new LiteralsFrame(node, from, to, bytes, After!);

        protected override int Rest() => Range.Bytes == 0 ? node.MinBytes : base.Rest();
    }

    private sealed class UnusedFrame(LiteralsNode node, Used? used, Func<int, Frame> after, long beyond, int from, int to, int bytes, Frame owner) : WordsFrame(node._literals, from, to, bytes, owner)
    {
        protected override bool IsOpen(int word) => !Used.Has(used, word);

        protected override long Beyond(int word) => beyond;

        protected override Frame Next(int word) => after(word);

        protected override WordsFrame Within(int from, int to, int bytes) => new UnusedFrame(node, used, after, beyond, from, to, bytes, After!);

        protected override bool IsSamePlace(Frame other) => false; // each has its own list
    }
}

/// <summary>Values of an array that must all differ, by their places among all that there are.</summary>
internal sealed record Used(int Word, Used? Before)
{
    public static bool Has(Used? used, int word)
    {
        for (; used is not null; used = used.Before)
        {
            if (used.Word == word)
            {
                return true;
            }
        }

        return false;
    }
}
