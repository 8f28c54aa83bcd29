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

    /// <summary>E2M1, doubled.</summary>
    public static Vector128<sbyte> Fp4 => Vector128.Create(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

    /// <summary>The lower halves of sixteen bytes, then the upper ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Both(byte* values)
    {
        var both = Vector128.Load(values);
        return Vector256.Create(Codes.Low(both), Codes.High(both));
    }

    /// <summary>Thirty-two bits, each as 16 or nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Fifth(byte* bits)
    {
        var of = Vector256.Shuffle(
            Vector256.Create(Unsafe.ReadUnaligned<uint>(bits)).AsByte(),
            Vector256.Create((byte)0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 18, 18, 18, 18, 18, 18, 18, 18, 19, 19, 19, 19, 19, 19, 19, 19));
        var each = Vector256.Create(0x8040201008040201).AsByte();
        return Vector256.Equals(of & each, each) & Vector256.Create((byte)16);
    }
}

/// <summary>d, 16 bytes: four bits less 8.</summary>
internal readonly unsafe struct Q4_0 : IBlockFormat
{
    public static BlockForm Form => new("Q4_0", 32, 18, new(4, 32, 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        taker.TakeHalves(Vector128.Load(block + 2), Codes.Halves(block), zero: 8);
    }
}

/// <summary>d, m, 16 bytes: four bits.</summary>
internal readonly unsafe struct Q4_1 : IBlockFormat
{
    public static BlockForm Form => new("Q4_1", 32, 20, new(4, 32));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        taker.TakeHalves(Vector128.Load(block + 4), Codes.Halves(block), Codes.Halves(block + 2));
    }
}

/// <summary>d, the fifth bits of all numbers, 16 bytes: five bits less 16.</summary>
internal readonly unsafe struct Q5_0 : IBlockFormat
{
    public static BlockForm Form => new("Q5_0", 32, 22, new(8, 32, 16));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var d = Codes.Halves(block);
        taker.Put(GgmlBlocks.Both(block + 6) | GgmlBlocks.Fifth(block + 2), d, d * -16f);
    }
}

/// <summary>d, m, the fifth bits of all numbers, 16 bytes: five bits.</summary>
internal readonly unsafe struct Q5_1 : IBlockFormat
{
    public static BlockForm Form => new("Q5_1", 32, 24, new(8, 32));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        taker.Put(GgmlBlocks.Both(block + 8) | GgmlBlocks.Fifth(block + 4), Codes.Halves(block), Codes.Halves(block + 2));
    }
}

/// <summary>d, 32 bytes: eight bits, signed.</summary>
internal readonly unsafe struct Q8_0 : IBlockFormat
{
    public static BlockForm Form => new("Q8_0", 32, 34, new(8, 32, 0));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var d = Codes.Halves(block);
        taker.Take(Vector128.Load((sbyte*)block + 2), d);
        taker.Take(Vector128.Load((sbyte*)block + 18), d);
    }
}

/// <summary>d, 16 bytes: values of the non-linear table.</summary>
internal readonly unsafe struct IQ4_NL : IBlockFormat
{
    public static BlockForm Form => new("IQ4_NL", 32, 18, new(8, 32, 0));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        taker.TakeHalves(Vector128.Load(block + 2), Codes.Halves(block), GgmlBlocks.NonLinear);
    }
}

/// <summary>An exponent of two (E8M0), 16 bytes: E2M1.</summary>
internal readonly unsafe struct MXFP4 : IBlockFormat
{
    public static BlockForm Form => new("MXFP4", 32, 17, new(8, 32));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        // Half of two to the exponent, as the table is doubled; its two smallest are below the normal numbers.
        var half = BitConverter.UInt32BitsToSingle(*block < 2 ? 0x00200000u << *block : (uint)(*block - 1) << 23);
        taker.TakeHalves(Vector128.Load(block + 1), Vector512.Create(half), GgmlBlocks.Fp4);
    }
}
