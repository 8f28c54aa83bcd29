namespace HeadInfer.Text.Constraints;

/// <summary>Within the name of a property that the schema does not name. It differs from all the others of its object.</summary>
/// <param name="owner">the object, before the name</param>
/// <param name="rule">what the property is</param>
/// <param name="state">where in the string</param>
/// <param name="text">its bytes so far</param>
/// <param name="after">what follows a name and a colon, whatever the name</param>
internal sealed class KeyFrame(ObjectFrame owner, OtherRule rule, JsonStringState state, byte[] text, Frame after) : TextFrame(after)
{
    private static readonly byte[] Colon = [(byte)':'];

    private bool? _isAlone;

    /// <summary>Before the first character.</summary>
    public static KeyFrame Start(ObjectFrame owner, OtherRule rule) =>
        new(owner, rule, JsonStringState.Start(rule.Names, rule.Names is null ? 1 : 0, JsonStringState.NoLimit, escapes: false), [], owner.AfterOther(rule, ""));

    public override bool LeavesAlike => false;

    public override int Weight => 8;

    // Whether no name that is taken begins so: then nothing but the text itself matters.
    private bool IsAlone => _isAlone ??= !OtherNames.AnyBegins(owner, Valid(text));

    public override void Step(byte value, FrameSet into)
    {
        switch (state.Step(value, out var next))
        {
            case TextStep.Inside:
                var inside = new KeyFrame(owner, rule, next, [.. text, value], After!);
                if (rule.Names is null || inside.Rest() < Node.Never)
                {
                    into.Add(inside);
                }

                break;
            case TextStep.Ended when Close(Encoding.UTF8.GetString(text)) is { } closed:
                into.Add(closed);
                break;
            default:
                break;
        }
    }

    public override object MaskKey(TokenTrie trie, int limit) => trie.Masks.Key(state, limit - 1 - After!.MinBytes);

    public override TextMask Mask(TokenTrie trie, int limit) => trie.Masks.Of(state, limit - 1 - After!.MinBytes);

    public override Frame? Leave(TokenTrie trie, int exit)
    {
        // Which name it is matters to the names after it alone.
        var isLast = trie.Entries[exit].Next == exit + 1;
        return IsAlone && isLast ? new LiteralFrame(Colon, After!) : Close(Encoding.UTF8.GetString([.. text, .. trie.PathTo(exit)[..^1]]));
    }

    // Tokens on the way to a name that is taken, from where none is left or too much would have to follow.
    public override IEnumerable<int> Refused(TokenTrie trie, int limit)
    {
        if (rule.Names is null || IsAlone)
        {
            return [];
        }

        var refused = new HashSet<int>();
        foreach (var name in OtherNames.Taken(owner))
        {
            var bytes = Encoding.UTF8.GetBytes(name);
            if (!bytes.AsSpan().StartsWith(text))
            {
                continue;
            }

            var (at, entry) = (state, -1);
            for (var i = text.Length; i < bytes.Length && at.Step(bytes[i], out at) == TextStep.Inside && (entry = trie.Child(entry, bytes[i])) >= 0; i++)
            {
                var frame = new KeyFrame(owner, rule, at, bytes[..(i + 1)], After!);
                if (frame.Rest() + After!.MinBytes > limit)
                {
                    refused.UnionWith(trie.TokensAt(trie.Entries[entry]).ToArray());
                }
            }
        }

        return refused;
    }

    // The colon; and one character more where the name is taken.
    protected override int Rest() => IsAlone ? state.MinBytes + 1
        : rule.Names is null ? state.MinBytes + 1 + (state.Part == StringPart.None && OtherNames.IsTaken(owner, Encoding.UTF8.GetString(text)) ? 1 : 0)
        : (int)Math.Min(Node.Never, state.Part != StringPart.None ? state.MinBytes + 1L + rule.Names.LongestOfShortest : 2L + OtherNames.Fewest(owner, rule, state.At, Encoding.UTF8.GetString(text)));

    protected override bool IsSamePlace(Frame other) => other is KeyFrame key && ReferenceEquals(key.Rule, rule) && key.Owner.Equals(owner) && key.Text.AsSpan().SequenceEqual(text);

    protected override int PlaceHash() => HashCode.Combine(owner, text.Length);

    private ObjectFrame Owner => owner;

    private OtherRule Rule => rule;

    private byte[] Text => text;

    private LiteralFrame? Close(string name) => OtherNames.IsTaken(owner, name) ? null : new LiteralFrame(Colon, owner.AfterOther(rule, name));

    private static string Valid(byte[] bytes) => Encoding.UTF8.GetString(bytes).TrimEnd('\ufffd');
}

/// <summary>Names of an object's properties that are taken: written, or with a place of their own.</summary>
internal static class OtherNames
{
    public static bool IsTaken(ObjectFrame at, string name) => at.Node.Names.Contains(name) || at.Written.Others?.Contains(name) == true;

    public static IEnumerable<string> Taken(ObjectFrame at) => at.Written.Others is { } others ? at.Node.Names.Concat(others) : at.Node.Names;

    public static bool AnyBegins(ObjectFrame at, string text) => Taken(at).Any(n => n.StartsWith(text, StringComparison.Ordinal));

    /// <summary>Fewest bytes that make a name that is not taken, from a state of its rule on; <see cref="Node.Never"/> if there is none.</summary>
    public static int Fewest(ObjectFrame at, OtherRule rule, int state, string text) =>
        rule.Names is not { } names ? 1 : names.ShortestBesides(state, [.. Taken(at).Where(n => n.StartsWith(text, StringComparison.Ordinal))], text.Length);
}
