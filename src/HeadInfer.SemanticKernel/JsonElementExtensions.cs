namespace HeadInfer.SemanticKernel;

internal static class JsonElementExtensions
{
    public static bool ValueEqualsText(this JsonElement element, string text) => element.ValueKind == JsonValueKind.String && element.ValueEquals(text);
}
