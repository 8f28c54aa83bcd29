namespace HeadInfer.Text.Constraints;

/// <summary>The item at a place of an array.</summary>
/// <param name="Any">an item</param>
/// <param name="Found">one that is counted as contained; null where none is counted</param>
internal sealed record ItemRule(Node Any, Node? Found)
{
    public long MinBytes => Math.Min(Any.MinBytes, Found?.MinBytes ?? Node.Never) + 1L;
}

/// <summary>A JSON array.</summary>
/// <param name="first">the items that have a place of their own</param>
/// <param name="items">those after them; null if there may be none</param>
/// <param name="least">items at least</param>
/// <param name="most">items at most</param>
/// <param name="leastFound">items at least that are counted as contained</param>
/// <param name="mostFound">and at most</param>
/// <param name="distinct">the values that all items are of, if they must differ; null if they need not</param>
internal sealed class ArrayNode(IReadOnlyList<ItemRule> first, ItemRule? items, int least, int most, int leastFound = 0, int mostFound = int.MaxValue, LiteralsNode? distinct = null) : Node
{
    public int Least => least;

    public int LeastFound => leastFound;

    public int MostFound => mostFound;

    public LiteralsNode? Distinct => distinct;

    public override IEnumerable<Node> Parts => (items is null ? first : first.Append(items)).SelectMany(i => i.Found is null ? (Node[])[i.Any] : [i.Any, i.Found]);

    public override void Enter(Frame after, FrameSet into)
    {
        if (IsPossible)
        {
            into.Add(new LiteralFrame("["u8.ToArray(), new ArrayFrame(this, default, Place.Open, 0, after)));
        }
    }

    /// <summary>The item at a place; null if there may be none.</summary>
    public ItemRule? ItemAt(int index) => index >= most ? null : index < first.Count ? first[index] : items;

    /// <summary>Fewest bytes of the items that are still to come, with a comma each.</summary>
    public long Needed(in Items written)
    {
        var (count, used) = (written.Count, written.Used);
        if (distinct is not null)
        {
            return distinct.ShortestUnused(used, Math.Max(0, least - count));
        }

        var (bytes, missing) = (0L, Math.Max(0, leastFound - written.Found));
        for (; (count < least || missing > 0) && count < first.Count && count < most; count++)
        {
            // Those that must be found are the next that can be.
            var found = missing > 0 && first[count].Found is { IsPossible: true } contained ? contained : null;
            bytes += found is null ? first[count].MinBytes : found.MinBytes + 1L;
            missing -= found is null ? 0 : 1;
        }

        if (missing > most - count)
        {
            return Never;
        }

        bytes += missing * ((items?.Found?.MinBytes ?? Never) + 1L);
        count += missing;
        return Math.Min(Never, count < least ? bytes + ((least - count) * (items?.MinBytes ?? Never)) : bytes);
    }

    /// <summary>Whether the array can be finished when so many items are there, and so many of them found.</summary>
    public bool CanFinish(in Items written) => written.Found <= mostFound && Needed(written) < Never;

    protected override long ShortestBytes() => least > most || !CanFinish(default) ? Never : 1 + Container.Rest(Needed(default), Place.Open);

    protected override long LeastDepth() => 1 + Enumerable.Range(0, Math.Min(least, first.Count + 1)).Select(i => (long)(ItemAt(i)?.Any.MinDepth ?? Never)).DefaultIfEmpty(0).Max();
}

/// <summary>Items of an array that are there.</summary>
/// <param name="Found">how many of them are counted as contained</param>
/// <param name="Used">which values they have, where these must differ</param>
internal readonly record struct Items(int Count, int Found, Used? Used);

/// <summary>Between the items of an array.</summary>
internal sealed class ArrayFrame : Frame
{
    private readonly ArrayNode _node;
    private readonly Items _items;
    private readonly Place _place;
    private readonly int _space;
    private FrameSet? _beforeItem;

    /// <param name="items">what was written</param>
    /// <param name="place">where</param>
    /// <param name="space">white space so far</param>
    /// <param name="after">what follows the array</param>
    public ArrayFrame(ArrayNode node, Items items, Place place, int space, Frame after)
        : base(after)
    {
        (_node, _items, _place, _space) = (node, items, place, space);
        Depth = after.Depth + 1;
    }

    public override int Weight => _place == Place.AfterValue || _node.ItemAt(_items.Count) is not { } item ? 1 : 1 + item.Any.Leaves.Count + (item.Found?.Leaves.Count ?? 0);

    private bool MayEnd => _items.Count >= _node.Least && _items.Found >= _node.LeastFound;

    public override void Step(byte value, FrameSet into)
    {
        if (JsonText.IsSpace(value))
        {
            if ((_place != Place.AfterValue || MayEnd) && JsonText.NextSpace(value, _space, Depth) is { } space) // none before a comma
            {
                into.Add(new ArrayFrame(_node, _items, _place, space, After!));
            }
        }
        else if (value == ']')
        {
            if (_place != Place.AfterComma && MayEnd)
            {
                into.Add(After!);
            }
        }
        else if (_place == Place.AfterValue)
        {
            if (value == ',' && _space == 0 && BeforeItem().Count > 0)
            {
                into.Add(new ArrayFrame(_node, _items, Place.AfterComma, 0, After!));
            }
        }
        else
        {
            BeforeItem().Step(value, into);
        }
    }

    protected override int Rest()
    {
        var needed = _node.Needed(_items);
        if (needed == 0 && _place == Place.AfterComma)
        {
            needed = _node.ItemAt(_items.Count)!.MinBytes; // the comma stands for one more than is needed
        }

        return (int)Math.Min(Node.Never, Container.Rest(needed, _place));
    }

    protected override bool IsSamePlace(Frame other) => other is ArrayFrame a && ReferenceEquals(a._node, _node) && (a._items, a._place, a._space) == (_items, _place, _space);

    protected override int PlaceHash() => HashCode.Combine(_node, _items.Count, _items.Found, _place, _space);

    private ArrayFrame Then(int found, Used? used = null) => new(_node, new Items(_items.Count + 1, _items.Found + found, used), Place.AfterValue, 0, After!);

    // The places before another item; none if there may be none.
    private FrameSet BeforeItem()
    {
        if (_beforeItem is not null)
        {
            return _beforeItem;
        }

        var entered = new FrameSet();
        if (_node.ItemAt(_items.Count) is { } item)
        {
            if (_node.Distinct is { } values)
            {
                if (_items.Count < values.Literals.Count)
                {
                    // After the shortest come the next ones. After any other no more bytes are needed than these and it.
                    var missing = Math.Max(0, _node.Least - _items.Count - 1);
                    var beyond = missing == 0 ? 0 : values.ShortestUnused(_items.Used, missing + 1) - values.ShortestUnused(_items.Used, 1);
                    values.EnterUnused(_items.Used, word => Then(0, new Used(word, _items.Used)), Container.Rest(beyond, Place.AfterValue), After!, entered);
                }
            }
            else
            {
                Enter(item.Any, 0, entered);
                if (_items.Found < _node.LeastFound || _node.MostFound < int.MaxValue)
                {
                    Enter(item.Found, 1, entered);
                }
            }
        }

        return _beforeItem = entered;
    }

    private void Enter(Node? item, int found, FrameSet into)
    {
        if (item is { IsPossible: true } && Depth + item.MinDepth <= JsonText.MaxDepth && _node.CanFinish(new Items(_items.Count + 1, _items.Found + found, null)))
        {
            item.Enter(Then(found), into);
        }
    }
}

/// <summary>Before the value of a property; a space may stand before it.</summary>
internal sealed class ValueFrame(Node node, Frame after, bool spaced = false) : Frame(after)
{
    private FrameSet? _entered;

    public override int Weight => 1 + node.Leaves.Count;

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

    protected override bool IsSamePlace(Frame other) => other is ValueFrame v && ReferenceEquals(v.Node, node) && v.IsSpaced == spaced;

    protected override int PlaceHash() => HashCode.Combine(node, spaced);

    private Node Node => node;

    private bool IsSpaced => spaced;
}
