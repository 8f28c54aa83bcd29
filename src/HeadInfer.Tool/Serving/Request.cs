namespace HeadInfer.Tool.Serving;

/// <summary>What a request asks for.</summary>
/// <param name="Messages">the conversation; none where only the model is to be there</param>
/// <param name="Options">how it is to be answered</param>
/// <param name="Stream">whether the answer is wanted as it comes</param>
/// <param name="Format">how the answer is written</param>
internal sealed record Request(IReadOnlyList<ChatMessage> Messages, ChatOptions Options, bool Stream, IAnswerFormat Format)
{
    /// <summary>Who answers, in place of the route's own; null for that.</summary>
    public IChatClient? By { get; init; }

    /// <summary>When its answer must have begun; null for whenever.</summary>
    public DateTimeOffset? Deadline { get; init; }

    /// <summary>Told of a whole answer.</summary>
    public Action<ChatResponse>? Answered { get; init; }
}

/// <summary>One answer in the words of a wire format. Frames are text as it is sent, each with its end.</summary>
internal interface IAnswerFormat
{
    /// <summary>Of a stream.</summary>
    string ContentType { get; }

    /// <summary>How often who waits is told of the reading; null for as often as a connection needs to be kept alive.</summary>
    TimeSpan? Interval => null;

    /// <summary>What is sent before the model says anything.</summary>
    IEnumerable<string> Begin() => [];

    /// <summary>What is sent while the model reads.</summary>
    string Waiting(Reading reading);

    /// <summary>What an update becomes.</summary>
    IEnumerable<string> Of(ChatResponseUpdate update);

    /// <summary>What is sent after the last update.</summary>
    IEnumerable<string> End() => [];

    /// <summary>What is sent where an answer breaks off.</summary>
    string Failed(Refusal refusal);

    /// <summary>Whether every client knows <see cref="Failed"/> for an end.</summary>
    bool EndsByFailure => false;

    /// <summary>An answer that is wanted whole.</summary>
    object Whole(ChatResponse response);
}
