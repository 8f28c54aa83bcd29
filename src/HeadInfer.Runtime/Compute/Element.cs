using System.Runtime.CompilerServices;

namespace HeadInfer.Runtime.Compute;

/// <summary>A number as memory has it. Kernels are written once and compiled for each type; all of them compute in float32.</summary>
/// <remarks>To widen is exact. So a kernel's result is the same, to the bit, for numbers of 16 bits and for the same numbers in float32.</remarks>
internal unsafe interface IElement<TSelf>
    where TSelf : unmanaged, IElement<TSelf>
{
    /// <summary>Reads as many as a lane has.</summary>
    static abstract TLane Load<TLane>(TSelf* source)
        where TLane : struct, ILane<TLane>;

    static abstract float Widen(TSelf value);

    /// <summary>The nearest; of two that are equally near the even one, as libtorch has it.</summary>
    static abstract TSelf Narrow(float value);
}

/// <summary>32 bits.</summary>
internal readonly struct Float32(float value) : IElement<Float32>
{
    private readonly float _value = value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe TLane Load<TLane>(Float32* source)
        where TLane : struct, ILane<TLane> => TLane.Load((float*)source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(Float32 value) => value._value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float32 Narrow(float value) => new(value);
}

/// <summary>The upper half of a float32.</summary>
internal readonly struct BFloat16(ushort bits) : IElement<BFloat16>
{
    private const ushort NaN = 0x7FC0;

    private readonly ushort _bits = bits;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe TLane Load<TLane>(BFloat16* source)
        where TLane : struct, ILane<TLane> => TLane.LoadBFloat16((ushort*)source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(BFloat16 value) => BitConverter.UInt32BitsToSingle((uint)value._bits << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static BFloat16 Narrow(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return new(float.IsNaN(value) ? NaN : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16));
    }
}

/// <summary>16 bits, of which 5 are exponent. Beyond 65,504 they end.</summary>
internal readonly struct Float16(Half value) : IElement<Float16>
{
    private readonly Half _value = value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe TLane Load<TLane>(Float16* source)
        where TLane : struct, ILane<TLane> => TLane.LoadFloat16((ushort*)source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(Float16 value) => (float)value._value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float16 Narrow(float value) => new((Half)value);
}
