namespace HeadInfer.Runtime.Text;

/// <summary>Text that remembers which parts of it a chat template wrote, and which came from messages.</summary>
/// <param name="Text">The whole text.</param>
/// <param name="TrustedRanges">The parts that may stand for special tokens: in order, apart from each other, none empty.</param>
internal sealed record TemplateText(string Text, IReadOnlyList<(int Start, int Length)> TrustedRanges)
{
    /// <summary>Text that a template wrote.</summary>
    public static TemplateText Trusted(string text) => new(text, text.Length > 0 ? [(0, text.Length)] : []);

    /// <summary>Text from a user, a document or a tool.</summary>
    public static TemplateText Data(string text) => new(text, []);
}
