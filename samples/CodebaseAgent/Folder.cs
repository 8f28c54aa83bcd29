using System.ComponentModel;
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
    public string Read([Description("Path of the file")] string path) =>
        Files().Contains(path) ? File.ReadAllText(Path.Combine(_root, path)) : $"There is no file '{path}'.";

    /// <summary>All files, each under a line with its path.</summary>
    public string ReadAll() => string.Join("\n\n", Files().Select(f => $"=== {f} ===\n{Read(f).TrimEnd()}"));

    private IEnumerable<string> Files() => Directory
        .EnumerateFiles(_root, "*", new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.Hidden | FileAttributes.System | FileAttributes.ReparsePoint })
        .Where(f => Kinds.Contains(Path.GetExtension(f)))
        .Select(f => Path.GetRelativePath(_root, f).Replace('\\', '/'))
        .Where(f => !f.Split('/').Any(part => part is "bin" or "obj"))
        .Order(StringComparer.Ordinal);
}
