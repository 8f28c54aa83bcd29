namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Knows a model's format from its chat template, which shows the model its own earlier calls.</summary>
internal static class ToolCallFormats
{
    public static IToolCallFormat Of(string template) =>
        template.Contains("[TOOL_CALLS]", StringComparison.Ordinal) ? new MistralFormat()
        : template.Contains("<tool_call>", StringComparison.Ordinal) ? new HermesFormat()
        : template.Contains("\"parameters\": ", StringComparison.Ordinal) ? new LlamaFormat()
        : new HermesFormat();
}
