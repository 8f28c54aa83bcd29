using System.Buffers.Binary;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>ggml's blocks of 32 numbers. A byte has two of four bits: the lower are the first half of the block, the higher the second.</summary>
/// <remarks>
/// With <c>d</c> the scale and <c>m</c> the least value, both float16, a number is <c>q * d</c> or <c>q * d + m</c>. The
/// product is exact in float32, so that there is one rounding at most, and every order and every compiler gives the same.
/// </remarks>
internal static class GgmlBlocks
{
    private const int Half = 16; // numbers of half a block, and bytes of four-bit ones

    // What the sixteen values of a non-linear four-bit type stand for.
    private static ReadOnlySpan<sbyte> NonLinear => [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

    // E2M1, doubled.
    private static ReadOnlySpan<sbyte> Fp4 => [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

    /// <summary>d, 16 bytes: four bits less 8.</summary>
    public static void Q4_0(ReadOnlySpan<byte> block, Span<float> to)
    {
        var d = Float(block);
        for (var i = 0; i < Half; i++)
        {
            to[i] = ((block[2 + i] & 15) - 8) * d;
            to[i + Half] = ((block[2 + i] >> 4) - 8) * d;
        }
    }

    /// <summary>d, m, 16 bytes: four bits.</summary>
    public static void Q4_1(ReadOnlySpan<byte> block, Span<float> to)
    {
        var (d, m) = (Float(block), Float(block[2..]));
        for (var i = 0; i < Half; i++)
        {
            to[i] = ((block[4 + i] & 15) * d) + m;
            to[i + Half] = ((block[4 + i] >> 4) * d) + m;
        }
    }

    /// <summary>d, the fifth bits of all numbers, 16 bytes: five bits less 16.</summary>
    public static void Q5_0(ReadOnlySpan<byte> block, Span<float> to)
    {
        var (d, high) = (Float(block), BinaryPrimitives.ReadUInt32LittleEndian(block[2..]));
        for (var i = 0; i < Half; i++)
        {
            to[i] = (((block[6 + i] & 15) | Fifth(high, i)) - 16) * d;
            to[i + Half] = (((block[6 + i] >> 4) | Fifth(high, i + Half)) - 16) * d;
        }
    }

    /// <summary>d, m, the fifth bits of all numbers, 16 bytes: five bits.</summary>
    public static void Q5_1(ReadOnlySpan<byte> block, Span<float> to)
    {
        var (d, m, high) = (Float(block), Float(block[2..]), BinaryPrimitives.ReadUInt32LittleEndian(block[4..]));
        for (var i = 0; i < Half; i++)
        {
            to[i] = (((block[8 + i] & 15) | Fifth(high, i)) * d) + m;
            to[i + Half] = (((block[8 + i] >> 4) | Fifth(high, i + Half)) * d) + m;
        }
    }

    /// <summary>d, 32 bytes: eight bits, signed.</summary>
    public static void Q8_0(ReadOnlySpan<byte> block, Span<float> to)
    {
        var d = Float(block);
        for (var i = 0; i < 2 * Half; i++)
        {
            to[i] = (sbyte)block[2 + i] * d;
        }
    }

    /// <summary>d, 16 bytes: values of the non-linear table.</summary>
    public static void IQ4_NL(ReadOnlySpan<byte> block, Span<float> to) => LookUp(block[2..], Float(block), to);

    /// <summary>An exponent of two (E8M0), 16 bytes: E2M1.</summary>
    public static void MXFP4(ReadOnlySpan<byte> block, Span<float> to)
    {
        // Half of two to the exponent, as the table is doubled; its two smallest are below the normal numbers.
        var d = BitConverter.UInt32BitsToSingle(block[0] < 2 ? 0x00200000u << block[0] : (uint)(block[0] - 1) << 23);
        for (var i = 0; i < Half; i++)
        {
            to[i] = Fp4[block[1 + i] & 15] * d;
            to[i + Half] = Fp4[block[1 + i] >> 4] * d;
        }
    }

    /// <summary>32 values of the non-linear table in 16 bytes, scaled.</summary>
    public static void LookUp(ReadOnlySpan<byte> values, float d, Span<float> to)
    {
        for (var i = 0; i < Half; i++)
        {
            to[i] = d * NonLinear[values[i] & 15];
            to[i + Half] = d * NonLinear[values[i] >> 4];
        }
    }

    /// <summary>The float16 at the start.</summary>
    public static float Float(ReadOnlySpan<byte> bytes) => (float)BinaryPrimitives.ReadHalfLittleEndian(bytes);

    private static int Fifth(uint high, int number) => (int)((high >> number) & 1) << 4;
}
