namespace HeadInfer.Text.Constraints;

/// <summary>A character of UTF-8 on its way: the code points that it can still become.</summary>
/// <param name="Bytes">Bytes that are missing.</param>
/// <param name="First">The least code point that it can become.</param>
/// <param name="Last">The largest.</param>
internal readonly record struct Utf8Step(int Bytes, int First, int Last)
{
    /// <summary>After a character's first byte; null if no character begins with it. Surrogates and overlong forms are none.</summary>
    public static Utf8Step? Begin(byte value) => value switch
    {
        < 0x80 => new Utf8Step(0, value, value),
        >= 0xc2 and <= 0xdf => new Utf8Step(1, (value & 0x1f) << 6, ((value & 0x1f) << 6) | 0x3f),
        0xe0 => new Utf8Step(2, 0x800, 0xfff),
        0xed => new Utf8Step(2, 0xd000, 0xd7ff),
        >= 0xe1 and <= 0xef => new Utf8Step(2, (value & 0xf) << 12, ((value & 0xf) << 12) | 0xfff),
        0xf0 => new Utf8Step(3, 0x1_0000, 0x3_ffff),
        0xf4 => new Utf8Step(3, 0x10_0000, 0x10_ffff),
        >= 0xf1 and <= 0xf3 => new Utf8Step(3, (value & 7) << 18, ((value & 7) << 18) | 0x3_ffff),
        _ => null,
    };

    /// <summary>After one more byte; null if no character goes on with it.</summary>
    public Utf8Step? Next(byte value)
    {
        if ((value & 0xc0) != 0x80)
        {
            return null;
        }

        var shift = 6 * (Bytes - 1);
        var first = (First >> (shift + 6) << (shift + 6)) | ((value & 0x3f) << shift);
        var last = first | ((1 << shift) - 1);
        return first >= First && last <= Last ? new Utf8Step(Bytes - 1, first, last) : null;
    }
}
