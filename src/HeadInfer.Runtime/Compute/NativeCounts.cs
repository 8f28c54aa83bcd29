using System.Globalization;

namespace HeadInfer.Runtime.Compute;

/// <summary>A thing beside tensors that somebody must give back.</summary>
internal enum NativeKind
{
    Event,
    Stream,
    Pin,
    Module,
    EngineThread,
    TeamThread,
}

/// <summary>How many of each kind are alive in the process, as libtorch counts its tensors: tests tell a leak by it.</summary>
internal static class NativeCounts
{
    private static readonly long[] Alive = new long[Enum.GetValues<NativeKind>().Length];

    public static void Add(NativeKind kind) => Interlocked.Increment(ref Alive[(int)kind]);

    public static void Remove(NativeKind kind) => Interlocked.Decrement(ref Alive[(int)kind]);

    public static long Of(NativeKind kind) => Interlocked.Read(ref Alive[(int)kind]);

    /// <summary>All counts, for a comparison with later ones.</summary>
    public static string Describe() => string.Join(", ", Enum.GetValues<NativeKind>().Select(kind =>
        string.Create(CultureInfo.InvariantCulture, $"{kind} {Of(kind)}")));
}
