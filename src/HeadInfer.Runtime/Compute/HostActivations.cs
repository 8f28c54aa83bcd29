using System.Numerics;
using System.Runtime.Intrinsics;

namespace HeadInfer.Runtime.Compute;

/// <summary>Activations of float32 in host memory.</summary>
internal static unsafe class HostActivations
{
    /// <summary><c>silu(gate) * up</c> of gate and up side by side, each value computed alike in whatever row it stands.</summary>
    /// <param name="both">[2 * width]</param>
    /// <param name="output">[width]</param>
    /// <param name="width">columns of each</param>
    public static void GateBySilu(float* both, float* output, int width)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            GateBySilu<WideLane>(both, output, width);
        }
        else
        {
            GateBySilu<PlainLane>(both, output, width);
        }
    }

    private static void GateBySilu<TLane>(float* both, float* output, int width)
        where TLane : struct, ILane<TLane>
    {
        var at = 0;
        for (; at <= width - TLane.Count; at += TLane.Count)
        {
            TLane.Multiply(Silu(TLane.Load(both + at)), TLane.Load(both + width + at)).Store(output + at);
        }

        var last = stackalloc float[TLane.Count];
        new ReadOnlySpan<float>(both + at, width - at).CopyTo(new Span<float>(last, TLane.Count));
        Silu(TLane.Load(last)).Store(last);
        for (var i = at; i < width; i++)
        {
            output[i] = last[i - at] * both[width + i];
        }
    }

    /// <summary><c>cap * tanh(x / cap)</c>.</summary>
    public static Vector<float> Cap(Vector<float> x, float cap)
    {
        // 1 - 2 / (exp(2x) + 1); beyond 20 it is 1 in float32, and the exponential would overflow.
        var twice = Vector.Min(x * new Vector<float>(2 / cap), new Vector<float>(40));
        return new Vector<float>(cap) * (Vector<float>.One - (new Vector<float>(2) / (Vector.Exp(twice) + Vector<float>.One)));
    }

    /// <summary>The same of many values, in place.</summary>
    public static void Cap(Span<float> values, float cap)
    {
        var at = 0;
        for (; at <= values.Length - Vector<float>.Count; at += Vector<float>.Count)
        {
            Cap(new Vector<float>(values[at..]), cap).CopyTo(values[at..]);
        }

        for (; at < values.Length; at++)
        {
            values[at] = cap * MathF.Tanh(values[at] / cap);
        }
    }

    /// <summary>Multiplies many values, and then caps them if there is a cap, in place.</summary>
    public static void Scale(Span<float> values, float factor, float? cap)
    {
        for (var at = 0; factor != 1 && at < values.Length; at++)
        {
            values[at] *= factor;
        }

        if (cap is { } most)
        {
            Cap(values, most);
        }
    }

    // Below -87 the result is next to nothing, and the exponential would overflow.
    private static TLane Silu<TLane>(TLane x)
        where TLane : struct, ILane<TLane> =>
        TLane.Divide(x, TLane.Add(TLane.All(1), LaneMath.Exp(TLane.Multiply(TLane.All(-1), TLane.Max(TLane.All(-87), x)))));
}
