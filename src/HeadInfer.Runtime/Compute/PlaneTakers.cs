using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HeadInfer.Runtime.Compute;

/// <summary>Takes the codes of a row of weights, sixty-four columns at a time, with what makes numbers of them: <c>code * scale + offset</c>.</summary>
/// <remarks>Codes have no sign and lie as in <see cref="PlaneRows"/>: the first vector has columns 0 to 15 and 32 to 47, and so have scales.</remarks>
internal interface IPlaneTaker
{
    /// <summary>Codes below 32, of which each 32 have a scale and an offset.</summary>
    void Take(Vector256<byte> first, Vector256<byte> second, Vector256<float> scales, Vector256<float> offsets);

    /// <summary>Codes below 64, of which each 16 have.</summary>
    void Take(Vector256<byte> first, Vector256<float> firstScales, Vector256<float> firstOffsets, Vector256<byte> second, Vector256<float> secondScales, Vector256<float> secondOffsets);
}

/// <summary>Multiplies them by a row of activations, and sums the products.</summary>
/// <param name="planes">the row</param>
internal unsafe struct PlaneMultiplier(byte* planes) : IPlaneTaker
{
    private byte* _planes = planes;
    private Vector256<float> _sum;

    public readonly PlainLane Sum => new(_sum.AsVector());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector256<byte> first, Vector256<byte> second, Vector256<float> scales, Vector256<float> offsets)
    {
        _sum = PlaneProducts.Add(_sum, _planes, PlaneProducts.Products(first, second, _planes), scales, offsets);
        _planes += PlaneRows.Bytes;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector256<byte> first, Vector256<float> firstScales, Vector256<float> firstOffsets, Vector256<byte> second, Vector256<float> secondScales, Vector256<float> secondOffsets)
    {
        var (low, high) = (PlaneProducts.Products(first, _planes), PlaneProducts.Products(second, _planes + 32));
        _sum = PlaneProducts.Add(_sum, _planes, low, firstScales, firstOffsets, high, secondScales, secondOffsets);
        _planes += PlaneRows.Bytes;
    }
}

/// <summary>Writes them down for several rows of activations.</summary>
/// <param name="to">written, <see cref="PlaneProducts.CodeBytes"/> for each sixty-four columns</param>
internal unsafe struct PlaneWriter(byte* to) : IPlaneTaker
{
    private byte* _to = to;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector256<byte> first, Vector256<byte> second, Vector256<float> scales, Vector256<float> offsets)
    {
        Put(first, second, scales, offsets);
        _to += PlaneProducts.CodeBytes;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector256<byte> first, Vector256<float> firstScales, Vector256<float> firstOffsets, Vector256<byte> second, Vector256<float> secondScales, Vector256<float> secondOffsets)
    {
        Put(first, second, firstScales, firstOffsets);
        secondScales.Store((float*)(_to + 128));
        secondOffsets.Store((float*)(_to + 160));
        _to += PlaneProducts.CodeBytes;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Put(Vector256<byte> first, Vector256<byte> second, Vector256<float> scales, Vector256<float> offsets)
    {
        first.Store(_to);
        second.Store(_to + 32);
        scales.Store((float*)(_to + 64));
        offsets.Store((float*)(_to + 96));
    }
}

/// <summary>Products of codes and activations in <see cref="PlaneRows"/>.</summary>
internal static unsafe class PlaneProducts
{
    /// <summary>What is written of sixty-four columns of weights.</summary>
    public const int CodeBytes = 192;

    /// <summary>One number for columns below 32 and another for those above.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Halves(float* low, float* high) =>
        Avx.Blend(Avx.BroadcastScalarToVector256(low), Avx.BroadcastScalarToVector256(high), 0xF0);

    /// <summary>Gives on codes of which each 16 have a scale and an offset.</summary>
    /// <param name="taker">of them</param>
    /// <param name="first">codes of columns 0 to 15, and 32 to 47</param>
    /// <param name="second">of the others</param>
    /// <param name="scales">[4]</param>
    /// <param name="offsets">[4]</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Take<TTaker>(this ref TTaker taker, Vector256<byte> first, Vector256<byte> second, float* scales, float* offsets)
        where TTaker : struct, IPlaneTaker =>
        taker.Take(first, Halves(scales, scales + 2), Halves(offsets, offsets + 2), second, Halves(scales + 1, scales + 3), Halves(offsets + 1, offsets + 3));

    /// <summary>The same of codes less that of zero.</summary>
    /// <param name="taker">of them</param>
    /// <param name="first">codes of columns 0 to 15, and 32 to 47</param>
    /// <param name="second">of the others</param>
    /// <param name="scales">[4]</param>
    /// <param name="zero">the code of zero</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Take<TTaker>(this ref TTaker taker, Vector256<byte> first, Vector256<byte> second, float* scales, float zero)
        where TTaker : struct, IPlaneTaker
    {
        Vector256<float> low = Halves(scales, scales + 2), high = Halves(scales + 1, scales + 3);
        taker.Take(first, low, low * -zero, second, high, high * -zero);
    }

    /// <summary>Adds products of what was written of four rows of weights, and of a part of a row of activations.</summary>
    /// <param name="codes">[4, of stride]</param>
    /// <param name="stride">bytes from one to the next</param>
    /// <param name="small">whether each 16 columns have a scale, and not each 32</param>
    /// <param name="planes">the part</param>
    /// <param name="count">columns of it</param>
    /// <param name="sums">[4, 8], changed</param>
    public static void Add4(byte* codes, int stride, bool small, byte* planes, int count, float* sums)
    {
        byte* r1 = codes + stride, r2 = r1 + stride, r3 = r2 + stride;
        Vector256<float> s0 = Vector256.Load(sums), s1 = Vector256.Load(sums + 8), s2 = Vector256.Load(sums + 16), s3 = Vector256.Load(sums + 24);
        long end = (long)count / PlaneRows.Columns * CodeBytes;
        for (long at = 0; small && at < end; at += CodeBytes, planes += PlaneRows.Bytes)
        {
            s0 = AddSmall(s0, planes, codes + at);
            s1 = AddSmall(s1, planes, r1 + at);
            s2 = AddSmall(s2, planes, r2 + at);
            s3 = AddSmall(s3, planes, r3 + at);
        }

        for (long at = 0; !small && at < end; at += CodeBytes, planes += PlaneRows.Bytes)
        {
            s0 = AddWhole(s0, planes, codes + at);
            s1 = AddWhole(s1, planes, r1 + at);
            s2 = AddWhole(s2, planes, r2 + at);
            s3 = AddWhole(s3, planes, r3 + at);
        }

        s0.Store(sums);
        s1.Store(sums + 8);
        s2.Store(sums + 16);
        s3.Store(sums + 24);
    }

    /// <summary>Adds sums of sixty-four products, of which each 32 have a scale and an offset.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Add(Vector256<float> sum, byte* planes, Vector256<float> products, Vector256<float> scales, Vector256<float> offsets)
    {
        products = Vector256.FusedMultiplyAdd(offsets, Vector256.Load((float*)(planes + 256)), products * scales);
        return Vector256.FusedMultiplyAdd(products, Vector256.Load((float*)(planes + 288)), sum);
    }

    /// <summary>The same where each 16 have.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Add(Vector256<float> sum, byte* planes, Vector256<float> first, Vector256<float> firstScales, Vector256<float> firstOffsets, Vector256<float> second, Vector256<float> secondScales, Vector256<float> secondOffsets)
    {
        first = Vector256.FusedMultiplyAdd(firstOffsets, Vector256.Load((float*)(planes + 192)), first * firstScales);
        first = Vector256.FusedMultiplyAdd(second, secondScales, first);
        first = Vector256.FusedMultiplyAdd(secondOffsets, Vector256.Load((float*)(planes + 224)), first);
        return Vector256.FusedMultiplyAdd(first, Vector256.Load((float*)(planes + 288)), sum);
    }

    /// <summary>Sums of products of codes below 32. Eight have 31 bits at most.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Products(Vector256<byte> first, Vector256<byte> second, byte* planes)
    {
        if (!AvxVnni.IsSupported)
        {
            return Join(
                Pairs(first, planes) + Pairs(second, planes + 32),
                Pairs(first, planes + 64) + Pairs(second, planes + 96),
                Pairs(first, planes + 128) + Pairs(second, planes + 160));
        }

        var sum = Add(Add(Vector256<int>.Zero, first, planes), second, planes + 32) << 8;
        sum = Add(Add(sum, first, planes + 64), second, planes + 96) << 8;
        return Vector256.ConvertToSingle(Add(Add(sum, first, planes + 128), second, planes + 160));
    }

    /// <summary>The same of a half of the columns, whose codes are below 64. Four have 31 bits at most.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Products(Vector256<byte> codes, byte* planes) => AvxVnni.IsSupported
        ? Vector256.ConvertToSingle(Add(Add(Add(Vector256<int>.Zero, codes, planes) << 8, codes, planes + 64) << 8, codes, planes + 128))
        : Join(Pairs(codes, planes), Pairs(codes, planes + 64), Pairs(codes, planes + 128));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> AddWhole(Vector256<float> sum, byte* planes, byte* codes) => Add(
        sum,
        planes,
        Products(Vector256.Load(codes), Vector256.Load(codes + 32), planes),
        Vector256.Load((float*)(codes + 64)),
        Vector256.Load((float*)(codes + 96)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> AddSmall(Vector256<float> sum, byte* planes, byte* codes) => Add(
        sum,
        planes,
        Products(Vector256.Load(codes), planes),
        Vector256.Load((float*)(codes + 64)),
        Vector256.Load((float*)(codes + 96)),
        Products(Vector256.Load(codes + 32), planes + 32),
        Vector256.Load((float*)(codes + 128)),
        Vector256.Load((float*)(codes + 160)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Add(Vector256<int> sum, Vector256<byte> codes, byte* plane) =>
        AvxVnni.MultiplyWideningAndAdd(sum, codes, Vector256.Load((sbyte*)plane));

    // Two products have at most 15 bits, and four of codes below 32.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<short> Pairs(Vector256<byte> codes, byte* plane) => Avx2.MultiplyAddAdjacent(codes, Vector256.Load((sbyte*)plane));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Join(Vector256<short> high, Vector256<short> middle, Vector256<short> low)
    {
        Vector256<short> one = Vector256.Create((short)1), next = Vector256.Create((short)256);
        return Vector256.ConvertToSingle(((Avx2.MultiplyAddAdjacent(high, next) + Avx2.MultiplyAddAdjacent(middle, one)) << 8) + Avx2.MultiplyAddAdjacent(low, one));
    }
}
