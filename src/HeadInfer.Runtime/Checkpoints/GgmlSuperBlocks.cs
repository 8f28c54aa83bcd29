using System.Buffers.Binary;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>ggml's blocks of 256 numbers: small blocks of 16 or 32, whose scales are integers times a float16 of the whole.</summary>
/// <remarks>
/// A number is <c>d * scale * q</c>, less <c>dmin * least</c> where a type has that. Products have at most 24 bits, so they
/// are exact in float32 and there is one rounding at most.
/// </remarks>
internal static class GgmlSuperBlocks
{
    /// <summary>16 bytes of four-bit scales and leasts, 64 bytes: two bits, d, dmin. Small blocks have 16.</summary>
    public static void Q2_K(ReadOnlySpan<byte> block, Span<float> to)
    {
        var values = block[16..80];
        var (d, min) = (GgmlBlocks.Float(block[80..]), GgmlBlocks.Float(block[82..]));
        for (var small = 0; small < 16; small++)
        {
            var (scale, least) = (d * (block[small] & 15), min * (block[small] >> 4));
            var (from, shift) = TwoBits(small);
            for (var i = 0; i < 16; i++)
            {
                to[(small * 16) + i] = (scale * ((values[from + i] >> shift) & 3)) - least;
            }
        }
    }

    /// <summary>32 bytes: third bits, 64 bytes: two bits, 12 bytes: six-bit scales less 32, d. Small blocks have 16.</summary>
    public static void Q3_K(ReadOnlySpan<byte> block, Span<float> to)
    {
        var high = block[..32];
        var values = block[32..96];
        var scales = block[96..108];
        var d = GgmlBlocks.Float(block[108..]);
        for (var small = 0; small < 16; small++)
        {
            var low = small < 8 ? scales[small] & 15 : scales[small - 8] >> 4;
            var scale = d * ((low | (((scales[8 + (small % 4)] >> (2 * (small / 4))) & 3) << 4)) - 32);
            var (from, shift) = TwoBits(small);
            for (var i = 0; i < 16; i++)
            {
                // A third bit that is not set takes 4 away.
                var third = (high[((small % 2) * 16) + i] >> (small / 2)) & 1;
                to[(small * 16) + i] = scale * (((values[from + i] >> shift) & 3) - (4 * (1 - third)));
            }
        }
    }

    /// <summary>d, dmin, 12 bytes: six-bit scales and leasts, 128 bytes: four bits. Small blocks have 32.</summary>
    public static void Q4_K(ReadOnlySpan<byte> block, Span<float> to)
    {
        var (d, min) = (GgmlBlocks.Float(block), GgmlBlocks.Float(block[2..]));
        var scales = block[4..16];
        var values = block[16..];
        for (var small = 0; small < 8; small++)
        {
            var (scale, least) = ScaleAndLeast(scales, small);
            var (dl, ml, from, shift) = (d * scale, min * least, small / 2 * 32, small % 2 * 4);
            for (var i = 0; i < 32; i++)
            {
                to[(small * 32) + i] = (dl * ((values[from + i] >> shift) & 15)) - ml;
            }
        }
    }

    /// <summary>d, dmin, 12 bytes: six-bit scales and leasts, 32 bytes: fifth bits, 128 bytes: four bits. Small blocks have 32.</summary>
    public static void Q5_K(ReadOnlySpan<byte> block, Span<float> to)
    {
        var (d, min) = (GgmlBlocks.Float(block), GgmlBlocks.Float(block[2..]));
        var scales = block[4..16];
        var high = block[16..48];
        var values = block[48..];
        for (var small = 0; small < 8; small++)
        {
            var (scale, least) = ScaleAndLeast(scales, small);
            var (dl, ml, from, shift) = (d * scale, min * least, small / 2 * 32, small % 2 * 4);
            for (var i = 0; i < 32; i++)
            {
                to[(small * 32) + i] = (dl * (((values[from + i] >> shift) & 15) + (((high[i] >> small) & 1) << 4))) - ml;
            }
        }
    }

    /// <summary>128 bytes: four bits, 64 bytes: two more, 16 bytes: signed scales, d. A number is six bits less 32; small blocks have 16.</summary>
    public static void Q6_K(ReadOnlySpan<byte> block, Span<float> to)
    {
        var low = block[..128];
        var high = block[128..192];
        var scales = block[192..208];
        var d = GgmlBlocks.Float(block[208..]);
        for (var small = 0; small < 16; small++)
        {
            var (half, part, odd) = (small / 8, small % 8 / 2, small % 2 * 16); // a half has four parts of 32
            var (from, shift) = ((half * 64) + (part % 2 * 32) + odd, part / 2 * 4);
            var scale = d * (sbyte)scales[small];
            for (var i = 0; i < 16; i++)
            {
                var value = ((low[from + i] >> shift) & 15) | (((high[(half * 32) + odd + i] >> (2 * part)) & 3) << 4);
                to[(small * 16) + i] = scale * (value - 32);
            }
        }
    }

    /// <summary>d, 2 bytes: high bits of scales, 4 bytes: their low bits, 128 bytes: values of the non-linear table. Scales have six bits, less 32; small blocks have 32.</summary>
    public static void IQ4_XS(ReadOnlySpan<byte> block, Span<float> to)
    {
        var (d, high) = (GgmlBlocks.Float(block), BinaryPrimitives.ReadUInt16LittleEndian(block[2..]));
        for (var small = 0; small < 8; small++)
        {
            var scale = ((block[4 + (small / 2)] >> (small % 2 * 4)) & 15) | (((high >> (2 * small)) & 3) << 4);
            GgmlBlocks.LookUp(block.Slice(8 + (small * 16), 16), d * (scale - 32), to.Slice(small * 32, 32));
        }
    }

    // Of each half's 32 bytes, the first sixteen and the last, four times, two bits higher each time.
    private static (int From, int Shift) TwoBits(int small) => ((small / 8 * 32) + (small % 2 * 16), small % 8 / 2 * 2);

    // Twelve bytes have eight scales and eight leasts: four of each in six bits, and in the two bits left above them, and eight bytes' halves, the rest.
    private static (int Scale, int Least) ScaleAndLeast(ReadOnlySpan<byte> scales, int small) => small < 4
        ? (scales[small] & 63, scales[small + 4] & 63)
        : ((scales[small + 4] & 15) | (scales[small - 4] >> 6 << 4), (scales[small + 4] >> 4) | (scales[small] >> 6 << 4));
}
