namespace HeadInfer.Text.Constraints;

/// <summary>A pattern as a graph of places, some of which can be reached without a character.</summary>
internal sealed class PatternGraph
{
    private const int MaxPlaces = 20_000;

    private readonly List<(CharacterSet? Set, int To, int Other)> _places = []; // a character leads to To; without one, To and Other are reached
    private readonly Dictionary<CharacterSet, CharacterSet> _writable = new(ReferenceEqualityComparer.Instance);
    private int[] _seen = []; // [place] the round that it was last seen in
    private int _round;
    private readonly int _start;
    private readonly int _end;

    private readonly PatternWork _work;

    /// <param name="work">counts the work</param>
    public PatternGraph(Pattern pattern, PatternWork work)
    {
        _work = work;
        _end = Place(null, -1, -1);
        // Each choice at the top has its own anchors; where it has none, anything may stand there.
        var choices = Choices(pattern).Select(choice =>
        {
            var parts = choice is Pattern.Sequence sequence ? sequence.Parts.ToList() : [choice];
            var (begins, ends) = (parts is [Pattern.Begin, ..], parts is [.., Pattern.End]);
            parts = parts[(begins ? 1 : 0)..^(ends ? 1 : 0)];
            var anything = new Pattern.Repeat(new Pattern.One(CharacterSet.Of((0, CharacterSet.Largest))), 0, null);
            return Build(new Pattern.Sequence([.. begins ? [] : (Pattern[])[anything], .. parts, .. ends ? [] : (Pattern[])[anything]]), _end);
        }).ToList();
        _start = choices.Aggregate(Place(null, -1, -1), (a, b) => Place(null, a, b));
    }

    /// <summary>The places at the start.</summary>
    public int[] Start() => Close([_start]);

    public bool Accepts(int[] places) => places.Contains(_end);

    /// <summary>The places after each range of characters.</summary>
    public IEnumerable<(int First, int Last, int[] To)> Moves(int[] places)
    {
        // Where ranges begin and end, in order; between two of these the same ones hold.
        var edges = new List<(int At, int To, int Change)>();
        foreach (var place in places)
        {
            if (_places[place] is ({ } set, var to, _))
            {
                _work.Spend(2 * set.Ranges.Count);
                foreach (var (first, last) in set.Ranges)
                {
                    edges.Add((first, to, 1));
                    edges.Add((last + 1, to, -1));
                }
            }
        }

        edges.Sort();
        var active = new SortedDictionary<int, int>();
        for (var i = 0; i < edges.Count; i++)
        {
            active[edges[i].To] = active.GetValueOrDefault(edges[i].To) + edges[i].Change;
            if (active[edges[i].To] == 0)
            {
                active.Remove(edges[i].To);
            }

            if (i + 1 < edges.Count && edges[i + 1].At > edges[i].At && active.Count > 0)
            {
                yield return (edges[i].At, edges[i + 1].At - 1, Close(active.Keys));
            }
        }
    }

    // A top that is one group is what is in it.
    private static IEnumerable<Pattern> Choices(Pattern pattern) => pattern switch
    {
        Pattern.Choice choice => choice.Parts.SelectMany(Choices),
        Pattern.Sequence { Parts: [var only] } and { Parts: [Pattern.Choice or Pattern.Sequence] } => Choices(only),
        _ => [pattern],
    };

    private int Build(Pattern pattern, int next)
    {
        _work.Spend();
        switch (pattern)
        {
            case Pattern.One one:
                return Place(Writable(one.Set), next, -1);
            case Pattern.Sequence sequence:
                return sequence.Parts.Reverse().Aggregate(next, (after, part) => Build(part, after));
            case Pattern.Choice choice:
                return choice.Parts.Select(p => Build(p, next)).ToList().Aggregate((a, b) => Place(null, a, b));
            case Pattern.Repeat { Item: Pattern.Sequence { Parts.Count: 0 } }:
                return next;
            case Pattern.Repeat repeat:
                var at = next;
                if (repeat.Most is { } most)
                {
                    for (var i = repeat.Least; i < most; i++)
                    {
                        at = Place(null, Build(repeat.Item, at), next);
                    }
                }
                else
                {
                    var loop = Place(null, -1, next);
                    _places[loop] = (null, Build(repeat.Item, loop), next);
                    at = loop;
                }

                for (var i = 0; i < repeat.Least; i++)
                {
                    at = Build(repeat.Item, at);
                }

                return at;
            default:
                throw new NotSupportedException($"{_work.Name} has an anchor within");
        }
    }

    // .NET and JavaScript see characters beyond U+FFFF as two, so a pattern gets them only where it names them.
    private CharacterSet Writable(CharacterSet set)
    {
        if (!_writable.TryGetValue(set, out var known))
        {
            _writable[set] = known = set.Intersect(set.Ranges is [(var first, var last)] && first == last ? CharacterSet.Writable : CharacterSet.WritableOfPlane0);
        }

        return known;
    }

    private int Place(CharacterSet? set, int to, int other)
    {
        if (_places.Count >= MaxPlaces)
        {
            throw new NotSupportedException($"{_work.Name} has more than {MaxPlaces} places");
        }

        _places.Add((set, to, other));
        return _places.Count - 1;
    }

    private int[] Close(IEnumerable<int> places)
    {
        if (_seen.Length < _places.Count)
        {
            _seen = new int[_places.Count];
        }

        _round++;
        var (open, result) = (new Stack<int>(places), new List<int>());
        while (open.TryPop(out var place))
        {
            _work.Spend();
            if (place < 0 || _seen[place] == _round)
            {
                continue;
            }

            _seen[place] = _round;

            var (set, to, other) = _places[place];
            if (set is not null || place == _end)
            {
                result.Add(place); // only places with a character, and the end, tell states apart
            }
            else
            {
                open.Push(to);
                open.Push(other);
            }
        }

        _work.Hold(4 * result.Count);
        result.Sort();
        return [.. result];
    }
}

/// <summary>Counts the work of one pattern: one that asks for too much is not enforced, and of all together the schema is refused.</summary>
/// <param name="budget">of the whole schema; null where there is none</param>
/// <param name="name">the pattern, as messages name it</param>
internal sealed class PatternWork(WorkBudget? budget, string name)
{
    private const long Most = 600_000;

    private long _steps;

    public string Name => name;

    /// <exception cref="NotSupportedException">It is too much.</exception>
    public void Spend(long count = 1)
    {
        budget?.Spend(3 * count); // most of these look something up
        if ((_steps += count) > Most)
        {
            throw new NotSupportedException($"{name} takes more than {Most} steps to read");
        }
    }

    public void Hold(long size)
    {
        budget?.Hold(size);
        Spend(size >> 4);
    }
}

/// <summary>Compares lists of places.</summary>
internal sealed class PlacesComparer : IEqualityComparer<int[]>
{
    public static readonly PlacesComparer Instance = new();

    public bool Equals(int[]? a, int[]? b) => a.AsSpan().SequenceEqual(b);

    public int GetHashCode(int[] places)
    {
        var hash = new HashCode();
        hash.AddBytes(System.Runtime.InteropServices.MemoryMarshal.AsBytes(places.AsSpan()));
        return hash.ToHashCode();
    }
}
