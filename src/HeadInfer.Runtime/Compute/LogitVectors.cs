using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace HeadInfer.Runtime.Compute;

/// <summary>Passes over a vocabulary. Their results do not depend on how wide a machine's vectors are.</summary>
internal static class LogitVectors
{
    private const int Block = 1024; // numbers that are taken together: few enough to stay in the first cache

    // exp(x) for x from -87 to 0, by Cephes' polynomial. Every step is rounded by itself, never fused, so that all machines get the same bits.
    private const float LowestExponent = -87, Log2E = 1.44269504f, Ln2High = 0.693359375f, Ln2Low = -2.12194440e-4f;
    private const float LeastWeight = 1.7e-38f; // above exp(-87), so that minus infinity has no weight
    private const float RoundsToWhole = 1.5f * (1 << 23); // its mantissa's last bit is worth 1

    public static int Blocks(int count) => (count + Block - 1) / Block;

    public static Range RangeOf(int block, int count) => (block * Block)..Math.Min((block + 1) * Block, count);

    /// <summary>Where the largest is, the first of equals. What is not a number is larger than all that are.</summary>
    public static int Largest(ReadOnlySpan<float> logits)
    {
        var (largest, start) = (logits[0], 0);
        for (var block = 0; block < Blocks(logits.Length); block++)
        {
            var most = Max(logits[RangeOf(block, logits.Length)]);
            if (most > largest || float.IsNaN(most))
            {
                (largest, start) = (most, block * Block);
            }
        }

        return start + logits[start..].IndexOf(largest);
    }

    /// <summary>Turns logits into weights: exp(scale * (logit - largest)), so that the largest one's is 1.</summary>
    /// <param name="logits">changed to weights; 0 where one would be below <paramref name="least"/> or exp(-87)</param>
    /// <param name="largest">the largest logit</param>
    /// <param name="scale">1 / temperature</param>
    /// <param name="least">the smallest weight that counts</param>
    /// <param name="sums">[blocks] gets the sum of each block</param>
    /// <returns>The sum of all.</returns>
    public static double Weigh(Span<float> logits, float largest, float scale, float least, Span<double> sums)
    {
        least = Math.Max(least, LeastWeight);
        var total = 0.0;
        for (var block = 0; block < sums.Length; block++)
        {
            var part = logits[RangeOf(block, logits.Length)];
            var vectors = MemoryMarshal.Cast<float, Vector<float>>(part);
            foreach (ref var vector in vectors)
            {
                vector = Weight(vector, largest, scale, least);
            }

            foreach (ref var logit in part[(vectors.Length * Vector<float>.Count)..])
            {
                logit = Weight(new Vector<float>(logit), largest, scale, least)[0];
            }

            total += sums[block] = Sum(part);
        }

        return total;
    }

    /// <summary>The first token, by index, with which the sum exceeds a limit.</summary>
    /// <param name="weights">as <see cref="Weigh"/> makes them</param>
    /// <param name="sums">[blocks] of the weights</param>
    /// <param name="limit">less than the sum of all</param>
    public static int Find(ReadOnlySpan<float> weights, ReadOnlySpan<double> sums, double limit)
    {
        // Added up in Weigh's order, so that the last block exceeds the limit for certain.
        var (block, sum) = (0, 0.0);
        while (sum + sums[block] <= limit)
        {
            sum += sums[block++];
        }

        // Within a block the order is another; what its rounding leaves over is the last token's.
        var found = block * Block;
        for (var i = found; i < Math.Min((block + 1) * Block, weights.Length) && sum <= limit; i++)
        {
            sum += weights[i];
            found = weights[i] > 0 ? i : found;
        }

        return found;
    }

    private static float Max(ReadOnlySpan<float> block)
    {
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(block);
        var (even, odd) = (new Vector<float>(float.NegativeInfinity), new Vector<float>(float.NegativeInfinity));
        var i = 0;
        for (; i + 1 < vectors.Length; i += 2)
        {
            even = Vector.Max(vectors[i], even);
            odd = Vector.Max(vectors[i + 1], odd);
        }

        var most = float.NegativeInfinity;
        for (var lane = 0; lane < Vector<float>.Count; lane++)
        {
            most = Math.Max(most, Math.Max(even[lane], odd[lane]));
        }

        foreach (var logit in block[(i * Vector<float>.Count)..])
        {
            most = Math.Max(most, logit);
        }

        return most;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> Weight(Vector<float> logit, float largest, float scale, float least)
    {
        var x = Vector.MaxNative((logit - new Vector<float>(largest)) * scale, new Vector<float>(LowestExponent));
        var shifted = (x * Log2E) + new Vector<float>(RoundsToWhole);
        var whole = shifted - new Vector<float>(RoundsToWhole);
        var r = x - (whole * Ln2High) - (whole * Ln2Low);
        var p = (r * 1.9875691500e-4f) + new Vector<float>(1.3981999507e-3f);
        p = (p * r) + new Vector<float>(8.3334519073e-3f);
        p = (p * r) + new Vector<float>(4.1665795894e-2f);
        p = (p * r) + new Vector<float>(1.6666665459e-1f);
        p = (p * r) + new Vector<float>(5.0000001201e-1f);
        p = (p * r * r) + r + Vector<float>.One;
        var power = Vector.AsVectorSingle(Vector.ShiftLeft(Vector.AsVectorInt32(shifted), 23) + Vector.AsVectorInt32(Vector<float>.One));
        var weight = p * power;
        return Vector.ConditionalSelect(Vector.GreaterThanOrEqual(weight, new Vector<float>(least)), weight, Vector<float>.Zero);
    }

    // Sixteen partial sums on every machine: the order of additions decides their rounding.
    private static double Sum(ReadOnlySpan<float> block)
    {
        var vectors = MemoryMarshal.Cast<float, Vector256<float>>(block);
        Vector256<double> a = default, b = default, c = default, d = default;
        var i = 0;
        for (; i + 1 < vectors.Length; i += 2)
        {
            a += Vector256.WidenLower(vectors[i]);
            b += Vector256.WidenUpper(vectors[i]);
            c += Vector256.WidenLower(vectors[i + 1]);
            d += Vector256.WidenUpper(vectors[i + 1]);
        }

        var lanes = a + b + (c + d);
        var sum = lanes[0] + lanes[1] + (lanes[2] + lanes[3]);
        foreach (var weight in block[(i * Vector256<float>.Count)..])
        {
            sum += weight;
        }

        return sum;
    }
}
