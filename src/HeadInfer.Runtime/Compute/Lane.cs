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

    static abstract TSelf All(float value);

    static abstract TSelf Multiply(TSelf a, TSelf b);

    static abstract TSelf Add(TSelf a, TSelf b);

    /// <summary><c>a * b + c</c>, rounded once.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);

    /// <summary>The sum of all, formed in the order of <see cref="Sum4"/>: how rows are taken together does not show in a result.</summary>
    static virtual float Sum(TSelf a) => TSelf.Sum4(a, a, a, a).ToScalar();

    /// <summary>The sums of four: a few shuffles for all of them, where four sums apart would cost more than the products.</summary>
    static abstract Vector128<float> Sum4(TSelf a, TSelf b, TSelf c, TSelf d);

    void Store(float* destination);
}

/// <summary>512 bits.</summary>
internal readonly unsafe struct WideLane(Vector512<float> value) : ILane<WideLane>
{
    private readonly Vector512<float> _value = value;

    public static int Count => Vector512<float>.Count;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane Load(float* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane All(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane Multiply(WideLane a, WideLane b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static WideLane Add(WideLane a, WideLane b) => new(a._value + b._value);

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
}

/// <summary>What the processor has up to 256 bits.</summary>
internal readonly unsafe struct PlainLane(Vector<float> value) : ILane<PlainLane>
{
    private readonly Vector<float> _value = value;

    public static int Count => Vector<float>.Count;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane Load(float* source) => new(Vector.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane All(float value) => new(new Vector<float>(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane Multiply(PlainLane a, PlainLane b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PlainLane Add(PlainLane a, PlainLane b) => new(a._value + b._value);

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
}
