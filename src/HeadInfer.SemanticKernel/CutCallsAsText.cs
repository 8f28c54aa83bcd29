using System.Runtime.CompilerServices;
using Microsoft.Extensions.AI;

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
            message.Contents = Shown(message.Contents);
        }

        return response;
    }

    public override async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await foreach (var update in base.GetStreamingResponseAsync(messages, options, cancellationToken).ConfigureAwait(false))
        {
            update.Contents = Shown(update.Contents);
            yield return update;
        }
    }

    private static IList<AIContent> Shown(IList<AIContent> contents) => contents.Any(IsCut) ? [.. contents.Select(c => IsCut(c) ? new TextContent(ChatRequest.Written((FunctionCallContent)c)) : c)] : contents;

    private static bool IsCut(AIContent content) => content is FunctionCallContent { InformationalOnly: true, Exception: not null };
}
