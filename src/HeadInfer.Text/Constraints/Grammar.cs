namespace HeadInfer.Text.Constraints;

/// <summary>A part of an output's grammar, over bytes. Fixed once compiled, and shared by all generations that use it.</summary>
internal abstract class Node
{
    /// <summary>More bytes than any output has: nothing satisfies the node.</summary>
    public const int Never = 1 << 29;

    private IReadOnlyList<Node>? _leaves;

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

    /// <summary>What the node comes to without the choices and references at its top: the shortest first. Only once it is measured.</summary>
    public virtual IReadOnlyList<Node> Leaves => _leaves ??= [this];

    /// <summary>Measures the node and all it is made of, which may contain itself.</summary>
    /// <param name="budget">counts the work; null where the caller's own code made the grammar</param>
    public void Measure(WorkBudget? budget = null)
    {
        // Parts come before what they are part of, except where something contains itself.
        var (users, order) = (new Dictionary<Node, List<Node>>(ReferenceEqualityComparer.Instance), new List<Node>());
        var open = new Stack<(Node Node, bool Left)>([(this, false)]);
        while (open.TryPop(out var at))
        {
            if (at.Left)
            {
                order.Add(at.Node);
            }
            else if (users.TryAdd(at.Node, []))
            {
                open.Push((at.Node, true));
                foreach (var part in at.Node.Parts)
                {
                    budget?.Spend();
                    open.Push((part, false));
                }
            }
        }

        order.ForEach(node => node.Parts.ToList().ForEach(part => users[part].Add(node)));
        // Figures only fall. A node is looked at again when one of its parts has changed.
        var (queue, waiting) = (new Queue<Node>(order), new HashSet<Node>(order, ReferenceEqualityComparer.Instance));
        while (queue.TryDequeue(out var node))
        {
            waiting.Remove(node);
            budget?.Spend(4 + node.Parts.Count());
            var (bytes, depth) = ((int)Math.Min(Never, node.ShortestBytes()), (int)Math.Min(Never, node.LeastDepth()));
            if (bytes < node.MinBytes || depth < node.MinDepth)
            {
                (node.MinBytes, node.MinDepth) = (Math.Min(bytes, node.MinBytes), Math.Min(depth, node.MinDepth));
                users[node].Where(waiting.Add).ToList().ForEach(queue.Enqueue);
            }
        }
    }

    /// <summary>From the parts' present figures.</summary>
    protected abstract long ShortestBytes();

    protected abstract long LeastDepth();
}

/// <summary>A place in a grammar, and all that is to follow it. Immutable: places share what follows them.</summary>
/// <remarks>Every frame can be completed: a step that could not is not taken. So any of several frames may be dropped.</remarks>
internal abstract class Frame(Frame? after) : IEquatable<Frame>
{
    private int? _minBytes;
    private int _hash;

    /// <summary>What follows; null at the output's end.</summary>
    public Frame? After => after;

    /// <summary>Containers around this place.</summary>
    public int Depth { get; protected init; } = after?.Depth ?? 0;

    /// <summary>Fewest bytes to the output's end; negative where the limit of tokens does not count.</summary>
    public int MinBytes => _minBytes ??= (int)Math.Clamp((long)Rest() + (after?.MinBytes ?? 0), -Node.Never, Node.Never);

    /// <summary>What a step costs, beside those of other frames: more where it enters much at once.</summary>
    public virtual int Weight => 1;

    /// <summary>Whether the output may end here.</summary>
    public virtual bool CanEnd => false;

    /// <summary>The frames that this one stands for; null if it stands for itself.</summary>
    public virtual FrameSet? Entered => null;

    /// <summary>Adds the frames after one byte; none if it is not allowed.</summary>
    public abstract void Step(byte value, FrameSet into);

    /// <summary>Whether both allow the same, as far as that is easily told: the same place, with the same to follow.</summary>
    public bool Equals(Frame? other) => ReferenceEquals(this, other)
        || (other is not null && other.GetType() == GetType() && other.GetHashCode() == GetHashCode() && IsSamePlace(other) && Equals(after, other.After));

    public override bool Equals(object? obj) => obj is Frame frame && Equals(frame);

    public override int GetHashCode() => _hash != 0 ? _hash : _hash = HashCode.Combine(PlaceHash(), after?.GetHashCode() ?? 0) | 1;

    /// <summary>Fewest bytes to the end of this frame's own part.</summary>
    protected abstract int Rest();

    /// <summary>Whether another frame of this type is at the same place, whatever follows it.</summary>
    protected abstract bool IsSamePlace(Frame other);

    protected abstract int PlaceHash();
}

/// <summary>The output's end.</summary>
internal sealed class EndFrame() : Frame(null)
{
    public override bool CanEnd => true;

    public override void Step(byte value, FrameSet into)
    {
    }

    protected override int Rest() => 0;

    protected override bool IsSamePlace(Frame other) => true;

    protected override int PlaceHash() => 0;
}
