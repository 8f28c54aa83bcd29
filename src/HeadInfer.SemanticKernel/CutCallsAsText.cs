using System.Runtime.CompilerServices;

namespace HeadInfer.SemanticKernel;

/// <summary>Gives calls that nobody may make as the text that the model wrote: Semantic Kernel's contents cannot say of a call that it was cut off.</summary>
/// <param name="inner">invokes functions</param>
internal sealed class CutCallsAsText(IChatClient inner) : DelegatingChatClient(inner)
{
    public override async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        var response = await base.GetResponseAsync(messages, options, cancellationToken).ConfigureAwait(false);
        foreach (var message in response.Messages)
        {
            var said = false;
            message.Contents = Shown(message.Contents, ref said);
        }

        return response;
    }

    public override async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var said = false;
        await foreach (var update in base.GetStreamingResponseAsync(messages, options, cancellationToken).ConfigureAwait(false))
        {
            update.Contents = Shown(update.Contents, ref said);
            yield return update;
        }
    }

    // What stood between a text and its call was held back with the call: a line's end takes its place.
    private static List<AIContent> Shown(IList<AIContent> contents, ref bool said)
    {
        var shown = new List<AIContent>();
        foreach (var content in contents)
        {
            var written = IsCut(content) ? ChatRequest.Written((FunctionCallContent)content) : null;
            shown.Add(written is null ? content : new TextContent(said && written is not ['\n', ..] ? "\n" + written : written));
            said |= shown[^1] is TextContent { Text.Length: > 0 };
        }

        return shown;
    }

    private static bool IsCut(AIContent content) => content is FunctionCallContent { InformationalOnly: true, Exception: not null };
}
