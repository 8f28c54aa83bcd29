using System.Text.Json;
using HeadInfer.Runtime;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Calls written as JSON: an object, or a list of them, with a name and its arguments.</summary>
internal static class JsonCalls
{
    /// <param name="text">the JSON</param>
    /// <param name="argumentsName">the property that has the arguments</param>
    public static IReadOnlyList<ParsedCall> Parse(string text, string argumentsName)
    {
        try
        {
            using var json = JsonDocument.Parse(text, new JsonDocumentOptions { AllowTrailingCommas = true });
            return json.RootElement.ValueKind == JsonValueKind.Array
                ? [.. json.RootElement.EnumerateArray().Select(call => One(call, argumentsName))]
                : [One(json.RootElement, argumentsName)];
        }
        catch (JsonException e)
        {
            return [new ParsedCall("", null, new FormatException($"The model's function call is not JSON: {text.Trim()}", e))];
        }
    }

    /// <summary>Reads the arguments of a call whose name is known.</summary>
    public static ParsedCall Call(string function, string arguments)
    {
        try
        {
            using var json = JsonDocument.Parse(arguments);
            return WithArguments(function, json.RootElement);
        }
        catch (JsonException e)
        {
            return new ParsedCall(function, null, new FormatException($"The arguments of the model's call of '{function}' are not JSON: {arguments}", e));
        }
    }

    /// <summary>A call of one of some functions, spaced as models write it.</summary>
    public static OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, string argumentsName, SchemaForms schemas) => OutputConstraint.OneOf([.. tools.Select(t => OutputConstraint.Sequence(
        OutputConstraint.Text($"{{\"name\": {JsonSerializer.Serialize(t.Name)}, \"{argumentsName}\": "), schemas.Of(t.Parameters), OutputConstraint.Text("}")))]);

    private static ParsedCall One(JsonElement call, string argumentsName)
    {
        if (call.ValueKind != JsonValueKind.Object || !call.TryGetProperty("name", out var name) || name.ValueKind != JsonValueKind.String)
        {
            return new ParsedCall("", null, new FormatException($"The model's function call names no function: {call.GetRawText()}"));
        }

        var function = name.GetString()!;
        if (!call.TryGetProperty(argumentsName, out var arguments) || arguments.ValueKind == JsonValueKind.Null)
        {
            return new ParsedCall(function, new Dictionary<string, object?>(StringComparer.Ordinal));
        }

        if (arguments.ValueKind == JsonValueKind.String)
        {
            return Call(function, arguments.GetString()!); // some models write JSON inside a string
        }

        return WithArguments(function, arguments);
    }

    private static ParsedCall WithArguments(string function, JsonElement arguments) => arguments.ValueKind == JsonValueKind.Object
        ? new ParsedCall(function, arguments.EnumerateObject().GroupBy(p => p.Name, StringComparer.Ordinal).ToDictionary(g => g.Key, g => (object?)g.Last().Value.Clone(), StringComparer.Ordinal))
        : new ParsedCall(function, null, new FormatException($"The arguments of the model's call of '{function}' are no JSON object: {arguments.GetRawText()}"));
}
