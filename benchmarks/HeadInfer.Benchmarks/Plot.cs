using System.Globalization;
using System.Text;
using System.Text.Json;

namespace HeadInfer.Benchmarks;

/// <summary>Draws the results of <c>prefill</c> and <c>decode</c> with <c>--json</c>: GPU memory and speed against the context, or the time of a token beside its bound and other systems.</summary>
internal static class Plot
{
    private const int Width = 420, Wide = 640, Height = 300, Margin = 56, Gap = 40;

    private static readonly string[] Colors = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2"];

    public static int Run(string results, string target, string shape)
    {
        var rows = File.ReadLines(results).Where(l => l.Length > 0).Select(l => JsonDocument.Parse(l).RootElement)
            .Where(r => r.GetProperty("shape").GetString() == shape).ToList();
        List<Series> speed = [], memory = [];
        foreach (var group in rows.GroupBy(r => $"{r.GetProperty("verb").GetString()}, {r.GetProperty("mode").GetString()}"))
        {
            speed.Add(new Series(group.Key, Points(group, "tokensPerSecond", 1)));
            memory.Add(new Series(group.Key, Points(group, "gpuPeakBytes", 1.0 / (1L << 30))));
        }

        var svg = new StringBuilder();
        svg.AppendLine(CultureInfo.InvariantCulture, $"""<svg xmlns="http://www.w3.org/2000/svg" width="{(2 * Width) + (3 * Margin) + Gap}" height="{Height + 110}" font-family="sans-serif" font-size="12">""");
        svg.AppendLine("""<rect width="100%" height="100%" fill="white"/>""");
        Panel(svg, Margin, "GPU memory, GiB", memory, logarithmic: false);
        Panel(svg, (2 * Margin) + Width + Gap, "tokens a second", speed, logarithmic: true);
        svg.AppendLine("</svg>");
        File.WriteAllText(target, svg.ToString());
        return 0;
    }

    /// <summary>Draws milliseconds a token against the context. Rows of other systems have <c>system</c>, <c>context</c> and <c>seconds</c>; ours are as <c>decode</c> prints them, and have the bound too.</summary>
    public static int RunDecode(string results, string target)
    {
        var rows = File.ReadLines(results).Where(l => l.Length > 0).Select(l => JsonDocument.Parse(l).RootElement).ToList();
        var ours = rows.Where(r => !r.TryGetProperty("system", out _)).ToList();
        List<Series> series =
        [
            new("HeadInfer", Points(ours, "seconds", 1000)),
            new("its bound", Points(ours, "boundSeconds", 1000)) { IsBound = true },
            .. rows.Except(ours).GroupBy(r => r.GetProperty("system").GetString()!).Select(g => new Series(g.Key, Points(g, "seconds", 1000))),
        ];
        var svg = new StringBuilder();
        svg.AppendLine(CultureInfo.InvariantCulture, $"""<svg xmlns="http://www.w3.org/2000/svg" width="{Wide + (2 * Margin)}" height="{Height + 90 + (20 * series.Count)}" font-family="sans-serif" font-size="12">""");
        svg.AppendLine("""<rect width="100%" height="100%" fill="white"/>""");
        Panel(svg, Margin, "milliseconds a token", series, logarithmic: true, Wide, legendBelow: true);
        svg.AppendLine("</svg>");
        File.WriteAllText(target, svg.ToString());
        return 0;
    }

    private static List<(double Context, double Value)> Points(IEnumerable<JsonElement> rows, string name, double scale) =>
        [.. rows.Select(r => (r.GetProperty("context").GetDouble(), r.GetProperty(name).GetDouble() * scale)).OrderBy(p => p.Item1)];

    private static void Panel(StringBuilder svg, int left, string title, List<Series> series, bool logarithmic, int width = Width, bool legendBelow = false)
    {
        var points = series.SelectMany(s => s.Points).ToList();
        var (first, last) = (Math.Floor(Math.Log2(points.Min(p => p.Context))), Math.Ceiling(Math.Log2(points.Max(p => p.Context))));
        var (low, high) = logarithmic
            ? (Math.Floor(Math.Log10(points.Min(p => p.Value))), Math.Ceiling(Math.Log10(points.Max(p => p.Value))))
            : (0, Math.Ceiling(points.Max(p => p.Value) / 4) * 4);
        double X(double context) => left + ((Math.Log2(context) - first) / (last - first) * width);
        double Y(double value) => 40 + Height - (((logarithmic ? Math.Log10(value) : value) - low) / (high - low) * Height);

        svg.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{left}" y="24" font-size="14">{title}</text>""");
        for (var exponent = first; exponent <= last; exponent++)
        {
            var x = X(Math.Pow(2, exponent));
            svg.AppendLine(CultureInfo.InvariantCulture, $"""<line x1="{x:F1}" y1="40" x2="{x:F1}" y2="{40 + Height}" stroke="#ddd"/><text x="{x:F1}" y="{58 + Height}" text-anchor="middle">{Math.Pow(2, exponent - 10):F0}K</text>""");
        }

        for (var step = 0; step <= (logarithmic ? high - low : 4); step++)
        {
            var value = logarithmic ? Math.Pow(10, low + step) : high * step / 4;
            svg.AppendLine(CultureInfo.InvariantCulture, $"""<line x1="{left}" y1="{Y(value):F1}" x2="{left + width}" y2="{Y(value):F1}" stroke="#ddd"/><text x="{left - 6}" y="{Y(value) + 4:F1}" text-anchor="end">{(value < 1 ? value.ToString("0.##", CultureInfo.InvariantCulture) : value.ToString("N0", CultureInfo.InvariantCulture))}</text>""");
        }

        for (var i = 0; i < series.Count; i++)
        {
            var color = Colors[i % Colors.Length];
            var path = string.Join(' ', series[i].Points.Select(p => string.Create(CultureInfo.InvariantCulture, $"{X(p.Context):F1},{Y(p.Value):F1}")));
            svg.AppendLine(CultureInfo.InvariantCulture, $"""<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{(series[i].IsBound ? " stroke-dasharray=\"6 4\"" : "")}/>""");
            foreach (var (context, value) in series[i].Points)
            {
                svg.AppendLine(CultureInfo.InvariantCulture, $"""<circle cx="{X(context):F1}" cy="{Y(value):F1}" r="4" fill="{color}"><title>{context:N0} tokens: {value:F1}</title></circle>""");
            }

            svg.AppendLine(CultureInfo.InvariantCulture, $"""<text x="{left + (legendBelow ? 0 : i * 150)}" y="{84 + Height + (legendBelow ? 20 * i : 0)}" fill="{color}">● {series[i].Name}</text>""");
        }
    }

    private sealed record Series(string Name, List<(double Context, double Value)> Points)
    {
        public bool IsBound { get; init; }
    }
}
