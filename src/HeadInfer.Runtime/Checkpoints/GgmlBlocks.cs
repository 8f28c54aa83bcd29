using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
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

    /// <summary>The lower halves of sixteen bytes, then the upper ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Both(byte* values)
    {
        var both = Vector128.Load(values);
        return Vector256.Create(Codes.Low(both), Codes.High(both));
    }

    /// <summary>Scales or offsets of two blocks.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Halves(byte* first, byte* second) => PlaneProducts.Halves(Codes.WideHalf(first), Codes.WideHalf(second));

    /// <summary>The fifth bits of two blocks, as planes have their columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector256<byte> First, Vector256<byte> Second) Fifths(byte* first, byte* second)
    {
        Vector256<byte> a = Fifth(first), b = Fifth(second);
        return (Avx2.Permute2x128(a, b, 0x20), Avx2.Permute2x128(a, b, 0x31));
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
internal readonly unsafe struct Q4_0 : IPlaneFormat
{
    public static BlockForm Form => new("Q4_0", 32, 18, new(4, 32, CodeScales.Half, 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        taker.TakeHalves(Vector128.Load(block + 2), Codes.Halves(block), zero: 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker
    {
        var both = Codes.Two(blocks + 2, blocks + 20);
        var scales = GgmlBlocks.Halves(blocks, blocks + 18);
        taker.Take(Codes.Bits(both, 0, 15), Codes.Bits(both, 4, 15), scales, scales * -8f);
    }
}

/// <summary>d, m, 16 bytes: four bits.</summary>
internal readonly unsafe struct Q4_1 : IPlaneFormat
{
    public static BlockForm Form => new("Q4_1", 32, 20, new(4, 32, CodeScales.Pair));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        taker.TakeHalves(Vector128.Load(block + 4), Codes.Halves(block), Codes.Halves(block + 2));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker
    {
        var both = Codes.Two(blocks + 4, blocks + 24);
        taker.Take(Codes.Bits(both, 0, 15), Codes.Bits(both, 4, 15), GgmlBlocks.Halves(blocks, blocks + 20), GgmlBlocks.Halves(blocks + 2, blocks + 22));
    }
}

/// <summary>d, the fifth bits of all numbers, 16 bytes: five bits less 16.</summary>
internal readonly unsafe struct Q5_0 : IPlaneFormat
{
    public static BlockForm Form => new("Q5_0", 32, 22, new(8, 32, CodeScales.Half, 16));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var d = Codes.Halves(block);
        taker.Put(GgmlBlocks.Both(block + 6) | GgmlBlocks.Fifth(block + 2), d, d * -16f);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker
    {
        var both = Codes.Two(blocks + 6, blocks + 28);
        var (first, second) = GgmlBlocks.Fifths(blocks + 2, blocks + 24);
        var scales = GgmlBlocks.Halves(blocks, blocks + 22);
        taker.Take(Codes.Bits(both, 0, 15) | first, Codes.Bits(both, 4, 15) | second, scales, scales * -16f);
    }
}

/// <summary>d, m, the fifth bits of all numbers, 16 bytes: five bits.</summary>
internal readonly unsafe struct Q5_1 : IPlaneFormat
{
    public static BlockForm Form => new("Q5_1", 32, 24, new(8, 32, CodeScales.Pair));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        taker.Put(GgmlBlocks.Both(block + 8) | GgmlBlocks.Fifth(block + 4), Codes.Halves(block), Codes.Halves(block + 2));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker
    {
        var both = Codes.Two(blocks + 8, blocks + 32);
        var (first, second) = GgmlBlocks.Fifths(blocks + 4, blocks + 28);
        taker.Take(Codes.Bits(both, 0, 15) | first, Codes.Bits(both, 4, 15) | second, GgmlBlocks.Halves(blocks, blocks + 24), GgmlBlocks.Halves(blocks + 2, blocks + 26));
    }
}

/// <summary>d, 32 bytes: eight bits, signed.</summary>
internal readonly unsafe struct Q8_0 : IBlockFormat
{
    public static BlockForm Form => new("Q8_0", 32, 34, new(8, 32, CodeScales.Half));

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
    public static BlockForm Form => new("IQ4_NL", 32, 18, new(4, 32, CodeScales.Half, Table: GgmlBlocks.NonLinear));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        taker.TakeHalves(Vector128.Load(block + 2), Codes.Halves(block), GgmlBlocks.NonLinear);
    }
}

/// <summary>An exponent of two (E8M0), 16 bytes: E2M1.</summary>
internal readonly unsafe struct MXFP4 : IPlaneFormat
{
    public static BlockForm Form => new("MXFP4", 32, 17, new(4, 32, CodeScales.Brain, Table: SmallFloats.Doubled));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        taker.TakeHalves(Vector128.Load(block + 1), Vector512.Create(Half(*block)), SmallFloats.Doubled);
    }

    // Half of two to the exponent, as the table is doubled; its two smallest are below the normal numbers.
    private static float Half(byte exponent) => BitConverter.UInt32BitsToSingle(exponent < 2 ? 0x00200000u << exponent : (uint)(exponent - 1) << 23);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker
    {
        var both = Codes.Two(blocks + 1, blocks + 18);
        var table = Vector256.Create(SmallFloats.Doubled, SmallFloats.Doubled).AsByte() + Vector256.Create((byte)12); // codes without a sign
        float low = Half(*blocks), high = Half(blocks[17]);
        var scales = PlaneProducts.Halves(&low, &high);
        taker.Take(Avx2.Shuffle(table, Codes.Bits(both, 0, 15)), Avx2.Shuffle(table, Codes.Bits(both, 4, 15)), scales, scales * -12f);
    }
}
