using System.Text;

namespace HeadInfer.Runtime.Constraints;

/// <summary>A property that a schema names.</summary>
/// <param name="Name">its name</param>
/// <param name="Value">its value</param>
/// <param name="Required">whether it must be there</param>
internal sealed record PropertyRule(string Name, Node Value, bool Required)
{
    /// <summary>The name as JSON, and the colon.</summary>
    public byte[] Key { get; } = [.. JsonText.Quote(Name), (byte)':'];

    /// <summary>Fewest bytes, with a comma.</summary>
    public long MinBytes => Key.Length + (long)Value.MinBytes + 1;
}

/// <summary>A JSON object: the properties of its schema in their order, then others if they are allowed.</summary>
/// <param name="properties">those that the schema names</param>
/// <param name="others">the value of any other property; null if there may be none</param>
/// <param name="least">properties at least</param>
/// <param name="most">properties at most</param>
internal sealed class ObjectNode(IReadOnlyList<PropertyRule> properties, Node? others, int least, int most) : Node
{
    private readonly HashSet<string> _names = [.. properties.Select(p => p.Name)];

    public IReadOnlyList<PropertyRule> Properties => properties;

    public Node? Others => others;

    public int Most => most;

    public override IEnumerable<Node> Parts => others is null ? properties.Select(p => p.Value) : properties.Select(p => p.Value).Append(others);

    public bool Names(string name) => _names.Contains(name);

    public override void Enter(Frame after, FrameSet into)
    {
        if (IsPossible)
        {
            into.Add(new LiteralFrame("{"u8.ToArray(), new ObjectFrame(this, 0, Place.Open, new Written(0, null), 0, after)));
        }
    }

    /// <summary>Whether properties from one on can be left out, when so many were written.</summary>
    public bool MayEnd(int from, int written) => written >= least && written <= most && !properties.Skip(from).Any(p => p.Required);

    /// <summary>Whether an object can be finished when properties from one on are open and so many were written.</summary>
    public bool CanFinish(int from, int written) => Needed(from, written) < Never;

    /// <summary>Fewest bytes of the properties that are still to come.</summary>
    public long Needed(int from, int written)
    {
        var (bytes, count) = (0L, written);
        foreach (var property in properties.Skip(from).Where(p => p.Required))
        {
            (bytes, count) = (bytes + property.MinBytes, count + 1);
        }

        foreach (var property in properties.Skip(from).Where(p => !p.Required && p.Value.IsPossible).OrderBy(p => p.MinBytes).Take(Math.Max(0, least - count)).ToList())
        {
            (bytes, count) = (bytes + property.MinBytes, count + 1);
        }

        if (count < least)
        {
            // Keys of one character, then of two, and so on: a few bytes more than the fewest.
            bytes = others is { IsPossible: true } ? bytes + ((least - count) * (8L + others.MinBytes)) : Never;
        }

        return count > most && count > written ? Never : Math.Min(Never, bytes);
    }

    protected override long ShortestBytes() => 1 + Container.Rest(Needed(0, 0), Place.Open);

    protected override long LeastDepth()
    {
        var required = properties.Where(p => p.Required).Select(p => (long)p.Value.MinDepth).ToList();
        var more = Math.Max(0, least - required.Count);
        var optional = properties.Where(p => !p.Required).Select(p => (long)p.Value.MinDepth).Concat(others is null ? [] : Enumerable.Repeat((long)others.MinDepth, Math.Min(more, properties.Count + 1))).Order().Take(more);
        return 1 + required.Concat(optional).DefaultIfEmpty(0).Max();
    }
}

/// <summary>Properties that were written, and the names of those that the schema does not name.</summary>
internal sealed record Written(int Count, OtherName? Others)
{
    public bool Has(string name)
    {
        for (var other = Others; other is not null; other = other.Before)
        {
            if (other.Name == name)
            {
                return true;
            }
        }

        return false;
    }
}

internal sealed record OtherName(string Name, OtherName? Before);

/// <summary>Between the properties of an object.</summary>
internal sealed class ObjectFrame : Frame
{
    private readonly ObjectNode _node;
    private readonly int _from;
    private readonly Place _place;
    private readonly Written _written;
    private readonly int _space;

    /// <param name="node">the object</param>
    /// <param name="from">properties before this one are written, or left out</param>
    /// <param name="place">where</param>
    /// <param name="written">what was written</param>
    /// <param name="space">white space so far</param>
    /// <param name="after">what follows the object</param>
    public ObjectFrame(ObjectNode node, int from, Place place, Written written, int space, Frame after)
        : base(after)
    {
        (_node, _from, _place, _written, _space) = (node, from, place, written, space);
        Depth = after.Depth + 1;
    }

    public override void Step(byte value, FrameSet into)
    {
        if (JsonText.IsSpace(value))
        {
            if ((_place != Place.AfterValue || _node.MayEnd(_from, _written.Count)) && JsonText.NextSpace(value, _space, Depth) is { } space) // none before a comma
            {
                into.Add(new ObjectFrame(_node, _from, _place, _written, space, After!));
            }
        }
        else if (value == '}' && _place != Place.AfterComma && _node.MayEnd(_from, _written.Count))
        {
            into.Add(After!);
        }
        else if (value == ',' && _place == Place.AfterValue && _space == 0 && MayGoOn())
        {
            into.Add(new ObjectFrame(_node, _from, Place.AfterComma, _written, 0, After!));
        }
        else if (value == '"' && _place != Place.AfterValue)
        {
            AddKeys(into);
        }
    }

    public override bool SameAs(Frame other) => other is ObjectFrame o && ReferenceEquals(o._node, _node) && ReferenceEquals(o.After, After)
        && (o._from, o._place, o._space) == (_from, _place, _space) && o._written.Equals(_written);

    /// <summary>The frame after a property that the schema does not name.</summary>
    public Frame AfterOther(string name) => new ValueFrame(_node.Others!, new ObjectFrame(
        _node, _node.Properties.Count, Place.AfterValue, new Written(_written.Count + 1, new OtherName(name, _written.Others)), 0, After!));

    /// <summary>Whether a property of that name is there, or has its own place.</summary>
    public bool Excludes(string name) => _node.Names(name) || _written.Has(name);

    /// <summary>Whether a property that begins so is there, or has its own place.</summary>
    public bool ExcludesSome(string beginning)
    {
        for (var other = _written.Others; other is not null; other = other.Before)
        {
            if (other.Name.StartsWith(beginning, StringComparison.Ordinal))
            {
                return true;
            }
        }

        return _node.Properties.Any(p => p.Name.StartsWith(beginning, StringComparison.Ordinal));
    }

    protected override int Rest()
    {
        var needed = _node.Needed(_from, _written.Count);
        if (needed == 0 && _place == Place.AfterComma)
        {
            needed = Openings().Select(o => o.Bytes).DefaultIfEmpty(Node.Never).Min(); // the comma stands for one more than is needed
        }

        return (int)Math.Min(Node.Never, Container.Rest(needed, _place));
    }

    private bool MayGoOn() => Openings().Any();

    private IEnumerable<(PropertyRule? Property, int Index, long Bytes)> Openings()
    {
        var count = _written.Count + 1;
        if (count > _node.Most || After!.Depth >= JsonText.MaxDepth)
        {
            yield break;
        }

        for (var i = _from; i < _node.Properties.Count; i++)
        {
            var property = _node.Properties[i];
            if (property.Value.IsPossible && Depth + property.Value.MinDepth <= JsonText.MaxDepth && _node.CanFinish(i + 1, count))
            {
                yield return (property, i, property.MinBytes + _node.Needed(i + 1, count));
            }

            if (property.Required)
            {
                yield break;
            }
        }

        if (_node.Others is { IsPossible: true } others && Depth + others.MinDepth <= JsonText.MaxDepth && _node.CanFinish(_node.Properties.Count, count))
        {
            yield return (null, -1, 8L + others.MinBytes + _node.Needed(_node.Properties.Count, count));
        }
    }

    private void AddKeys(FrameSet into)
    {
        foreach (var (property, index, _) in Openings())
        {
            into.Add(property is null
                ? new KeyFrame(this, JsonStringState.Start(null, 1, JsonStringState.NoLimit, escapes: false), [])
                : new LiteralFrame(property.Key.AsMemory(1), new ValueFrame(property.Value, new ObjectFrame(
                    _node, index + 1, Place.AfterValue, _written with { Count = _written.Count + 1 }, 0, After!))));
        }
    }
}

/// <summary>Within the name of a property that the schema does not name. It differs from all the others of its object.</summary>
/// <param name="owner">the object, before the name</param>
/// <param name="state">where in the string</param>
/// <param name="text">its bytes so far</param>
internal sealed class KeyFrame(ObjectFrame owner, JsonStringState state, byte[] text) : TextFrame(owner.AfterOther(""))
{
    public override void Step(byte value, FrameSet into)
    {
        switch (state.Step(value, out var next))
        {
            case TextStep.Inside:
                into.Add(new KeyFrame(owner, next, [.. text, value]));
                break;
            case TextStep.Ended when Close(Encoding.UTF8.GetString(text)) is { } after:
                into.Add(after);
                break;
            default:
                break;
        }
    }

    public override TextMask Mask(TokenTrie trie, int limit) => trie.Masks.Of(state, limit - 1 - After!.MinBytes);

    public override Frame? Leave(TokenTrie trie, int exit)
    {
        var path = trie.PathTo(exit);
        return owner.ExcludesSome(Valid(text))
            ? Close(Encoding.UTF8.GetString([.. text, .. path[..^1]]))
            : Close(null);
    }

    // The colon; and one character more where the name is taken.
    protected override int Rest() => state.MinBytes + 1 + (IsTaken ? 1 : 0);

    private bool IsTaken => state.Part == StringPart.None && owner.Excludes(Encoding.UTF8.GetString(text));

    private Frame? Close(string? name) => name is not null && owner.Excludes(name) ? null : new LiteralFrame(":"u8.ToArray(), owner.AfterOther(name ?? ""));

    private static string Valid(byte[] bytes) => Encoding.UTF8.GetString(bytes).TrimEnd('\ufffd');
}
