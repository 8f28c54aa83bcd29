namespace HeadInfer.SemanticKernel;

/// <summary>Why tokens that the model had read before are read again.</summary>
/// <param name="Cause">one of the constants, for programs</param>
/// <param name="Reason">the cause in plain words</param>
/// <param name="Message">the message that differs, from 0; null if it is none of them</param>
internal sealed record CacheMiss(string Cause, string Reason, int? Message = null)
{
    public const string SystemPrompt = "system_prompt", Tools = "tools", Template = "template", EditedMessage = "message", Forgotten = "forgotten", OtherConversation = "other_conversation";

    /// <summary>Everything is as it was, and the model has it no more.</summary>
    public static CacheMiss WasForgotten { get; } = new(Forgotten, "what was read of it was forgotten to make room; raise HeadInferOptions.HostMemory or KeptMemory");

    /// <summary>Whether it lies in how the template is made, so that it is the same in every conversation.</summary>
    public bool IsTemplates { get; init; }

    /// <summary>The cause that lies in a part of the request.</summary>
    public static CacheMiss Of(string cause, int? message = null) => new(
        cause,
        cause switch
        {
            SystemPrompt => "the system prompt is not what it was",
            Tools => "the tools are not what they were",
            Template => "the chat template writes what no message brought otherwise than before, such as a date or what stands around an answer",
            _ => $"message {message} is not what it was",
        },
        message);

    /// <summary>A template that cannot continue conversations.</summary>
    public static CacheMiss OfTemplate(string reason) => new(Template, "the chat template " + reason) { IsTemplates = true };
}
