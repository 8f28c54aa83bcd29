namespace HeadInfer.SemanticKernel;

/// <summary>A conversation in the runtime's words.</summary>
/// <param name="Turns">who says what</param>
/// <param name="Messages">[turn] the message that brought it, from 0</param>
/// <param name="Tools">the functions that are offered; null if none are</param>
internal sealed record Conversation(IReadOnlyList<ChatTurn> Turns, IReadOnlyList<int> Messages, IReadOnlyList<ChatTool>? Tools)
{
    /// <summary>Its parts, by their hashes.</summary>
    public Outline Outline { get; } = Outline.Of(Turns, Tools);
}

/// <summary>A conversation by the hashes of its parts, to tell which of them changed. It keeps nothing of what they say.</summary>
/// <param name="Tools">the functions that are offered</param>
/// <param name="Turns">[turn] what is said and called, without thoughts</param>
/// <param name="HasSystem">whether the first turn is a system message</param>
internal sealed record Outline(int Tools, int[] Turns, bool HasSystem)
{
    public static Outline Of(IReadOnlyList<ChatTurn> turns, IReadOnlyList<ChatTool>? tools) => new(
        Hash(tools?.SelectMany(t => (string[])[t.Name, t.Description, t.Parameters.ValueKind == JsonValueKind.Undefined ? "" : t.Parameters.GetRawText()]) ?? []),
        [.. turns.Select(t => Hash([t.Role, t.Content, t.ToolCallId, .. t.ToolCalls.SelectMany(c => (string[])[c.Id, c.Name, c.Arguments])]))],
        turns is [{ Role: "system" }, ..]);

    /// <summary>Whether the first turn after the system's is the same: else they are two conversations.</summary>
    public bool BeginsAs(Outline other) => Turns.Skip(HasSystem ? 1 : 0).Take(1).SequenceEqual(other.Turns.Skip(other.HasSystem ? 1 : 0).Take(1));

    /// <summary>What is the first to differ from an earlier conversation that this one should go on; null if nothing does.</summary>
    /// <param name="earlier">that conversation</param>
    /// <param name="messages">[turn] the message that brought it</param>
    public CacheMiss? ChangeSince(Outline earlier, IReadOnlyList<int> messages)
    {
        var turn = Turns.AsSpan().CommonPrefixLength(earlier.Turns);
        return Tools != earlier.Tools ? CacheMiss.Of(CacheMiss.Tools)
            : turn == earlier.Turns.Length ? null
            : turn == 0 && (HasSystem || earlier.HasSystem) ? CacheMiss.Of(CacheMiss.SystemPrompt)
            : CacheMiss.Of(CacheMiss.EditedMessage, messages[Math.Min(turn, messages.Count - 1)]);
    }

    private static int Hash(IEnumerable<string?> texts)
    {
        var hash = default(HashCode);
        foreach (var text in texts)
        {
            hash.Add(text);
        }

        return hash.ToHashCode();
    }
}
