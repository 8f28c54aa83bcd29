using HeadInfer.Text.Constraints;

namespace HeadInfer.Text;

/// <summary>A form that generated text must have, such as JSON of a schema. Immutable. Keep it and use it again: what is found out about it is kept with it.</summary>
/// <remarks>
/// Tokens that would break the form are never chosen, at any temperature. The output is always complete, provided that as
/// many tokens are allowed as the shortest valid output has bytes.
/// </remarks>
/// <example>
/// <code>
/// using System.Text.Json;
/// using HeadInfer.Text;
///
/// using var schema = JsonDocument.Parse("""{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}""");
/// var person = OutputConstraint.JsonSchema(schema.RootElement);
/// var answer = OutputConstraint.OneOf(OutputConstraint.Text("none"), person); // that word, or such an object
/// </code>
/// </example>
public sealed class OutputConstraint
{
    private readonly Node _grammar;

    private OutputConstraint(Node grammar) => _grammar = grammar;

    /// <summary>A JSON object or array of any content.</summary>
    public static OutputConstraint Json() => new(SchemaCompiler.Any(containersOnly: true));

    /// <summary>JSON that a schema allows.</summary>
    /// <param name="schema">A JSON schema: types, objects, arrays, enumerations, anyOf, oneOf, allOf, references within it, lengths, patterns and common formats of strings, bounds and multiples of numbers. Properties come in its order. Where it names properties, others are written only if it has <c>additionalProperties</c>.</param>
    /// <param name="ignored">Told of each part of the schema that is not enforced; null if nobody wants to know.</param>
    /// <param name="cancellationToken">Ends the work, which for a schema of two megabytes may be a second.</param>
    /// <exception cref="ArgumentException">Nothing satisfies the schema, it is nested too deep, or it takes too much work or memory to compile.</exception>
    /// <exception cref="OperationCanceledException">The caller has cancelled.</exception>
    public static OutputConstraint JsonSchema(JsonElement schema, Action<string>? ignored = null, CancellationToken cancellationToken = default)
    {
        var told = new HashSet<string>(StringComparer.Ordinal);
        var grammar = SchemaCompiler.Compile(
            schema,
            what =>
            {
                if (told.Add(what))
                {
                    ignored?.Invoke(what);
                }
            },
            cancellationToken);
        return grammar.IsPossible && grammar.MinDepth <= JsonText.MaxDepth ? new OutputConstraint(grammar) : throw new ArgumentException("Nothing satisfies the JSON schema: some required part of it contradicts itself, contains itself, or lies deeper than any reader goes.", nameof(schema));
    }

    /// <summary>A text as it stands.</summary>
    public static OutputConstraint Text(string text)
    {
        ArgumentException.ThrowIfNullOrEmpty(text);
        return new OutputConstraint(new LiteralNode(Encoding.UTF8.GetBytes(text)));
    }

    /// <summary>A marker: the special token of that name, or the text where the vocabulary has no such token.</summary>
    public static OutputConstraint Marker(string marker)
    {
        ArgumentException.ThrowIfNullOrEmpty(marker);
        byte[] text = Encoding.UTF8.GetBytes(marker);
        return new OutputConstraint(new ChoiceNode([new LiteralNode((byte[])[TokenTrie.SpecialMark, .. text]), new LiteralNode(text)]));
    }

    /// <summary>Free text up to a marker, and the marker.</summary>
    /// <param name="marker">ASCII characters</param>
    public static OutputConstraint Until(string marker)
    {
        ArgumentException.ThrowIfNullOrEmpty(marker);
        return Ascii.IsValid(marker) ? new OutputConstraint(new FreeTextNode(marker)) : throw new ArgumentException("The marker must be of ASCII characters.", nameof(marker));
    }

    /// <summary>Free text to the end of the output, which may come anywhere. Once a marker is written, what follows it must have the marker's form.</summary>
    /// <param name="held">markers, and what follows each of them to the end of the output; a marker may be a special token</param>
    /// <param name="onlyAtBeginning">whether markers count only at the text's beginning, after white space at most</param>
    /// <exception cref="ArgumentException">There is no marker, or one is empty.</exception>
    public static OutputConstraint Held(IReadOnlyList<(string Marker, OutputConstraint Form)> held, bool onlyAtBeginning = false)
    {
        ArgumentNullException.ThrowIfNull(held);
        return held.Count > 0 && held.All(h => h.Marker.Length > 0)
            ? new OutputConstraint(new HeldTextNode(new MarkerAutomaton([.. held.Select(h => h.Marker)], onlyAtBeginning), [.. held.Select(h => h.Form._grammar)]))
            : throw new ArgumentException("There must be markers, none of them empty.", nameof(held));
    }

    /// <summary>A form that is made when an output comes to it: it may contain itself, or be one that few outputs need.</summary>
    /// <param name="form">gives it; asked once, while text is generated</param>
    public static OutputConstraint Defer(Func<OutputConstraint> form)
    {
        ArgumentNullException.ThrowIfNull(form);
        return new OutputConstraint(new DeferredNode(() => form().Measured()));
    }

    /// <summary>Some white space, or none.</summary>
    public static OutputConstraint Space() => new(new SpaceNode(JsonText.MaxSpace));

    /// <summary>One after the other.</summary>
    public static OutputConstraint Sequence(params ReadOnlySpan<OutputConstraint> parts) => new(new SequenceNode(Nodes(parts)));

    /// <summary>One of several.</summary>
    public static OutputConstraint OneOf(params ReadOnlySpan<OutputConstraint> choices) => new(new ChoiceNode(Nodes(choices)));

    /// <summary>Something, or nothing.</summary>
    public static OutputConstraint Optional(OutputConstraint part)
    {
        ArgumentNullException.ThrowIfNull(part);
        return new OutputConstraint(new ChoiceNode([part._grammar, new LiteralNode(default)]));
    }

    /// <summary>Something once or more.</summary>
    /// <param name="item">what</param>
    /// <param name="separator">what stands between</param>
    /// <param name="most">how often at most</param>
    public static OutputConstraint Repeat(OutputConstraint item, string separator, int most = int.MaxValue)
    {
        ArgumentNullException.ThrowIfNull(item);
        ArgumentException.ThrowIfNullOrEmpty(separator);
        ArgumentOutOfRangeException.ThrowIfLessThan(most, 1);
        return new OutputConstraint(new RepeatNode(item._grammar, Encoding.UTF8.GetBytes(separator), most));
    }

    /// <summary>The same form, which no limit of tokens shortens: it may be cut off instead.</summary>
    internal OutputConstraint Unhurried() => new(new UnhurriedNode(_grammar));

    /// <summary>Begins a text of this form.</summary>
    internal ConstrainedText Begin(TokenTrie vocabulary) => new(Measured(), vocabulary);

    /// <summary>The places before a text of this form.</summary>
    internal FrameSet Enter()
    {
        var frames = new FrameSet();
        Measured().Enter(new EndFrame(), frames);
        return frames;
    }

    /// <summary>The grammar, ready for use.</summary>
    internal Node Measured()
    {
        lock (_grammar)
        {
            if (!_grammar.IsPossible)
            {
                _grammar.Measure();
            }
        }

        return _grammar;
    }

    private static Node[] Nodes(ReadOnlySpan<OutputConstraint> parts)
    {
        var nodes = new Node[parts.Length];
        for (var i = 0; i < nodes.Length; i++)
        {
            nodes[i] = (parts[i] ?? throw new ArgumentNullException(nameof(parts)))._grammar;
        }

        return nodes.Length > 0 ? nodes : throw new ArgumentException("There are no parts.", nameof(parts));
    }
}
