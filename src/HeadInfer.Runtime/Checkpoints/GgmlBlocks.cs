using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>ggml's blocks of 32 numbers. A byte has two of four bits: the lower are the first half of the block, the higher the second.</summary>
/// <remarks>
/// With <c>d</c> the scale and <c>m</c> the least value, both float16, a number is <c>q * d</c> or <c>q * d + m</c>. The
/// product is exact in float32, so that there is one rounding at most, and every order and every compiler gives the same.
/// </remarks>
internal static unsafe class GgmlBlocks
{
        /// <summary>What the sixteen values of a non-linear four-bit type stand for.</summary>
    public static Vector128<sbyte> NonLinear => Vector128.Create(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);

    // E2M1, doubled.
    private static Vector128<sbyte> Fp4 => Vector128.Create(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

    /// <summary>d, 16 bytes: four bits less 8.</summary>
    public static void Q4_0<TTaker>(byte* blocks, int count, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var to = taker;
        for (; count > 0; count--, blocks += 18)
        {
            var d = Codes.Half(blocks);
            to.PutHalves(Vector128.Load(blocks + 2), d, -8 * d);
        }

        taker = to;
    }

    /// <summary>d, m, 16 bytes: four bits.</summary>
    public static void Q4_1<TTaker>(byte* blocks, int count, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var to = taker;
        for (; count > 0; count--, blocks += 20)
        {
            to.PutHalves(Vector128.Load(blocks + 4), Codes.Half(blocks), Codes.Half(blocks + 2));
        }

        taker = to;
    }

    /// <summary>d, the fifth bits of all numbers, 16 bytes: five bits less 16.</summary>
    public static void Q5_0<TTaker>(byte* blocks, int count, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var to = taker;
        for (; count > 0; count--, blocks += 22)
        {
            var d = Codes.Half(blocks);
            to.Put(Both(blocks + 6) | Fifth(blocks + 2), d, -16 * d);
        }

        taker = to;
    }

    /// <summary>d, m, the fifth bits of all numbers, 16 bytes: five bits.</summary>
    public static void Q5_1<TTaker>(byte* blocks, int count, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var to = taker;
        for (; count > 0; count--, blocks += 24)
        {
            to.Put(Both(blocks + 8) | Fifth(blocks + 4), Codes.Half(blocks), Codes.Half(blocks + 2));
        }

        taker = to;
    }

    /// <summary>d, 32 bytes: eight bits, signed.</summary>
    public static void Q8_0<TTaker>(byte* blocks, int count, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var to = taker;
        for (; count > 0; count--, blocks += 34)
        {
            var d = Codes.Half(blocks);
            to.Take(Vector128.Load((sbyte*)blocks + 2), d);
            to.Take(Vector128.Load((sbyte*)blocks + 18), d);
        }

        taker = to;
    }

    /// <summary>d, 16 bytes: values of the non-linear table.</summary>
    public static void IQ4_NL<TTaker>(byte* blocks, int count, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var to = taker;
        for (; count > 0; count--, blocks += 18)
        {
            LookUp(NonLinear, blocks + 2, Codes.Half(blocks), ref to);
        }

        taker = to;
    }

    /// <summary>An exponent of two (E8M0), 16 bytes: E2M1.</summary>
    public static void MXFP4<TTaker>(byte* blocks, int count, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var to = taker;
        for (; count > 0; count--, blocks += 17)
        {
            // Half of two to the exponent, as the table is doubled; its two smallest are below the normal numbers.
            LookUp(Fp4, blocks + 1, BitConverter.UInt32BitsToSingle(*blocks < 2 ? 0x00200000u << *blocks : (uint)(*blocks - 1) << 23), ref to);
        }

        taker = to;
    }

    /// <summary>32 values of a table in 16 bytes, scaled.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void LookUp<TTaker>(Vector128<sbyte> table, byte* values, float d, ref TTaker to)
        where TTaker : struct, ICodeTaker
    {
        var both = Vector128.Load(values);
        to.Take(Codes.LookUp(table, Codes.Low(both)), d);
        to.Take(Codes.LookUp(table, Codes.High(both)), d);
    }

    // The lower halves of sixteen bytes, then the upper ones.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Both(byte* values)
    {
        var both = Vector128.Load(values);
        return Vector256.Create(Codes.Low(both), Codes.High(both));
    }

    // Thirty-two bits, each as 16 or nothing.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Fifth(byte* bits)
    {
        var of = Vector256.Shuffle(
            Vector256.Create(Unsafe.ReadUnaligned<uint>(bits)).AsByte(),
            Vector256.Create((byte)0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 18, 18, 18, 18, 18, 18, 18, 18, 19, 19, 19, 19, 19, 19, 19, 19));
        var each = Vector256.Create(0x8040201008040201).AsByte();
        return Vector256.Equals(of & each, each) & Vector256.Create((byte)16);
    }
}
