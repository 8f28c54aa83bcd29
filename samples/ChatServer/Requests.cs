using System.Text.Json;
using Microsoft.Extensions.AI;

namespace ChatServer;

/// <summary>Requests of the wire, in the words of chat clients.</summary>
internal static class Requests
{
    private static readonly JsonElement NoParameters = JsonDocument.Parse("""{"type":"object","properties":{}}""").RootElement;

    /// <exception cref="ArgumentException">Something is missing, or is not what it should be; the message names it.</exception>
    /// <exception cref="NotSupportedException">It asks for what the server does not do; the message names it.</exception>
    public static (IReadOnlyList<ChatMessage> Messages, ChatOptions Options) Read(ChatRequestBody body)
    {
        if (body.N is not (null or 1))
        {
            throw new NotSupportedException($"n is {body.N}; a request gets one answer.");
        }

        if (body.Logprobs == true)
        {
            throw new NotSupportedException("logprobs are not given.");
        }

        var messages = (body.Messages ?? throw new ArgumentException("messages are missing.")).Select(Message).ToList();
        return (messages, new ChatOptions
        {
            Temperature = body.Temperature,
            TopP = body.TopP,
            MaxOutputTokens = body.MaxCompletionTokens ?? body.MaxTokens,
            StopSequences = Stops(body.Stop),
            Seed = body.Seed,
            FrequencyPenalty = body.FrequencyPenalty,
            PresencePenalty = body.PresencePenalty,
            ResponseFormat = Format(body.ResponseFormat),
            Tools = body.Tools?.Select(Tool).ToList(),
            ToolMode = Mode(body.ToolChoice),
            AllowMultipleToolCalls = body.ParallelToolCalls,
            Reasoning = body.ReasoningEffort is null ? null : new ReasoningOptions
            {
                Effort = Enum.TryParse<ReasoningEffort>(body.ReasoningEffort, ignoreCase: true, out var effort) && char.IsAsciiLetter(body.ReasoningEffort[0]) ? effort : throw new ArgumentException($"reasoning_effort is '{body.ReasoningEffort}'; it must be none, low, medium or high."),
            },
        });
    }

    private static ChatMessage Message(MessageBody? message)
    {
        if (message is null)
        {
            throw new ArgumentException("messages has a null.");
        }

        var contents = new List<AIContent>();
        switch (message.Content)
        {
            case null or { ValueKind: JsonValueKind.Null }:
                break;
            case { ValueKind: JsonValueKind.String } text:
                contents.Add(new TextContent(text.GetString()));
                break;
            case { ValueKind: JsonValueKind.Array } parts:
                contents.AddRange(parts.EnumerateArray().Select(Part));
                break;
            default:
                throw new ArgumentException("messages.content must be a text or a list of parts.");
        }

        if (message.Role == "tool")
        {
            var result = new FunctionResultContent(message.ToolCallId ?? throw new ArgumentException("a tool's message has no tool_call_id."), string.Concat(contents.OfType<TextContent>().Select(t => t.Text)));
            return new ChatMessage(ChatRole.Tool, [result]);
        }

        contents.AddRange(message.ToolCalls?.Select(Call) ?? []);
        return new ChatMessage(
            message.Role switch
            {
                "system" or "developer" => ChatRole.System,
                "user" => ChatRole.User,
                "assistant" => ChatRole.Assistant,
                var other => throw new ArgumentException($"messages.role is '{other}'; it must be system, developer, user, assistant or tool."),
            },
            contents)
        { AuthorName = message.Name };
    }

    private static TextContent Part(JsonElement part) => part.ValueKind == JsonValueKind.Object && part.TryGetProperty("type", out var type) && Word(type) == "text" && part.TryGetProperty("text", out var text) && Word(text) is { } words
        ? new TextContent(words)
        : throw new NotSupportedException($"messages.content has a part that is no text: {(part.ValueKind == JsonValueKind.Object && part.TryGetProperty("type", out var kind) ? kind : part.ValueKind)}.");

    private static string? Word(JsonElement element) => element.ValueKind == JsonValueKind.String ? element.GetString() : null;

    private static FunctionCallContent Call(ToolCallBody? call) => new(
        call?.Id ?? throw new ArgumentException("a tool call has no id."),
        call.Function?.Name ?? throw new ArgumentException("a tool call names no function."),
        JsonSerializer.Deserialize<Dictionary<string, object?>>(call.Function.Arguments is { Length: > 0 } arguments ? arguments : "{}"));

    private static AITool Tool(ToolBody? tool) => tool is { Type: "function", Function.Name: { Length: > 0 } name }
        ? AIFunctionFactory.CreateDeclaration(name, tool.Function.Description ?? "", tool.Function.Parameters ?? NoParameters)
        : throw new NotSupportedException($"tools has one of the type '{tool?.Type}'; the server knows functions, each with a name.");

    private static ChatToolMode? Mode(JsonElement? choice) => choice switch
    {
        null or { ValueKind: JsonValueKind.Null } => null,
        { ValueKind: JsonValueKind.String } word => word.GetString() switch
        {
            "none" => ChatToolMode.None,
            "auto" => ChatToolMode.Auto,
            "required" => ChatToolMode.RequireAny,
            var other => throw new ArgumentException($"tool_choice is '{other}'; it must be none, auto, required or a function."),
        },
        { ValueKind: JsonValueKind.Object } named when named.TryGetProperty("function", out var function) && function.ValueKind == JsonValueKind.Object && function.TryGetProperty("name", out var name) && Word(name) is { Length: > 0 } wanted => ChatToolMode.RequireSpecific(wanted),
        _ => throw new ArgumentException("tool_choice must be none, auto, required or a function."),
    };

    private static ChatResponseFormat? Format(JsonElement? format)
    {
        if (format is null or { ValueKind: JsonValueKind.Null })
        {
            return null;
        }

        return format is { ValueKind: JsonValueKind.Object } given && given.TryGetProperty("type", out var type) ? Word(type) switch
        {
            "text" => ChatResponseFormat.Text,
            "json_object" => ChatResponseFormat.Json,
            "json_schema" when given.TryGetProperty("json_schema", out var named) && named.ValueKind == JsonValueKind.Object && named.TryGetProperty("schema", out var schema) => ChatResponseFormat.ForJsonSchema(schema),
            var other => throw new ArgumentException($"response_format.type is '{other}'; it must be text, json_object, or json_schema with its schema."),
        }
        : throw new ArgumentException("response_format has no type.");
    }

    private static List<string>? Stops(JsonElement? stop) => stop switch
    {
        null or { ValueKind: JsonValueKind.Null } => null,
        { ValueKind: JsonValueKind.String } one => [one.GetString()!],
        { ValueKind: JsonValueKind.Array } many => [.. many.EnumerateArray().Select(s => Word(s) ?? throw new ArgumentException("stop has what is no text."))],
        _ => throw new ArgumentException("stop must be a text or a list of texts."),
    };
}
