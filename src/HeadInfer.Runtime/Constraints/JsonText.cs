using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace HeadInfer.Runtime.Constraints;

/// <summary>What the grammar of JSON fixes beyond the standard, so that outputs are read by every parser.</summary>
internal static class JsonText
{
    /// <summary>Containers within each other; .NET's reader takes no more.</summary>
    public const int MaxDepth = 64;

    /// <summary>White space in one place, enough to indent: without a limit a model may write nothing else.</summary>
    public const int MaxSpace = 40;

    private static readonly JsonSerializerOptions Relaxed = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static bool IsSpace(byte value) => value is (byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t';

    /// <summary>A string as JSON, with as few escapes as there must be.</summary>
    public static byte[] Quote(string text) => JsonSerializer.SerializeToUtf8Bytes(text, Relaxed);

    /// <summary>A string, number, boolean or null as JSON.</summary>
    public static byte[] Scalar(JsonElement value) => value.ValueKind == JsonValueKind.String ? Quote(value.GetString()!) : Encoding.UTF8.GetBytes(value.GetRawText());
}
