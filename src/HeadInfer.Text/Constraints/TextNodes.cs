namespace HeadInfer.Text.Constraints;

/// <summary>A frame within a text: the tokens that stay inside are known without what follows it.</summary>
internal abstract class TextFrame(Frame after) : Frame(after)
{
    /// <summary>Whether the text ends alike with every entry of the vocabulary: what follows it is <see cref="Frame.After"/>.</summary>
    public virtual bool LeavesAlike => true;

    /// <summary>What the mask depends on: equal for places that have the same.</summary>
    public abstract object MaskKey(TokenTrie trie, int limit);

    /// <summary>The tokens that stay inside the text, and those that lead out of it.</summary>
    /// <param name="trie">the vocabulary</param>
    /// <param name="limit">bytes that may still have to follow a token, to the output's end</param>
    public abstract TextMask Mask(TokenTrie trie, int limit);

    public override int Weight => 2;

    /// <summary>What follows the text when it ends with an entry of the vocabulary; null if it may not end so.</summary>
    public virtual Frame? Leave(TokenTrie trie, int exit) => After;

    /// <summary>Tokens that the mask allows, and what the text has before it does not.</summary>
    /// <param name="trie">the vocabulary</param>
    /// <param name="limit">bytes that may still have to follow a token, to the output's end</param>
    public virtual IEnumerable<int> Refused(TokenTrie trie, int limit) => [];
}

/// <inheritdoc/>
internal sealed class TextFrame<TState>(TState state, Frame after) : TextFrame(after)
    where TState : struct, ITextState<TState>
{
    private readonly TState _state = state;

    public override void Step(byte value, FrameSet into)
    {
        switch (_state.Step(value, out var next))
        {
            case TextStep.Inside:
                into.Add(new TextFrame<TState>(next, After!));
                break;
            case TextStep.Ended:
                into.Add(After!);
                break;
            default:
                break;
        }
    }

    public override object MaskKey(TokenTrie trie, int limit) => trie.Masks.Key(_state, limit - After!.MinBytes);

    public override TextMask Mask(TokenTrie trie, int limit) => trie.Masks.Of(_state, limit - After!.MinBytes);

    protected override int Rest() => _state.MinBytes;

    protected override bool IsSamePlace(Frame other) => _state.Equals(((TextFrame<TState>)other)._state);

    protected override int PlaceHash() => _state.GetHashCode();
}

internal sealed class StringNode(CharacterAutomaton? pattern, int least, int most) : Node
{
    private static readonly byte[] Quote = [(byte)'"'];

    public override IEnumerable<Node> Parts => [];

    public override void Enter(Frame after, FrameSet into)
    {
        if (IsPossible)
        {
            into.Add(new LiteralFrame(Quote, new TextFrame<JsonStringState>(JsonStringState.Start(pattern, pattern is null ? least : 0, pattern is null ? most : JsonStringState.NoLimit), after)));
        }
    }

    // A pattern has the length within it.
    protected override long ShortestBytes() => pattern is not null ? 2L + pattern.ShortestBytes(0) : least <= most ? 2L + least : Never;

    protected override long LeastDepth() => 0;
}

/// <summary>Free text, such as a model's thoughts, to the end of a marker.</summary>
internal sealed class FreeTextNode(string marker) : Node
{
    public override IEnumerable<Node> Parts => [];

    public override void Enter(Frame after, FrameSet into) => into.Add(new TextFrame<FreeTextState>(new FreeTextState(marker, 0), after));

    protected override long ShortestBytes() => marker.Length;

    protected override long LeastDepth() => 0;
}
