namespace HeadInfer.Text.Constraints;

/// <summary>A deterministic automaton over characters, every state of which can reach an end. State 0 is the start.</summary>
internal sealed class CharacterAutomaton
{
    private const int MaxStates = 20_000;
    private const int Block = 64;
    private const int LongestName = 256;

    private readonly State[] _states;

    private CharacterAutomaton(State[] states)
    {
        _states = states;
        Trim();
    }

    /// <summary>Fewest bytes to an end from the state that is the farthest.</summary>
    public int LongestOfShortest { get; private set; }

    /// <summary>The strings that a pattern matches.</summary>
    /// <param name="pattern">the pattern, which may match anywhere in the string unless it has anchors</param>
    /// <param name="work">counts the work</param>
    /// <exception cref="NotSupportedException">It is too large, or has an anchor within.</exception>
    public static CharacterAutomaton Of(Pattern pattern, PatternWork work)
    {
        var graph = new PatternGraph(pattern, work);
        return Explore(graph.Start(), graph.Accepts, graph.Moves, work, PlacesComparer.Instance);
    }

    /// <summary>Strings that JSON has without an escape.</summary>
    public static CharacterAutomaton Plain(PatternWork work) => Of(new Pattern.Sequence([new Pattern.Begin(), new Pattern.Repeat(new Pattern.One(CharacterSet.Of((0, ' ' - 1), ('"', '"'), ('\\', '\\')).Complement()), 0, null), new Pattern.End()]), work);

    /// <summary>Some strings as they stand.</summary>
    public static CharacterAutomaton Of(IEnumerable<string> words, PatternWork work) => Of(new Pattern.Choice([.. words.Select(word => new Pattern.Sequence(
        [new Pattern.Begin(), .. word.EnumerateRunes().Select(r => new Pattern.One(CharacterSet.Of((r.Value, r.Value)))), new Pattern.End()]))]), work);

    /// <summary>The strings that this and another have.</summary>
    public CharacterAutomaton And(CharacterAutomaton other, PatternWork work) => Explore(
        (A: 0, B: 0),
        at => Accepts(at.A) && other.Accepts(at.B),
        at => Overlaps(_states[at.A].Moves, other._states[at.B].Moves),
        work);

    /// <summary>The strings that this has not, of some characters.</summary>
    public CharacterAutomaton Not(CharacterSet characters, PatternWork work) => Explore(
        0,
        at => at < 0 || !Accepts(at),
        at => characters.Intersect(CharacterSet.Writable).Ranges.SelectMany(range => at < 0 ? [(range.First, range.Last, -1)] : WithGaps(_states[at].Moves, range.First, range.Last)),
        work);

    /// <summary>The strings of a length.</summary>
    /// <param name="least">characters at least</param>
    /// <param name="most">characters at most; null for any number</param>
    /// <param name="work">counts the work</param>
    public CharacterAutomaton OfLength(int least, int? most, PatternWork work)
    {
        // Characters are counted as far as the count matters.
        var counts = most is { } m ? m + 1L : least;
        return least == 0 && most is null ? this : Explore(
            (State: 0, Count: 0),
            at => Accepts(at.State) && at.Count >= least,
            at => at.Count >= (most ?? int.MaxValue) ? [] : _states[at.State].Moves.Select(move => (move.First, move.Last, (move.To, (int)Math.Min(counts, at.Count + 1L)))),
            work);
    }

    public bool Accepts(int state) => _states[state].Accepts;

    /// <summary>Fewest bytes to an end, as JSON; <see cref="Node.Never"/> if there is none.</summary>
    public int ShortestBytes(int state) => _states[state].Shortest;

    /// <summary>The state after a character; -1 if it is not allowed.</summary>
    public int Next(int state, int character)
    {
        var moves = _states[state].Moves;
        var move = FirstMove(moves, character);
        return move < moves.Length && moves[move].First <= character ? moves[move].To : -1;
    }

    /// <summary>Fewest bytes to an end after some character of a range; <see cref="Node.Never"/> if none is allowed.</summary>
    public int Via(int state, int from, int to)
    {
        var (moves, blocks, shortest) = (_states[state].Moves, _states[state].Blocks, Node.Never);
        for (var move = FirstMove(moves, from); move < moves.Length && moves[move].First <= to;)
        {
            if (move % Block == 0 && move + Block <= moves.Length && moves[move + Block - 1].First <= to)
            {
                shortest = Math.Min(shortest, blocks[move / Block]);
                move += Block;
            }
            else
            {
                shortest = Math.Min(shortest, _states[moves[move++].To].Shortest);
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

    /// <summary>Fewest bytes to an end with another string than some; <see cref="Node.Never"/> if there is none, or only beyond a few hundred characters that all of them share.</summary>
    /// <param name="state">where</param>
    /// <param name="others">the other strings, alike up to here</param>
    /// <param name="from">how many of their characters lie before here</param>
    public int ShortestBesides(int state, IReadOnlyCollection<string> others, int from) => ShortestBesides(state, others, from, from + LongestName);

    private int ShortestBesides(int state, IReadOnlyCollection<string> others, int from, int most)
    {
        if (others.Count == 0 || from > most)
        {
            return others.Count == 0 ? _states[state].Shortest : Node.Never;
        }

        var shortest = Accepts(state) && !others.Any(o => o.Length == from) ? 0 : Node.Never;
        var groups = others.Where(o => o.Length > from).GroupBy(o => System.Text.Rune.GetRuneAt(o, from)).ToDictionary(g => g.Key.Value, g => g.ToList());
        foreach (var (first, last, to) in _states[state].Moves)
        {
            // The cheapest character that none of the others goes on with.
            for (var character = first; character <= last; character++)
            {
                if (!groups.ContainsKey(character))
                {
                    shortest = Math.Min(shortest, Cost(character, last) + _states[to].Shortest);
                    break;
                }
            }
        }

        foreach (var (character, rest) in groups)
        {
            if (Next(state, character) is >= 0 and var to)
            {
                shortest = Math.Min(shortest, Math.Min(Node.Never, Cost(character, character) + ShortestBesides(to, rest, from + new System.Text.Rune(character).Utf16SequenceLength, most)));
            }
        }

        return shortest;
    }

    /// <summary>Whether all of a string is one of these.</summary>
    public bool Matches(string text)
    {
        var state = 0;
        foreach (var rune in text.EnumerateRunes())
        {
            state = state < 0 ? -1 : Next(state, rune.Value);
        }

        return state >= 0 && Accepts(state);
    }

    // All that can be reached from a start.
    private static CharacterAutomaton Explore<T>(T start, Func<T, bool> accepts, Func<T, IEnumerable<(int First, int Last, T To)>> moves, PatternWork work, IEqualityComparer<T>? comparer = null)
        where T : notnull
    {
        var (known, open, states) = (new Dictionary<T, int>(comparer) { [start] = 0 }, new Queue<T>([start]), new List<State>());
        while (open.TryDequeue(out var from))
        {
            var found = new List<(int First, int Last, int To)>();
            foreach (var (first, last, key) in moves(from))
            {
                work.Spend(2);
                if (!known.TryGetValue(key, out var to))
                {
                    if (known.Count >= MaxStates)
                    {
                        throw new NotSupportedException($"{work.Name} has more than {MaxStates} states, with its length");
                    }

                    known[key] = to = known.Count;
                    open.Enqueue(key);
                    work.Hold(100);
                }

                if (found.Count > 0 && found[^1].To == to && found[^1].Last + 1 == first)
                {
                    found[^1] = (found[^1].First, last, to);
                }
                else
                {
                    found.Add((first, last, to));
                    work.Hold(12);
                }
            }

            states.Add(new State(accepts(from)) { Moves = [.. found] });
        }

        return new CharacterAutomaton([.. states]);
    }

    private static IEnumerable<(int First, int Last, (int A, int B) To)> Overlaps((int First, int Last, int To)[] a, (int First, int Last, int To)[] b)
    {
        for (var (i, j) = (0, 0); i < a.Length && j < b.Length;)
        {
            var (first, last) = (Math.Max(a[i].First, b[j].First), Math.Min(a[i].Last, b[j].Last));
            if (first <= last)
            {
                yield return (first, last, (a[i].To, b[j].To));
            }

            (i, j) = a[i].Last < b[j].Last ? (i + 1, j) : (i, j + 1);
        }
    }

    // The moves of a range, and -1 where there is none.
    private static IEnumerable<(int First, int Last, int To)> WithGaps((int First, int Last, int To)[] moves, int from, int to)
    {
        for (var move = FirstMove(moves, from); move < moves.Length && moves[move].First <= to; move++)
        {
            if (moves[move].First > from)
            {
                yield return (from, moves[move].First - 1, -1);
            }

            yield return (Math.Max(from, moves[move].First), Math.Min(to, moves[move].Last), moves[move].To);
            from = moves[move].Last + 1;
        }

        if (from <= to)
        {
            yield return (from, to, -1);
        }
    }

    // The first move whose range does not end before a character.
    private static int FirstMove((int First, int Last, int To)[] moves, int character)
    {
        var (low, high) = (0, moves.Length);
        while (low < high)
        {
            var middle = (low + high) / 2;
            (low, high) = moves[middle].Last < character ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    // Distances to an end, and away with moves that lead to none.
    private void Trim()
    {
        var before = new List<(int From, int Cost)>[_states.Length];
        var queue = new PriorityQueue<int, int>();
        for (var i = 0; i < _states.Length; i++)
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
        foreach (var state in _states)
        {
            if (Array.Exists(state.Moves, m => _states[m.To].Shortest >= Node.Never))
            {
                state.Moves = [.. state.Moves.Where(m => _states[m.To].Shortest < Node.Never)];
            }

            state.Blocks = [.. state.Moves.Chunk(Block).Select(b => b.Min(m => _states[m.To].Shortest))];
        }
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

        /// <summary>In order, apart from each other.</summary>
        public required (int First, int Last, int To)[] Moves { get; set; }

        /// <summary>The least distance after so many moves at a time: what a range of characters asks for.</summary>
        public int[] Blocks { get; set; } = [];

        public int Shortest { get; set; } = Node.Never;
    }
}
