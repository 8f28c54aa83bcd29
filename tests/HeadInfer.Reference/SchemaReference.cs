using System.Text;
using System.Text.Json;
using HeadInfer.Text;
using HeadInfer.Text.Constraints;

namespace HeadInfer.Reference;

/// <summary>Reads the texts of the JSON Schema Test Suite with the grammars of their schemas.</summary>
/// <remarks>
/// A text is accepted if the grammar takes it in the form that it writes itself: no space, the properties of an object in the
/// schema's order. A grammar may allow less than its schema. It may allow more only where that was told.
/// </remarks>
public static class SchemaReference
{
    private const int MostWithLog = 150;

    public static (bool Ok, string Figure) Check(string folder, Action<string>? tell = null)
    {
        var (accepted, refused, rejected, withLog, silently) = (0, 0, 0, 0, 0);
        foreach (var file in Directory.GetFiles(folder, "*.json", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
        {
            using var groups = JsonDocument.Parse(File.ReadAllBytes(file));
            foreach (var group in groups.RootElement.EnumerateArray())
            {
                var schema = group.GetProperty("schema");
                var told = new List<string>();
                var constraint = Compile(schema, told);
                foreach (var test in group.GetProperty("tests").EnumerateArray())
                {
                    var accepts = constraint is not null && Accepts(constraint, schema, test.GetProperty("data"));
                    var name = $"{Path.GetRelativePath(folder, file)}: {group.GetProperty("description")}: {test.GetProperty("description")}";
                    switch (test.GetProperty("valid").GetBoolean(), accepts)
                    {
                        case (true, true):
                            accepted++;
                            break;
                        case (true, false):
                            refused++;
                            tell?.Invoke($"valid, refused: {name}");
                            break;
                        case (false, false):
                            rejected++;
                            break;
                        case (false, true) when told.Count > 0:
                            withLog++;
                            tell?.Invoke($"invalid, accepted: {name}: {string.Join("; ", told)}");
                            break;
                        default:
                            silently++;
                            tell?.Invoke($"invalid, accepted silently: {name}");
                            break;
                    }
                }
            }
        }

        return (silently == 0 && withLog <= MostWithLog && accepted > 0,
            $"valid: {accepted} accepted, {refused} refused; invalid: {rejected} refused, {withLog} accepted with a log (at most {MostWithLog}), {silently} silently");
    }

    // A schema that nothing satisfies, as far as the grammar goes, allows nothing.
    private static OutputConstraint? Compile(JsonElement schema, List<string> told)
    {
        try
        {
            return OutputConstraint.JsonSchema(schema, told.Add);
        }
        catch (ArgumentException)
        {
            return null;
        }
    }

    private static bool Accepts(OutputConstraint constraint, JsonElement schema, JsonElement data)
    {
        var order = new List<string>();
        Names(schema, order);
        return Accepts(constraint, Write(data, null)) || Accepts(constraint, Write(data, order));
    }

    private static bool Accepts(OutputConstraint constraint, string text)
    {
        var frames = constraint.Enter();
        foreach (var value in Encoding.UTF8.GetBytes(text))
        {
            var next = new FrameSet();
            frames.Step(value, next);
            frames = next;
        }

        return frames.CanEnd;
    }

    // Names of properties as the schema has them.
    private static void Names(JsonElement schema, List<string> into)
    {
        if (schema.ValueKind == JsonValueKind.Array)
        {
            foreach (var item in schema.EnumerateArray())
            {
                Names(item, into);
            }
        }
        else if (schema.ValueKind == JsonValueKind.Object)
        {
            foreach (var property in schema.EnumerateObject())
            {
                into.Add(property.Name);
                Names(property.Value, into);
            }
        }
    }

    private static string Write(JsonElement value, List<string>? order)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                var properties = value.EnumerateObject().ToList();
                var ordered = order is null ? properties : [.. properties.OrderBy(p => order.IndexOf(p.Name) is >= 0 and var at ? at : int.MaxValue)];
                return $"{{{string.Join(',', ordered.Select(p => $"{Quote(p.Name)}:{Write(p.Value, order)}"))}}}";
            case JsonValueKind.Array:
                return $"[{string.Join(',', value.EnumerateArray().Select(v => Write(v, order)))}]";
            case JsonValueKind.String:
                return Quote(value.GetString()!);
            default:
                return value.GetRawText();
        }
    }

    private static string Quote(string text) => Encoding.UTF8.GetString(JsonText.Quote(text));
}
