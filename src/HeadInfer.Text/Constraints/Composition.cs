namespace HeadInfer.Text.Constraints;

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

    protected override int Rest() => _rest.Length;

    protected override bool IsSamePlace(Frame other) => _rest.Span.SequenceEqual(((LiteralFrame)other)._rest.Span);

    protected override int PlaceHash() => HashCode.Combine(_rest.Length, _rest.Span[0], _rest.Span[^1]);
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

        protected override bool IsSamePlace(Frame other) => other is Between between && (between.Node, between.Part) == (node, part);

        protected override int PlaceHash() => HashCode.Combine(node, part);

        private Node Node => node;

        private int Part => part;
    }
}

/// <summary>One of several.</summary>
internal sealed class ChoiceNode(IReadOnlyList<Node> choices) : Node
{
    private IReadOnlyList<Node>? _leaves;

    public override IEnumerable<Node> Parts => choices;

    public override IReadOnlyList<Node> Leaves => _leaves ??= Choices.Leaves(this);

    public override void Enter(Frame after, FrameSet into) => Choices.Enter(this, after, into);

    protected override long ShortestBytes() => choices.Select(c => (long)c.MinBytes).DefaultIfEmpty(Never).Min();

    protected override long LeastDepth() => choices.Where(c => c.IsPossible).Select(c => (long)c.MinDepth).DefaultIfEmpty(Never).Min();
}

/// <summary>A node that is known by its place before it is known: where a schema refers to itself.</summary>
internal sealed class ReferenceNode : Node
{
    private IReadOnlyList<Node>? _leaves;

    public Node? Target { get; set; }

    public override IEnumerable<Node> Parts => [Target!];

    public override IReadOnlyList<Node> Leaves => _leaves ??= Choices.Leaves(this);

    public override void Enter(Frame after, FrameSet into) => Choices.Enter(this, after, into);

    protected override long ShortestBytes() => Target!.MinBytes;

    protected override long LeastDepth() => Target!.MinDepth;
}

/// <summary>Choices of choices are choices of one kind: entered without recursion, which has no end where one contains itself.</summary>
internal static class Choices
{
    /// <summary>The nodes below that are neither choice nor reference, the shortest first.</summary>
    public static IReadOnlyList<Node> Leaves(Node top)
    {
        var (seen, open, leaves) = (new HashSet<Node>(ReferenceEqualityComparer.Instance), new Stack<Node>([top]), new List<Node>());
        while (open.TryPop(out var node))
        {
            if (!node.IsPossible || !seen.Add(node))
            {
                continue;
            }

            if (node is ChoiceNode or ReferenceNode)
            {
                foreach (var part in node.Parts.Reverse())
                {
                    open.Push(part);
                }
            }
            else
            {
                leaves.Add(node);
            }
        }

        return [.. leaves.OrderBy(l => l.MinBytes)];
    }

    public static void Enter(Node top, Frame after, FrameSet into)
    {
        foreach (var leaf in top.Leaves)
        {
            if (after.Depth + leaf.MinDepth <= JsonText.MaxDepth)
            {
                leaf.Enter(after, into);
            }
        }
    }
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

        protected override bool IsSamePlace(Frame other) => other is Next next && (next.Node, next.Left) == (node, left);

        protected override int PlaceHash() => HashCode.Combine(node, left);

        private RepeatNode Node => node;

        private int Left => left;
    }

    private sealed class Again(RepeatNode node, ReadOnlyMemory<byte> rest, int left, Frame after) : Frame(after)
    {
        private FrameSet? _items;

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

            if (_items is null)
            {
                var items = new FrameSet();
                node.Item.Enter(left == 1 ? After! : new Next(node, left - 1, After!), items);
                _items = items;
            }

            _items.Step(value, into);
        }

        protected override int Rest() => rest.Length + node.Item.MinBytes;

        protected override bool IsSamePlace(Frame other) => other is Again again && (again.Node, again.Left, again.Missing) == (node, left, rest.Length);

        protected override int PlaceHash() => HashCode.Combine(node, left, rest.Length);

        private RepeatNode Node => node;

        private int Left => left;

        private int Missing => rest.Length;
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

        protected override bool IsSamePlace(Frame other) => other is Space space && space.Left == left;

        protected override int PlaceHash() => left;

        private int Left => left;
    }
}

/// <summary>A part that no limit of tokens shortens or refuses: what does not fit is cut off. A call is one, since nobody may make one whose arguments the limit made up.</summary>
internal sealed class UnhurriedNode(Node part) : Node
{
    public override IEnumerable<Node> Parts => [part];

    public override void Enter(Frame after, FrameSet into) => part.Enter(new Left(after), into);

    protected override long ShortestBytes() => part.MinBytes;

    protected override long LeastDepth() => part.MinDepth;

    /// <summary>After the part: what follows it. All that is before this is nearer the end than any limit.</summary>
    private sealed class Left : Frame
    {
        public Left(Frame after)
            : base(after)
        {
            Entered = new FrameSet();
            Entered.Add(after);
        }

        public override FrameSet Entered { get; }

        public override bool CanEnd => After!.CanEnd;

        public override void Step(byte value, FrameSet into) => After!.Step(value, into);

        protected override int Rest() => -Node.Never;

        protected override bool IsSamePlace(Frame other) => true;

        protected override int PlaceHash() => 1;
    }
}
