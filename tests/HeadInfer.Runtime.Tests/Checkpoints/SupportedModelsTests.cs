using System.Text.RegularExpressions;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>The table of models in docs/models.md has what is read, and nothing else.</summary>
public sealed partial class SupportedModelsTests
{
    [Fact]
    public void The_table_of_models_names_every_architecture()
    {
        var rows = File.ReadLines(Path.Combine(Root(), "docs", "models.md")).SkipWhile(l => !l.StartsWith("|---", StringComparison.Ordinal)).Skip(1).TakeWhile(l => l.StartsWith('|')).Select(l => l.Split('|')).ToList();
        Assert.Equal(ModelFamily.All.Select(f => f.Architecture).Order(), rows.SelectMany(r => Names(r[2])).Distinct().Order());
        Assert.Equal(GgufArchitecture.Names.Order(), rows.SelectMany(r => Names(r[3])).Distinct().Order());
    }

    private static IEnumerable<string> Names(string cell) => Quoted().Matches(cell).Select(m => m.Groups[1].Value);

    private static string Root()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "HeadInfer.sln")))
        {
            folder = Path.GetDirectoryName(folder)!;
        }

        return folder;
    }

    [GeneratedRegex("`([^`]+)`")]
    private static partial Regex Quoted();
}
