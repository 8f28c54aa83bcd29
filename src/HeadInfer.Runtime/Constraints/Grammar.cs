namespace HeadInfer.Runtime.Constraints;

/// <summary>A part of an output's grammar, over bytes. Fixed once compiled, and shared by all generations that use it.</summary>
internal abstract class Node
{
    /// <summary>More bytes than any output has: nothing satisfies the node.</summary>
    public const int Never = 1 << 29;

    /// <summary>Fewest bytes of an output that satisfies the node; <see cref="Never"/> if nothing does.</summary>
    public int MinBytes { get; private set; } = Never;

    /// <summary>Fewest containers, one within the other, of such an output.</summary>
    public int MinDepth { get; private set; } = Never;

    public bool IsPossible => MinBytes < Never;

    /// <summary>Nodes that this one is made of.</summary>
    public abstract IEnumerable<Node> Parts { get; }

    /// <summary>Adds the frames that stand before the node's first byte.</summary>
    /// <param name="after">what follows the node</param>
    /// <param name="into">gets the frames</param>
    public abstract void Enter(Frame after, FrameSet into);

    /// <summary>Measures the node and all it is made of, which may contain itself.</summary>
    public void Measure()
    {
        var seen = new HashSet<Node>();
        var all = new List<Node>();
        var open = new Stack<Node>([this]);
        while (open.TryPop(out var node))
        {
            if (seen.Add(node))
            {
                all.Add(node);
                foreach (var part in node.Parts)
                {
                    open.Push(part);
                }
            }
        }

        // Lengths only fall, and each round settles one more level at least.
        for (var changed = true; changed;)
        {
            changed = false;
            foreach (var node in Enumerable.Reverse(all))
            {
                var (bytes, depth) = ((int)Math.Min(Never, node.ShortestBytes()), (int)Math.Min(Never, node.LeastDepth()));
                changed |= bytes < node.MinBytes || depth < node.MinDepth;
                (node.MinBytes, node.MinDepth) = (Math.Min(bytes, node.MinBytes), Math.Min(depth, node.MinDepth));
            }
        }
    }

    /// <summary>From the parts' present figures.</summary>
    protected abstract long ShortestBytes();

    protected abstract long LeastDepth();
}

/// <summary>A place in a grammar, and all that is to follow it. Immutable: places share what follows them.</summary>
/// <remarks>Every frame can be completed: a step that could not is not taken. So any of several frames may be dropped.</remarks>
internal abstract class Frame(Frame? after)
{
    private int _minBytes = -1;

    /// <summary>What follows; null at the output's end.</summary>
    public Frame? After => after;

    /// <summary>Containers around this place.</summary>
    public int Depth { get; protected init; } = after?.Depth ?? 0;

    /// <summary>Fewest bytes to the output's end.</summary>
    public int MinBytes => _minBytes >= 0 ? _minBytes : _minBytes = (int)Math.Min(Node.Never, (long)Rest() + (after?.MinBytes ?? 0));

    /// <summary>Whether the output may end here.</summary>
    public virtual bool CanEnd => false;

    /// <summary>The frames that this one stands for; null if it stands for itself.</summary>
    public virtual FrameSet? Entered => null;

    /// <summary>Adds the frames after one byte; none if it is not allowed.</summary>
    public abstract void Step(byte value, FrameSet into);

    /// <summary>Whether two frames allow the same, as far as that is easily told.</summary>
    public virtual bool SameAs(Frame other) => ReferenceEquals(this, other);

    /// <summary>Fewest bytes to the end of this frame's own part.</summary>
    protected abstract int Rest();
}

/// <summary>The output's end.</summary>
internal sealed class EndFrame() : Frame(null)
{
    public override bool CanEnd => true;

    public override void Step(byte value, FrameSet into)
    {
    }

    protected override int Rest() => 0;
}

/// <summary>Places that a grammar may be at, where one text can be read in several ways.</summary>
internal sealed class FrameSet
{
    // Ways to read one text double with every ambiguous choice, so equal ones are told while they are few, and those that
    // are the farthest from an end are given up when they are many.
    private const int Compared = 128, Most = 4096;

    private readonly List<Frame> _frames = [];
    private readonly HashSet<(Node Node, Frame After)> _entered = [];

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

            var next = new FrameSet();
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
        _entered.Clear();
    }

    public void Add(Frame frame)
    {
        if (_frames.Count < Compared && _frames.Exists(f => f.SameAs(frame)))
        {
            return;
        }

        if (_frames.Count < Most)
        {
            _frames.Add(frame);
        }
        else if (_frames.FindLastIndex(f => f.MinBytes > frame.MinBytes) is >= 0 and var farther)
        {
            _frames[farther] = frame;
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
}
