namespace HeadInfer.Runtime.Constraints;

/// <summary>A deterministic automaton over characters, every state of which can reach an end. State 0 is the start.</summary>
internal sealed class CharacterAutomaton
{
    private const int MaxStates = 20_000;

    private readonly List<State> _states = [];

    private CharacterAutomaton()
    {
    }

    /// <summary>The strings that a pattern matches, of a length.</summary>
    /// <param name="pattern">the pattern, which may match anywhere in the string unless it has anchors</param>
    /// <param name="least">characters at least</param>
    /// <param name="most">characters at most; null for any number</param>
    /// <exception cref="NotSupportedException">It is too large, or has an anchor within.</exception>
    public static CharacterAutomaton Of(Pattern pattern, int least, int? most)
    {
        var graph = new PatternGraph(pattern);
        var result = new CharacterAutomaton();
        // Characters are counted as far as the count matters.
        var counts = most is { } m ? m + 1 : least;
        var known = new Dictionary<(string Places, int Count), int>();
        var open = new Queue<(int[] Places, int Count)>();
        int Add(int[] places, int count)
        {
            var key = (string.Join(',', places), count);
            if (!known.TryGetValue(key, out var state))
            {
                if (known.Count >= MaxStates)
                {
                    throw new NotSupportedException($"the pattern, with its length, has more than {MaxStates} states");
                }

                known[key] = state = known.Count;
                open.Enqueue((places, count));
                result._states.Add(new State(graph.Accepts(places) && count >= least));
            }

            return state;
        }

        Add(graph.Start(), 0);
        for (var i = 0; open.TryDequeue(out var from); i++)
        {
            if (from.Count < (most ?? int.MaxValue))
            {
                foreach (var (first, last, places) in graph.Moves(from.Places))
                {
                    result._states[i].Moves.Add((first, last, Add(places, Math.Min(counts, from.Count + 1))));
                }
            }
        }

        result.Trim();
        return result;
    }

    /// <summary>Fewest bytes to an end from the state that is the farthest.</summary>
    public int LongestOfShortest { get; private set; }

    public bool Accepts(int state) => _states[state].Accepts;

    /// <summary>Fewest bytes to an end, as JSON; <see cref="Node.Never"/> if there is none.</summary>
    public int ShortestBytes(int state) => _states[state].Shortest;

    /// <summary>The state after a character; -1 if it is not allowed.</summary>
    public int Next(int state, int character)
    {
        foreach (var (first, last, to) in _states[state].Moves)
        {
            if (character >= first && character <= last)
            {
                return to;
            }
        }

        return -1;
    }

    /// <summary>Fewest bytes to an end after some character of a range; <see cref="Node.Never"/> if none is allowed.</summary>
    public int Via(int state, int from, int to)
    {
        var shortest = Node.Never;
        foreach (var (first, last, next) in _states[state].Moves)
        {
            if (first <= to && last >= from)
            {
                shortest = Math.Min(shortest, _states[next].Shortest);
            }
        }

        return shortest;
    }

    /// <summary>Fewest bytes to an end after some character that may be written with an escape.</summary>
    public int ViaEscape(int state)
    {
        var shortest = Node.Never;
        foreach (var character in "\"\\\b\f\n\r\t")
        {
            shortest = Math.Min(shortest, Via(state, character, character));
        }

        return shortest;
    }

    // Distances to an end, and away with moves that lead to none.
    private void Trim()
    {
        var before = new List<(int From, int Cost)>[_states.Count];
        var queue = new PriorityQueue<int, int>();
        for (var i = 0; i < _states.Count; i++)
        {
            foreach (var (first, last, to) in _states[i].Moves)
            {
                (before[to] ??= []).Add((i, Cost(first, last)));
            }

            if (_states[i].Accepts)
            {
                _states[i].Shortest = 0;
                queue.Enqueue(i, 0);
            }
        }

        while (queue.TryDequeue(out var at, out var distance))
        {
            foreach (var (from, cost) in distance == _states[at].Shortest ? before[at] ?? [] : [])
            {
                if (distance + cost < _states[from].Shortest)
                {
                    _states[from].Shortest = distance + cost;
                    queue.Enqueue(from, distance + cost);
                }
            }
        }

        LongestOfShortest = _states.Where(s => s.Shortest < Node.Never).Select(s => s.Shortest).DefaultIfEmpty(0).Max();
        _states.ForEach(s => s.Moves.RemoveAll(m => _states[m.To].Shortest >= Node.Never));
    }

    // Fewest bytes of a character of a range.
    private static int Cost(int first, int last)
    {
        for (var c = Math.Max(first, ' '); c <= Math.Min(last, 0x7f); c++)
        {
            if (c is not ('"' or '\\'))
            {
                return 1;
            }
        }

        return first < 0x800 ? 2 : first < 0x10000 ? 3 : 4;
    }

    private sealed class State(bool accepts)
    {
        public bool Accepts => accepts;

        public List<(int First, int Last, int To)> Moves { get; } = [];

        public int Shortest { get; set; } = Node.Never;
    }
}

/// <summary>A pattern as a graph of places, some of which can be reached without a character.</summary>
internal sealed class PatternGraph
{
    private const int MaxPlaces = 20_000;

    private readonly List<(CharacterSet? Set, int To, int Other)> _places = []; // a character leads to To; without one, To and Other are reached
    private readonly Dictionary<CharacterSet, CharacterSet> _writable = new(ReferenceEqualityComparer.Instance);
    private readonly int _start;
    private readonly int _end;

    public PatternGraph(Pattern pattern)
    {
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
        _start = choices.Aggregate((a, b) => Place(null, a, b));
    }

    /// <summary>The places at the start.</summary>
    public int[] Start() => Close([_start]);

    public bool Accepts(int[] places) => places.Contains(_end);

    /// <summary>The places after each range of characters.</summary>
    public IEnumerable<(int First, int Last, int[] Places)> Moves(int[] places)
    {
        var moves = places.Where(p => _places[p].Set is not null).Select(p => (_places[p].Set!.Ranges, _places[p].To)).ToList();
        var edges = moves.SelectMany(m => m.Ranges.SelectMany(r => (int[])[r.First, r.Last + 1])).Distinct().Order().ToList();
        for (var i = 0; i + 1 < edges.Count; i++)
        {
            var to = moves.Where(m => m.Ranges.Any(r => r.First <= edges[i] && r.Last >= edges[i])).Select(m => m.To).ToList();
            if (to.Count > 0)
            {
                yield return (edges[i], edges[i + 1] - 1, Close(to));
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
        switch (pattern)
        {
            case Pattern.One one:
                return Place(Writable(one.Set), next, -1);
            case Pattern.Sequence sequence:
                return sequence.Parts.Reverse().Aggregate(next, (after, part) => Build(part, after));
            case Pattern.Choice choice:
                return choice.Parts.Select(p => Build(p, next)).ToList().Aggregate((a, b) => Place(null, a, b));
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
                throw new NotSupportedException("the pattern has an anchor within");
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
            throw new NotSupportedException($"the pattern has more than {MaxPlaces} places");
        }

        _places.Add((set, to, other));
        return _places.Count - 1;
    }

    private int[] Close(IEnumerable<int> places)
    {
        var (seen, open) = (new SortedSet<int>(), new Stack<int>(places));
        while (open.TryPop(out var place))
        {
            if (place >= 0 && seen.Add(place) && _places[place] is (null, var to, var other))
            {
                open.Push(to);
                open.Push(other);
            }
        }

        // Only places with a character, and the end, tell states apart.
        return [.. seen.Where(p => p == _end || _places[p].Set is not null)];
    }
}
