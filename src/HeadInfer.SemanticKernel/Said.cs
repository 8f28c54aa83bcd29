namespace HeadInfer.SemanticKernel;

/// <summary>What an answer says, whatever its tokens and spaces are.</summary>
/// <param name="Thoughts">without the white space around them</param>
/// <param name="Text">likewise</param>
/// <param name="Calls">functions and their arguments, in order</param>
internal sealed record Said(string Thoughts, string Text, IReadOnlyList<(string Name, JsonElement Arguments)> Calls)
{
    /// <summary>Reads an answer as it was generated, or as a template wrote it.</summary>
    /// <param name="reader">a new one, which shows thoughts</param>
    public static Said Of(string answer, AnswerReader reader)
    {
        var contents = reader.Append(answer).ToList();
        contents.AddRange(reader.End(cut: false));
        var (thoughts, text) = (new StringBuilder(), new StringBuilder());
        List<(string, JsonElement)> calls = [];
        foreach (var content in contents)
        {
            switch (content)
            {
                case TextReasoningContent thought:
                    thoughts.Append(thought.Text);
                    break;
                case TextContent part:
                    text.Append(part.Text);
                    break;
                case FunctionCallContent call:
                    object? arguments = call.Exception is null ? call.Arguments ?? new Dictionary<string, object?>() : call.RawRepresentation;
                    calls.Add((call.Name, JsonSerializer.SerializeToElement(arguments, AIJsonUtilities.DefaultOptions)));
                    break;
            }
        }

        return new Said(thoughts.ToString().Trim(), text.ToString().Trim(), calls);
    }

    /// <summary>What a caller sends back as an answer.</summary>
    public static Said Of(ChatTurn turn) =>
        new((turn.Reasoning ?? "").Trim(), turn.Content.Trim(), [.. turn.ToolCalls.Select(c => (c.Name, JsonElement.Parse(c.Arguments)))]);

    /// <summary>Special tokens that are no text, in order.</summary>
    public IReadOnlyList<int> Marks { get; init; } = [];

    /// <summary>Whether two answers say the same, in the same form.</summary>
    public bool Equals(Said? other) => other is not null && Thoughts == other.Thoughts && SpeaksAs(other) && Marks.SequenceEqual(other.Marks);

    public override int GetHashCode() => HashCode.Combine(Thoughts, Text, Calls.Count);

    /// <summary>Whether two answers have the same calls: equal names, and arguments that are the same JSON.</summary>
    public bool CallsAs(Said other) =>
        Calls.Count == other.Calls.Count && Calls.Zip(other.Calls).All(c => c.First.Name == c.Second.Name && JsonElement.DeepEquals(c.First.Arguments, c.Second.Arguments));

    /// <summary>Whether two answers are the same but for their thoughts.</summary>
    public bool SpeaksAs(Said other) => Text == other.Text && CallsAs(other);
}
