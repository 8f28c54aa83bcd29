using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace HeadInfer;

/// <summary>Opens the files of a model folder. Whatever lies there, an answer comes at once.</summary>
/// <remarks>
/// Opening a pipe waits for whoever writes to it, and a device may never end. Neither has a length, nor has a socket, so
/// a file without one is never opened. The length is asked of the end of all links: .NET gives a link's own.
/// </remarks>
internal static unsafe partial class ModelFile
{
    private const long LargestWhole = 1L << 30;
    private const int LongestPath = 4096; // PATH_MAX

    private static ReadOnlySpan<byte> LfsPointer => "version https://git-lfs.github.com/spec/"u8;

    /// <summary>Opens a file for reading at any place.</summary>
    /// <exception cref="IOException">It is missing, empty, no plain file, or cannot be opened; whoever asks says what it should have been.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read, or is a folder.</exception>
    public static SafeFileHandle Open(string path)
    {
        if (!OperatingSystem.IsWindows() && Target(path) is { } target && new FileInfo(target) is { Exists: true, Length: 0 })
        {
            throw new IOException("it is empty, or is a pipe, a socket or a device.");
        }

        return File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read);
    }

    /// <summary>A small file's bytes, without the mark that some editors put before them.</summary>
    /// <exception cref="IOException">It is missing, empty, no plain file, too large, a pointer of Git LFS, or cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read, or is a folder.</exception>
    public static ReadOnlyMemory<byte> Read(string path)
    {
        using var file = Open(path);
        var length = RandomAccess.GetLength(file);
        if (length > LargestWhole)
        {
            throw new IOException(string.Create(CultureInfo.InvariantCulture, $"it has {length:N0} bytes, and a file of its kind at most {LargestWhole:N0}."));
        }

        var bytes = new byte[length];
        var read = 0;
        while (read < bytes.Length && RandomAccess.Read(file, bytes.AsSpan(read), read) is > 0 and var count)
        {
            read += count;
        }

        RefusePointer(bytes);
        var start = bytes.AsSpan(0, read).StartsWith(Encoding.UTF8.Preamble) ? Encoding.UTF8.Preamble.Length : 0;
        return bytes.AsMemory(start, read - start);
    }

    /// <summary>A small file's text.</summary>
    /// <exception cref="IOException">As of <see cref="Read"/>.</exception>
    public static string ReadText(string path) => Encoding.UTF8.GetString(Read(path).Span);

    /// <summary>Refuses what Git LFS leaves in place of a file that it has not fetched.</summary>
    /// <param name="start">the file's first bytes</param>
    /// <exception cref="IOException">It is such a pointer.</exception>
    public static void RefusePointer(ReadOnlySpan<byte> start)
    {
        if (start.StartsWith(LfsPointer))
        {
            throw new IOException("it is not the file itself but a pointer of Git LFS to it. Run 'git lfs pull' in the model folder, or download the file.");
        }
    }

    /// <summary>The end of all links, or null if there is none.</summary>
    private static string? Target(string path)
    {
        var resolved = stackalloc byte[LongestPath];
        return RealPath(path, resolved) == 0 ? null : Marshal.PtrToStringUTF8((nint)resolved);
    }

    [LibraryImport("libc", EntryPoint = "realpath", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint RealPath(string path, byte* resolved);
}
