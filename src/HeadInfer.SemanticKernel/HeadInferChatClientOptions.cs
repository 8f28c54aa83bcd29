namespace HeadInfer.SemanticKernel;

/// <summary>How a chat client treats its model. Registrations take it from the container, by the service's key and else without, and else as <c>Configure</c> made it.</summary>
public sealed record HeadInferChatClientOptions
{
    /// <summary>The model's name in answers and telemetry. Default: the service's key, else <see cref="HeadInferModel.Name"/>.</summary>
    public string? ModelId { get; set; }

    /// <summary>How the model writes the calls of functions. Default: as its chat template shows.</summary>
    public ToolCallFormat? ToolCallFormat { get; set; }

    /// <summary>
    /// Conversations that the client remembers, the least recently used making room. Answers then carry a
    /// <c>ConversationId</c>, and a request that has it brings only what is new. Default: 0, none: every request brings all
    /// messages.
    /// </summary>
    public int Conversations { get; set; }

    /// <summary>Told how far the reading of a prompt is, some times a second. Default: nobody.</summary>
    public IProgress<PrefillProgress>? Progress { get; set; }

    /// <exception cref="ArgumentOutOfRangeException">An option is out of range; the message names it.</exception>
    internal void Validate()
    {
        if (Conversations < 0)
        {
            throw new ArgumentOutOfRangeException(nameof(Conversations), Conversations, "HeadInferChatClientOptions.Conversations must be 0 or more.");
        }

        if (ToolCallFormat is { } format && !Enum.IsDefined(format))
        {
            throw new ArgumentOutOfRangeException(nameof(ToolCallFormat), format, $"HeadInferChatClientOptions.ToolCallFormat must be one of {string.Join(", ", Enum.GetNames<ToolCallFormat>())}.");
        }
    }
}
