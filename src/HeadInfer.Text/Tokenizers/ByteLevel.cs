namespace HeadInfer.Text.Tokenizers;

/// <summary>The alphabet of byte-level BPE: every byte has a printable character (GPT-2).</summary>
internal static class ByteLevel
{
    private static readonly char[] Characters = BuildCharacters();
    private static readonly Dictionary<char, byte> Values = Enumerable.Range(0, 256).ToDictionary(b => Characters[b], b => (byte)b);

    public static char Character(byte value) => Characters[value];

    /// <summary>The bytes that a token of the vocabulary stands for.</summary>
    /// <exception cref="TokenizerException">It has a character that stands for no byte.</exception>
    public static byte[] Decode(string token)
    {
        var bytes = new byte[token.Length];
        for (var i = 0; i < bytes.Length; i++)
        {
            if (!Values.TryGetValue(token[i], out bytes[i]))
            {
                throw new TokenizerException($"The token '{token}' of the vocabulary is not written in the byte-level alphabet.");
            }
        }

        return bytes;
    }

    /// <summary>Text in the alphabet: a character for each of its UTF-8 bytes.</summary>
    public static string Encode(ReadOnlySpan<char> text)
    {
        var bytes = Encoding.UTF8.GetBytes(text.ToArray());
        return string.Create(bytes.Length, bytes, (characters, source) =>
        {
            for (var i = 0; i < source.Length; i++)
            {
                characters[i] = Characters[source[i]];
            }
        });
    }

    // Bytes that print stand for themselves; the others, in order, for U+0100 and on.
    private static char[] BuildCharacters()
    {
        var next = '\u0100';
        return [.. Enumerable.Range(0, 256).Select(b => b is (>= '!' and <= '~') or (>= 0xa1 and <= 0xac) or (>= 0xae and <= 0xff) ? (char)b : next++)];
    }
}
