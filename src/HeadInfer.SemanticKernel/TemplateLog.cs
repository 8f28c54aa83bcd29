namespace HeadInfer.SemanticKernel;

/// <summary>Tells what a model's chat template does not take as it stands.</summary>
internal static partial class TemplateLog
{
    public static void Limitations(ILogger logger, ChatTemplate template)
    {
        foreach (var limitation in template.Limitations)
        {
            Limitation(logger, limitation);
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "{Limitation}")]
    private static partial void Limitation(ILogger logger, string limitation);
}
