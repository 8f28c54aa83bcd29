using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HeadInfer.Runtime.Compute;

/// <summary>How a packing's codes become numbers: <c>(code - zero) * scale</c>, or <c>code * scale + offset</c>.</summary>
/// <param name="Bits">of a code, 4 or 8; of 8 they are signed</param>
/// <param name="Group">neighbours that have a scale at least: 16 or 32</param>
/// <param name="Scales">what keeps all bits of scales and offsets</param>
/// <param name="Zero">the code of zero, where there are no offsets</param>
/// <param name="Table">what codes of 4 bits stand for; null where they are integers</param>
/// <param name="IsFloat">whether codes are floats of 8 bits, E4M3</param>
internal readonly record struct CodeForm(int Bits, int Group, CodeScales Scales, int Zero = 0, Vector128<sbyte>? Table = null, bool IsFloat = false)
{
    /// <summary>Whether groups have offsets.</summary>
    public bool HasOffsets => Scales is CodeScales.Pair or CodeScales.NestedPair;

    /// <summary>Whether scales are integers of 8 bits times a float16 that 64 columns share, and offsets too.</summary>
    public bool IsNested => Scales is CodeScales.Nested or CodeScales.NestedPair;
}

/// <summary>What scales of groups are without loss. The kernels know them by their number.</summary>
internal enum CodeScales
{
    /// <summary>float16.</summary>
    Half,

    /// <summary>bfloat16.</summary>
    Brain,

    /// <summary>float32.</summary>
    Single,

    /// <summary>float32, and an offset in float32.</summary>
    Pair,

    /// <summary>An integer of 8 bits, times a float16 of 64 columns.</summary>
    Nested,

    /// <summary>The same, and such an offset.</summary>
    NestedPair,
}

/// <summary>From small integers to the numbers that they stand for, sixteen at a time. Where there are no vectors of 512 bits, .NET makes two of 256 of them.</summary>
internal static unsafe class Codes
{
    private static readonly float* AllHalves = MakeHalves();

    /// <summary>What the codes of four bits stand for: how far they are from the code of zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Steps(int zero) =>
        Vector512.Create(0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) - Vector512.Create((float)zero);

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

        if (Avx2.IsSupported)
        {
            return Vector512.Create(Avx2.ConvertToVector256Int32(codes), Avx2.ConvertToVector256Int32(Sse2.ShiftRightLogical128BitLane(codes, 8)));
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

        if (Avx2.IsSupported)
        {
            return Vector512.ConvertToSingle(Vector512.Create(Avx2.ConvertToVector256Int32(codes), Avx2.ConvertToVector256Int32(Sse2.ShiftRightLogical128BitLane(codes, 8))));
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

    /// <summary>Sixteen bytes twice, of which bits are moved down, and each time by so much.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Down(Vector256<byte> twice, uint low, uint high) => Avx2.ShiftRightLogicalVariable(twice.AsUInt32(), Vector256.Create(Vector128.Create(low), Vector128.Create(high))).AsByte();

    /// <summary>The same, moved up.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Up(Vector256<byte> twice, uint low, uint high) => Avx2.ShiftLeftLogicalVariable(twice.AsUInt32(), Vector256.Create(Vector128.Create(low), Vector128.Create(high))).AsByte();

    /// <summary>Sixteen bytes twice.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Twice(byte* bytes) => Avx2.BroadcastVector128ToVector256(bytes);

    /// <summary>Sixteen bytes, and sixteen others.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Two(byte* first, byte* second) => Vector256.Create(Vector128.Load(first), Vector128.Load(second));

    /// <summary>Bits of each byte moved down; those that come from a neighbour are above them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Down(Vector256<byte> bytes, int shift) => (bytes.AsUInt16() >> shift).AsByte();

    /// <summary>Bits of each byte moved up; those that come from a neighbour are below them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Up(Vector256<byte> bytes, int shift) => (bytes.AsUInt16() << shift).AsByte();

    /// <summary>What codes of four bits stand for.</summary>
    /// <param name="table">[16]</param>
    /// <param name="codes">the upper half of each does not matter where there are vectors of 512 bits</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LookUp(Vector512<float> table, Vector512<int> codes) => Avx512F.PermuteVar16x32(table, codes);

    /// <summary>What codes of four bits stand for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<sbyte> LookUp(Vector128<sbyte> table, Vector128<byte> codes) => Vector128.Shuffle(table, codes.AsSByte());

    /// <summary>The float16 at an address. Looked up: .NET's own conversion takes as long as a block of numbers, and one by its bits half as long.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Half(byte* at) => AllHalves[Unsafe.ReadUnaligned<ushort>(at)];

    /// <summary>Where the float32 of the float16 at an address is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float* WideHalf(byte* at) => AllHalves + Unsafe.ReadUnaligned<ushort>(at);

    /// <summary>The same, sixteen times.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Halves(byte* at) => Vector512.Create(Half(at));

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
