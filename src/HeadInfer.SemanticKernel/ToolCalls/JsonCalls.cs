using System.Text;
using System.Text.Json;
using HeadInfer.Runtime;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Calls written as JSON: an object, or a list of them, with a name and its arguments.</summary>
internal static class JsonCalls
{
    // The arguments themselves may be as deep as .NET's readers go.
    private const int MaxDepth = 128;

    private static readonly JsonDocumentOptions Lenient = new() { AllowTrailingCommas = true, MaxDepth = MaxDepth };

    /// <summary>A call of one of some functions, spaced as models write it.</summary>
    public static OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, string argumentsName, SchemaForms schemas) => OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(
        OutputConstraint.Text($"{{\"name\": {JsonSerializer.Serialize(t.Name)}, \"{argumentsName}\": "), schemas.Of(t.Parameters), OutputConstraint.Text("}")))]);

    /// <summary>Reads a call, or a list of them.</summary>
    /// <param name="text">the JSON</param>
    /// <param name="argumentsName">the property that has the arguments</param>
    public static IReadOnlyList<ParsedCall> Parse(string text, string argumentsName)
    {
        try
        {
            using var json = JsonDocument.Parse(text, Lenient);
            return json.RootElement.ValueKind == JsonValueKind.Array
                ? [.. json.RootElement.EnumerateArray().Select(call => One(call, argumentsName))]
                : [One(json.RootElement, argumentsName)];
        }
        catch (JsonException e)
        {
            return [new ParsedCall("", null, new FormatException($"The model's function call is not JSON: {text.Trim()}", e), text)];
        }
    }

    /// <summary>Reads calls one after the other, with semicolons or white space between. What follows the last of them is no call.</summary>
    public static IReadOnlyList<ParsedCall> ParseMany(string text, string argumentsName)
    {
        var calls = new List<ParsedCall>();
        for (var rest = text; rest is ['{' or '[', ..] || calls.Count == 0; rest = rest.TrimStart().TrimStart(';').TrimStart())
        {
            var value = FirstValue(rest);
            calls.AddRange(Parse(value ?? rest, argumentsName));
            if (value is null)
            {
                break;
            }

            rest = rest[value.Length..];
        }

        return calls;
    }

    /// <summary>Whether a text is more than the beginning of JSON: it is whole, or can no more become so.</summary>
    public static bool IsWhole(string text)
    {
        try
        {
            var bytes = Encoding.UTF8.GetBytes(text);
            var reader = new Utf8JsonReader(bytes, isFinalBlock: false, new JsonReaderState(new JsonReaderOptions { AllowTrailingCommas = true, MaxDepth = MaxDepth }));
            var any = false;
            while (reader.Read())
            {
                any = true;
            }

            return any && reader.CurrentDepth == 0 && reader.TokenType is JsonTokenType.EndObject or JsonTokenType.EndArray;
        }
        catch (JsonException)
        {
            return true;
        }
    }

    /// <summary>Reads the arguments of a call whose name is known.</summary>
    public static ParsedCall Call(string function, string arguments)
    {
        try
        {
            using var json = JsonDocument.Parse(arguments, Lenient);
            return WithArguments(function, json.RootElement);
        }
        catch (JsonException e)
        {
            return new ParsedCall(function, null, new FormatException($"The arguments of the model's call of '{function}' are not JSON: {arguments}", e), arguments);
        }
    }

    // The text of the first JSON value; null if there is none that is whole.
    private static string? FirstValue(string text)
    {
        try
        {
            var bytes = Encoding.UTF8.GetBytes(text);
            var reader = new Utf8JsonReader(bytes, new JsonReaderOptions { AllowTrailingCommas = true, AllowMultipleValues = true, MaxDepth = MaxDepth });
            return reader.Read() && reader.TrySkip() ? Encoding.UTF8.GetString(bytes, 0, (int)reader.BytesConsumed) : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static ParsedCall One(JsonElement call, string argumentsName)
    {
        if (call.ValueKind != JsonValueKind.Object || !call.TryGetProperty("name", out var name) || name.ValueKind != JsonValueKind.String)
        {
            return new ParsedCall("", null, new FormatException($"The model's function call names no function: {call.GetRawText()}"), call.GetRawText());
        }

        var function = name.GetString()!;
        if (!call.TryGetProperty(argumentsName, out var arguments) || arguments.ValueKind == JsonValueKind.Null)
        {
            return new ParsedCall(function, new Dictionary<string, object?>(StringComparer.Ordinal));
        }

        return arguments.ValueKind == JsonValueKind.String
            ? Call(function, arguments.GetString()!) // some models write JSON inside a string
            : WithArguments(function, arguments);
    }

    private static ParsedCall WithArguments(string function, JsonElement arguments) => arguments.ValueKind == JsonValueKind.Object
        ? new ParsedCall(function, arguments.EnumerateObject().GroupBy(p => p.Name, StringComparer.Ordinal).ToDictionary(g => g.Key, g => (object?)g.Last().Value.Clone(), StringComparer.Ordinal))
        : new ParsedCall(function, null, new FormatException($"The arguments of the model's call of '{function}' are no JSON object: {arguments.GetRawText()}"), arguments.GetRawText());
}
