using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Floats of 8 bits (E4M3: a sign, 4 bits of exponent, 3 of mantissa, no infinities), times a scale. Behind a row's codes: scales.</summary>
/// <param name="group">columns that share a scale</param>
/// <param name="scale">type of the scales</param>
internal sealed unsafe class Float8Packing(int group, ScalarType scale) : GroupedPacking(8, group)
{
    public override string Name => "FP8";

    public ScalarType ScaleType => scale;

    /// <summary>None where groups end within those of kernels.</summary>
    public override CodeForm? Form => Group == WholeRow || Group % (2 * Lanes) == 0 ? new CodeForm(8, 2 * Lanes, KindOf(scale), IsFloat: true) : null;

    public override void UnpackCodes(byte* row, int columns, byte* to, float* scales, float* offsets)
    {
        new ReadOnlySpan<byte>(row, columns).CopyTo(new Span<byte>(to, columns));
        for (var i = 0; i < columns / Lanes; i += 2)
        {
            var isNumber = !Vector256.EqualsAny(Vector256.Load(row + (i * Lanes)) & Vector256.Create((byte)0x7f), Vector256.Create((byte)0x7f));
            scales[i] = scales[i + 1] = isNumber ? Scale(row + CodeBytes(columns), scale, i * Lanes / Group) : float.NaN; // kernels know no code that is none
        }
    }

    protected override long TailBytes(long groups) => groups * DataTypes.Size(scale);

    public override bool Multiplies(int columns) => Vector512.IsHardwareAccelerated && GroupProducts.Takes(this, columns); // else there are no registers for what numbers are made with

    public override void Multiply4(byte* rows, long stride, int columns, float* x, float* result) => GroupProducts.Multiply4(this, new Reader(scale), rows, stride, columns, x, result);

    protected override void UnpackGroup(byte* codes, byte* tail, int number, int groups, float* to, int count)
    {
        var (factor, whole) = (Scale(tail, scale, number), count - (count % Lanes));
        GroupProducts.Unpack(new Reader(scale), codes, Bits, tail, number, groups, to, whole);
        for (var i = whole; i < count; i++)
        {
            to[i] = SmallFloats.E4M3[codes[i]] * factor;
        }
    }

    private readonly struct Reader(ScalarType scale) : IGroupReader
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<float> Begin(byte* tail, int number, int groups, out Vector512<float> more)
        {
            more = default;
            return Vector512.Create(Scale(tail, scale, number));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<float> Next(byte* codes, Vector512<float> with, Vector512<float> more) => Numbers(Vector128.Load(codes)) * with;
    }

    // Exponent and mantissa are moved to where float32 has them. The smallest have no exponent, and are small integers. As float32
    // that have none either they could be multiplied like the others, but a processor takes a hundred times as long for those.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Numbers(Vector128<byte> codes)
    {
        var words = Codes.Words(codes);
        var size = words & Vector512.Create(0x7f);
        var small = Vector512.ConvertToSingle(size) * Vector512.Create(MathF.ScaleB(1, -9));
        var numbers = Vector512.ConditionalSelect(Vector512.LessThan(size, Vector512.Create(8)).AsSingle(), small, ((size << 20) + Vector512.Create(120 << 23)).AsSingle());
        return Vector512.ConditionalSelect(Vector512.Equals(size, Vector512.Create(0x7f)).AsSingle(), Vector512.Create(float.NaN), numbers | ((words ^ size) << 24).AsSingle());
    }
}

/// <summary>Floats of 4 bits (E2M1), times a scale of 8 bits; NVFP4 has scales of E4M3 and a factor for all of a row, MXFP4 powers of two.</summary>
/// <remarks>Behind a row's codes: scales, then NVFP4's factor, a float32.</remarks>
/// <param name="powers">whether scales are powers of two, as in MXFP4</param>
internal sealed unsafe class Float4Packing(bool powers) : GroupedPacking(4, powers ? 32 : 16)
{
    public static readonly Float4Packing Nv = new(powers: false), Mx = new(powers: true);

    public override string Name => powers ? "MXFP4" : "NVFP4";

    public bool HasPowers => powers;

    public override CodeForm? Form => new(4, Group, powers ? CodeScales.Brain : CodeScales.Single, Table: SmallFloats.Doubled);

    public override void UnpackCodes(byte* row, int columns, byte* to, float* scales, float* offsets)
    {
        var groups = (int)Groups(columns);
        var tail = row + CodeBytes(columns);
        for (var i = 0; i < columns / Lanes; i++)
        {
            Sixteen(row + (i * Lanes / 2)).Store(to + (i * Lanes));
            scales[i] = Factor(powers, tail, i * Lanes / Group, groups) / 2;
        }
    }

    protected override long TailBytes(long groups) => groups + (powers ? 0 : sizeof(float));

    public override bool Multiplies(int columns) => GroupProducts.Takes(this, columns);

    public override void Multiply4(byte* rows, long stride, int columns, float* x, float* result) => GroupProducts.Multiply4(this, new Reader(powers), rows, stride, columns, x, result);

    protected override void UnpackGroup(byte* codes, byte* tail, int number, int groups, float* to, int count)
    {
        var (factor, whole) = (Factor(powers, tail, number, groups), count - (count % Lanes));
        GroupProducts.Unpack(new Reader(powers), codes, Bits, tail, number, groups, to, whole);
        for (var i = whole; i < count; i++)
        {
            to[i] = SmallFloats.E2M1[Nibble(codes, i)] * factor;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Factor(bool powers, byte* tail, int number, int groups) =>
        powers ? SmallFloats.Power(tail[number]) : SmallFloats.E4M3[tail[number]] * Scale(tail + groups, ScalarType.Float32, 0);

    private readonly struct Reader(bool powers) : IGroupReader
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<float> Begin(byte* tail, int number, int groups, out Vector512<float> more)
        {
            more = default;
            var factor = Vector512.Create(Factor(powers, tail, number, groups) / 2);
            return Avx512F.IsSupported ? Codes.Numbers(SmallFloats.Doubled) * factor : factor;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<float> Next(byte* codes, Vector512<float> with, Vector512<float> more) =>
            Avx512F.IsSupported ? GroupProducts.LookUp(codes, with) : Codes.Numbers(Codes.LookUp(SmallFloats.Doubled, Sixteen(codes))) * with;
    }
}

/// <summary>What the codes of small floats stand for.</summary>
internal static class SmallFloats
{
    public static readonly float[] E2M1 = [0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0f, -0.5f, -1, -1.5f, -2, -3, -4, -6];

    public static readonly float[] E4M3 = [.. Enumerable.Range(0, 256).Select(Widen)];

    /// <summary>E2M1, doubled.</summary>
    public static Vector128<sbyte> Doubled => Vector128.Create(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

    /// <summary>E8M0: two to the power of a byte less 127. Where OCP has no number, 255, it is infinite.</summary>
    public static float Power(byte exponent) => BitConverter.UInt32BitsToSingle(exponent == 0 ? 0x0040_0000 : (uint)exponent << 23);

    private static float Widen(int code)
    {
        var (exponent, mantissa) = ((code >> 3) & 15, code & 7);
        var size = exponent == 15 && mantissa == 7 ? float.NaN
            : exponent == 0 ? MathF.ScaleB(mantissa, -9)
            : MathF.ScaleB(8 + mantissa, exponent - 10);
        return code < 128 ? size : -size;
    }
}
