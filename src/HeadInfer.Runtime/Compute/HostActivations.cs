using System.Numerics;

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
        Span<float> gate = new(both, width), up = new(both + width, width), into = new(output, width);
        var at = 0;
        for (; at <= width - Vector<float>.Count; at += Vector<float>.Count)
        {
            (Silu(new Vector<float>(gate[at..])) * new Vector<float>(up[at..])).CopyTo(into[at..]);
        }

        Span<float> last = stackalloc float[Vector<float>.Count];
        gate[at..].CopyTo(last);
        Silu(new Vector<float>(last)).CopyTo(last);
        for (var i = at; i < width; i++)
        {
            into[i] = last[i - at] * up[i];
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

    private static Vector<float> Silu(Vector<float> x) => x / (Vector<float>.One + Vector.Exp(-x));
}
