using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HeadInfer.Runtime.Compute;

/// <summary>Functions of each number of a lane.</summary>
internal static class LaneMath
{
    /// <summary>Added to a small number and rounded, it leaves a whole number in the lowest bits.</summary>
    public const float Whole = 12_582_912; // 1.5 * 2^23

    private const float LeastExponent = -87.3f; // of e: what is less than 2^-126 counts as that

    // ln(2) in two parts, of which the first has few bits, so that its products with small whole numbers are exact.
    private const float LogOfTwo = 0.693359375f, LogOfTwoRest = -2.12194440e-4f, ByLogOfTwo = 1.44269504f;

    /// <summary>The largest of eight numbers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(Vector256<float> all)
    {
        var four = Vector128.MaxNative(all.GetLower(), all.GetUpper());
        var two = Vector128.MaxNative(four, Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1)));
        return Vector128.MaxNative(two, Vector128.Shuffle(two, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    /// <summary>e to the power of numbers up to 87, to two units in the last place.</summary>
    /// <remarks>.NET's own is correct to the last bit by computing in float64, which made it a third of the time of attention with heads of 64 dimensions. The polynomial is that of Cephes' expf.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLane Exp<TLane>(TLane x)
        where TLane : struct, ILane<TLane>
    {
        x = TLane.Max(TLane.All(LeastExponent), x);
        var whole = TLane.MultiplyAdd(x, TLane.All(ByLogOfTwo), TLane.All(Whole));
        var power = TLane.Add(whole, TLane.All(-Whole));
        var rest = TLane.MultiplyAdd(power, TLane.All(-LogOfTwoRest), TLane.MultiplyAdd(power, TLane.All(-LogOfTwo), x));
        var sum = TLane.MultiplyAdd(TLane.All(1.9875691500e-4f), rest, TLane.All(1.3981999507e-3f));
        sum = TLane.MultiplyAdd(sum, rest, TLane.All(8.3334519073e-3f));
        sum = TLane.MultiplyAdd(sum, rest, TLane.All(4.1665795894e-2f));
        sum = TLane.MultiplyAdd(sum, rest, TLane.All(1.6666665459e-1f));
        sum = TLane.MultiplyAdd(sum, rest, TLane.All(5.0000001201e-1f));
        sum = TLane.Add(TLane.MultiplyAdd(TLane.Multiply(rest, rest), sum, rest), TLane.All(1));
        return TLane.Multiply(sum, TLane.TwoToThe(whole));
    }
}
