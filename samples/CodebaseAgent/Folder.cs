using System.ComponentModel;
using System.IO.Enumeration;
using Microsoft.SemanticKernel;

namespace CodebaseAgent;

/// <summary>A folder of text files, as an agent may see it: nothing outside it, and nothing that is hidden.</summary>
internal sealed class Folder(string path)
{
    private static readonly string[] Kinds = [".cs", ".csproj", ".md", ".txt", ".json", ".py", ".js", ".ts", ".go", ".rs", ".java", ".c", ".h", ".cpp"];

    private readonly string _root = Path.GetFullPath(path);

    [KernelFunction("list_files"), Description("Lists the files of the folder")]
    public string List() => string.Join("\n", Files());

    [KernelFunction("read_file"), Description("Reads a file of the folder")]
    public string Read([Description("Path of the file")] string path)
    {
        if (!Files().Contains(path))
        {
            return $"There is no file '{path}'.";
        }

        using var file = new FileStream(Path.Combine(_root, path), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete); // an editor may have it open
        using var reader = new StreamReader(file);
        return reader.ReadToEnd();
    }

    /// <summary>All files, each under a line with its path.</summary>
    public string ReadAll() => string.Join("\n\n", Files().Select(f => $"=== {f} ===\n{Read(f).TrimEnd()}"));

    private IEnumerable<string> Files() => new FileSystemEnumerable<string>(
            _root,
            (ref FileSystemEntry entry) => entry.ToFullPath(),
            new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.Hidden | FileAttributes.System })
        {
            ShouldIncludePredicate = (ref FileSystemEntry entry) => !entry.IsDirectory && !IsLink(ref entry),
            ShouldRecursePredicate = (ref FileSystemEntry entry) => !IsLink(ref entry),
        }
        .Where(f => Kinds.Contains(Path.GetExtension(f)))
        .Select(f => Path.GetRelativePath(_root, f).Replace('\\', '/'))
        .Where(f => !f.Split('/').Any(part => part is "bin" or "obj"))
        .Order(StringComparer.Ordinal);

    // Folders that OneDrive keeps in step have reparse points too, which lead nowhere.
    private static bool IsLink(ref FileSystemEntry entry) => entry.Attributes.HasFlag(FileAttributes.ReparsePoint) && entry.ToFileSystemInfo().LinkTarget is not null;
}
