namespace HeadInfer.Runtime.Constraints;

/// <summary>A JSON array.</summary>
/// <param name="first">the items that have a place of their own</param>
/// <param name="items">those after them; null if there may be none</param>
/// <param name="least">items at least</param>
/// <param name="most">items at most</param>
internal sealed class ArrayNode(IReadOnlyList<Node> first, Node? items, int least, int most) : Node
{
    public int Least => least;

    public override IEnumerable<Node> Parts => items is null ? first : first.Append(items);

    public override void Enter(Frame after, FrameSet into)
    {
        if (IsPossible)
        {
            into.Add(new LiteralFrame("["u8.ToArray(), new ArrayFrame(this, 0, Place.Open, 0, after)));
        }
    }

    /// <summary>The item at a place; null if there may be none.</summary>
    public Node? ItemAt(int index) => index >= most ? null : index < first.Count ? first[index] : items;

    /// <summary>Fewest bytes of the items that are still to come, with a comma each.</summary>
    public long Needed(int count)
    {
        var bytes = 0L;
        for (; count < least && count < first.Count; count++)
        {
            bytes += first[count].MinBytes + 1;
        }

        return Math.Min(Never, count < least ? bytes + ((least - count) * ((items?.MinBytes ?? Never) + 1L)) : bytes);
    }

    protected override long ShortestBytes() => least > most ? Never : 1 + Container.Rest(Needed(0), Place.Open);

    protected override long LeastDepth() => 1 + Enumerable.Range(0, Math.Min(least, first.Count + 1)).Select(i => (long)(ItemAt(i)?.MinDepth ?? Never)).DefaultIfEmpty(0).Max();
}

/// <summary>Between the items of an array.</summary>
internal sealed class ArrayFrame : Frame
{
    private readonly ArrayNode _node;
    private readonly int _count;
    private readonly Place _place;
    private readonly int _space;

    /// <param name="node">the array</param>
    /// <param name="count">items that were written</param>
    /// <param name="place">where</param>
    /// <param name="space">white space so far</param>
    /// <param name="after">what follows the array</param>
    public ArrayFrame(ArrayNode node, int count, Place place, int space, Frame after)
        : base(after)
    {
        (_node, _count, _place, _space) = (node, count, place, space);
        Depth = after.Depth + 1;
    }

    public override void Step(byte value, FrameSet into)
    {
        if (JsonText.IsSpace(value))
        {
            if ((_place != Place.AfterValue || _count >= _node.Least) && JsonText.NextSpace(value, _space, Depth) is { } space) // none before a comma
            {
                into.Add(new ArrayFrame(_node, _count, _place, space, After!));
            }
        }
        else if (value == ']')
        {
            if (_place != Place.AfterComma && _count >= _node.Least)
            {
                into.Add(After!);
            }
        }
        else if (_place == Place.AfterValue)
        {
            if (value == ',' && _space == 0 && Next() is not null)
            {
                into.Add(new ArrayFrame(_node, _count, Place.AfterComma, 0, After!));
            }
        }
        else if (Next() is { } item)
        {
            var entered = new FrameSet();
            item.Enter(new ArrayFrame(_node, _count + 1, Place.AfterValue, 0, After!), entered);
            entered.Step(value, into);
        }
    }

    public override bool SameAs(Frame other) => other is ArrayFrame a && ReferenceEquals(a._node, _node) && ReferenceEquals(a.After, After)
        && (a._count, a._place, a._space) == (_count, _place, _space);

    protected override int Rest()
    {
        var needed = _node.Needed(_count);
        if (needed == 0 && _place == Place.AfterComma)
        {
            needed = _node.ItemAt(_count)!.MinBytes + 1; // the comma stands for one more than is needed
        }

        return (int)Math.Min(Node.Never, Container.Rest(needed, _place));
    }

    private Node? Next() => _node.ItemAt(_count) is { IsPossible: true } item && Depth + item.MinDepth <= JsonText.MaxDepth ? item : null;
}

/// <summary>Before the value of a property; a space may stand before it.</summary>
internal sealed class ValueFrame(Node node, Frame after, bool spaced = false) : Frame(after)
{
    private FrameSet? _entered;

    public override void Step(byte value, FrameSet into)
    {
        if (value == ' ' && !spaced)
        {
            into.Add(new ValueFrame(node, After!, spaced: true));
            return;
        }

        if (_entered is null)
        {
            var entered = new FrameSet();
            node.Enter(After!, entered);
            _entered = entered;
        }

        _entered.Step(value, into);
    }

    protected override int Rest() => node.MinBytes;
}
