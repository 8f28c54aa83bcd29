using System.Text.Encodings.Web;

namespace HeadInfer.Text.Constraints;

/// <summary>What the grammar of JSON fixes beyond the standard, so that outputs are read by every parser.</summary>
internal static class JsonText
{
    /// <summary>Containers within each other; .NET's reader takes no more.</summary>
    public const int MaxDepth = 64;

    /// <summary>White space between the parts of an output at most.</summary>
    public const int MaxSpace = 4;

    private const int IndentPerLevel = 4;

    private static readonly JsonSerializerOptions Relaxed = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static bool IsSpace(byte value) => value is (byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t';

    /// <summary>White space between the parts of a container: a space, or a new line and its indentation. With more freedom a model may write nothing else.</summary>
    /// <param name="value">the next byte, white space</param>
    /// <param name="space">what there is: 0 none, 1 a space, and from 2 on a new line and so many characters less two</param>
    /// <param name="depth">containers around the place</param>
    /// <returns>what there is then; null if there may be no more</returns>
    public static int? NextSpace(byte value, int space, int depth) => value switch
    {
        (byte)'\n' => space == 0 ? 2 : null,
        (byte)' ' or (byte)'\t' => space == 0 && value == ' ' ? 1 : space >= 2 && space < 2 + (depth * IndentPerLevel) ? space + 1 : null,
        _ => null,
    };

    /// <summary>A string as JSON, with as few escapes as there must be.</summary>
    public static byte[] Quote(string text) => JsonSerializer.SerializeToUtf8Bytes(text, Relaxed);
}
