namespace HeadInfer.Text.Constraints;

/// <summary>Places that a grammar may be at, where one text can be read in several ways.</summary>
/// <remarks>Equal places are one. Of more than a step may cost, those nearest to an end stay: any may be dropped, and these never need more tokens than are left.</remarks>
/// <param name="most">weight of the frames that stay</param>
internal sealed class FrameSet(int most = FrameSet.Wide)
{
    /// <summary>Between tokens.</summary>
    public const int Wide = 4096;

    /// <summary>Within a token, where thousands of entries of the vocabulary are tried.</summary>
    public const int Narrow = 128;

    private const int Few = 8;

    private readonly List<Frame> _frames = [];
    private readonly HashSet<Frame> _known = []; // of many frames
    private readonly HashSet<(Node Node, Frame After)> _entered = [];
    private int _weight;

    public int Count => _frames.Count;

    public Frame this[int index] => _frames[index];

    public bool CanEnd => _frames.Exists(f => f.CanEnd);

    /// <summary>Whether the output must end: it may, and no byte may follow.</summary>
    public bool MustEnd
    {
        get
        {
            if (!CanEnd)
            {
                return false;
            }

            var next = new FrameSet(Narrow);
            for (var value = 0; value < 256 && next.Count == 0; value++)
            {
                Step((byte)value, next);
            }

            return next.Count == 0;
        }
    }

    public int MinBytes
    {
        get
        {
            var least = Node.Never;
            foreach (var frame in _frames)
            {
                least = Math.Min(least, frame.MinBytes);
            }

            return least;
        }
    }

    public void Clear()
    {
        _frames.Clear();
        _weight = 0;
        if (_known.Count > 0)
        {
            _known.Clear();
        }

        if (_entered.Count > 0)
        {
            _entered.Clear();
        }
    }

    public void Add(Frame frame)
    {
        if (!IsNew(frame))
        {
            return;
        }

        _frames.Add(frame);
        _weight += frame.Weight;
        if (_weight > 2 * most && _frames.Count > 1)
        {
            KeepNearest();
        }
    }

    /// <summary>Whether a node that may contain itself is entered here for the first time. A second time adds nothing, and would have no end.</summary>
    public bool Enters(Node node, Frame after) => _entered.Add((node, after));

    /// <summary>Adds what follows a byte.</summary>
    public void Step(byte value, FrameSet into)
    {
        foreach (var frame in _frames)
        {
            frame.Step(value, into);
        }
    }

    private bool IsNew(Frame frame)
    {
        if (_frames.Count < Few)
        {
            foreach (var known in _frames)
            {
                if (known.Equals(frame))
                {
                    return false;
                }
            }

            return true;
        }

        if (_known.Count == 0)
        {
            _known.UnionWith(_frames);
        }

        return _known.Add(frame);
    }

    private void KeepNearest()
    {
        var nearest = _frames.OrderBy(f => f.MinBytes).ToList(); // those of equal distance in the order they came
        Clear();
        foreach (var frame in nearest)
        {
            if (_weight + frame.Weight <= most || _frames.Count == 0)
            {
                _frames.Add(frame);
                _weight += frame.Weight;
            }
        }

        _known.UnionWith(_frames);
    }
}
