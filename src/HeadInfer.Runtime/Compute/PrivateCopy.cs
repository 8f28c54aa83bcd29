using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace HeadInfer.Runtime.Compute;

/// <summary>A file of this process's own that a library is loaded from. What is mapped outlives it, so nothing is left behind.</summary>
/// <remarks>
/// In the folder for temporary files; where that is missing, read-only or may not hold programs, in memory that has a file's
/// name. Memory comes second, as hardened systems may refuse to run what lies there.
/// </remarks>
internal sealed partial class PrivateCopy : IDisposable
{
    private const uint CloseOnExec = 1;

    private readonly DirectoryInfo? _folder;
    private readonly SafeFileHandle? _memory;

    private PrivateCopy(string path, DirectoryInfo? folder, SafeFileHandle? memory) => (Path, _folder, _memory) = (path, folder, memory);

    public string Path { get; }

    /// <summary>A copy in a fresh folder that only this user can write.</summary>
    /// <exception cref="IOException">There is no room, or no folder.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public static PrivateCopy InTemporaryFolder(string name, ReadOnlySpan<byte> image)
    {
        var folder = Directory.CreateTempSubdirectory("headinfer-");
        var copy = new PrivateCopy(System.IO.Path.Combine(folder.FullName, name), folder, null);
        return copy.Filled(() => new FileStream(copy.Path, FileMode.CreateNew, FileAccess.Write), image);
    }

    /// <summary>A copy in memory; Linux alone has such files.</summary>
    /// <exception cref="IOException">The system refuses.</exception>
    public static PrivateCopy InMemory(string name, ReadOnlySpan<byte> image)
    {
        var file = CreateMemoryFile(name, CloseOnExec);
        if (file < 0)
        {
            throw new IOException($"memfd_create: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        var handle = new SafeFileHandle(file, ownsHandle: true);
        return new PrivateCopy($"/proc/self/fd/{file}", null, handle).Filled(() => new FileStream(new SafeFileHandle(file, ownsHandle: false), FileAccess.Write), image);
    }

    public void Dispose()
    {
        _folder?.Delete(recursive: true);
        _memory?.Dispose();
    }

    private PrivateCopy Filled(Func<FileStream> open, ReadOnlySpan<byte> image)
    {
        try
        {
            using var stream = open();
            stream.Write(image);
            return this;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int CreateMemoryFile(string name, uint flags);
}
