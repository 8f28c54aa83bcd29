using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Planning;

/// <summary>A machine by its published rates: one that need not be there. What of them is reached is in <see cref="Reach"/>.</summary>
/// <param name="Name">what it is called</param>
/// <param name="GpuMemory">of its GPU; null if it has none</param>
/// <param name="Memory">bytes a second of GPU memory</param>
/// <param name="Link">bytes a second of the link, one way</param>
/// <param name="Product">operations a second of a matrix product: of 16 bits with sums of 32, dense, on the GPU; of 32 bits without one</param>
/// <param name="Host">bytes a second that all cores together read of host memory</param>
internal sealed record Machine(string Name, ByteSize? GpuMemory, double Memory, double Link, double Product, double Host)
{
    /// <summary>The name for no GPU.</summary>
    public const string NoGpu = "none";

    /// <summary>Assumed of a desktop's host memory: two channels of DDR5-5600 have 90 GB/s.</summary>
    public const double Desktop = 70e9;

    // A server's: as measured beside an H200, whose 16 cores and link together read so much.
    private const double Server = 175e9, Pcie5 = 63e9, Pcie4 = 31.5e9, Pcie4Half = 15.75e9;

    // Eight cores of AVX2 at 4 GHz have 1 Tflop/s in float32.
    private static readonly Machine Cpu = new(NoGpu, null, 0, 0, 1e12, Desktop);

    /// <summary>Those whose rates are known, by NVIDIA's data sheets and architecture papers.</summary>
    public static readonly IReadOnlyList<Machine> Known =
    [
        Gpu("rtx-3060", 12, 360, Pcie4, 25.5, Desktop),
        Gpu("rtx-3090", 24, 936, Pcie4, 71, Desktop),
        Gpu("rtx-4060", 8, 272, Pcie4Half, 30.2, Desktop),
        Gpu("rtx-4060-ti", 16, 288, Pcie4Half, 44.1, Desktop),
        Gpu("rtx-4070", 12, 504, Pcie4, 58.3, Desktop),
        Gpu("rtx-4080", 16, 717, Pcie4, 97.5, Desktop),
        Gpu("rtx-4090", 24, 1008, Pcie4, 165.2, Desktop),
        Gpu("rtx-5090", 32, 1792, Pcie5, 209.5, Desktop),
        Gpu("a100", 79.3, 2039, Pcie4, 312, Server),
        Gpu("h100", 79.6, 3350, Pcie5, 989, Server),
        Gpu("h200", 140.4, 4800, Pcie5, 989, Server),
        Cpu,
    ];

    /// <summary>The link's and the CPU's rates for keys and values in host memory, as they are reached together; without a GPU the CPU attends all.</summary>
    public HostRates HostRates
    {
        get
        {
            if (GpuMemory is null)
            {
                return new HostRates(double.PositiveInfinity, Host * Reach.CpuReading, double.PositiveInfinity);
            }

            var (both, link) = (Host * Reach.HostBesideLink, Link * Reach.Link);
            return new HostRates(Math.Min(link, both), Math.Max(0, both - link), double.PositiveInfinity);
        }
    }

    /// <summary>The machine of a name, in any case.</summary>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public static Machine Of(string name) => Known.FirstOrDefault(m => m.Name.Equals(name, StringComparison.OrdinalIgnoreCase))
        ?? throw new ArgumentException($"'{name}' is no GPU that --gpu knows; there are {string.Join(", ", Known.Select(m => m.Name))}. Others are given by --memory-rate, --link-rate and --tflops.");

    /// <summary>The machine of a name, of rates, or of a name with some rates of its own; null if nothing is said.</summary>
    /// <param name="memory">bytes a second of GPU memory</param>
    /// <param name="link">bytes a second of the link, one way</param>
    /// <param name="product">operations a second of a matrix product</param>
    /// <param name="host">bytes a second of host memory</param>
    /// <exception cref="ArgumentException">They contradict each other, or do not suffice; the message names the flag.</exception>
    public static Machine? Of(string? name, ByteSize? gpuMemory, double? memory, double? link, double? product, double? host)
    {
        if (name is not null)
        {
            var known = Of(name);
            var ofGpu = memory is not null ? "--memory-rate" : link is not null ? "--link-rate" : gpuMemory is not null ? "--gpu-memory" : null;
            return known.GpuMemory is null && ofGpu is not null
                ? throw new ArgumentException($"{ofGpu} is of a GPU, and --gpu says {known.Name}. Leave one of them out.")
                : known with { Memory = memory ?? known.Memory, Link = link ?? known.Link, Product = product ?? known.Product, Host = host ?? known.Host };
        }

        if ((memory ?? link ?? product ?? host) is null)
        {
            return null;
        }

        return (memory, link, product, gpuMemory) is ({ } read, { } crossed, { } multiplied, { } size)
            ? new Machine("a GPU of these rates", size, read, crossed, multiplied, host ?? Desktop)
            : throw new ArgumentException($"A GPU without a name needs {(memory is null ? "--memory-rate" : link is null ? "--link-rate" : product is null ? "--tflops" : "--gpu-memory")} too, or give --gpu one of {string.Join(", ", Known.Select(m => m.Name))}.");
    }

    private static Machine Gpu(string name, double gib, double memory, double link, double tflops, double host) =>
        new(name, ByteSize.FromGiB(gib), memory * 1e9, link, tflops * 1e12, host);
}

/// <summary>What of published rates is reached, from what was measured; nothing here was measured on other machines than these.</summary>
internal static class Reach
{
    // One H200, llama-3-8b. A step at 1K takes 4.6 ms in bfloat16, and 2.6 packed in 4.5 bits a weight (2026-11-30). A step is bytes
    // at a rate, and a time for each layer, whose kernels wait for each other.
    public const double GpuReading = 0.85, LayerStart = 28e-6, PackedLayerStart = 48e-6;

    // From 1K to 8K, 32K and 128K a step grows by 0.5, 1.4 and 4.9 ms.
    public const double GpuAttending = 0.6;

    // Prefills of 32K to 256K run at 598 to 604 Tflop/s of 989. Unpacking takes 10% of one of 16K: 14 GB are written a chunk of 4,096.
    public const double GpuProduct = 0.61, Unpacking = 0.24;

    // Attention by our own kernel, with a soft cap or wide heads: 160 to 235 Tflop/s of 989 (2026-11-30).
    public const double OwnAttention = 0.19;

    // Of a prompt: eight calls of libtorch for each expert that is used, at 16 us each.
    public const double ExpertStart = 8 * 16e-6;

    // Pinned copies: 54 to 55 GB/s of 63. CPU and link together at 128K and 512K: 130 GB/s of 175.
    public const double Link = 0.86, HostBesideLink = 0.74;

    // Two cores of an EPYC, 61 GB/s and 228 Gflop/s. The demo model and 0.5B parameters in float32, bfloat16, Q8_0 and Q4_0 decode
    // at 0.53 to 0.77 of the first, packed at 0.2 of the second. Prefill runs at 0.70 to 0.77 of the second; with
    // products of our own at 0.66 to 0.86 of theirs (2026-11-30).
    public const double CpuReading = 0.65, CpuPacked = 0.21, CpuProduct = 0.74;
}
