using System.Text.Json;
using System.Text.RegularExpressions;
using HeadInfer.Text.Templates.Jinja;

namespace HeadInfer.Reference;

/// <summary>Compares single constructs of templates with what Jinja2 gives for them, in the environment that transformers makes.</summary>
public static partial class JinjaReference
{
    /// <summary>Checks the rows of <c>micro.jsonl</c> against those of <c>micro_expected.jsonl</c>: the text, or that both refuse.</summary>
    public static (bool Ok, string Figure) Check(string folder)
    {
        var expected = Rows(Path.Combine(folder, "micro_expected.jsonl")).ToDictionary(r => r.GetProperty("name").GetString()!);
        var rows = Rows(Path.Combine(folder, "micro.jsonl"));
        var wrong = rows.Select(row => (Name: row.GetProperty("name").GetString()!, Got: Render(row))).Where(r => r.Got != Wanted(expected[r.Name])).ToList();
        return (wrong.Count == 0 && rows.Count > 0, $"{rows.Count - wrong.Count} of {rows.Count} rows{string.Concat(wrong.Select(w => $"; {w.Name}: {JsonSerializer.Serialize(w.Got ?? "refused")}"))}");
    }

    // Null if the template is refused.
    private static string? Render(JsonElement row)
    {
        try
        {
            var data = row.GetProperty("data").EnumerateObject().Select(p => KeyValuePair.Create(p.Name, (object?)p.Value));
            return Addresses().Replace(Interpreter.Render(Parser.Parse(row.GetProperty("template").GetString()!), data, new FixedClock()).Text, "");
        }
        catch (ChatTemplateException)
        {
            return null;
        }
    }

    private static string? Wanted(JsonElement row) => row.TryGetProperty("text", out var text) ? Addresses().Replace(text.GetString()!, "") : null;

    private static List<JsonElement> Rows(string file) => [.. File.ReadLines(file).Where(l => l.Length > 0).Select(l =>
    {
        using var row = JsonDocument.Parse(l);
        return row.RootElement.Clone();
    })];

    // Where an object was in Python's memory.
    [GeneratedRegex(" at 0x[0-9a-f]+")]
    private static partial Regex Addresses();

    /// <summary>The time at which the rows were rendered.</summary>
    private sealed class FixedClock : TimeProvider
    {
        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

        public override DateTimeOffset GetUtcNow() => new(2025, 7, 5, 8, 3, 0, TimeSpan.Zero);
    }
}
