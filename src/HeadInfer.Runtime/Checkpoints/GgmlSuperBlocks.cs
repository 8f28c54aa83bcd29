using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>ggml's blocks of 256 numbers: small blocks of 16 or 32, whose scales are integers times a float16 of the whole.</summary>
/// <remarks>
/// A number is <c>d * scale * q</c>, less <c>dmin * least</c> where a type has that. Products have at most 24 bits, so they
/// are exact in float32 and there is one rounding at most.
/// </remarks>
internal static unsafe class GgmlSuperBlocks
{
    private const int Block = 256;
    private const uint LowFour = 0x0F0F0F0F, LowSix = 0x3F3F3F3F, LowTwo = 0x03030303; // of four bytes

    /// <summary>16 bytes of four-bit scales and leasts, 64 bytes: two bits, d, dmin. Small blocks have 16.</summary>
    public static void Q2_K(byte* blocks, int count, float* to)
    {
        float* scales = stackalloc float[16], leasts = stackalloc float[16];
        for (; count > 0; count--, blocks += 84, to += Block)
        {
            var both = Vector128.Load(blocks);
            (Codes.Numbers(Codes.Low(both)) * Vector512.Create(Codes.Half(blocks + 80))).Store(scales);
            (Codes.Numbers(Codes.High(both)) * Vector512.Create(-Codes.Half(blocks + 82))).Store(leasts);
            for (var part = 0; part < 8; part++)
            {
                var values = Codes.Bits(Vector256.Load(blocks + 16 + (part / 4 * 32)), part % 4 * 2, 3);
                var (first, second) = (2 * part, (2 * part) + 1);
                var at = to + (part * 32);
                Codes.Scale(values.GetLower(), scales[first], leasts[first], at);
                Codes.Scale(values.GetUpper(), scales[second], leasts[second], at + 16);
            }
        }
    }

    /// <summary>32 bytes: third bits, 64 bytes: two bits, 12 bytes: six-bit scales less 32, d. Small blocks have 16. A third bit that is not set takes 4 away.</summary>
    public static void Q3_K(byte* blocks, int count, float* to)
    {
        var scales = stackalloc float[16];
        for (; count > 0; count--, blocks += 110, to += Block)
        {
            uint a = Unsafe.ReadUnaligned<uint>(blocks + 96), b = Unsafe.ReadUnaligned<uint>(blocks + 100), upper = Unsafe.ReadUnaligned<uint>(blocks + 104);
            var six = Vector128.Create(
                (a & LowFour) | ((upper & LowTwo) << 4),
                (b & LowFour) | (((upper >> 2) & LowTwo) << 4),
                ((a >> 4) & LowFour) | (((upper >> 4) & LowTwo) << 4),
                ((b >> 4) & LowFour) | (((upper >> 6) & LowTwo) << 4)).AsByte();
            ((Codes.Numbers(six) - Vector512.Create(32f)) * Vector512.Create(Codes.Half(blocks + 108))).Store(scales);
            var third = Vector256.Load(blocks);
            for (var part = 0; part < 8; part++)
            {
                var values = Codes.Bits(Vector256.Load(blocks + 32 + (part / 4 * 32)), part % 4 * 2, 3) | Codes.Where(third, part, 4);
                var (first, second) = (scales[2 * part], scales[(2 * part) + 1]);
                var at = to + (part * 32);
                Codes.Scale(values.GetLower(), first, -4 * first, at);
                Codes.Scale(values.GetUpper(), second, -4 * second, at + 16);
            }
        }
    }

    /// <summary>d, dmin, 12 bytes: six-bit scales and leasts, 128 bytes: four bits. Small blocks have 32.</summary>
    public static void Q4_K(byte* blocks, int count, float* to)
    {
        var scales = stackalloc float[16];
        for (; count > 0; count--, blocks += 144, to += Block)
        {
            ScalesAndLeasts(blocks, scales);
            for (var pair = 0; pair < 4; pair++)
            {
                var values = Vector256.Load(blocks + 16 + (pair * 32));
                Codes.Scale(Codes.Bits(values, 0, 15), scales[2 * pair], scales[8 + (2 * pair)], to + (pair * 64));
                Codes.Scale(Codes.Bits(values, 4, 15), scales[(2 * pair) + 1], scales[9 + (2 * pair)], to + (pair * 64) + 32);
            }
        }
    }

    /// <summary>d, dmin, 12 bytes: six-bit scales and leasts, 32 bytes: fifth bits, 128 bytes: four bits. Small blocks have 32.</summary>
    public static void Q5_K(byte* blocks, int count, float* to)
    {
        var scales = stackalloc float[16];
        for (; count > 0; count--, blocks += 176, to += Block)
        {
            ScalesAndLeasts(blocks, scales);
            var fifth = Vector256.Load(blocks + 16);
            for (var small = 0; small < 8; small++)
            {
                var values = Codes.Bits(Vector256.Load(blocks + 48 + (small / 2 * 32)), small % 2 * 4, 15) | Codes.Where(fifth, small, 16);
                Codes.Scale(values, scales[small], scales[8 + small], to + (small * 32));
            }
        }
    }

    /// <summary>128 bytes: four bits, 64 bytes: two more, 16 bytes: signed scales, d. A number is six bits less 32; small blocks have 16.</summary>
    public static void Q6_K(byte* blocks, int count, float* to)
    {
        float* scales = stackalloc float[16], offsets = stackalloc float[16];
        for (; count > 0; count--, blocks += 210, to += Block)
        {
            var all = Codes.Numbers(Vector128.Load((sbyte*)blocks + 192)) * Vector512.Create(Codes.Half(blocks + 208));
            all.Store(scales);
            (all * Vector512.Create(-32f)).Store(offsets);
            for (var part = 0; part < 8; part++)
            {
                var (half, quarter) = (part / 4, part % 4);
                var upper = Vector256.Load(blocks + 128 + (half * 32)).AsUInt16();
                var two = (quarter == 3 ? upper >> 2 : upper << (4 - (2 * quarter))).AsByte() & Vector256.Create((byte)0x30);
                var values = Codes.Bits(Vector256.Load(blocks + (half * 64) + (quarter % 2 * 32)), quarter / 2 * 4, 15) | two;
                var (first, second) = (2 * part, (2 * part) + 1);
                var at = to + (part * 32);
                Codes.Scale(values.GetLower(), scales[first], offsets[first], at);
                Codes.Scale(values.GetUpper(), scales[second], offsets[second], at + 16);
            }
        }
    }

    /// <summary>d, 2 bytes: high bits of scales, 4 bytes: their low bits, 128 bytes: values of the non-linear table. Scales have six bits, less 32; small blocks have 32.</summary>
    public static void IQ4_XS(byte* blocks, int count, float* to)
    {
        for (; count > 0; count--, blocks += 136, to += Block)
        {
            var d = Codes.Half(blocks);
            uint high = Unsafe.ReadUnaligned<ushort>(blocks + 2), low = Unsafe.ReadUnaligned<uint>(blocks + 4);
            for (var small = 0; small < 8; small++, high >>= 2, low >>= 4)
            {
                GgmlBlocks.LookUp(GgmlBlocks.NonLinear, blocks + 8 + (small * 16), d * ((int)((low & 15) | ((high & 3) << 4)) - 32), to + (small * 32));
            }
        }
    }

    // d, dmin and twelve bytes become eight scales and eight leasts, these negated. The bytes have four of each in six bits, and
    // in the two bits left above them, and in eight bytes' halves, the rest.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ScalesAndLeasts(byte* block, float* to)
    {
        uint a = Unsafe.ReadUnaligned<uint>(block + 4), b = Unsafe.ReadUnaligned<uint>(block + 8), c = Unsafe.ReadUnaligned<uint>(block + 12);
        var six = Vector128.Create(a & LowSix, (c & LowFour) | (((a >> 6) & LowTwo) << 4), b & LowSix, ((c >> 4) & LowFour) | (((b >> 6) & LowTwo) << 4)).AsByte();
        (Codes.Numbers(six) * Vector512.Create(Vector256.Create(Codes.Half(block)), Vector256.Create(-Codes.Half(block + 2)))).Store(to);
    }
}
