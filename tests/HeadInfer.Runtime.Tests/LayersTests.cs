using System.Text.RegularExpressions;

namespace HeadInfer.Runtime.Tests;

/// <summary>Who may use whom among the folders of the runtime.</summary>
public sealed partial class LayersTests
{
    private static readonly Dictionary<string, string[]> Allowed = new(StringComparer.Ordinal)
    {
        ["Compute"] = [],
        ["Checkpoints"] = ["Compute"],
        ["Sequences"] = ["Compute"],
        ["Attention"] = ["Compute", "Sequences"],
        ["Planning"] = ["Attention", "Checkpoints", "Compute", "Sequences"],
        ["Weights"] = ["Checkpoints", "Compute"],
        ["Decoder"] = ["Attention", "Checkpoints", "Compute", "Planning", "Sequences", "Weights"],
        ["Generation"] = ["Compute"],
        ["Requests"] = ["Attention", "Checkpoints", "Decoder", "Generation", "Compute", "Planning", "Sequences"],
    };

    [Fact]
    public void Folders_use_only_those_below_them()
    {
        var source = Source();
        Assert.SkipWhen(source is null, "the sources are not here: the tests run from a bundle");
        var wrong = new List<string>();
        foreach (var file in Directory.GetFiles(source, "*.cs", SearchOption.AllDirectories))
        {
            var folder = Path.GetRelativePath(source, file).Split(Path.DirectorySeparatorChar)[0];
            if (folder is "bin" or "obj" || folder.EndsWith(".cs", StringComparison.Ordinal))
            {
                continue; // the root may use all
            }

            foreach (Match used in Uses().Matches(File.ReadAllText(file)))
            {
                if (!Allowed[folder].Contains(used.Groups[1].Value))
                {
                    wrong.Add($"{Path.GetRelativePath(source, file)} uses {used.Groups[1].Value}");
                }
            }
        }

        Assert.Empty(wrong);
    }

    private static string? Source()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "HeadInfer.sln")))
            {
                return Path.Combine(folder.FullName, "src", "HeadInfer.Runtime");
            }
        }

        return null;
    }

    [GeneratedRegex(@"^using HeadInfer\.Runtime\.(\w+)", RegexOptions.Multiline)]
    private static partial Regex Uses();
}
