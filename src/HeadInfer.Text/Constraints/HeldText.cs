namespace HeadInfer.Text.Constraints;

/// <summary>Free text to the end of the output, which may come anywhere. Once a marker is written, what follows has the marker's form.</summary>
/// <param name="markers">finds the markers</param>
/// <param name="forms">what follows each of them</param>
internal sealed class HeldTextNode(MarkerAutomaton markers, IReadOnlyList<Node> forms) : Node
{
    public override IEnumerable<Node> Parts => forms;

    public override void Enter(Frame after, FrameSet into) => into.Add(new Within(this, new HeldTextState(markers, MarkerAutomaton.Root), after));

    protected override long ShortestBytes() => 0;

    protected override long LeastDepth() => 0;

    private sealed class Within(HeldTextNode node, HeldTextState state, Frame after) : TextFrame(after)
    {
        private readonly HeldTextState _state = state;

        public override bool CanEnd => After!.CanEnd;

        public override void Step(byte value, FrameSet into)
        {
            if (_state.Step(value, out var next) == TextStep.Inside)
            {
                into.Add(new Within(node, next, After!));
            }
            else
            {
                node.FormAt(next.At).Enter(After!, into);
            }
        }

        // What follows depends on the marker.
        public override bool LeavesAlike => false;

        public override object MaskKey(TokenTrie trie, int limit) => trie.Masks.Key(_state, limit);

        public override TextMask Mask(TokenTrie trie, int limit) => trie.Masks.Of(_state, limit);

        public override Frame Leave(TokenTrie trie, int exit)
        {
            var at = _state;
            foreach (var value in trie.PathTo(exit))
            {
                at.Step(value, out at);
            }

            return new Begun(node.FormAt(at.At), After!);
        }

        protected override int Rest() => 0;

        protected override bool IsSamePlace(Frame other) => other is Within text && ReferenceEquals(text.Node, node) && text._state.Equals(_state);

        protected override int PlaceHash() => HashCode.Combine(node, _state.At);

        private HeldTextNode Node => node;
    }

    private Node FormAt(int state) => forms[markers.MarkerAt(state)];

    /// <summary>After a marker. It counts as near the end: a form that does not fit is cut off by the limit, rather than never begun.</summary>
    private sealed class Begun(Node form, Frame after) : Frame(after)
    {
        private FrameSet? _entered;

        public override FrameSet Entered
        {
            get
            {
                if (_entered is null)
                {
                    var entered = new FrameSet();
                    form.Enter(After!, entered);
                    _entered = entered;
                }

                return _entered;
            }
        }

        public override bool CanEnd => Entered.CanEnd;

        public override void Step(byte value, FrameSet into) => Entered.Step(value, into);

        protected override int Rest() => 0;

        protected override bool IsSamePlace(Frame other) => other is Begun begun && ReferenceEquals(begun.Form, form);

        protected override int PlaceHash() => form.GetHashCode();

        private Node Form => form;
    }
}

/// <summary>A place within free text: what of a marker it ends with.</summary>
/// <param name="At">the automaton's state</param>
internal readonly record struct HeldTextState(MarkerAutomaton Markers, int At) : ITextState<HeldTextState>
{
    /// <inheritdoc/>
    public int MinBytes => 0;

    /// <inheritdoc/>
    public int MaxMinBytes => 0;

    /// <inheritdoc/>
    public HeldTextState ForTokensUpTo(int length) => this;

    /// <inheritdoc/>
    public TextStep Step(byte value, out HeldTextState next)
    {
        next = this with { At = Markers.Next(At, value) };
        return Markers.MarkerAt(next.At) >= 0 ? TextStep.Ended : TextStep.Inside;
    }
}

/// <summary>Finds the first of some markers in bytes (Aho and Corasick). A special token counts as its spelling.</summary>
internal sealed class MarkerAutomaton
{
    public const int Root = 0;

    // Where no marker is looked for any more.
    private const int Elsewhere = -1;

    private readonly List<Dictionary<byte, int>> _next = [[]];
    private readonly List<int> _marker = [-1];
    private readonly List<int> _shorter = [Root]; // the longest other beginning of a marker that the text ends with
    private readonly bool _onlyAtBeginning;

    public MarkerAutomaton(IReadOnlyList<string> markers, bool onlyAtBeginning)
    {
        _onlyAtBeginning = onlyAtBeginning;
        for (var i = 0; i < markers.Count; i++)
        {
            var state = Root;
            foreach (var value in Encoding.UTF8.GetBytes(markers[i]))
            {
                if (!_next[state].TryGetValue(value, out var next))
                {
                    _next[state][value] = next = _next.Count;
                    _next.Add([]);
                    _marker.Add(-1);
                    _shorter.Add(Root);
                }

                state = next;
            }

            _marker[state] = i;
        }

        var open = new Queue<int>(_next[Root].Values);
        while (open.TryDequeue(out var state))
        {
            foreach (var (value, next) in _next[state])
            {
                _shorter[next] = Next(_shorter[state], value, anywhere: true);
                _marker[next] = _marker[next] >= 0 ? _marker[next] : _marker[_shorter[next]];
                open.Enqueue(next);
            }
        }
    }

    /// <summary>Which marker has just ended; -1 if none has.</summary>
    public int MarkerAt(int state) => state == Elsewhere ? -1 : _marker[state];

    public int Next(int state, byte value) => Next(state, value, !_onlyAtBeginning);

    private int Next(int state, byte value, bool anywhere)
    {
        if (state == Elsewhere || value == TokenTrie.SpecialMark)
        {
            return state; // a marker may be several special tokens
        }

        while (true)
        {
            if (_next[state].TryGetValue(value, out var next))
            {
                return next;
            }

            if (state == Root)
            {
                return anywhere || JsonText.IsSpace(value) ? Root : Elsewhere;
            }

            if (!anywhere)
            {
                return Elsewhere;
            }

            state = _shorter[state];
        }
    }
}

/// <summary>A node that is made when an output comes to it: a form that contains itself, or one that few outputs need.</summary>
/// <param name="make">makes it, measured</param>
/// <remarks>What it needs at least is not known before, and so counts as nothing.</remarks>
internal sealed class DeferredNode(Func<Node> make) : Node
{
    private readonly Lazy<Node> _made = new(make);

    public override IEnumerable<Node> Parts => [];

    public override void Enter(Frame after, FrameSet into)
    {
        if (into.Enters(this, after))
        {
            _made.Value.Enter(after, into);
        }
    }

    protected override long ShortestBytes() => 0;

    protected override long LeastDepth() => 0;
}
