using System.Globalization;
using System.Runtime.Intrinsics;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Benchmarks;

/// <summary>A loop that only reads, on the threads whose kernels are measured beside it.</summary>
internal static unsafe class HostReading
{
    private const int Step = 256; // bytes

    /// <summary>Bits of the vectors that kernels use.</summary>
    public static int VectorBits => Vector512.IsHardwareAccelerated ? 512 : 32 * System.Numerics.Vector<int>.Count;

    /// <summary>Reads, each member its share from the beginning to the end.</summary>
    /// <param name="team">who reads</param>
    /// <param name="start">address of the first byte</param>
    /// <param name="bytes">how many; what is left of the last 256 is not read</param>
    public static void Read(HostTeam team, nint start, long bytes) => team.Run(member =>
    {
        var (first, last) = team.Share(member, (int)(bytes / Step));
        Vector512<int> a = default, b = default, c = default, d = default;
        for (byte* at = (byte*)start + ((long)first * Step), end = (byte*)start + ((long)last * Step); at < end; at += Step)
        {
            a += Vector512.Load((int*)at);
            b += Vector512.Load((int*)(at + 64));
            c += Vector512.Load((int*)(at + 128));
            d += Vector512.Load((int*)(at + 192));
        }

        GC.KeepAlive(Vector512.Sum(a + b + c + d));
    });

    /// <summary>Prints a line of a table.</summary>
    public static void Print(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));
}
