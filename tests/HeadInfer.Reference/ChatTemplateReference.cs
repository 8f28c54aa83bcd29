using System.Text.Json;
using HeadInfer.Text.Templates.Jinja;

namespace HeadInfer.Reference;

/// <summary>Compares rendered chat templates with the text that transformers gave.</summary>
public static class ChatTemplateReference
{
    /// <summary>The rows of a file: each a name, a template, its data and the text it must render to.</summary>
    public static IReadOnlyList<(string Name, Func<(bool Ok, string Figure)> Check)> Rows(string file)
    {
        using var rows = JsonDocument.Parse(File.ReadAllBytes(file));
        return [.. rows.RootElement.EnumerateArray().Select((row, i) =>
        {
            var copy = row.Clone();
            return ($"{Path.GetFileNameWithoutExtension(file)}/{i}-{copy.GetProperty("name").GetString()}", (Func<(bool, string)>)(() => Check(copy)));
        })];
    }

    private static (bool Ok, string Figure) Check(JsonElement row)
    {
        var data = row.GetProperty("data").EnumerateObject().Select(p => KeyValuePair.Create(p.Name, (object?)p.Value));
        var text = Interpreter.Render(Parser.Parse(row.GetProperty("chat_template").GetString()!), data, new FixedClock()).Text;
        var target = row.GetProperty("target").GetString()!;
        var same = text.AsSpan().CommonPrefixLength(target);
        return (text == target, text == target ? $"{text.Length} characters" : $"differs at character {same} of {target.Length}");
    }

    /// <summary>The time at which references were rendered.</summary>
    public sealed class FixedClock : TimeProvider
    {
        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

        public override DateTimeOffset GetUtcNow() => new(2025, 7, 10, 12, 0, 0, TimeSpan.Zero);
    }
}
