using System.Runtime.InteropServices;
using System.Text;

namespace HeadInfer.Tool.Asking;

/// <summary>Gathers files and folders into one text, each file under a line with its path: as the server's page does (files.js).</summary>
internal static class DocumentReader
{
    private static readonly Encoding Windows1252 = CodePagesEncodingProvider.Instance.GetEncoding(1252)!;

    private const int Probe = 8192; // bytes in which a binary file shows itself

    /// <param name="paths">files and folders</param>
    /// <param name="note">told of every file that is left out or not plain UTF-8</param>
    /// <exception cref="FileNotFoundException">A path is neither.</exception>
    /// <exception cref="IOException">A path that was named cannot be read. What lies in a folder and cannot be read is left out.</exception>
    public static string Read(IReadOnlyList<string> paths, Action<string> note)
    {
        var text = new StringBuilder();
        void Append(string path, string name)
        {
            if (ReadText(path) is not { } bytes)
            {
                note($"left out {name}: a binary file");
            }
            else
            {
                var content = Decode(bytes, name, note);
                text.Append("=== ").Append(name).Append(" ===\n").Append(content.TrimEnd()).Append("\n\n");
            }
        }

        foreach (var path in paths)
        {
            if (File.Exists(path))
            {
                Append(path, Path.GetFileName(path));
                continue;
            }

            foreach (var (inner, name) in Files(path, note))
            {
                Try(() => Append(inner, name), name, note);
            }
        }

        return text.Length > 0 ? text.ToString().TrimEnd() : throw new ArgumentException($"There is no text in {string.Join(", ", paths.Select(p => $"'{p}'"))}.");
    }

    private static List<(string Path, string Name)> Files(string path, Action<string> note)
    {
        if (!Directory.Exists(path))
        {
            throw new FileNotFoundException($"There is no file or folder '{path}'.");
        }

        var files = new List<(string, string)>();
        Walk(new DirectoryInfo(path), "", files, note);
        return files;
    }

    // In the order of names; links are not followed, so that no folder comes twice.
    private static void Walk(DirectoryInfo folder, string prefix, List<(string, string)> files, Action<string> note)
    {
        foreach (var entry in folder.EnumerateFileSystemInfos().OrderBy(e => e.Name, StringComparer.Ordinal))
        {
            Try(() => Add(entry, prefix + entry.Name, files, note), prefix + entry.Name, note);
        }
    }

    private static void Add(FileSystemInfo entry, string name, List<(string, string)> files, Action<string> note)
    {
        if (IsLink(entry))
        {
            note($"left out {name}: a link");
        }
        else if (entry is DirectoryInfo && (entry.Name.StartsWith('.') || entry.Name is "bin" or "obj" or "node_modules"))
        {
            note($"left out {name}: a hidden folder, or one of a build");
        }
        else if (entry is DirectoryInfo inner)
        {
            Walk(inner, name + "/", files, note);
        }
        else if (entry is FileInfo { Length: 0 })
        {
            note($"left out {name}: empty, or not a file"); // a pipe would wait for ever
        }
        else
        {
            files.Add((entry.FullName, name));
        }
    }

    // What cannot be read within a folder is no reason to read nothing of it.
    private static void Try(Action read, string name, Action<string> note)
    {
        try
        {
            read();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            note($"left out {name}: it cannot be read");
        }
    }

    // Folders that OneDrive keeps in step have reparse points too, which lead nowhere.
    private static bool IsLink(FileSystemInfo entry) => entry.Attributes.HasFlag(FileAttributes.ReparsePoint) && entry.LinkTarget is not null;

    // The bytes of a file, or null if it is binary. It is opened once: a pipe gives its bytes once. Others may write it meanwhile.
    private static byte[]? ReadText(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        var start = new byte[Probe];
        var length = file.ReadAtLeast(start, Probe, throwOnEndOfStream: false);
        if (IsBinary(start.AsSpan(0, length)))
        {
            return null;
        }

        using var all = new MemoryStream();
        all.Write(start, 0, length);
        file.CopyTo(all);
        return all.ToArray();
    }

    // What a byte order mark says: Windows' own programs write texts so.
    private static Encoding? Wide(ReadOnlySpan<byte> bytes) => bytes is [0xFF, 0xFE, ..] ? Encoding.Unicode : bytes is [0xFE, 0xFF, ..] ? Encoding.BigEndianUnicode : null;

    // In UTF-16, half of the bytes of an English text are zeros.
    private static bool IsBinary(ReadOnlySpan<byte> start) => Wide(start) is null ? start.Contains((byte)0) : MemoryMarshal.Cast<byte, short>(start).Contains((short)0);

    private static string Decode(byte[] bytes, string name, Action<string> note)
    {
        if (Wide(bytes) is { } wide)
        {
            return wide.GetString(bytes).TrimStart('\uFEFF');
        }

        try
        {
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes).TrimStart('\uFEFF');
        }
        catch (DecoderFallbackException)
        {
            note($"{name} is not UTF-8; read as Windows-1252");
            return Windows1252.GetString(bytes);
        }
    }
}
