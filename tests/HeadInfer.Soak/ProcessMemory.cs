using System.Diagnostics;
using HeadInfer.Runtime;

namespace HeadInfer.Soak;

/// <summary>Memory of the process with no model in it.</summary>
/// <param name="Heap">the managed heap, collected</param>
/// <param name="Process">the working set</param>
internal readonly record struct ProcessMemory(ByteSize Heap, ByteSize Process)
{
    public static ProcessMemory Now()
    {
        for (var i = 0; i < 3; i++)
        {
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            GC.WaitForPendingFinalizers();
        }

        using var process = System.Diagnostics.Process.GetCurrentProcess();
        return new ProcessMemory(new ByteSize(GC.GetTotalMemory(forceFullCollection: true)), new ByteSize(process.WorkingSet64));
    }

    /// <summary>The median of each of some samples: one of them may stand out.</summary>
    public static ProcessMemory Median(IEnumerable<ProcessMemory> samples)
    {
        var all = samples.ToList();
        return new ProcessMemory(
            new ByteSize(all.Select(s => s.Heap.Bytes).Order().ElementAt(all.Count / 2)),
            new ByteSize(all.Select(s => s.Process.Bytes).Order().ElementAt(all.Count / 2)));
    }
}
