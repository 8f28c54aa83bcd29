namespace HeadInfer.SemanticKernel;

/// <summary>The messages of conversations that callers continue by their id. Safe for concurrent use.</summary>
/// <param name="most">conversations at most; the least recently used makes room</param>
internal sealed class ConversationStore(int most)
{
    private readonly LinkedList<(string Id, IReadOnlyList<ChatMessage> Messages)> _recent = [];
    private readonly Lock _gate = new();

    public bool IsEnabled => most > 0;

    /// <summary>The messages of a conversation, in order.</summary>
    /// <exception cref="NotSupportedException">The client remembers none.</exception>
    /// <exception cref="ArgumentException">It does not know this one, or knows it no more.</exception>
    public IReadOnlyList<ChatMessage> Messages(string id)
    {
        if (!IsEnabled)
        {
            throw new NotSupportedException("ChatOptions.ConversationId cannot be honoured: this client keeps no conversations, so send all messages, and what was read before is not read again; or set HeadInferChatClientOptions.Conversations.");
        }

        lock (_gate)
        {
            var found = _recent.FirstOrDefault(c => c.Id == id);
            return found.Messages ?? throw new ArgumentException($"There is no conversation '{id}': it never was, or it made room for one of the {most} that HeadInferChatClientOptions.Conversations lets the client remember. Begin a new one with all messages.");
        }
    }

    /// <summary>Remembers a conversation as it is now.</summary>
    /// <param name="before">the messages that <see cref="Messages"/> gave; null if it is new</param>
    /// <param name="messages">all of them, with those that came since</param>
    /// <returns>the id of the one that made room, or null</returns>
    /// <exception cref="InvalidOperationException">Another request has continued it since.</exception>
    public string? Keep(string id, IReadOnlyList<ChatMessage>? before, IReadOnlyList<ChatMessage> messages)
    {
        lock (_gate)
        {
            if (_recent.FirstOrDefault(c => c.Id == id) is { Messages: not null } known)
            {
                if (known.Messages != before)
                {
                    throw new InvalidOperationException($"The conversation '{id}' was continued by another request while this one was answered, so this answer is no part of it. Continue a conversation by one request at a time.");
                }

                _recent.Remove(known);
            }

            _recent.AddFirst((id, messages));
            if (_recent.Count <= most)
            {
                return null;
            }

            var last = _recent.Last!.Value.Id;
            _recent.RemoveLast();
            return last;
        }
    }
}
