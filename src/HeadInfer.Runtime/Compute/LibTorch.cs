using System.Runtime.InteropServices;
using TorchSharp;

namespace HeadInfer.Runtime.Compute;

/// <summary>Finds libtorch and TorchSharp's native library and loads them, once a process, before TorchSharp's first use.</summary>
/// <remarks>
/// libtorch is taken from the folder that <c>HEADINFER_LIBTORCH</c> names (such as a Python install's <c>torch/lib</c>),
/// else from the application's own native folders. On Linux, TorchSharp's library asks for a version of libstdc++ newer
/// than Debian 12 and Ubuntu 22.04 have, for one symbol that nothing calls: where the plain load fails for that reason,
/// a private copy with that single requirement marked weak is loaded instead.
/// </remarks>
internal static partial class LibTorch
{
    public const string FolderVariable = "HEADINFER_LIBTORCH";
    private const string WeakVersion = "GLIBCXX_3.4.32";

    // Those that TorchSharp has a library for.
    private static readonly string[] Platforms = ["linux-x64", "win-x64", "win-arm64", "osx-arm64"];

    private static readonly Lazy<string> Loaded = new(Load, LazyThreadSafetyMode.ExecutionAndPublication);
    private static readonly Lazy<nint> DataFunction = new(() => NativeLibrary.GetExport(NativeLibrary.Load("LibTorchSharp", typeof(torch).Assembly, null), "THSTensor_data"));

    /// <summary>Loads the libraries if they are not loaded yet.</summary>
    /// <returns>One line that says what was loaded, and how.</returns>
    /// <exception cref="NativeLibraryException">They are missing or do not load.</exception>
    public static string EnsureLoaded() => Loaded.Value;

    /// <summary>Folders in which libraries that belong to libtorch may lie.</summary>
    public static IEnumerable<string> Folders =>
        new[] { Environment.GetEnvironmentVariable(FolderVariable), FolderOf(FileName("torch_cpu")), AppContext.BaseDirectory }.OfType<string>().Where(f => f.Length > 0).Distinct();

    /// <summary>The address of a tensor's data; TorchSharp's own ways to it are for CPU tensors and for C#'s types.</summary>
    public static unsafe nint DataPointer(nint tensor) => ((delegate* unmanaged<nint, nint>)DataFunction.Value)(tensor);

    // The system and the process, as runtime identifiers name them: an x64 process on an ARM64 machine needs x64 libraries.
    private static string Platform =>
        $"{(OperatingSystem.IsWindows() ? "win" : OperatingSystem.IsMacOS() ? "osx" : RuntimeInformation.RuntimeIdentifier.Contains("musl", StringComparison.Ordinal) ? "linux-musl" : OperatingSystem.IsLinux() ? "linux" : "this system")}-{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}";

    /// <summary>What to do where libtorch is not found or does not load.</summary>
    /// <param name="platform">the process's, as runtime identifiers name it</param>
    // The version is that of Directory.Packages.props, as a test compares: libtorch of another does not fit TorchSharp.
    internal static string Advice(string platform) => Platforms.Contains(platform)
        ? $"Add the package libtorch-cpu-{platform} 2.10.0 to the application{(platform == "linux-x64" ? ", or TorchSharp-cuda-linux for an NVIDIA GPU" : "")}, or set {FolderVariable} to a folder with libtorch (such as a Python install's torch/lib)."
        : $"TorchSharp has no native library for {platform}, and no package helps: it has them for {string.Join(", ", Platforms)}.";

    private static string Load()
    {
        try
        {
            var named = Environment.GetEnvironmentVariable(FolderVariable) is { Length: > 0 } folder ? Path.GetFullPath(folder) : null;
            KeepWaitsShort();
            var how = OperatingSystem.IsLinux() ? LoadOnLinux(named) : named is null ? "libtorch loaded by TorchSharp" : LoadFrom(named);
            torch.InitializeDeviceType(DeviceType.CPU);
            return how;
        }
        catch (Exception e) when (e is not HeadInferException)
        {
            throw new NativeLibraryException(
                $"libtorch does not load ({e.Message.Split('\n')[0].Trim()}). {Advice(Platform)}", e);
        }
    }

    // OpenMP's threads spin for milliseconds after a product, and decoding in a gap of a prefill then waits for their cores.
    // The library reads its settings when it is loaded; what the user has set stays.
    private static void KeepWaitsShort()
    {
        // GNU's spins for some ten microseconds then. LLVM's and Intel's, elsewhere, know milliseconds, or none.
        var (name, value) = OperatingSystem.IsLinux() ? ("GOMP_SPINCOUNT", "1000") : ("KMP_BLOCKTIME", "0");
        if (Environment.GetEnvironmentVariable("OMP_WAIT_POLICY") is not null || Environment.GetEnvironmentVariable(name) is not null)
        {
            return;
        }

        if (OperatingSystem.IsWindows())
        {
            Environment.SetEnvironmentVariable(name, value);
        }
        else
        {
            _ = SetEnvironment(name, value, overwrite: 0);
        }
    }

    // On Linux and macOS, .NET keeps an environment of its own, which native libraries do not see.
    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetEnvironment(string name, string value, int overwrite);

    private static string LoadOnLinux(string? named)
    {
        var libtorch = named ?? FolderOf("libtorch_cpu.so") ?? throw new NativeLibraryException($"libtorch_cpu.so is not beside the application. {Advice(Platform)}");
        var wrapper = Path.Combine(
            FolderOf("libLibTorchSharp.so") ?? throw new NativeLibraryException($"libLibTorchSharp.so, part of the TorchSharp package, is not beside the application.{(Platforms.Contains(Platform) ? "" : " " + Advice(Platform))}"),
            "libLibTorchSharp.so");
        var how = LoadFrom(libtorch);
        try
        {
            NativeLibrary.Load(wrapper);
            return how;
        }
        catch (DllNotFoundException e) when (e.Message.Contains(WeakVersion, StringComparison.Ordinal))
        {
            LoadWeakened(wrapper);
            return $"{how}; this system's libstdc++ lacks {WeakVersion}, so a private copy of libLibTorchSharp.so without that requirement is in use";
        }
    }

    /// <summary>Loads a folder's libtorch by full paths and in order, so that TorchSharp later finds its libraries by their names.</summary>
    /// <exception cref="NativeLibraryException">One is missing.</exception>
    internal static string LoadFrom(string folder)
    {
        foreach (var library in (string[])["c10", "torch_cpu", "c10_cuda", "torch_cuda", "torch"])
        {
            var path = Path.Combine(folder, FileName(library));
            if (File.Exists(path))
            {
                NativeLibrary.Load(path);
            }
            else if (!library.Contains("cuda", StringComparison.Ordinal))
            {
                throw new NativeLibraryException($"{FileName(library)} is not in '{folder}'. Set {FolderVariable} to a folder with a whole libtorch.");
            }
        }

        return $"libtorch loaded from {folder}";
    }

    private static void LoadWeakened(string wrapper)
    {
        var image = File.ReadAllBytes(wrapper);
        ElfVersionNeeds.MarkWeak(image, WeakVersion);
        var refusals = new List<string>();
        foreach (var make in (Func<string, byte[], PrivateCopy>[])[(n, i) => PrivateCopy.InTemporaryFolder(n, i), (n, i) => PrivateCopy.InMemory(n, i)])
        {
            try
            {
                using var copy = make("libLibTorchSharp.so", image);
                NativeLibrary.Load(copy.Path);
                return;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or DllNotFoundException or EntryPointNotFoundException)
            {
                refusals.Add(e.Message.Split('\n')[0].Trim());
            }
        }

        throw new NativeLibraryException(
            $"libLibTorchSharp.so asks for {WeakVersion}, which this system's libstdc++ lacks, and a private copy that does without has no place: not in the folder for temporary files, '{Path.GetTempPath()}' ({refusals[0]}), nor in memory ({refusals[1]}). "
            + "Set TMPDIR to a folder that is there, can be written to and may hold programs, or install a newer libstdc++.");
    }

    private static string FileName(string library) => OperatingSystem.IsWindows() ? $"{library}.dll" : OperatingSystem.IsMacOS() ? $"lib{library}.dylib" : $"lib{library}.so";

    private static string? FolderOf(string file)
    {
        var search = AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "";
        string[] own = [AppContext.BaseDirectory, Path.Combine(AppContext.BaseDirectory, "runtimes", Platform, "native")];
        return own.Concat(search.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
            .FirstOrDefault(folder => File.Exists(Path.Combine(folder, file)));
    }
}
