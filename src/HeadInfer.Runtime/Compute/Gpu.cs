using System.Text;
using TorchSharp;

namespace HeadInfer.Runtime.Compute;

/// <summary>A GPU that libtorch can compute on: its context and its figures.</summary>
internal sealed unsafe class Gpu : IDisposable
{
    private const int ProcessorsAttribute = 16, SharedAttribute = 81, BlockSharedAttribute = 97, MajorAttribute = 75, MinorAttribute = 76, HostPointerAttribute = 91;
    private const int LeastMajor = 8; // of the compute capability: tensor cores take whole tiles of 16 bits, and copies run beside kernels, from there on
    private const int MemoryClockAttribute = 36, MemoryWidthAttribute = 37; // kHz, of two transfers each; bits

    private readonly int _device;
    private readonly nint _context;

    private Gpu(int ordinal, int device, nint context, string name, int major, int minor) =>
        (Ordinal, _device, _context, Name, Major, Minor) = (ordinal, device, context, name, major, minor);

    /// <summary>The GPU's number among those the process sees.</summary>
    public int Ordinal { get; }

    public string Name { get; }

    /// <summary>Compute capability, the part before the dot.</summary>
    public int Major { get; }

    /// <summary>Compute capability, the part after the dot.</summary>
    public int Minor { get; }

    /// <summary>How many multiprocessors it has.</summary>
    public int Processors => Ask(ProcessorsAttribute);

    /// <summary>Shared memory of a multiprocessor, in bytes.</summary>
    public int SharedBytes => Ask(SharedAttribute);

    /// <summary>Shared memory that a block may have, in bytes.</summary>
    public int BlockSharedBytes => Ask(BlockSharedAttribute);

    /// <summary>Bytes a second that its memory gives at most; 0 if the driver does not say.</summary>
    public double MemoryRate =>
        CudaDriver.GetDeviceAttribute(out var clock, MemoryClockAttribute, _device) == 0 && CudaDriver.GetDeviceAttribute(out var width, MemoryWidthAttribute, _device) == 0
            ? 2000.0 * clock * (width / 8) : 0;

    /// <summary>Whether kernels reach pinned host memory under its own address.</summary>
    public bool SeesHostAddresses => Ask(HostPointerAttribute) != 0;

    public torch.Device Torch => new(DeviceType.CUDA, Ordinal);

    /// <summary>Whether the driver has a GPU, though it may be one that cannot be computed on.</summary>
    public static bool IsThere => CudaDriver.IsPresent && CudaDriver.Init(0) == 0;

    /// <summary>Whether a GPU is there that can be computed on; if not, why.</summary>
    public static bool IsAvailable(out string reason)
    {
        reason = Missing(0) ?? "";
        return reason.Length == 0;
    }

    /// <summary>Opens a GPU; its context is current on the calling thread.</summary>
    /// <exception cref="DeviceException">There is none, or it cannot be used; the message says why.</exception>
    public static Gpu Open(int ordinal)
    {
        if (Missing(ordinal) is { } reason)
        {
            throw new DeviceException(reason);
        }

        CudaDriver.Check(CudaDriver.GetDevice(out var device, ordinal), "opening the GPU");
        CudaDriver.Check(CudaDriver.RetainPrimaryContext(out var context, device), "creating a context on the GPU");
        CudaDriver.Check(CudaDriver.SetCurrentContext(context), "entering the GPU's context");
        var name = stackalloc byte[256];
        CudaDriver.Check(CudaDriver.GetDeviceName(name, 256, device), "naming the GPU");
        CudaDriver.Check(CudaDriver.GetDeviceAttribute(out var major, MajorAttribute, device), "asking the GPU");
        CudaDriver.Check(CudaDriver.GetDeviceAttribute(out var minor, MinorAttribute, device), "asking the GPU");
        return new Gpu(ordinal, device, context, Encoding.UTF8.GetString(name, new ReadOnlySpan<byte>(name, 256).IndexOf((byte)0)), major, minor);
    }

    /// <summary>Makes the GPU current on the calling thread; every thread that talks to the driver needs it once.</summary>
    public void Enter() => CudaDriver.Check(CudaDriver.SetCurrentContext(_context), "entering the GPU's context");

    /// <summary>Memory of the current GPU as the driver sees it, other processes counted in.</summary>
    public static (ByteSize Free, ByteSize Total) Memory()
    {
        CudaDriver.Check(CudaDriver.GetMemoryInfo(out var free, out var total), "asking for the GPU's memory");
        return (new ByteSize((long)free), new ByteSize((long)total));
    }

    /// <summary>Waits for everything that was asked of the GPU.</summary>
    public static void Synchronize() => CudaDriver.Check(CudaDriver.SynchronizeContext(), "waiting for the GPU");

    public void Dispose() => _ = CudaDriver.ReleasePrimaryContext(_device);

    private int Ask(int attribute)
    {
        CudaDriver.Check(CudaDriver.GetDeviceAttribute(out var value, attribute, _device), "asking the GPU");
        return value;
    }

    /// <summary>What keeps a GPU from being used, in words, or null.</summary>
    /// <param name="hasDriver">whether there is a driver library</param>
    /// <param name="initError">what the driver says to being initialised, or null</param>
    /// <param name="hasTorch">whether libtorch can compute on the GPU</param>
    /// <param name="driverVersion">the CUDA version that the driver speaks, as it gives it: 1000 * major + 10 * minor</param>
    /// <param name="libraries">which libtorch was loaded</param>
    internal static string? Explain(bool hasDriver, string? initError, bool hasTorch, int driverVersion, string libraries) =>
        !hasDriver ? $"There is no CUDA driver on this machine ({CudaDriver.FileName} is not found). Install NVIDIA's driver, or set HeadInferOptions.Device to Cpu."
        : initError is not null ? $"The CUDA driver finds no usable GPU: {initError}. Check nvidia-smi and CUDA_VISIBLE_DEVICES, or set HeadInferOptions.Device to Cpu."
        : hasTorch ? null
        : $"There is a GPU, but this libtorch cannot compute on it: it was built without CUDA, or for a newer driver than this one, which speaks CUDA {driverVersion / 1000}.{driverVersion % 1000 / 10}. "
            + $"Reference TorchSharp-cuda-{(OperatingSystem.IsWindows() ? "windows" : "linux")}, set {LibTorch.FolderVariable} to a libtorch with CUDA, update the driver, or set HeadInferOptions.Device to Cpu ({libraries}).";

    /// <summary>What a GPU lacks, in words, or null.</summary>
    /// <param name="ordinal">its number</param>
    /// <param name="count">how many GPUs the process sees</param>
    /// <param name="capability">its compute capability</param>
    internal static string? Explain(int ordinal, int count, (int Major, int Minor) capability) =>
        ordinal >= count ? $"There is no GPU {ordinal}: this process sees {count}. Change HeadInferOptions.GpuIndex or CUDA_VISIBLE_DEVICES."
        : capability.Major < LeastMajor ? $"GPU {ordinal} has compute capability {capability.Major}.{capability.Minor}, and {LeastMajor}.0 is needed (RTX 30, A100 and later). Change HeadInferOptions.GpuIndex, or set HeadInferOptions.Device to Cpu."
        : null;

    private static string? Missing(int ordinal)
    {
        if (!CudaDriver.IsPresent)
        {
            return Explain(false, null, false, 0, "");
        }

        if (CudaDriver.Init(0) is var result and not 0)
        {
            return Explain(true, CudaDriver.Describe(result), false, 0, "");
        }

        _ = CudaDriver.GetVersion(out var version);
        bool usable;
        try
        {
            usable = torch.cuda.is_available();
        }
        catch (Exception e) when (e is not HeadInferException)
        {
            usable = false; // TorchSharp throws where libtorch has no CUDA at all
        }

        if (Explain(true, null, usable, version, LibTorch.EnsureLoaded()) is { } reason)
        {
            return reason;
        }

        CudaDriver.Check(CudaDriver.GetDeviceCount(out var count), "counting GPUs");
        var (major, minor) = (0, 0);
        if (ordinal < count)
        {
            CudaDriver.Check(CudaDriver.GetDevice(out var device, ordinal), "opening the GPU");
            CudaDriver.Check(CudaDriver.GetDeviceAttribute(out major, MajorAttribute, device), "asking the GPU");
            CudaDriver.Check(CudaDriver.GetDeviceAttribute(out minor, MinorAttribute, device), "asking the GPU");
        }

        return Explain(ordinal, count, (major, minor));
    }
}
