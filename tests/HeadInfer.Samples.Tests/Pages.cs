using System.Text.RegularExpressions;

namespace HeadInfer.Samples.Tests;

/// <summary>A block of code of a page.</summary>
internal sealed record Block(string Page, string Language, string Text);

/// <summary>The code of README.md and of the pages in docs, block by block.</summary>
internal static partial class Pages
{
    /// <summary>The folder of the repository.</summary>
    public static string Root { get; } = Find(AppContext.BaseDirectory);

    /// <summary>README.md, then docs by name: the path from the repository's folder, and the text.</summary>
    public static IReadOnlyList<(string Path, string Text)> All { get; } =
    [
        .. Directory.GetFiles(Path.Combine(Root, "docs"), "*.md").Order(StringComparer.Ordinal).Prepend(Path.Combine(Root, "README.md"))
            .Select(p => Path.GetRelativePath(Root, p).Replace('\\', '/')).Select(p => (p, Text(p))),
    ];

    /// <summary>Blocks of all pages, in order.</summary>
    public static IReadOnlyList<Block> Blocks { get; } = [.. All.SelectMany(p => BlocksOf(p.Path))];

    /// <summary>Programs of all pages. Where a page says PATH, the repository's folder is meant.</summary>
    public static IReadOnlyList<Block> Programs { get; } =
        [.. Blocks.Where(b => b.Language == "csharp").Select(b => b with { Text = b.Text.Replace("\"PATH/", $"\"{Root.Replace('\\', '/')}/", StringComparison.Ordinal) })];

    /// <summary>Commands of the bash blocks, each once: lines that a backslash continues are one, and comments are none.</summary>
    public static IReadOnlyList<string> Commands(string? page = null) =>
    [
        .. Blocks.Where(b => b.Language == "bash" && (page is null || b.Page == page)).SelectMany(b => b.Text.Replace("\\\n", "", StringComparison.Ordinal).Split('\n'))
            .Select(l => Comment().Replace(l, "").Trim()).Where(l => l.Length > 0).Distinct(),
    ];

    /// <summary>Tables whose first line begins so, in order.</summary>
    public static IReadOnlyList<string> Tables(string start) =>
        [.. All.SelectMany(p => Table().Matches(p.Text)).Select(m => m.Value).Where(t => t.StartsWith(start, StringComparison.Ordinal))];

    /// <summary>Text of a file of the repository.</summary>
    public static string Text(string path) => File.ReadAllText(Path.Combine(Root, path)).ReplaceLineEndings("\n");

    /// <summary>Blocks of a file of the repository, in order.</summary>
    public static IEnumerable<Block> BlocksOf(string path) => Fence().Matches(Text(path)).Select(m => new Block(path, m.Groups["language"].Value, m.Groups["text"].Value));

    private static string Find(string folder) => File.Exists(Path.Combine(folder, "HeadInfer.sln")) ? folder : Find(Path.GetDirectoryName(folder)!);

    [GeneratedRegex(@"^```(?<language>\w+)\n(?<text>.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Fence();

    [GeneratedRegex(@"(^\|.*\n)+", RegexOptions.Multiline)]
    private static partial Regex Table();

    [GeneratedRegex(@"(^|\s\s)#.*$")]
    private static partial Regex Comment();
}
