using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HeadInfer.Runtime.Compute;

/// <summary>How a packing's codes become numbers: <c>code * scale + offset</c>.</summary>
/// <param name="Bits">of a code, 4 or 8; of 8 they are signed</param>
/// <param name="Group">neighbours that have a scale at least: 16 or 32</param>
/// <param name="Zero">the code of zero, where scales are exact in float16 and offsets no more than this makes them; null where they are their own</param>
internal readonly record struct CodeForm(int Bits, int Group, int? Zero = null);

/// <summary>Takes the codes of a row, sixteen at a time, with what makes numbers of them.</summary>
internal interface ICodeTaker
{
    void Take(Vector128<byte> codes, float scale, float offset);

    void Take(Vector128<sbyte> codes, float scale);
}

/// <summary>Makes numbers of codes.</summary>
/// <param name="to">written</param>
internal unsafe struct NumberTaker(float* to) : ICodeTaker
{
    private float* _to = to;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector128<byte> codes, float scale, float offset)
    {
        Vector512.FusedMultiplyAdd(Codes.Numbers(codes), Vector512.Create(scale), Vector512.Create(offset)).Store(_to);
        _to += Vector512<float>.Count;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector128<sbyte> codes, float scale)
    {
        (Codes.Numbers(codes) * Vector512.Create(scale)).Store(_to);
        _to += Vector512<float>.Count;
    }
}

/// <summary>Keeps codes as they are.</summary>
/// <param name="codes">a byte each, written</param>
/// <param name="scales">[codes / 16], written</param>
/// <param name="offsets">[codes / 16], written</param>
internal unsafe struct CodeTaker(byte* codes, float* scales, float* offsets) : ICodeTaker
{
    private byte* _codes = codes;
    private float* _scales = scales, _offsets = offsets;

    public void Take(Vector128<byte> codes, float scale, float offset)
    {
        codes.Store(_codes);
        (*_scales++, *_offsets++) = (scale, offset);
        _codes += Vector128<byte>.Count;
    }

    public void Take(Vector128<sbyte> codes, float scale) => Take(codes.AsByte(), scale, 0);
}

/// <summary>From small integers to the numbers that they stand for, sixteen at a time. Where there are no vectors of 512 bits, .NET makes two of 256 of them.</summary>
internal static unsafe class Codes
{
    private static readonly float* Halves = MakeHalves();

    /// <summary><c>code * scale</c> of sixteen signed codes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Scale(Vector128<sbyte> codes, float scale, float* to) => (Numbers(codes) * Vector512.Create(scale)).Store(to);

    /// <summary>Gives on the lower halves of sixteen bytes, then the upper ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void PutHalves<TTaker>(this ref TTaker taker, Vector128<byte> bytes, float scale, float offset)
        where TTaker : struct, ICodeTaker
    {
        taker.Take(Low(bytes), scale, offset);
        taker.Take(High(bytes), scale, offset);
    }

    /// <summary>Gives thirty-two codes on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Put<TTaker>(this ref TTaker taker, Vector256<byte> codes, float scale, float offset)
        where TTaker : struct, ICodeTaker
    {
        taker.Take(codes.GetLower(), scale, offset);
        taker.Take(codes.GetUpper(), scale, offset);
    }

    /// <summary>Sixteen bytes as numbers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Numbers(Vector128<byte> codes) => Vector512.ConvertToSingle(Words(codes));

    /// <summary>Sixteen bytes, each in a word.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Words(Vector128<byte> codes)
    {
        if (Avx512F.IsSupported)
        {
            return Avx512F.ConvertToVector512Int32(codes);
        }

        var words = Vector256.Create(Vector128.WidenLower(codes), Vector128.WidenUpper(codes)).AsInt16();
        return Vector512.Create(Vector256.WidenLower(words), Vector256.WidenUpper(words));
    }

    /// <summary>Sixteen signed bytes as numbers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Numbers(Vector128<sbyte> codes)
    {
        if (Avx512F.IsSupported)
        {
            return Vector512.ConvertToSingle(Avx512F.ConvertToVector512Int32(codes));
        }

        var words = Vector256.Create(Vector128.WidenLower(codes), Vector128.WidenUpper(codes));
        return Vector512.ConvertToSingle(Vector512.Create(Vector256.WidenLower(words), Vector256.WidenUpper(words)));
    }

    /// <summary>The lower four bits of each byte.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Low(Vector128<byte> bytes) => bytes & Vector128.Create((byte)15);

    /// <summary>The upper four bits of each byte.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> High(Vector128<byte> bytes) => (bytes.AsUInt16() >> 4).AsByte() & Vector128.Create((byte)15);

    /// <summary>Some bits of each byte, moved down.</summary>
    /// <param name="bytes">which</param>
    /// <param name="shift">how far; what comes from a neighbour is not among the bits</param>
    /// <param name="bits">ones where they are then</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Bits(Vector256<byte> bytes, int shift, byte bits) => (bytes.AsUInt16() >> shift).AsByte() & Vector256.Create(bits);

    /// <summary>A value in each byte that has a bit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Where(Vector256<byte> bytes, int bit, byte value)
    {
        var mask = Vector256.Create((byte)(1 << bit));
        return Vector256.Equals(bytes & mask, mask) & Vector256.Create(value);
    }

    /// <summary>What codes of four bits stand for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<sbyte> LookUp(Vector128<sbyte> table, Vector128<byte> codes) => Vector128.Shuffle(table, codes.AsSByte());

    /// <summary>The float16 at an address. Looked up: .NET's own conversion takes as long as a block of numbers, and one by its bits half as long.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Half(byte* at) => Halves[Unsafe.ReadUnaligned<ushort>(at)];

    private static float* MakeHalves()
    {
        var all = (float*)NativeMemory.Alloc(1 << 16, sizeof(float)); // for as long as the process
        for (var bits = 0; bits < 1 << 16; bits++)
        {
            all[bits] = (float)BitConverter.UInt16BitsToHalf((ushort)bits);
        }

        return all;
    }
}
