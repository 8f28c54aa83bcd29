using System.Buffers.Binary;
using System.Text;
using System.Text.Json;

namespace HeadInfer.Tests;

/// <summary>Writes a SentencePiece model of byte-pair encoding, as a protocol buffer.</summary>
internal static class SentencePieceWriter
{
    public const int Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Byte = 6;

    /// <summary>The vocabulary of a tokenizer.json; its merges are what scores say.</summary>
    public static byte[] FromTokenizer(string tokenizerJson)
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(tokenizerJson));
        var model = json.RootElement.GetProperty("model");
        var rank = 0;
        var ranks = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var merge in model.GetProperty("merges").EnumerateArray())
        {
            ranks.TryAdd(merge.ValueKind == JsonValueKind.Array ? merge[0].GetString() + merge[1].GetString() : merge.GetString()!.Replace(" ", "", StringComparison.Ordinal), rank++);
        }

        return Write(model.GetProperty("vocab").EnumerateObject().OrderBy(p => p.Value.GetInt32()).Select(p => (
            p.Name,
            ranks.TryGetValue(p.Name, out var r) ? -r : -1e6f,
            p.Name == "<unk>" ? Unknown : p.Name is "<s>" or "</s>" ? Control : p.Name.StartsWith("<0x", StringComparison.Ordinal) ? Byte : Normal)));
    }

    /// <param name="pieces">in the order of ids: text, score, type</param>
    /// <param name="kind">the trainer's kind of model; 2 is byte-pair encoding</param>
    public static byte[] Write(IEnumerable<(string Text, float Score, int Type)> pieces, int kind = 2)
    {
        using var file = new MemoryStream();
        foreach (var (text, score, type) in pieces)
        {
            using var piece = new MemoryStream();
            Bytes(piece, 1, Encoding.UTF8.GetBytes(text));
            var bits = new byte[4];
            BinaryPrimitives.WriteSingleLittleEndian(bits, score);
            Number(piece, (2 << 3) | 5);
            piece.Write(bits);
            Field(piece, 3, type);
            Bytes(file, 1, piece.ToArray());
        }

        using var trainer = new MemoryStream();
        Field(trainer, 3, kind);
        Field(trainer, 35, 1); // falls back to bytes
        Field(trainer, 40, 0); // <unk>, <s>, </s>
        Field(trainer, 41, 1);
        Field(trainer, 42, 2);
        Bytes(file, 2, trainer.ToArray());
        using var normalizer = new MemoryStream();
        Bytes(normalizer, 1, "identity"u8.ToArray());
        Field(normalizer, 3, 1); // a space before the text
        Field(normalizer, 4, 0); // spaces are kept
        Field(normalizer, 5, 1); // and marked
        Bytes(file, 3, normalizer.ToArray());
        return file.ToArray();
    }

    private static void Field(Stream stream, int field, long value)
    {
        Number(stream, field << 3);
        Number(stream, value);
    }

    private static void Bytes(Stream stream, int field, byte[] value)
    {
        Number(stream, (field << 3) | 2);
        Number(stream, value.Length);
        stream.Write(value);
    }

    private static void Number(Stream stream, long value)
    {
        for (; value >= 0x80; value >>= 7)
        {
            stream.WriteByte((byte)(value | 0x80));
        }

        stream.WriteByte((byte)value);
    }
}
