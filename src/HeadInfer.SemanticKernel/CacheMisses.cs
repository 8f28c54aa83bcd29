using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel;

/// <summary>Tells why a prompt's beginning was not found. Everything that it says comes from the request itself.</summary>
/// <param name="past">the answers that were given</param>
/// <param name="tokenizer">the model's</param>
/// <param name="logger">who is told</param>
/// <remarks>
/// A conversation that was answered before has one of those answers in it. When such a one is read again, that is a miss.
/// Any other conversation merely parts from those that began like it, and that is told for debugging alone.
/// </remarks>
internal sealed class CacheMisses(Recollection past, Tokenizer tokenizer, ILogger logger)
{
    private const int WordsBefore = 8, Words = 20; // tokens

    /// <param name="prompt">what is read</param>
    /// <param name="reused">tokens of it that were known</param>
    /// <param name="diverged">whether what was known goes on otherwise after them</param>
    /// <returns>what an answer says of it; null if nothing was missed</returns>
    public AdditionalPropertiesDictionary? Tell(RenderedPrompt prompt, int reused, bool diverged)
    {
        // The last token of a prompt is always read, and that of an answer may not have been.
        var answered = prompt.Known > 0;
        var miss = !answered ? diverged ? WhereItParts(prompt, reused) : null
            : reused + 1 < Math.Min(prompt.Known, prompt.Tokens.Count) ? prompt.Miss
            : null;
        if (miss is null)
        {
            return null;
        }

        var words = tokenizer.Decode(prompt.Tokens.Skip(Math.Max(0, reused - WordsBefore)).Take(Words), skipSpecial: false);
        HeadInferLog.Missed(logger, answered && !miss.IsTemplates ? LogLevel.Information : LogLevel.Debug, reused, prompt.Tokens.Count, miss.Reason, words);
        return miss.Cause == CacheMiss.OtherConversation ? null : new AdditionalPropertiesDictionary
        {
            ["cache_miss_token"] = reused,
            ["cache_miss_cause"] = miss.Cause,
            ["cache_miss_reason"] = miss.Reason,
            ["cache_miss_text"] = words,
            ["cache_miss_message"] = miss.Message,
        };
    }

    // In which part of a conversation that was not answered before the first other token stands.
    private CacheMiss WhereItParts(RenderedPrompt prompt, int reused)
    {
        var (turns, text) = (prompt.Conversation.Turns, prompt.Text.Text);
        var at = tokenizer.Decode(prompt.Tokens.Take(reused + 1), skipSpecial: false).Length - 1; // a token may begin in one part and end in the next
        var (system, first) = (turns[0].Role == "system" ? turns[0].Content.Trim() : null, (turns.FirstOrDefault(t => t.Role != "system") ?? turns[^1]).Content.Trim());
        foreach (var (start, end) in Brought(prompt.Text).TakeWhile(b => b.Start <= at))
        {
            var part = text.AsSpan(start, end - start).TrimEnd();
            if (part.EndsWith(first) && at >= start + part.Length - first.Length)
            {
                return new CacheMiss(CacheMiss.OtherConversation, "it is another conversation, which begins like an earlier one");
            }

            if (at < end)
            {
                return CacheMiss.Of(system is not null && part.Contains(system, StringComparison.Ordinal) ? CacheMiss.SystemPrompt : CacheMiss.Tools);
            }
        }

        // Text of the template's own depends on what it is given.
        return past.Latest(prompt.Key) is { } last && prompt.Conversation.Outline.ChangeSince(last.Outline, prompt.Conversation.Messages) is { Cause: not CacheMiss.EditedMessage } change ? change : CacheMiss.Of(CacheMiss.Template);
    }

    // The parts of a text that messages and tools brought.
    private static IEnumerable<(int Start, int End)> Brought(TemplateText text)
    {
        var at = 0;
        foreach (var (start, length) in text.TrustedRanges)
        {
            if (start > at)
            {
                yield return (at, start);
            }

            at = start + length;
        }

        if (at < text.Length)
        {
            yield return (at, text.Length);
        }
    }
}
