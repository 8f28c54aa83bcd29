namespace HeadInfer.Tests;

/// <summary>Files that tests read.</summary>
internal static class Fixtures
{
    /// <summary>Why a test is skipped that shortens a file while it is read.</summary>
    public const string OpenFilesStay = "Windows keeps a file that is read from being written.";

    public static string Root { get; } = Path.Combine(AppContext.BaseDirectory, "fixtures");

    public static string DemoModel { get; } = Path.Combine(AppContext.BaseDirectory, "models", "headinfer-demo");

    public static string Model(string name) => Path.Combine(Root, "models", name);

    public static string Book(string name) => File.ReadAllText(name == "esther"
        ? Path.Combine(AppContext.BaseDirectory, "documents", "esther.txt")
        : Path.Combine(Root, "books", name + ".txt"));

    /// <summary>A file of the larger collection that some checkouts lie beside, or null.</summary>
    public static string? Shared(params string[] path)
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            var file = Path.Combine([folder.FullName, "shared", .. path]);
            if (File.Exists(file))
            {
                return file;
            }
        }

        return null;
    }
}

/// <summary>A copy of a model folder that a test may damage.</summary>
internal sealed class ScratchFolder : IDisposable
{
    public ScratchFolder(string? copyOf = null)
    {
        Path = Directory.CreateTempSubdirectory("headinfer-test-").FullName;
        foreach (var file in copyOf is null ? [] : Directory.GetFiles(copyOf))
        {
            System.IO.File.Copy(file, System.IO.Path.Combine(Path, System.IO.Path.GetFileName(file)));
        }
    }

    public string Path { get; }

    public string File(string name) => System.IO.Path.Combine(Path, name);

    public void Edit(string name, string old, string replacement)
    {
        var text = System.IO.File.ReadAllText(File(name));
        Assert.Contains(old, text, StringComparison.Ordinal);
        System.IO.File.WriteAllText(File(name), text.Replace(old, replacement, StringComparison.Ordinal));
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
