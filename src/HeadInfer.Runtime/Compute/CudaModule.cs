using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>The kernels of the <c>.cu</c> files beside this one, compiled for one GPU and one element type. They run on libtorch's stream.</summary>
internal sealed unsafe class CudaModule : IDisposable
{
    /// <summary>Those of few rows; each uses those before.</summary>
    public static readonly IReadOnlyList<string> RowFiles = ["Kernels.cu", "RowKernels.cu", "RowChoices.cu", "RowStates.cu", "StatePieces.cu", "RowProducts.cu"];

    private static readonly ConcurrentDictionary<string, byte[]> Images = new(StringComparer.Ordinal);

    private readonly nint _module;

    /// <summary>Compiles them, once for all models of the process.</summary>
    /// <exception cref="DeviceException">CUDA's run-time compiler is missing, or they do not compile or load.</exception>
    public CudaModule(Gpu gpu, ScalarType type)
        : this(gpu, type, [.. RowFiles, "RowAttention.cu"])
    {
    }

    /// <summary>Compiles other files, one behind the other, with what they want to be told.</summary>
    public CudaModule(Gpu gpu, ScalarType type, IReadOnlyList<string> files, params ReadOnlySpan<string> told)
    {
        (Gpu, Type) = (gpu, type);
        if (!Nvrtc.IsPresent)
        {
            throw new DeviceException($"CUDA's run-time compiler ({(OperatingSystem.IsWindows() ? "nvrtc64" : "libnvrtc")}) is not found, which every libtorch with CUDA comes with. Put it beside libtorch, or its folder into {(OperatingSystem.IsWindows() ? "PATH" : "LD_LIBRARY_PATH")}, or set HeadInferOptions.Device to Cpu.");
        }

        var (architecture, element) = ($"--gpu-architecture=sm_{gpu.Major}{gpu.Minor}", $"-DELEMENT_{type.ToString().ToUpperInvariant()}");
        string[] options = [architecture, element, .. told];
        fixed (byte* bytes = Images.GetOrAdd(string.Join(' ', [.. options, .. files]), _ => Nvrtc.Compile(string.Concat(files.Select(Source)), options)))
        {
            CudaDriver.Check(CudaDriver.LoadModule(out _module, bytes), "loading kernels");
        }

        NativeCounts.Add(NativeKind.Module);
    }

    public Gpu Gpu { get; }

    public ScalarType Type { get; }

    public nint Function(string name)
    {
        CudaDriver.Check(CudaDriver.GetFunction(out var function, _module, name), $"finding the kernel {name}");
        return function;
    }

    /// <summary>Lets a kernel have more shared memory of a block than the 48 KiB that each may have.</summary>
    public static void AllowShared(nint function, int bytes) =>
        CudaDriver.Check(CudaDriver.SetFunctionAttribute(function, CudaDriver.MostDynamicSharedBytes, bytes), "setting a kernel's shared memory");

    /// <summary>Starts a kernel.</summary>
    /// <param name="function">the kernel</param>
    /// <param name="grid">blocks</param>
    /// <param name="threads">of a block</param>
    /// <param name="sharedBytes">shared memory of a block, beside what the kernel names itself</param>
    /// <param name="early">whether it may start while the kernel before still runs: it waits for that itself. Needs compute capability 9.</param>
    /// <param name="arguments">where they are, on the caller's stack</param>
    public static void Launch(nint function, (long X, long Y, long Z) grid, int threads, int sharedBytes, bool early, params ReadOnlySpan<Argument> arguments)
    {
        var pointers = stackalloc void*[arguments.Length];
        for (var i = 0; i < arguments.Length; i++)
        {
            pointers[i] = arguments[i].Address;
        }

        var (stream, x, y, z) = (CudaStream.Compute.Handle, (uint)grid.X, (uint)grid.Y, (uint)grid.Z);
        if (!early)
        {
            CudaDriver.Check(CudaDriver.LaunchKernel(function, x, y, z, (uint)threads, 1, 1, (uint)sharedBytes, stream, pointers, null), "starting a kernel");
            return;
        }

        var attribute = new CudaDriver.LaunchAttribute { Kind = CudaDriver.LaunchAttribute.ProgrammaticStreamSerialization, Value = 1 };
        var config = new CudaDriver.LaunchConfig
        {
            GridX = x, GridY = y, GridZ = z, BlockX = (uint)threads, BlockY = 1, BlockZ = 1, SharedBytes = (uint)sharedBytes, Stream = stream, Attributes = &attribute, AttributeCount = 1,
        };
        CudaDriver.Check(CudaDriver.LaunchKernelEx(config, function, pointers, null), "starting a kernel");
    }

    /// <summary>An argument on the caller's stack.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Argument Of<T>(ref T value)
        where T : unmanaged => new(Unsafe.AsPointer(ref value));

    public void Dispose()
    {
        _ = CudaDriver.UnloadModule(_module);
        NativeCounts.Remove(NativeKind.Module);
    }

    private static string Source(string name)
    {
        using var stream = typeof(CudaModule).Assembly.GetManifestResourceStream(name)!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    /// <summary>The address of a kernel's argument.</summary>
    public readonly struct Argument(void* address)
    {
        public void* Address { get; } = address;
    }
}
