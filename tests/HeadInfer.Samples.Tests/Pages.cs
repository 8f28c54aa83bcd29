using System.Text.RegularExpressions;

namespace HeadInfer.Samples.Tests;

/// <summary>The code of README.md, block by block.</summary>
internal static partial class Readme
{
    /// <summary>The folder of the repository.</summary>
    public static string Root { get; } = Find(AppContext.BaseDirectory);

    /// <summary>Blocks of a language, in order.</summary>
    public static IReadOnlyList<string> Blocks(string language) =>
        [.. Fence().Matches(File.ReadAllText(Path.Combine(Root, "README.md")).ReplaceLineEndings("\n")).Where(m => m.Groups["language"].Value == language).Select(m => m.Groups["text"].Value)];

    /// <summary>Commands of the bash blocks: lines that a backslash continues are one, and comments are none.</summary>
    public static IReadOnlyList<string> Commands() =>
    [
        .. Blocks("bash").SelectMany(b => b.Replace("\\\n", "", StringComparison.Ordinal).Split('\n'))
            .Select(l => Comment().Replace(l, "").Trim()).Where(l => l.Length > 0),
    ];

    /// <summary>Tables whose first line begins so, in order.</summary>
    public static IReadOnlyList<string> Tables(string start) =>
        [.. Table().Matches(File.ReadAllText(Path.Combine(Root, "README.md")).ReplaceLineEndings("\n")).Select(m => m.Value).Where(t => t.StartsWith(start, StringComparison.Ordinal))];

    private static string Find(string folder) => File.Exists(Path.Combine(folder, "HeadInfer.sln")) ? folder : Find(Path.GetDirectoryName(folder)!);

    [GeneratedRegex(@"^```(?<language>\w+)\n(?<text>.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Fence();

    [GeneratedRegex(@"(^\|.*\n)+", RegexOptions.Multiline)]
    private static partial Regex Table();

    [GeneratedRegex(@"(^|\s\s)#.*$")]
    private static partial Regex Comment();
}
