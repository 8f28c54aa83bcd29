namespace HeadInfer.Text.Constraints;

/// <summary>A property that a schema names.</summary>
/// <param name="Required">whether it must be there</param>
internal sealed record PropertyRule(string Name, Node Value, bool Required)
{
    /// <summary>The name as JSON, and the colon.</summary>
    public byte[] Key { get; } = [.. JsonText.Quote(Name), (byte)':'];

    /// <summary>Fewest bytes, with a comma.</summary>
    public long MinBytes => Key.Length + (long)Value.MinBytes + 1;
}

/// <summary>Properties that the schema does not name.</summary>
/// <param name="Names">what their names must match; null for any</param>
/// <param name="Value">their value</param>
internal sealed record OtherRule(CharacterAutomaton? Names, Node Value)
{
    public bool IsPossible => Value.IsPossible && Names?.ShortestBytes(0) is null or < Node.Never;

    /// <summary>Fewest bytes, with a comma: a name of a few characters, or what the names allow.</summary>
    public long MinBytes => (Names is null ? 8L : 4L + Math.Max(Names.LongestOfShortest, Names.ShortestBytes(0))) + Value.MinBytes;
}

/// <summary>A JSON object: the properties of its schema in their order, then others if they are allowed.</summary>
internal sealed class ObjectNode : Node
{
    // Which of many optional properties are the shortest is not looked for.
    private const int Sorted = 64;

    private readonly IReadOnlyList<PropertyRule> _properties;
    private readonly IReadOnlyList<OtherRule> _others;
    private readonly HashSet<string> _names;
    private readonly int _least;
    private Lazy<Tables> _tables;

    /// <param name="properties">those that the schema names</param>
    /// <param name="others">all others, by their names; none if there may be none</param>
    /// <param name="least">properties at least</param>
    /// <param name="most">properties at most</param>
    /// <param name="absent">names that none may have</param>
    public ObjectNode(IReadOnlyList<PropertyRule> properties, IReadOnlyList<OtherRule> others, int least, int most, IEnumerable<string>? absent = null)
    {
        (_properties, _others, _least, Most) = (properties, others, least, most);
        _names = [.. properties.Select(p => p.Name), .. absent ?? []];
        _tables = new Lazy<Tables>(() => new Tables(_properties));
    }

    public IReadOnlyList<PropertyRule> Properties => _properties;

    public IReadOnlyList<OtherRule> Others => _others;

    public int Most { get; }

    /// <summary>Names that no other property may have.</summary>
    public IReadOnlySet<string> Names => _names;

    public override IEnumerable<Node> Parts => _properties.Select(p => p.Value).Concat(_others.Select(o => o.Value));

    /// <summary>The properties' names as JSON without the first quote, in order, and which properties they are.</summary>
    public (byte[][] Keys, int[] Properties) Keys => (_tables.Value.Keys, _tables.Value.OfKeys);

    public override void Enter(Frame after, FrameSet into)
    {
        if (IsPossible)
        {
            into.Add(new LiteralFrame("{"u8.ToArray(), new ObjectFrame(this, 0, Place.Open, new Written(0, null), 0, after)));
        }
    }

    /// <summary>Whether properties from one on can be left out, when so many were written.</summary>
    public bool MayEnd(int from, int written) => written >= _least && written <= Most && _tables.Value.RequiredCount[from] == 0;

    /// <summary>The first property from one on that must be there; the count of all if none must.</summary>
    public int NextRequired(int from) => _tables.Value.NextRequired[from];

    /// <summary>Whether an object can be finished when properties from one on are open and so many were written.</summary>
    public bool CanFinish(int from, int written) => Needed(from, written) < Never;

    /// <summary>Fewest bytes of the properties that are still to come.</summary>
    public long Needed(int from, int written)
    {
        var tables = _tables.Value;
        var (bytes, count) = (tables.RequiredBytes[from], written + tables.RequiredCount[from]);
        if (count < _least)
        {
            var (more, bytesOfMore) = tables.Optional(from, _least - count, Sorted);
            (bytes, count) = (bytes + bytesOfMore, count + more);
        }

        if (count < _least)
        {
            // Keys of one character, then of two, and so on: a few bytes more than the fewest.
            bytes = _others.Where(o => o.IsPossible).Select(o => o.MinBytes).DefaultIfEmpty(Never).Min() is < Never and var other ? bytes + ((_least - count) * other) : Never;
        }

        return count > Most && count > written ? Never : Math.Min(Never, bytes);
    }

    protected override long ShortestBytes()
    {
        _tables = new Lazy<Tables>(() => new Tables(_properties)); // the values' figures fall while they are measured
        return 1 + Container.Rest(Needed(0, 0), Place.Open);
    }

    protected override long LeastDepth()
    {
        var required = _properties.Where(p => p.Required).Select(p => (long)p.Value.MinDepth).ToList();
        var more = Math.Max(0, _least - required.Count);
        var optional = more == 0 ? [] : _properties.Where(p => !p.Required).Select(p => (long)p.Value.MinDepth)
            .Concat(_others.SelectMany(o => Enumerable.Repeat((long)o.Value.MinDepth, Math.Min(more, _properties.Count + 1)))).Order().Take(more);
        return 1 + required.Concat(optional).DefaultIfEmpty(0).Max();
    }

    /// <summary>Sums from each property on.</summary>
    private sealed class Tables
    {
        private readonly IReadOnlyList<PropertyRule> _properties;
        private readonly long[] _optionalBytes;
        private readonly int[] _optionals;

        public Tables(IReadOnlyList<PropertyRule> properties)
        {
            var count = properties.Count;
            _properties = properties;
            (RequiredBytes, RequiredCount, NextRequired) = (new long[count + 1], new int[count + 1], new int[count + 1]);
            NextRequired[count] = count;
            for (var i = count - 1; i >= 0; i--)
            {
                var required = properties[i].Required;
                RequiredBytes[i] = Math.Min(Never, RequiredBytes[i + 1] + (required ? properties[i].MinBytes : 0));
                RequiredCount[i] = RequiredCount[i + 1] + (required ? 1 : 0);
                NextRequired[i] = required ? i : NextRequired[i + 1];
            }

            _optionals = [.. Enumerable.Range(0, count).Where(i => !properties[i].Required && properties[i].Value.IsPossible)];
            _optionalBytes = new long[_optionals.Length + 1];
            for (var i = 0; i < _optionals.Length; i++)
            {
                _optionalBytes[i + 1] = _optionalBytes[i] + properties[_optionals[i]].MinBytes;
            }

            OfKeys = [.. Enumerable.Range(0, count).Order(Comparer<int>.Create((a, b) => properties[a].Key.AsSpan(1).SequenceCompareTo(properties[b].Key.AsSpan(1))))];
            Keys = [.. OfKeys.Select(i => properties[i].Key[1..])];
        }

        public long[] RequiredBytes { get; }

        public int[] RequiredCount { get; }

        public int[] NextRequired { get; }

        public byte[][] Keys { get; }

        public int[] OfKeys { get; }

        /// <summary>The shortest optional properties from one on; of very many the next ones.</summary>
        public (int Count, long Bytes) Optional(int from, int count, int sorted)
        {
            var first = Array.BinarySearch(_optionals, from) is >= 0 and var at ? at : ~Array.BinarySearch(_optionals, from);
            var most = Math.Min(count, _optionals.Length - first);
            return _optionals.Length > sorted
                ? (most, _optionalBytes[first + most] - _optionalBytes[first])
                : (most, _optionals.Skip(first).Select(i => _properties[i].MinBytes).Order().Take(most).Sum());
        }
    }
}

/// <summary>Properties that were written, and the names of those that the schema does not name.</summary>
internal sealed record Written(int Count, System.Collections.Immutable.ImmutableHashSet<string>? Others);

/// <summary>Between the properties of an object.</summary>
internal sealed class ObjectFrame : Frame
{
    private readonly ObjectNode _node;
    private readonly int _from;
    private readonly Place _place;
    private readonly Written _written;
    private readonly int _space;

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

    public ObjectNode Node => _node;

    public Written Written => _written;

    public override int Weight => 4;

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

    /// <summary>The frame after the name of a property that the schema names.</summary>
    public Frame AfterNamed(int property) => new ValueFrame(_node.Properties[property].Value, new ObjectFrame(
        _node, property + 1, Place.AfterValue, _written with { Count = _written.Count + 1 }, 0, After!));

    /// <summary>The frame after the name of another property.</summary>
    public Frame AfterOther(OtherRule rule, string name) => new ValueFrame(rule.Value, new ObjectFrame(
        _node, _node.Properties.Count, Place.AfterValue, new Written(_written.Count + 1, (_written.Others ?? []).Add(name)), 0, After!));

    /// <summary>Whether a property that the schema names may be next.</summary>
    public bool IsOpen(int property) => property >= _from && property <= _node.NextRequired(_from) && _written.Count < _node.Most
        && _node.Properties[property].Value.IsPossible && Depth + _node.Properties[property].Value.MinDepth <= JsonText.MaxDepth && _node.CanFinish(property + 1, _written.Count + 1);

    /// <summary>Fewest bytes from the end of a property's name to the object's end.</summary>
    public long Beyond(int property) => _node.Properties[property].Value.MinBytes + 1 + _node.Needed(property + 1, _written.Count + 1);

    protected override int Rest()
    {
        var needed = _node.Needed(_from, _written.Count);
        if (needed == 0 && _place == Place.AfterComma)
        {
            // The comma stands for one more than is needed.
            needed = Enumerable.Range(_from, _node.Properties.Count - _from).TakeWhile(i => i <= _node.NextRequired(_from)).Where(IsOpen).Select(i => _node.Properties[i].MinBytes + _node.Needed(i + 1, _written.Count + 1))
                .Concat(Others().Select(o => o.MinBytes + _node.Needed(_node.Properties.Count, _written.Count + 1)))
                .DefaultIfEmpty(Constraints.Node.Never).Min();
        }

        return (int)Math.Min(Constraints.Node.Never, Container.Rest(needed, _place));
    }

    protected override bool IsSamePlace(Frame other) => other is ObjectFrame o && ReferenceEquals(o._node, _node) && (o._from, o._place, o._space) == (_from, _place, _space) && o._written.Equals(_written);

    protected override int PlaceHash() => HashCode.Combine(_node, _from, _place, _space, _written.Count);

    private bool MayGoOn()
    {
        var last = Math.Min(_node.NextRequired(_from), _node.Properties.Count - 1);
        for (var i = _from; i <= last; i++)
        {
            if (IsOpen(i))
            {
                return true;
            }
        }

        return Others().Any();
    }

    // Those that may be next: names that are left, and room for one more.
    private IEnumerable<OtherRule> Others() =>
        _node.Others.Count == 0 || _written.Count >= _node.Most || _node.NextRequired(_from) < _node.Properties.Count || !_node.CanFinish(_node.Properties.Count, _written.Count + 1)
            ? [] : _node.Others.Where(o => o.IsPossible && Depth + o.Value.MinDepth <= JsonText.MaxDepth && OtherNames.Fewest(this, o, 0, "") < Constraints.Node.Never);

    private void AddKeys(FrameSet into)
    {
        var (keys, _) = _node.Keys;
        for (var i = _from; i <= Math.Min(_node.NextRequired(_from), _node.Properties.Count - 1); i++)
        {
            if (IsOpen(i))
            {
                into.Add(new NamedFrame(this, keys, 0, keys.Length, 0));
                break;
            }
        }

        foreach (var other in Others())
        {
            into.Add(KeyFrame.Start(this, other));
        }
    }
}

/// <summary>Within the name of a property that the schema names.</summary>
internal sealed class NamedFrame(ObjectFrame owner, byte[][] keys, int from, int to, int bytes) : WordsFrame(keys, from, to, bytes, owner.After!)
{
    protected override bool IsOpen(int word) => owner.IsOpen(owner.Node.Keys.Properties[word]);

    protected override long Beyond(int word) => owner.Beyond(owner.Node.Keys.Properties[word]);

    protected override Frame Next(int word) => owner.AfterNamed(owner.Node.Keys.Properties[word]);

    protected override WordsFrame Within(int from, int to, int bytes) => new NamedFrame(owner, Words, from, to, bytes);

    protected override bool IsSamePlace(Frame other) => base.IsSamePlace(other) && ((NamedFrame)other).Owner.Equals(owner);

    private ObjectFrame Owner => owner;
}
