using HeadInfer.SemanticKernel.ToolCalls;
using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel;

/// <summary>
/// Writes calls as an assistant's text, as the model wrote them, for templates that speak of calls and write none: those of
/// SmolLM3, Granite 3 and Phi-4-mini. What is between the markers stays data.
/// </summary>
/// <param name="format">how the model writes calls</param>
/// <param name="tags">what it thinks between</param>
/// <param name="isSaid">whether the format is known, and not merely the usual one</param>
internal sealed class WrittenCalls(ChatTemplate template, IToolCallFormat format, ThoughtTags tags, bool isSaid)
{
    private readonly bool _showsThoughts = tags.Between.Length == 0 && template.Source.Contains(tags.End, StringComparison.Ordinal);

    /// <summary>The turns for the template.</summary>
    public IReadOnlyList<ChatTurn> In(Conversation conversation)
    {
        var turns = conversation.Turns;
        if (!isSaid || !turns.Any(t => t.ToolCalls.Count > 0) || template.TakesCalls(conversation.Tools is { Count: > 0 }))
        {
            return turns;
        }

        var lastUser = turns.Select((t, i) => t.Role == "user" ? i : -1).Max();
        return [.. turns.Select((t, i) => t.ToolCalls.Count > 0 && format.Write(t.ToolCalls) is { } calls ? t with { ToolCalls = [], Written = Written(t, calls, i > lastUser) } : t)];
    }

    private TemplateText Written(ChatTurn turn, TemplateText calls, bool isInLoop)
    {
        var text = new TemplateTextBuilder();
        if (_showsThoughts && isInLoop && turn.Reasoning is { Length: > 0 } thoughts)
        {
            text.Append(TemplateText.Trusted(tags.Start + "\n")).Append(TemplateText.Data(thoughts.Trim())).Append(TemplateText.Trusted("\n" + tags.End + "\n"));
        }

        if (turn.Content.Length > 0)
        {
            text.Append(TemplateText.Data(turn.Content)).Append(TemplateText.Trusted("\n"));
        }

        return text.Append(calls).Build();
    }
}
