using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HeadInfer.Runtime.Compute;

/// <summary>Rows of activations as whole numbers of 24 bits, which packed weights multiply without an error.</summary>
/// <remarks>
/// Sixty-four columns share a unit, of which the largest has 8,355,700: 23 bits and a sign. A whole number is three signed
/// bytes, its digits to the base of 256, and digits of a kind lie together: a plane. Sums of eight products are exact, and of four where sixteen
/// columns of weights share a scale. So there are two errors: of a number, one and a quarter units at most, and float32's in adding up those sums.
///
/// Of sixty-four columns lie there, each as 32 bytes: for each digit, the highest first, columns 0 to 15 with 32 to 47, and 16 to 31 with
/// 48 to 63; the sums of each four numbers of the first, of the second, and of both; the unit, eight times.
/// </remarks>
/// <param name="planes">of all rows</param>
/// <param name="width">floats from one row to the next</param>
/// <param name="which">bits of the rows that are there</param>
internal readonly unsafe struct PlaneRows(float* planes, int width, uint which)
{
    public const int Columns = 64; // that share a unit
    public const int Bytes = 320;  // of these

    // What three digits from -128 to 127 say, but for what rounding may add. Squares of larger numbers might be infinite, and units of smaller ones not normal.
    private const float MostWhole = 8_355_700, Largest = 1e15f, Least = 1e-25f;

    /// <summary>A row's bytes; null if it is to be multiplied as it is.</summary>
    public byte* this[int row] => ((which >> row) & 1) == 0 ? null : (byte*)(planes + ((long)row * width));

    /// <summary>Whether weights are multiplied so: where vectors have 256 bits. Where they have 512, their numbers are looked up.</summary>
    public static bool Suit(Packing packing, int columns) => Avx2.IsSupported && !Vector512.IsHardwareAccelerated && packing.TakesPlanes(columns);

    /// <summary>Floats of a row.</summary>
    public static int Width(int columns) => columns / Columns * (Bytes / sizeof(float));

    /// <summary>Makes them.</summary>
    /// <param name="x">[n, columns]</param>
    /// <param name="n">how many rows, at most 32</param>
    /// <param name="columns">of a row</param>
    /// <param name="to">[n, <see cref="Width"/>], written</param>
    public static PlaneRows Of(float* x, int n, int columns, float* to)
    {
        var (width, which) = (Width(columns), 0u);
        for (var row = 0; row < n; row++)
        {
            which |= Make(x + ((long)row * columns), columns, (byte*)(to + ((long)row * width))) ? 1u << row : 0;
        }

        return new PlaneRows(to, width, which);
    }

    /// <summary>Makes one. False if a number is not finite, or if products would be less exact than float32 sums of one product after another.</summary>
    /// <remarks>
    /// The error of numbers grows with the squares of units; that of a sum in float32 with its length, and with the squares of numbers. With weights of
    /// every type the first is smaller here: from some 140 columns of normal numbers on, from 1,000 of products of two, and where one of 4,096 is a
    /// hundred times as large as the others.
    /// </remarks>
    /// <param name="x">[columns]</param>
    /// <param name="columns">how many</param>
    /// <param name="to">[<see cref="Width"/>], written</param>
    public static bool Make(float* x, int columns, byte* to)
    {
        var (sizes, units) = (0.0, 0.0);
        for (var at = 0; at < columns; at += Columns, to += Bytes, x += Columns)
        {
            var (largest, square) = (Vector256<int>.Zero, Vector256<float>.Zero);
            for (var i = 0; i < Columns; i += Vector256<float>.Count)
            {
                var some = Vector256.Load(x + i);
                largest = Vector256.Max(largest, Vector256.Abs(some).AsInt32()); // infinity and what is no number are larger
                square = Vector256.FusedMultiplyAdd(some, some, square);
            }

            var most = Vector128.Max(largest.GetLower(), largest.GetUpper());
            most = Vector128.Max(most, Vector128.Shuffle(most, Vector128.Create(2, 3, 0, 1)));
            var ofAll = BitConverter.Int32BitsToSingle(Math.Max(most[0], most[1]));
            if (!(ofAll < Largest))
            {
                return false;
            }

            var unit = Math.Max(ofAll, Least) / MostWhole;
            sizes += Math.Sqrt(Vector256.Sum(square)); // not their squares: where one is far larger, its weights may be zero
            units += (double)unit * unit;
            var factor = Vector256.Create(1 / unit);
            var first = Write(x, x + 32, factor, to);
            var second = Write(x + 16, x + 48, factor, to + 32);
            Vector256.ConvertToSingle(first).Store((float*)(to + 192));
            Vector256.ConvertToSingle(second).Store((float*)(to + 224));
            Vector256.ConvertToSingle(first + second).Store((float*)(to + 256));
            Vector256.Create(unit).Store((float*)(to + 288));
        }

        return units * 1_500 <= Columns * sizes * sizes * Math.ScaleB(1, -46);
    }

    // Sixteen columns and sixteen others: their three digits, 64 bytes apart. The sums of each four.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Write(float* x, float* y, Vector256<float> factor, byte* to)
    {
        Vector256<int> a = Whole(x, factor), b = Whole(x + 8, factor), c = Whole(y, factor), d = Whole(y + 8, factor);
        var sums = Ordered(Avx2.HorizontalAdd(Avx2.HorizontalAdd(a, b), Avx2.HorizontalAdd(c, d)));
        for (var plane = to + 128; plane >= to; plane -= 64)
        {
            Ordered(Avx2.PackSignedSaturate(Avx2.PackSignedSaturate(Digit(a), Digit(b)), Avx2.PackSignedSaturate(Digit(c), Digit(d))).AsInt32()).Store((int*)plane);
            (a, b, c, d) = (Rest(a), Rest(b), Rest(c), Rest(d));
        }

        return sums;
    }

    private static Vector256<int> Whole(float* x, Vector256<float> factor) => Avx.ConvertToVector256Int32(Vector256.Load(x) * factor);

    private static Vector256<int> Digit(Vector256<int> whole) => (whole << 24) >> 24;

    private static Vector256<int> Rest(Vector256<int> whole) => (whole - Digit(whole)) >> 8;

    // What 256 bits were packed to, half by half, in the order of columns.
    private static Vector256<int> Ordered(Vector256<int> packed) => Avx2.PermuteVar8x32(packed, Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7));
}
