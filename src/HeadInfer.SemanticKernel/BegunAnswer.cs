using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel;

/// <summary>An answer that a caller began, and that the model goes on with.</summary>
/// <param name="Text">what there is of it</param>
internal sealed record BegunAnswer(string Text)
{
    /// <summary>The last message, if the options ask for it to be continued; null if they do not.</summary>
    /// <exception cref="ArgumentException">It is no text of the assistant's.</exception>
    /// <exception cref="NotSupportedException">What else the options ask for would have to begin with the answer.</exception>
    public static BegunAnswer? Of(IReadOnlyList<ChatMessage> messages, ChatOptions? options)
    {
        if (!options.ContinuesMessage())
        {
            return null;
        }

        if (options!.ResponseFormat is ChatResponseFormatJson || options.ToolMode is RequiredChatToolMode)
        {
            throw new NotSupportedException("ChatOptions.AdditionalProperties[\"continue_final_message\"] cannot be honoured beside JSON output or a required call, which begin with the answer. Leave one of them out.");
        }

        return messages is [.., { } last] && last.Role == ChatRole.Assistant && last.Contents.All(c => c is TextContent) && last.Text.Length > 0
            ? new BegunAnswer(last.Text)
            : throw new ArgumentException("ChatOptions.AdditionalProperties[\"continue_final_message\"] needs a last message of the assistant's that is text, and not empty.");
    }

    /// <summary>The rendered conversation with the text that the answer begins with. It can stand for no special token.</summary>
    /// <param name="text">the conversation, ready to be answered</param>
    /// <param name="tags">what the model thinks between</param>
    /// <exception cref="NotSupportedException">The model says something before its answers.</exception>
    public TemplateText After(TemplateText text, ThoughtTags tags) => tags.Said.Length > 0 || tags.IsOpenedBy(text.Text)
        ? throw new NotSupportedException("ChatOptions.AdditionalProperties[\"continue_final_message\"] cannot be honoured: this model thinks before it answers, or names a channel, so an answer cannot be begun for it. Turn thinking off (Reasoning.Effort), or leave it out.")
        : new TemplateTextBuilder().Append(text).Append(TemplateText.Data(Text)).Build();
}
