namespace HeadInfer.Runtime.Constraints;

/// <summary>Bytes as they stand: <c>true</c>, a value of an enumeration, a marker.</summary>
internal sealed class LiteralNode(ReadOnlyMemory<byte> bytes) : Node
{
    public ReadOnlyMemory<byte> Bytes => bytes;

    public override IEnumerable<Node> Parts => [];

    public override void Enter(Frame after, FrameSet into) => into.Add(LiteralFrame.At(bytes, after));

    protected override long ShortestBytes() => bytes.Length;

    protected override long LeastDepth() => 0;
}

/// <summary>Before the bytes that remain of a literal.</summary>
internal sealed class LiteralFrame(ReadOnlyMemory<byte> rest, Frame after) : Frame(after)
{
    private readonly ReadOnlyMemory<byte> _rest = rest;

    /// <summary>The place before bytes, which is what follows them if there are none.</summary>
    public static Frame At(ReadOnlyMemory<byte> rest, Frame after) => rest.IsEmpty ? after : new LiteralFrame(rest, after);

    public override void Step(byte value, FrameSet into)
    {
        if (_rest.Span[0] == value)
        {
            into.Add(At(_rest[1..], After!));
        }
    }

    public override bool SameAs(Frame other) => other is LiteralFrame literal && ReferenceEquals(After, literal.After) && _rest.Span.SequenceEqual(literal._rest.Span);

    protected override int Rest() => _rest.Length;
}

/// <summary>One of many literals, such as the values of an enumeration: one place for all that begin alike.</summary>
internal sealed class LiteralsNode : Node
{
    private readonly byte[][] _literals; // in order

    public LiteralsNode(IEnumerable<byte[]> literals)
    {
        _literals = [.. literals];
        Array.Sort(_literals, (a, b) => a.AsSpan().SequenceCompareTo(b));
    }

    public override IEnumerable<Node> Parts => [];

    public override void Enter(Frame after, FrameSet into)
    {
        if (_literals.Length > 0)
        {
            into.Add(new Within(this, 0, _literals.Length, 0, after));
        }
    }

    protected override long ShortestBytes() => _literals.Select(l => (long)l.Length).DefaultIfEmpty(Never).Min();

    protected override long LeastDepth() => 0;

    /// <summary>After some bytes that literals from one to another share.</summary>
    private sealed class Within(LiteralsNode node, int from, int to, int bytes, Frame after) : Frame(after)
    {
        public override void Step(byte value, FrameSet into)
        {
            var (first, last) = (Find(value), value == byte.MaxValue ? to : Find((byte)(value + 1)));
            for (; first < last && node._literals[first].Length == bytes + 1; first++)
            {
                into.Add(After!);
            }

            if (first < last)
            {
                into.Add(new Within(node, first, last, bytes + 1, After!));
            }
        }

        protected override int Rest()
        {
            var least = Node.Never;
            for (var i = from; i < to; i++)
            {
                least = Math.Min(least, node._literals[i].Length - bytes);
            }

            return least;
        }

        // The first literal whose next byte is this or a later one.
        private int Find(byte value)
        {
            var (low, high) = (from, to);
            while (low < high)
            {
                var middle = (low + high) / 2;
                (low, high) = node._literals[middle][bytes] < value ? (middle + 1, high) : (low, middle);
            }

            return low;
        }
    }
}

/// <summary>Parts, one after the other.</summary>
internal sealed class SequenceNode(params Node[] parts) : Node
{
    public override IEnumerable<Node> Parts => parts;

    public override void Enter(Frame after, FrameSet into) => Enter(0, after, into);

    protected override long ShortestBytes() => parts.Sum(p => (long)p.MinBytes);

    protected override long LeastDepth() => parts.Max(p => p.MinDepth);

    private void Enter(int part, Frame after, FrameSet into)
    {
        if (IsPossible)
        {
            parts[part].Enter(part == parts.Length - 1 ? after : new Between(this, part + 1, after), into);
        }
    }

    /// <summary>Before a part other than the first.</summary>
    private sealed class Between(SequenceNode node, int part, Frame after) : Frame(after)
    {
        private FrameSet? _entered;

        public override bool CanEnd => Entered.CanEnd;

        public override FrameSet Entered
        {
            get
            {
                if (_entered is null)
                {
                    var entered = new FrameSet();
                    node.Enter(part, After!, entered);
                    _entered = entered;
                }

                return _entered;
            }
        }

        public override void Step(byte value, FrameSet into) => Entered.Step(value, into);

        protected override int Rest() => node.Parts.Skip(part).Sum(p => p.MinBytes);
    }
}

/// <summary>One of several.</summary>
internal sealed class ChoiceNode(IReadOnlyList<Node> choices) : Node
{
    public override IEnumerable<Node> Parts => choices;

    public override void Enter(Frame after, FrameSet into)
    {
        foreach (var choice in choices)
        {
            if (choice.IsPossible && after.Depth + choice.MinDepth <= JsonText.MaxDepth)
            {
                choice.Enter(after, into);
            }
        }
    }

    protected override long ShortestBytes() => choices.Select(c => (long)c.MinBytes).DefaultIfEmpty(Never).Min();

    protected override long LeastDepth() => choices.Select(c => (long)c.MinDepth).DefaultIfEmpty(Never).Min();
}

/// <summary>A node that is known by its place before it is known: where a schema refers to itself.</summary>
internal sealed class ReferenceNode : Node
{
    public Node? Target { get; set; }

    public override IEnumerable<Node> Parts => [Target!];

    public override void Enter(Frame after, FrameSet into)
    {
        if (into.Enters(this, after))
        {
            Target!.Enter(after, into);
        }
    }

    protected override long ShortestBytes() => Target!.MinBytes;

    protected override long LeastDepth() => Target!.MinDepth;
}

/// <summary>Something once or more, with a separator between.</summary>
internal sealed class RepeatNode(Node item, ReadOnlyMemory<byte> separator, int most) : Node
{
    public override IEnumerable<Node> Parts => [item];

    public override void Enter(Frame after, FrameSet into)
    {
        if (item.IsPossible)
        {
            item.Enter(most == 1 ? after : new Next(this, most - 1, after), into);
        }
    }

    protected override long ShortestBytes() => item.MinBytes;

    protected override long LeastDepth() => item.MinDepth;

    /// <summary>After an item: what follows, or the separator and another.</summary>
    private sealed class Next(RepeatNode node, int left, Frame after) : Frame(after)
    {
        public override bool CanEnd => After!.CanEnd;

        public override void Step(byte value, FrameSet into)
        {
            After!.Step(value, into);
            if (node.Separator.Span[0] == value)
            {
                into.Add(new Again(node, node.Separator[1..], left, After));
            }
        }

        protected override int Rest() => 0;
    }

    private sealed class Again(RepeatNode node, ReadOnlyMemory<byte> rest, int left, Frame after) : Frame(after)
    {
        public override void Step(byte value, FrameSet into)
        {
            if (!rest.IsEmpty)
            {
                if (rest.Span[0] == value)
                {
                    into.Add(new Again(node, rest[1..], left, After!));
                }

                return;
            }

            var items = new FrameSet();
            node.Item.Enter(left == 1 ? After! : new Next(node, left - 1, After!), items);
            items.Step(value, into);
        }

        protected override int Rest() => rest.Length + node.Item.MinBytes;
    }

    private Node Item => item;

    private ReadOnlyMemory<byte> Separator => separator;
}

/// <summary>Space between the parts of an output: some, or none.</summary>
internal sealed class SpaceNode(int most) : Node
{
    public override IEnumerable<Node> Parts => [];

    public override void Enter(Frame after, FrameSet into) => into.Add(new Space(most, after));

    protected override long ShortestBytes() => 0;

    protected override long LeastDepth() => 0;

    private sealed class Space(int left, Frame after) : Frame(after)
    {
        public override bool CanEnd => After!.CanEnd;

        public override void Step(byte value, FrameSet into)
        {
            After!.Step(value, into);
            if (left > 0 && JsonText.IsSpace(value))
            {
                into.Add(new Space(left - 1, After!));
            }
        }

        protected override int Rest() => 0;
    }
}
