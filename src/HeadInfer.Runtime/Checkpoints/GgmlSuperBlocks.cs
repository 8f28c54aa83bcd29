using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>ggml's blocks of 256 numbers: small blocks of 16 or 32, whose scales are integers times a float16 of the whole.</summary>
/// <remarks>
/// A number is <c>d * scale * q</c>, less <c>dmin * least</c> where a type has that. Products have at most 24 bits, so they
/// are exact in float32 and there is one rounding at most. Scales are read from a vector's place on the stack: a method
/// with a stackalloc is never inlined, and sums would go through memory.
/// </remarks>
internal static unsafe class GgmlSuperBlocks
{
    public const int Columns = 256;

    public const uint LowFour = 0x0F0F0F0F, LowSix = 0x3F3F3F3F, HighTwo = 0x30303030, LowTwo = 0x03030303; // of four bytes

    private static Vector512<float> OfScales => Vector512.Create(Vector256<int>.AllBitsSet, Vector256<int>.Zero).AsSingle();

    /// <summary>
    /// d, dmin and twelve bytes become eight scales and eight leasts, these negated. The bytes have four of each in six bits,
    /// and in the two bits left above them, and in eight bytes' halves, the rest.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ScalesAndLeasts(byte* block)
    {
        var bytes = Vector128.Load(block + 4).AsUInt32();
        Vector128<uint> below = Vector128.Shuffle(bytes, Vector128.Create(0u, 0, 1, 1)), above = Vector128.Shuffle(bytes, Vector128.Create(2u)); // the four bytes after are codes
        if (Avx2.IsSupported)
        {
            (below, above) = (Avx2.ShiftRightLogicalVariable(below, Vector128.Create(0u, 2, 0, 2)), Avx2.ShiftRightLogicalVariable(above, Vector128.Create(32u, 0, 32, 4)));
        }
        else
        {
            (below, above) = (Vector128.Create(below[0], below[1] >> 2, below[2], below[3] >> 2), Vector128.Create(0, above[1], 0, above[3] >> 4));
        }

        var six = ((below & Vector128.Create(LowSix, HighTwo, LowSix, HighTwo)) | (above & Vector128.Create(LowFour))).AsByte();
        return Codes.Numbers(six) * Vector512.ConditionalSelect(OfScales, Codes.Halves(block), Vector512.Create(-Codes.Half(block + 2)));
    }

    /// <summary>Gives on a block, quarter by quarter.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TFormat, TTaker>(byte* block, ref TTaker taker)
        where TFormat : struct, ISuperBlockFormat
        where TTaker : struct, ICodeTaker
    {
        var (to, factors) = (taker, default(BlockFactors));
        TFormat.ReadFactors(block, (float*)&factors);
        for (var quarter = 0; quarter < 4; quarter++)
        {
            TFormat.ReadQuarter(block, (float*)&factors, quarter, ref to);
        }

        taker = to;
    }
}

/// <summary>Room for the scales and offsets of a block.</summary>
[InlineArray(Count)]
internal struct BlockFactors
{
    public const int Count = 32;

    private float _first;
}

/// <summary>16 bytes of four-bit scales and leasts, 64 bytes: two bits, d, dmin. Small blocks have 16.</summary>
internal readonly unsafe struct Q2_K : ISuperBlockFormat
{
    public static BlockForm Form => new("Q2_K", 256, 84, new(4, 16, CodeScales.NestedPair), 80, 82);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker => GgmlSuperBlocks.Read<Q2_K, TTaker>(block, ref taker);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadFactors(byte* block, float* to)
    {
        var both = Vector128.Load(block);
        (Codes.Numbers(Codes.Low(both)) * Vector512.Create(Codes.Half(block + 80))).Store(to);
        (Codes.Numbers(Codes.High(both)) * Vector512.Create(-Codes.Half(block + 82))).Store(to + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadQuarter<TTaker>(byte* block, float* factors, int quarter, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var values = Codes.Down(Vector256.Load(block + 16 + ((quarter >> 1) * 32)), (quarter & 1) * 4);
        factors += quarter * 4;
        taker.Put(values & Vector256.Create((byte)3), factors, factors + 16);
        taker.Put(Codes.Bits(values, 2, 3), factors + 2, factors + 18);
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker
    {
        var to = taker;
        var both = Vector128.Load(blocks);
        var allScales = Codes.Numbers(Codes.Low(both)) * Vector512.Create(Codes.Half(blocks + 80));
        var allLeasts = Codes.Numbers(Codes.High(both)) * Vector512.Create(-Codes.Half(blocks + 82));
        float* scales = (float*)&allScales, leasts = (float*)&allLeasts;
        var two = Vector256.Create((byte)3);
        for (var half = 0; half < 2; half++, scales += 8, leasts += 8)
        {
            Vector256<byte> first = Codes.Twice(blocks + 16 + (half * 32)), second = Codes.Twice(blocks + 32 + (half * 32));
            to.Take(Codes.Down(first, 0, 2) & two, Codes.Down(second, 0, 2) & two, scales, leasts);
            to.Take(Codes.Down(first, 4, 6) & two, Codes.Down(second, 4, 6) & two, scales + 4, leasts + 4);
        }

        taker = to;
    }
}

/// <summary>32 bytes: third bits, 64 bytes: two bits, 12 bytes: six-bit scales less 32, d. Small blocks have 16. A third bit that is not set takes 4 away.</summary>
internal readonly unsafe struct Q3_K : ISuperBlockFormat
{
    public static BlockForm Form => new("Q3_K", 256, 110, new(4, 16, CodeScales.Nested, 4), 108);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker => GgmlSuperBlocks.Read<Q3_K, TTaker>(block, ref taker);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadFactors(byte* block, float* to)
    {
        var all = Scales(block);
        all.Store(to);
        (all * Vector512.Create(-4f)).Store(to + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadQuarter<TTaker>(byte* block, float* factors, int quarter, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var (two, bit) = (Vector256.Create((byte)3), Vector256.Create((byte)4));
        Vector256<byte> values = Codes.Down(Vector256.Load(block + 32 + ((quarter >> 1) * 32)), (quarter & 1) * 4), third = Codes.Down(Vector256.Load(block), quarter * 2);
        factors += quarter * 4;
        taker.Put((values & two) | (Codes.Up(third, 2) & bit), factors, factors + 16);
        taker.Put((Codes.Down(values, 2) & two) | (Codes.Up(third, 1) & bit), factors + 2, factors + 18);
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker
    {
        var to = taker;
        var all = Scales(blocks);
        var scales = (float*)&all;
        Vector256<byte> low = Codes.Twice(blocks), high = Codes.Twice(blocks + 16), two = Vector256.Create((byte)3), third = Vector256.Create((byte)4);
        for (var half = 0; half < 2; half++)
        {
            Vector256<byte> first = Codes.Twice(blocks + 32 + (half * 32)), second = Codes.Twice(blocks + 48 + (half * 32));
            for (var part = 0; part < 2; part++, scales += 4)
            {
                to.Take((Codes.Down(first, 0, 2) & two) | (Codes.Up(low, 2, 1) & third), (Codes.Down(second, 0, 2) & two) | (Codes.Up(high, 2, 1) & third), scales, 4);
                (first, second, low, high) = (Codes.Down(first, 4), Codes.Down(second, 4), Codes.Down(low, 2), Codes.Down(high, 2));
            }
        }

        taker = to;
    }

    // All sixteen.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Scales(byte* block)
    {
        uint a = Unsafe.ReadUnaligned<uint>(block + 96), b = Unsafe.ReadUnaligned<uint>(block + 100), upper = Unsafe.ReadUnaligned<uint>(block + 104);
        var six = Vector128.Create(
            (a & GgmlSuperBlocks.LowFour) | ((upper & GgmlSuperBlocks.LowTwo) << 4),
            (b & GgmlSuperBlocks.LowFour) | (((upper >> 2) & GgmlSuperBlocks.LowTwo) << 4),
            ((a >> 4) & GgmlSuperBlocks.LowFour) | (((upper >> 4) & GgmlSuperBlocks.LowTwo) << 4),
            ((b >> 4) & GgmlSuperBlocks.LowFour) | (((upper >> 6) & GgmlSuperBlocks.LowTwo) << 4)).AsByte();
        return (Codes.Numbers(six) - Vector512.Create(32f)) * Vector512.Create(Codes.Half(block + 108));
    }
}

/// <summary>d, dmin, 12 bytes: six-bit scales and leasts, 128 bytes: four bits. Small blocks have 32.</summary>
internal readonly unsafe struct Q4_K : ISuperBlockFormat
{
    public static BlockForm Form => new("Q4_K", 256, 144, new(4, 32, CodeScales.NestedPair), 0, 2);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker => GgmlSuperBlocks.Read<Q4_K, TTaker>(block, ref taker);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadFactors(byte* block, float* to) => GgmlSuperBlocks.ScalesAndLeasts(block).Store(to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadQuarter<TTaker>(byte* block, float* factors, int quarter, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var codes = block + 16 + (quarter * 32);
        factors += quarter * 2;
        taker.TakeHalves(Vector128.Load(codes), Vector128.Load(codes + 16), Vector512.Create(factors[0]), Vector512.Create(factors[8]), Vector512.Create(factors[1]), Vector512.Create(factors[9]));
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker
    {
        var to = taker;
        var all = GgmlSuperBlocks.ScalesAndLeasts(blocks);
        var scales = (float*)&all;
        var four = Vector256.Create((byte)15);
        for (var pair = 0; pair < 4; pair++, scales += 2)
        {
            Vector256<byte> first = Codes.Twice(blocks + 16 + (pair * 32)), second = Codes.Twice(blocks + 32 + (pair * 32));
            to.Take(Codes.Down(first, 0, 4) & four, Codes.Down(second, 0, 4) & four, PlaneProducts.Halves(scales, scales + 1), PlaneProducts.Halves(scales + 8, scales + 9));
        }

        taker = to;
    }
}

/// <summary>d, dmin, 12 bytes: six-bit scales and leasts, 32 bytes: fifth bits, 128 bytes: four bits. Small blocks have 32.</summary>
internal readonly unsafe struct Q5_K : ISuperBlockFormat
{
    public static BlockForm Form => new("Q5_K", 256, 176, new(8, 32, CodeScales.NestedPair), 0, 2);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker => GgmlSuperBlocks.Read<Q5_K, TTaker>(block, ref taker);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadFactors(byte* block, float* to) => GgmlSuperBlocks.ScalesAndLeasts(block).Store(to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadQuarter<TTaker>(byte* block, float* factors, int quarter, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        Vector256<byte> values = Vector256.Load(block + 48 + (quarter * 32)), fifth = Codes.Down(Vector256.Load(block + 16), quarter * 2), bit = Vector256.Create((byte)16);
        factors += quarter * 2;
        taker.Put(Codes.Bits(values, 0, 15) | (Codes.Up(fifth, 4) & bit), Vector512.Create(factors[0]), Vector512.Create(factors[8]));
        taker.Put(Codes.Bits(values, 4, 15) | (Codes.Up(fifth, 3) & bit), Vector512.Create(factors[1]), Vector512.Create(factors[9]));
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker
    {
        var to = taker;
        var all = GgmlSuperBlocks.ScalesAndLeasts(blocks);
        var scales = (float*)&all;
        Vector256<byte> low = Codes.Twice(blocks + 16), high = Codes.Twice(blocks + 32), four = Vector256.Create((byte)15), fifth = Vector256.Create((byte)16);
        for (var pair = 0; pair < 4; pair++, scales += 2, low = Codes.Down(low, 2), high = Codes.Down(high, 2))
        {
            Vector256<byte> first = Codes.Twice(blocks + 48 + (pair * 32)), second = Codes.Twice(blocks + 64 + (pair * 32));
            first = (Codes.Down(first, 0, 4) & four) | (Codes.Up(low, 4, 3) & fifth);
            second = (Codes.Down(second, 0, 4) & four) | (Codes.Up(high, 4, 3) & fifth);
            to.Take(first, second, PlaneProducts.Halves(scales, scales + 1), PlaneProducts.Halves(scales + 8, scales + 9));
        }

        taker = to;
    }
}

/// <summary>128 bytes: four bits, 64 bytes: two more, 16 bytes: signed scales, d. A number is six bits less 32; small blocks have 16.</summary>
internal readonly unsafe struct Q6_K : ISuperBlockFormat
{
    public static BlockForm Form => new("Q6_K", 256, 210, new(8, 16, CodeScales.Nested, 32), 208);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker => GgmlSuperBlocks.Read<Q6_K, TTaker>(block, ref taker);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadFactors(byte* block, float* to)
    {
        var all = Codes.Numbers(Vector128.Load((sbyte*)block + 192)) * Vector512.Create(Codes.Half(block + 208));
        all.Store(to);
        (all * Vector512.Create(-32f)).Store(to + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadQuarter<TTaker>(byte* block, float* factors, int quarter, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var (half, shift, two) = (quarter >> 1, (quarter & 1) * 4, Vector256.Create((byte)0x30));
        var four = block + (half * 64);
        var upper = Codes.Down(Vector256.Load(block + 128 + (half * 32)), shift);
        factors += quarter * 4;
        taker.Put(Codes.Bits(Vector256.Load(four), shift, 15) | (Codes.Up(upper, 4) & two), factors, factors + 16);
        taker.Put(Codes.Bits(Vector256.Load(four + 32), shift, 15) | (Codes.Up(upper, 2) & two), factors + 2, factors + 18);
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker
    {
        var to = taker;
        var all = Codes.Numbers(Vector128.Load((sbyte*)blocks + 192)) * Vector512.Create(Codes.Half(blocks + 208));
        var scales = (float*)&all;
        var two = Vector256.Create((byte)0x30);
        for (var half = 0; half < 2; half++, scales += 8)
        {
            byte* four = blocks + (half * 64), upper = blocks + 128 + (half * 32);
            Vector256<byte> first = Codes.Two(four, four + 32), second = Codes.Two(four + 16, four + 48), low = Codes.Twice(upper), high = Codes.Twice(upper + 16);
            to.Take(Codes.Bits(first, 0, 15) | (Codes.Up(low, 4, 2) & two), Codes.Bits(second, 0, 15) | (Codes.Up(high, 4, 2) & two), scales, 32);
            to.Take(Codes.Bits(first, 4, 15) | (Codes.Down(low, 0, 2) & two), Codes.Bits(second, 4, 15) | (Codes.Down(high, 0, 2) & two), scales + 4, 32);
        }

        taker = to;
    }
}

/// <summary>d, 2 bytes: high bits of scales, 4 bytes: their low bits, 128 bytes: values of the non-linear table. Scales have six bits, less 32; small blocks have 32.</summary>
internal readonly unsafe struct IQ4_XS : IBlockFormat
{
    public static BlockForm Form => new("IQ4_XS", 256, 136, new(4, 32, CodeScales.Nested, Table: GgmlBlocks.NonLinear));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        var to = taker;
        var d = Codes.Half(block);
        uint high = Unsafe.ReadUnaligned<ushort>(block + 2), low = Unsafe.ReadUnaligned<uint>(block + 4);
        for (var small = 0; small < 8; small++, high >>= 2, low >>= 4)
        {
            to.TakeHalves(Vector128.Load(block + 8 + (small * 16)), Vector512.Create(d * ((int)((low & 15) | ((high & 3) << 4)) - 32)), GgmlBlocks.NonLinear);
        }

        taker = to;
    }
}
