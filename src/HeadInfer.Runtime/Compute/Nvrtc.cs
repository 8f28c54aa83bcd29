using System.Runtime.InteropServices;
using System.Text;

namespace HeadInfer.Runtime.Compute;

/// <summary>CUDA's run-time compiler, which every libtorch with CUDA comes with.</summary>
internal static unsafe class Nvrtc
{
    private static readonly Lazy<nint> Library = new(Find);

    /// <summary>Whether the compiler was found.</summary>
    public static bool IsPresent => Library.Value != 0;

    /// <summary>Compiles CUDA C++ for one kind of GPU.</summary>
    /// <returns>an image for the driver</returns>
    /// <exception cref="DeviceException">The source does not compile.</exception>
    public static byte[] Compile(string source, params string[] options)
    {
        var create = (delegate* unmanaged<nint*, byte*, byte*, int, nint, nint, int>)Export("nvrtcCreateProgram");
        var compile = (delegate* unmanaged<nint, int, byte**, int>)Export("nvrtcCompileProgram");
        var destroy = (delegate* unmanaged<nint*, int>)Export("nvrtcDestroyProgram");
        nint program;
        fixed (byte* text = Encoding.UTF8.GetBytes(source + '\0'))
        {
            Check(create(&program, text, null, 0, 0, 0));
        }

        try
        {
            var arguments = stackalloc byte*[options.Length];
            for (var i = 0; i < options.Length; i++)
            {
                arguments[i] = (byte*)Marshal.StringToCoTaskMemUTF8(options[i]);
            }

            var result = compile(program, options.Length, arguments);
            for (var i = 0; i < options.Length; i++)
            {
                Marshal.FreeCoTaskMem((nint)arguments[i]);
            }

            return result == 0
                ? Read(program, "nvrtcGetCUBIN")
                : throw new DeviceException($"The GPU's kernels do not compile: {Encoding.UTF8.GetString(Read(program, "nvrtcGetProgramLog")).TrimEnd('\0')}");
        }
        finally
        {
            _ = destroy(&program);
        }
    }

    private static byte[] Read(nint program, string what)
    {
        nuint size;
        Check(((delegate* unmanaged<nint, nuint*, int>)Export(what + "Size"))(program, &size));
        var bytes = new byte[(int)size];
        fixed (byte* target = bytes)
        {
            Check(((delegate* unmanaged<nint, byte*, int>)Export(what))(program, target));
        }

        return bytes;
    }

    private static void Check(int result)
    {
        if (result != 0)
        {
            throw new DeviceException($"CUDA's run-time compiler failed with error {result}.");
        }
    }

    private static nint Export(string name) => NativeLibrary.GetExport(Library.Value, name);

    // By its name first, as the loader knows it; then beside libtorch, where packages put it under names of their own.
    private static nint Find()
    {
        string[] names = OperatingSystem.IsWindows() ? ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"] : ["libnvrtc.so.13", "libnvrtc.so.12"];
        foreach (var file in names.Concat(LibTorch.Folders.SelectMany(Candidates)))
        {
            if (NativeLibrary.TryLoad(file, out var library))
            {
                return library;
            }
        }

        return 0;
    }

    private static IEnumerable<string> Candidates(string folder) =>
        new[] { folder }.Concat(Nvidia(folder))
            .Where(Directory.Exists)
            .SelectMany(f => Directory.GetFiles(f, OperatingSystem.IsWindows() ? "nvrtc64*.dll" : "libnvrtc*.so*"))
            .Where(f => !f.Contains("builtins", StringComparison.Ordinal) && !f.Contains(".alt.", StringComparison.Ordinal));

    // A Python install has it in site-packages/nvidia/*/lib, two folders above torch/lib.
    private static string[] Nvidia(string folder)
    {
        var packages = Path.Combine(folder, "..", "..", "nvidia");
        return Directory.Exists(packages) ? [.. Directory.GetDirectories(packages).Select(d => Path.Combine(d, "lib"))] : [];
    }
}
