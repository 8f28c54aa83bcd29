using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HeadInfer.Runtime.Compute;

/// <summary>Floats that one instruction works on. Kernels are written once and compiled for each width.</summary>
/// <remarks><see cref="Vector{T}"/> alone stays at 256 bits on processors that have 512, which costs a third of the speed.</remarks>
internal unsafe interface ILane<TSelf>
    where TSelf : struct, ILane<TSelf>
{
    static abstract int Count { get; }

    static abstract TSelf Load(float* source);

    /// <summary>Reads bfloat16 numbers: they are the upper halves of float32.</summary>
    static abstract TSelf LoadBFloat16(ushort* source);

    /// <summary>Reads float16 numbers.</summary>
    static abstract TSelf LoadFloat16(ushort* source);

    static abstract TSelf All(float value);

    static abstract TSelf Multiply(TSelf a, TSelf b);

    static abstract TSelf Add(TSelf a, TSelf b);

    static abstract TSelf Divide(TSelf a, TSelf b);

    /// <summary>The larger of two; the second if one of them is no number.</summary>
    static abstract TSelf Max(TSelf a, TSelf b);

    /// <summary>The largest number of a lane.</summary>
    static abstract float Largest(TSelf a);

    /// <summary>Two to the power of a whole number, that number plus <see cref="LaneMath.Whole"/> given: its bits become the exponent.</summary>
    static abstract TSelf TwoToThe(TSelf whole);

    /// <summary><c>a * b + c</c>, rounded once.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);

    /// <summary>The sum of all, formed in the order of <see cref="Sum4"/>: how rows are taken together does not show in a result.</summary>
    static virtual float Sum(TSelf a) => TSelf.Sum4(a, a, a, a).ToScalar();

    /// <summary>The sums of four: a few shuffles for all of them, where four sums apart would cost more than the products.</summary>
    static abstract Vector128<float> Sum4(TSelf a, TSelf b, TSelf c, TSelf d);

    void Store(float* destination);
}

/// <summary>How a float16 number's bits become those of a float32.</summary>
internal static class HalfBits
{
    /// <summary>The sign, where a float16 has it.</summary>
    public const uint Sign = 0x8000;

    /// <summary>What float32's mantissa is longer by.</summary>
    public const int Shift = 13;

    /// <summary>From here on it is infinite, or none, once shifted.</summary>
    public const uint Infinite = 0x7C00 << Shift;

    /// <summary>The exponent of what is infinite, in a float32.</summary>
    public const uint Exponent = 0x7F80_0000;

    /// <summary>What the exponents are counted apart: shifted bits, taken for a float32, are too small by this factor, also where they are subnormal.</summary>
    public const float Factor = 5.192296858534828E+33f; // 2^112
}

/// <summary>512 bits.</summary>
internal readonly unsafe struct WideLane(Vector512<float> value) : ILane<WideLane>
{
    private readonly Vector512<float> _value = value;

    public Vector512<float> Value => _value;

    public static int Count => Vector512<float>.Count;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane Load(float* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane LoadBFloat16(ushort* source) => new((Widen(source) << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane LoadFloat16(ushort* source)
    {
        var bits = Widen(source);
        var sign = bits & Vector512.Create(HalfBits.Sign);
        var shifted = (bits ^ sign) << HalfBits.Shift;
        var finite = (shifted.AsSingle() * HalfBits.Factor).AsUInt32();
        var all = Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(shifted, Vector512.Create(HalfBits.Infinite)), shifted | Vector512.Create(HalfBits.Exponent), finite);
        return new((all | (sign << 16)).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane All(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane Multiply(WideLane a, WideLane b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane Add(WideLane a, WideLane b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane Divide(WideLane a, WideLane b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane Max(WideLane a, WideLane b) => new(Vector512.MaxNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(WideLane a) => LaneMath.Largest(Vector256.MaxNative(a._value.GetLower(), a._value.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane TwoToThe(WideLane whole) => new(((whole._value.AsInt32() << 23) + Vector512<float>.One.AsInt32()).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane MultiplyAdd(WideLane a, WideLane b, WideLane c) => new(Vector512.FusedMultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sum4(WideLane a, WideLane b, WideLane c, WideLane d)
    {
        if (!Avx512F.IsSupported)
        {
            return Vector128.Create(Vector512.Sum(a._value), Vector512.Sum(b._value), Vector512.Sum(c._value), Vector512.Sum(d._value));
        }

        // Each 128-bit quarter becomes [a, a, b, b] folded, then [a, b, c, d]; the quarters are then added up.
        var ab = Avx512F.UnpackLow(a._value, b._value) + Avx512F.UnpackHigh(a._value, b._value); // a b a b
        var cd = Avx512F.UnpackLow(c._value, d._value) + Avx512F.UnpackHigh(c._value, d._value);
        var all = Avx512F.Shuffle(ab, cd, 0b01_00_01_00) + Avx512F.Shuffle(ab, cd, 0b11_10_11_10); // a b c d
        var half = all.GetLower() + all.GetUpper();
        return half.GetLower() + half.GetUpper();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(float* destination) => _value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Widen(ushort* source) => Vector512.WidenLower(Vector256.Load(source).ToVector512Unsafe());
}

/// <summary>What the processor has up to 256 bits.</summary>
internal readonly unsafe struct PlainLane(Vector<float> value) : ILane<PlainLane>
{
    private readonly Vector<float> _value = value;

    public static int Count => Vector<float>.Count;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane Load(float* source) => new(Vector.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane LoadBFloat16(ushort* source) => new(Vector.AsVectorSingle(Widen(source) << 16));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane LoadFloat16(ushort* source)
    {
        var bits = Widen(source);
        var sign = bits & new Vector<uint>(HalfBits.Sign);
        var shifted = (bits ^ sign) << HalfBits.Shift;
        var finite = Vector.AsVectorUInt32(Vector.AsVectorSingle(shifted) * HalfBits.Factor);
        var all = Vector.ConditionalSelect(Vector.GreaterThanOrEqual(shifted, new Vector<uint>(HalfBits.Infinite)), shifted | new Vector<uint>(HalfBits.Exponent), finite);
        return new(Vector.AsVectorSingle(all | (sign << 16)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane All(float value) => new(new Vector<float>(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane Multiply(PlainLane a, PlainLane b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane Add(PlainLane a, PlainLane b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane Divide(PlainLane a, PlainLane b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane Max(PlainLane a, PlainLane b) => new(Vector.MaxNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(PlainLane a)
    {
        if (Vector<float>.Count == Vector256<float>.Count)
        {
            return LaneMath.Largest(a._value.AsVector256());
        }

        var largest = a._value[0];
        for (var i = 1; i < Vector<float>.Count; i++)
        {
            largest = Math.Max(largest, a._value[i]);
        }

        return largest;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane TwoToThe(PlainLane whole) => new(Vector.AsVectorSingle((Vector.AsVectorInt32(whole._value) << 23) + Vector.AsVectorInt32(Vector<float>.One)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane MultiplyAdd(PlainLane a, PlainLane b, PlainLane c) => new(Vector.FusedMultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sum4(PlainLane a, PlainLane b, PlainLane c, PlainLane d)
    {
        if (!Avx.IsSupported || Vector<float>.Count != Vector256<float>.Count)
        {
            return Vector128.Create(Vector.Sum(a._value), Vector.Sum(b._value), Vector.Sum(c._value), Vector.Sum(d._value));
        }

        var ab = Avx.HorizontalAdd(a._value.AsVector256(), b._value.AsVector256());
        var cd = Avx.HorizontalAdd(c._value.AsVector256(), d._value.AsVector256());
        var all = Avx.HorizontalAdd(ab, cd);
        return all.GetLower() + all.GetUpper();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(float* destination) => Vector.Store(_value, destination);

    // No more is read than is there: the last row of a page may end where memory does.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<uint> Widen(ushort* source) => Vector<uint>.Count switch
    {
        4 => Vector128.WidenLower(Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<ulong>(source)).AsUInt16()).AsVector(),
        8 => Vector256.WidenLower(Vector128.Load(source).ToVector256Unsafe()).AsVector(),
        _ => Vector512.WidenLower(Vector256.Load(source).ToVector512Unsafe()).AsVector(),
    };
}
