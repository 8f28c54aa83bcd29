using System.Reflection;
using System.Runtime.InteropServices;

namespace HeadInfer.Runtime.Compute;

/// <summary>The CUDA driver's functions that libtorch has no door to: streams, events, pinning, copies, memory figures.</summary>
/// <remarks>
/// libtorch computes on the legacy default stream, which is stream 0 here. Streams created non-blocking overlap with it,
/// and events order them.
/// </remarks>
internal static unsafe partial class CudaDriver
{
    private const string Library = "cuda-driver";

    /// <summary>A function's attribute.</summary>
    public const int MostDynamicSharedBytes = 8;

    static CudaDriver() => NativeLibrary.SetDllImportResolver(typeof(CudaDriver).Assembly, Resolve);

    /// <summary>Whether the machine has a driver at all; asks for no device.</summary>
    public static bool IsPresent { get; } = NativeLibrary.TryLoad(FileName, out _);

    public static string FileName => OperatingSystem.IsWindows() ? "nvcuda.dll" : OperatingSystem.IsMacOS() ? "libcuda.dylib" : "libcuda.so.1";

    /// <summary>Throws what a failed call means.</summary>
    /// <exception cref="DeviceException"><paramref name="result"/> is not success.</exception>
    public static void Check(int result, string what)
    {
        if (result != 0)
        {
            throw new DeviceException($"CUDA: {what} failed: {Describe(result)} (error {result}).");
        }
    }

    public static string Describe(int result) =>
        GetErrorString(result, out var text) == 0 ? Marshal.PtrToStringUTF8(text) ?? "unknown" : "unknown";

    [LibraryImport(Library, EntryPoint = "cuInit")]
    public static partial int Init(uint flags);

    [LibraryImport(Library, EntryPoint = "cuDriverGetVersion")]
    public static partial int GetVersion(out int version);

    [LibraryImport(Library, EntryPoint = "cuGetErrorString")]
    private static partial int GetErrorString(int result, out nint text);

    [LibraryImport(Library, EntryPoint = "cuDeviceGetCount")]
    public static partial int GetDeviceCount(out int count);

    [LibraryImport(Library, EntryPoint = "cuDeviceGet")]
    public static partial int GetDevice(out int device, int ordinal);

    [LibraryImport(Library, EntryPoint = "cuDeviceGetName")]
    public static partial int GetDeviceName(byte* name, int size, int device);

    [LibraryImport(Library, EntryPoint = "cuDeviceGetAttribute")]
    public static partial int GetDeviceAttribute(out int value, int attribute, int device);

    [LibraryImport(Library, EntryPoint = "cuDevicePrimaryCtxRetain")]
    public static partial int RetainPrimaryContext(out nint context, int device);

    [LibraryImport(Library, EntryPoint = "cuDevicePrimaryCtxRelease_v2")]
    public static partial int ReleasePrimaryContext(int device);

    [LibraryImport(Library, EntryPoint = "cuCtxSetCurrent")]
    public static partial int SetCurrentContext(nint context);

    [LibraryImport(Library, EntryPoint = "cuCtxSynchronize")]
    public static partial int SynchronizeContext();

    [LibraryImport(Library, EntryPoint = "cuMemGetInfo_v2")]
    public static partial int GetMemoryInfo(out nuint free, out nuint total);

    [LibraryImport(Library, EntryPoint = "cuMemHostRegister_v2")]
    public static partial int RegisterHostMemory(nint address, nuint size, uint flags);

    [LibraryImport(Library, EntryPoint = "cuMemHostUnregister")]
    public static partial int UnregisterHostMemory(nint address);

    [LibraryImport(Library, EntryPoint = "cuStreamCreate")]
    public static partial int CreateStream(out nint stream, uint flags);

    [LibraryImport(Library, EntryPoint = "cuStreamDestroy_v2")]
    public static partial int DestroyStream(nint stream);

    [LibraryImport(Library, EntryPoint = "cuStreamWaitEvent")]
    public static partial int WaitEvent(nint stream, nint waited, uint flags);

    [LibraryImport(Library, EntryPoint = "cuStreamSynchronize")]
    public static partial int SynchronizeStream(nint stream);

    [LibraryImport(Library, EntryPoint = "cuEventCreate")]
    public static partial int CreateEvent(out nint created, uint flags);

    [LibraryImport(Library, EntryPoint = "cuEventDestroy_v2")]
    public static partial int DestroyEvent(nint destroyed);

    [LibraryImport(Library, EntryPoint = "cuEventRecord")]
    public static partial int RecordEvent(nint recorded, nint stream);

    [LibraryImport(Library, EntryPoint = "cuEventSynchronize")]
    public static partial int SynchronizeEvent(nint waited);

    [LibraryImport(Library, EntryPoint = "cuEventElapsedTime")]
    public static partial int GetElapsedTime(out float milliseconds, nint start, nint end);

    [LibraryImport(Library, EntryPoint = "cuMemcpy2DAsync_v2")]
    public static partial int Copy2DAsync(in Copy2D copy, nint stream);

    [LibraryImport(Library, EntryPoint = "cuMemcpyHtoDAsync_v2")]
    public static partial int CopyToDeviceAsync(nint target, void* source, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuMemcpyDtoHAsync_v2")]
    public static partial int CopyToHostAsync(nint target, nint source, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuFuncSetAttribute")]
    public static partial int SetFunctionAttribute(nint function, int attribute, int value);

    [LibraryImport(Library, EntryPoint = "cuModuleLoadData")]
    public static partial int LoadModule(out nint module, byte* image);

    [LibraryImport(Library, EntryPoint = "cuModuleUnload")]
    public static partial int UnloadModule(nint module);

    [LibraryImport(Library, EntryPoint = "cuModuleGetFunction", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int GetFunction(out nint function, nint module, string name);

    [LibraryImport(Library, EntryPoint = "cuLaunchKernel")]
    public static partial int LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** parameters, void** extra);

    [LibraryImport(Library, EntryPoint = "cuLaunchKernelEx")]
    public static partial int LaunchKernelEx(in LaunchConfig config, nint function, void** parameters, void** extra);

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? path) =>
        name == Library ? NativeLibrary.Load(FileName) : 0;

    /// <summary>The driver's CUDA_MEMCPY2D: rows of <see cref="Width"/> bytes, at distances of the two pitches.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Copy2D
    {
        public const uint Host = 1, Device = 2;

        public nuint SourceX, SourceY;
        public uint SourceType;
        public nint SourceHost, SourceDevice, SourceArray;
        public nuint SourcePitch;
        public nuint TargetX, TargetY;
        public uint TargetType;
        public nint TargetHost, TargetDevice, TargetArray;
        public nuint TargetPitch;
        public nuint Width, Height;
    }

    /// <summary>The driver's CUlaunchConfig.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct LaunchConfig
    {
        public uint GridX, GridY, GridZ, BlockX, BlockY, BlockZ, SharedBytes;
        public nint Stream;
        public LaunchAttribute* Attributes;
        public uint AttributeCount;
    }

    /// <summary>The driver's CUlaunchAttribute, whose value is a union of 64 bytes.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 72)]
    public struct LaunchAttribute
    {
        /// <summary>A kernel may start before the one before it has ended, and waits for that itself.</summary>
        public const int ProgrammaticStreamSerialization = 6;

        [FieldOffset(0)]
        public int Kind;

        [FieldOffset(8)]
        public int Value;
    }
}
