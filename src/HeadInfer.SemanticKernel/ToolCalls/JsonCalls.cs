using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Calls written as JSON: an object, or a list of them, with a name and its arguments.</summary>
internal static class JsonCalls
{
    // As models write them, whatever their templates say.
    private static readonly string[] NameKeys = ["name", "function"], ArgumentKeys = ["arguments", "parameters"], OtherKeys = ["type", "id"];

    // The arguments themselves may be as deep as .NET's readers go.
    private const int MaxDepth = 128;

    private static readonly JsonDocumentOptions Lenient = new() { AllowTrailingCommas = true, MaxDepth = MaxDepth };

    /// <summary>A call of one of some functions, spaced as models write it.</summary>
    /// <param name="tools">the functions</param>
    /// <param name="argumentsName">the property that has the arguments</param>
    /// <param name="arguments">makes the form of a function's arguments</param>
    public static OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, string argumentsName, Func<ChatTool, OutputConstraint> arguments) => OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(
        OutputConstraint.Text(Beginning(t, argumentsName)), arguments(t), OutputConstraint.Text("}")))]);

    /// <summary>A list of such calls.</summary>
    /// <param name="tools">the functions</param>
    /// <param name="most">calls at most</param>
    /// <param name="arguments">makes the form of a function's arguments</param>
    public static OutputConstraint ConstrainList(IReadOnlyList<ChatTool> tools, int most, Func<ChatTool, OutputConstraint> arguments) =>
        OutputConstraint.Sequence(OutputConstraint.Text("["), OutputConstraint.Repeat(Constrain(tools, "arguments", arguments), ", ", most), OutputConstraint.Text("]"));

    public static void Write(ChatToolCall call, TemplateTextBuilder text) => text
        .Append(TemplateText.Data($"{{\"name\": {JsonSerializer.Serialize(call.Name)}, \"arguments\": "))
        .Append(ConversationShape.JsonArguments(call))
        .Append(TemplateText.Data("}"));

    /// <summary>How a call begins, up to its arguments.</summary>
    public static string Beginning(ChatTool tool, string argumentsName) => $"{{\"name\": {JsonSerializer.Serialize(tool.Name)}, \"{argumentsName}\": ";

    /// <summary>Whether JSON, of which there may be a beginning only, calls one of some functions; null if that cannot be known yet.</summary>
    public static bool? MayCall(string text, IReadOnlyList<ChatTool> tools)
    {
        bool? named = null;
        try
        {
            var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(text), isFinalBlock: false, new JsonReaderState(new JsonReaderOptions { AllowTrailingCommas = true, MaxDepth = MaxDepth }));
            reader.Read();
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var key = reader.GetString()!;
                if (!NameKeys.Contains(key) && !ArgumentKeys.Contains(key) && !OtherKeys.Contains(key))
                {
                    return false;
                }

                if (!reader.Read())
                {
                    return named;
                }

                if (NameKeys.Contains(key) && reader.TokenType == JsonTokenType.String)
                {
                    var name = reader.GetString();
                    named = tools.Any(t => t.Name == name);
                }
                else if (key == "function" && reader.TokenType == JsonTokenType.StartObject)
                {
                    return true;
                }

                if (named == false || !reader.TrySkip())
                {
                    return named;
                }
            }

            return named ?? (reader.TokenType == JsonTokenType.EndObject && reader.CurrentDepth == 0 ? false : null);
        }
        catch (JsonException)
        {
            return named ?? false;
        }
    }

    /// <summary>Reads a call, or a list of them.</summary>
    /// <param name="text">the JSON</param>
    public static IReadOnlyList<ParsedCall> Parse(string text)
    {
        try
        {
            using var json = JsonDocument.Parse(text, Lenient);
            return json.RootElement.ValueKind == JsonValueKind.Array
                ? [.. json.RootElement.EnumerateArray().Select(One)]
                : [One(json.RootElement)];
        }
        catch (JsonException e)
        {
            return [new ParsedCall("", null, new FormatException($"The model's function call is not JSON: {text.Trim()}", e), text)];
        }
    }

    /// <summary>Reads calls one after the other, with semicolons or white space between. What follows the last of them is no call.</summary>
    public static IReadOnlyList<ParsedCall> ParseMany(string text)
    {
        var calls = new List<ParsedCall>();
        for (var rest = text; rest is ['{' or '[', ..] || calls.Count == 0; rest = rest.TrimStart().TrimStart(';').TrimStart())
        {
            var value = FirstValue(rest);
            calls.AddRange(Parse(value ?? rest));
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
            using var json = JsonDocument.Parse(string.IsNullOrWhiteSpace(arguments) ? "{}" : arguments, Lenient);
            return WithArguments(function, json.RootElement);
        }
        catch (JsonException e)
        {
            return new ParsedCall(function, null, new FormatException($"The arguments of the model's call of '{function}' are not JSON: {arguments}", e), arguments);
        }
    }

    /// <summary>The text of the first JSON value; null if there is none that is whole.</summary>
    public static string? FirstValue(string text)
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

    private static ParsedCall One(JsonElement call)
    {
        if (First(call, NameKeys) is { ValueKind: JsonValueKind.Object } inner)
        {
            call = inner; // {"type": "function", "function": {...}}
        }

        if (First(call, NameKeys) is not { ValueKind: JsonValueKind.String } name)
        {
            return new ParsedCall("", null, new FormatException($"The model's function call names no function: {call.GetRawText()}"), call.GetRawText());
        }

        var function = name.GetString()!;
        return First(call, ArgumentKeys) switch
        {
            null or { ValueKind: JsonValueKind.Null } => new ParsedCall(function, new Dictionary<string, object?>(StringComparer.Ordinal)),
            { ValueKind: JsonValueKind.String } text => Call(function, text.GetString()!), // some models write JSON inside a string
            { } arguments => WithArguments(function, arguments),
        };
    }

    private static JsonElement? First(JsonElement call, string[] keys)
    {
        foreach (var key in keys)
        {
            if (call.ValueKind == JsonValueKind.Object && call.TryGetProperty(key, out var value))
            {
                return value;
            }
        }

        return null;
    }

    private static ParsedCall WithArguments(string function, JsonElement arguments) => arguments.ValueKind == JsonValueKind.Object
        ? new ParsedCall(function, arguments.EnumerateObject().GroupBy(p => p.Name, StringComparer.Ordinal).ToDictionary(g => g.Key, g => (object?)g.Last().Value.Clone(), StringComparer.Ordinal))
        : new ParsedCall(function, null, new FormatException($"The arguments of the model's call of '{function}' are no JSON object: {arguments.GetRawText()}"), arguments.GetRawText());
}
