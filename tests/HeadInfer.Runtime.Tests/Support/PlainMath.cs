namespace HeadInfer.Runtime.Tests.Support;

/// <summary>What decoders in plain loops and float64 are made of.</summary>
internal static class PlainMath
{
    /// <summary>The product of a matrix [n, columns] and a vector [columns].</summary>
    public static double[] Times(float[] matrix, double[] x)
    {
        var result = new double[matrix.Length / x.Length];
        for (var row = 0; row < result.Length; row++)
        {
            for (var i = 0; i < x.Length; i++)
            {
                result[row] += matrix[(row * x.Length) + i] * x[i];
            }
        }

        return result;
    }

    public static double[] Softmax(double[] scores)
    {
        var most = scores.Max();
        var total = scores.Sum(s => Math.Exp(s - most));
        return [.. scores.Select(s => Math.Exp(s - most) / total)];
    }

    public static double Dot(double[] a, double[] b) => a.Zip(b, (x, y) => x * y).Sum();
}
