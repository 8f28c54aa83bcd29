using System.Globalization;
using System.Text;
using System.Text.Json;

namespace HeadInfer.Benchmarks;

/// <summary>Draws the results of <c>needle</c>: a cell for each length and depth, from red for none to green for all.</summary>
internal static class NeedlePlot
{
    private const int CellWidth = 84, CellHeight = 36, Left = 110, Top = 64;

    public static int Run(string results, string target)
    {
        var cells = File.ReadLines(results).Where(l => l.Length > 0).Select(l => JsonDocument.Parse(l).RootElement)
            .Select(r => (Context: r.GetProperty("context").GetInt32(), Depth: r.GetProperty("depth").GetDouble(), Asked: r.GetProperty("asked").GetInt32(), Right: r.GetProperty("right").GetInt32())).ToList();
        var (lengths, depths) = (cells.Select(c => c.Context).Distinct().Order().ToList(), cells.Select(c => c.Depth).Distinct().Order().ToList());
        var svg = new StringBuilder();
        svg.AppendLine(CultureInfo.InvariantCulture, $"""<svg xmlns="http://www.w3.org/2000/svg" width="{Left + (lengths.Count * CellWidth) + 20}" height="{Top + (depths.Count * CellHeight) + 60}" font-family="sans-serif" font-size="12">""");
        svg.AppendLine("""<rect width="100%" height="100%" fill="white"/>""");
        svg.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{Left}" y="24" font-size="14">facts found, of those that were hidden there: {cells.Sum(c => c.Right)} of {cells.Sum(c => c.Asked)}</text>""");
        svg.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{Left - 10}" y="{Top - 10}" text-anchor="end">depth</text>""");
        for (var row = 0; row < depths.Count; row++)
        {
            svg.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{Left - 10}" y="{Top + (row * CellHeight) + 23}" text-anchor="end">{depths[row] * 100:F0}%</text>""");
        }

        for (var column = 0; column < lengths.Count; column++)
        {
            svg.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{Left + (column * CellWidth) + (CellWidth / 2)}" y="{Top + (depths.Count * CellHeight) + 18}" text-anchor="middle">{lengths[column] / 1024}K</text>""");
        }

        svg.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{Left + (lengths.Count * CellWidth / 2)}" y="{Top + (depths.Count * CellHeight) + 42}" text-anchor="middle">tokens of context</text>""");
        foreach (var (context, depth, asked, right) in cells)
        {
            var (x, y) = (Left + (lengths.IndexOf(context) * CellWidth), Top + (depths.IndexOf(depth) * CellHeight));
            svg.AppendLine(CultureInfo.InvariantCulture, $"""<rect x="{x}" y="{y}" width="{CellWidth - 2}" height="{CellHeight - 2}" fill="hsl({120.0 * right / asked:F0}, 55%, 72%)"/><text x="{x + (CellWidth / 2) - 1}" y="{y + 22}" text-anchor="middle">{right}/{asked}</text>""");
        }

        svg.AppendLine("</svg>");
        File.WriteAllText(target, svg.ToString());
        return 0;
    }
}
