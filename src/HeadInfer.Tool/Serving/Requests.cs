using System.Text;
using System.Text.Json;
using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Serving;

/// <summary>What a request asks for.</summary>
/// <param name="Messages">the conversation</param>
/// <param name="Options">how it is to be answered</param>
/// <param name="Stream">whether the answer is wanted as it comes</param>
/// <param name="Usage">whether a stream is to tell what it cost</param>
internal sealed record Request(IReadOnlyList<ChatMessage> Messages, ChatOptions Options, bool Stream, bool Usage);

/// <summary>Requests of the wire, in the words of chat clients: every setting is honoured or refused by name.</summary>
internal static class Requests
{
    private const int MaxStops = 64, MaxTools = 1024; // no model is told more of either

    private static readonly JsonElement NoParameters = JsonElement.Parse("""{"type":"object","properties":{}}""");

    private static readonly HashSet<string> Honoured = new(StringComparer.Ordinal)
    {
        "messages", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "stop", "seed", "frequency_penalty",
        "presence_penalty", "repetition_penalty", "response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort",
    };

    // They change nothing in the answer. A client must name a model; there is one, and answers name it.
    private static readonly HashSet<string> Harmless = new(StringComparer.Ordinal)
    {
        "model", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prediction", "cache_prompt",
    };

    // What clients send that the server does not do, and the values that ask for nothing.
    private static readonly Dictionary<string, JsonElement> Neutral = new (string Name, string Value)[]
    {
        ("n", "1"), ("best_of", "1"), ("logprobs", "false"), ("top_logprobs", "0"), ("logit_bias", "{}"), ("modalities", """["text"]"""), ("verbosity", "\"medium\""),
        ("functions", "[]"), ("function_call", "\"none\""), ("echo", "false"), ("suffix", "\"\""), ("min_tokens", "0"), ("ignore_eos", "false"),
    }.ToDictionary(n => n.Name, n => JsonElement.Parse(n.Value), StringComparer.Ordinal);

    /// <exception cref="RefusedException">Something is missing, is not what it should be, or is not done here; the message names it.</exception>
    public static Request Read(JsonElement json)
    {
        var body = new Fields(json, "");
        foreach (var field in body.All.Where(f => f.Value.ValueKind != JsonValueKind.Null && !Honoured.Contains(f.Name) && !Harmless.Contains(f.Name)))
        {
            if (!Neutral.TryGetValue(field.Name, out var neutral) || !JsonElement.DeepEquals(field.Value, neutral))
            {
                throw new RefusedException($"{Fields.Short(field.Name)} is {Fields.Short(field.Value.GetRawText())}; that cannot be done here. Leave it out.", field.Name);
            }
        }

        var messages = (body.Objects("messages") ?? throw body.Wrong("messages", "is missing.")).Select(Message).ToList();
        if (messages.Count == 0)
        {
            throw body.Wrong("messages", "is empty. There are no messages; there is nothing to answer.");
        }

        var options = new ChatOptions
        {
            Temperature = body.Number("temperature", 0, 100),
            TopP = body.Number("top_p", float.Epsilon, 1),
            TopK = body.Whole("top_k", -1, int.MaxValue) is > 0 and var most ? (int)most : null, // 0 and -1 stand for all
            MaxOutputTokens = MaxTokens(body),
            StopSequences = Stops(body),
            Seed = body.Whole("seed", long.MinValue, long.MaxValue),
            FrequencyPenalty = body.Number("frequency_penalty", -100, 100),
            PresencePenalty = body.Number("presence_penalty", -100, 100),
            ResponseFormat = Format(body),
            Tools = Tools(body),
            ToolMode = Mode(body),
            AllowMultipleToolCalls = body.Flag("parallel_tool_calls"),
            Reasoning = Effort(body) is { } effort ? new ReasoningOptions { Effort = effort } : null,
            AdditionalProperties = [],
        };
        foreach (var (name, least, greatest) in ((string, float, float)[])[("min_p", 0, 1), ("repetition_penalty", 0.001f, 1000)])
        {
            if (body.Number(name, least, greatest) is { } number)
            {
                options.AdditionalProperties[name] = number;
            }
        }

        return new Request(messages, options, body.Flag("stream") == true, body.Object("stream_options")?.Flag("include_usage") == true);
    }

    private static int? MaxTokens(Fields body)
    {
        var (now, before) = (body.Whole("max_completion_tokens", 1, int.MaxValue), body.Whole("max_tokens", 1, int.MaxValue));
        return now is not null && before is not null && now != before
            ? throw body.Wrong("max_tokens", $"is {before}, and max_completion_tokens is {now}. Leave one of them out.")
            : (int?)(now ?? before);
    }

    private static ReasoningEffort? Effort(Fields body) => body.Text("reasoning_effort") switch
    {
        null => null,
        "none" => ReasoningEffort.None,
        "minimal" or "low" => ReasoningEffort.Low,
        "medium" => ReasoningEffort.Medium,
        "high" => ReasoningEffort.High,
        "xhigh" => ReasoningEffort.ExtraHigh,
        var other => throw body.Wrong("reasoning_effort", $"is '{Fields.Short(other)}'; it must be none, minimal, low, medium, high or xhigh."),
    };

    private static List<string>? Stops(Fields body)
    {
        List<string>? stops = body.Get("stop") switch
        {
            null => null,
            { ValueKind: JsonValueKind.String } one => [one.GetString()!],
            { ValueKind: JsonValueKind.Array } many when many.GetArrayLength() <= MaxStops => [.. many.EnumerateArray().Select(s => s.ValueKind == JsonValueKind.String ? s.GetString()! : throw body.Must("stop", "a text or a list of texts", s))],
            { ValueKind: JsonValueKind.Array } many => throw body.Wrong("stop", $"has {many.GetArrayLength()} texts; {MaxStops} may be given."),
            { } other => throw body.Must("stop", "a text or a list of texts", other),
        };
        return stops?.Contains("") == true ? throw body.Wrong("stop", "has an empty text, which would stop at once.") : stops;
    }

    private static ChatResponseFormat? Format(Fields body)
    {
        if (body.Object("response_format") is not { } format)
        {
            return null;
        }

        return format.NeededText("type") switch
        {
            "text" => ChatResponseFormat.Text,
            "json_object" => ChatResponseFormat.Json,
            "json_schema" when format.Object("json_schema") is { } named => named.Get("schema") switch
            {
                null => throw named.Wrong("schema", "is missing."),
                { ValueKind: JsonValueKind.Object } schema => ChatResponseFormat.ForJsonSchema(schema, named.Text("name"), named.Text("description")),
                { } other => throw named.Must("schema", "an object", other),
            },
            var other => throw format.Wrong("type", $"is '{Fields.Short(other)}'; it must be text, json_object, or json_schema beside a json_schema."),
        };
    }

    private static List<AITool>? Tools(Fields body)
    {
        var count = body.Get("tools") is { ValueKind: JsonValueKind.Array } list ? list.GetArrayLength() : 0;
        return count <= MaxTools ? body.Objects("tools")?.Select(Tool).ToList() : throw body.Wrong("tools", $"has {count} functions; {MaxTools} may be given.");
    }

    private static AITool Tool(Fields tool)
    {
        if (tool.NeededText("type") is not "function" and var type)
        {
            throw tool.Wrong("type", $"is '{Fields.Short(type)}'; the server knows functions.");
        }

        var function = tool.Object("function") ?? throw tool.Wrong("function", "is missing.");
        var parameters = function.Get("parameters") ?? NoParameters;
        return parameters.ValueKind == JsonValueKind.Object
            ? AIFunctionFactory.CreateDeclaration(function.NeededText("name"), function.Text("description") ?? "", parameters)
            : throw function.Must("parameters", "an object", parameters);
    }

    private static ChatToolMode? Mode(Fields body) => body.Get("tool_choice") switch
    {
        null => null,
        { ValueKind: JsonValueKind.String } word => word.GetString() switch
        {
            "none" => ChatToolMode.None,
            "auto" => ChatToolMode.Auto,
            "required" => ChatToolMode.RequireAny,
            var other => throw body.Wrong("tool_choice", $"is '{Fields.Short(other!)}'; it must be none, auto, required or a function."),
        },
        { ValueKind: JsonValueKind.Object } => ChatToolMode.RequireSpecific((body.Object("tool_choice")?.Object("function") ?? throw body.Wrong("tool_choice.function", "is missing.")).NeededText("name")),
        { } other => throw body.Must("tool_choice", "none, auto, required or a function", other),
    };

    // What else a message carries is no setting; clients send back what they were given.
    private static ChatMessage Message(Fields message)
    {
        var role = message.NeededText("role");
        var contents = Contents(message);
        if (role == "tool")
        {
            return new ChatMessage(ChatRole.Tool, [new FunctionResultContent(message.NeededText("tool_call_id"), string.Concat(contents))]);
        }

        if (message.Get("content") is null && role != "assistant")
        {
            throw message.Wrong("content", "is missing.");
        }

        contents.AddRange(message.Objects("tool_calls")?.Select(Call) ?? []);
        return new ChatMessage(
            role switch
            {
                "system" or "developer" => ChatRole.System,
                "user" => ChatRole.User,
                "assistant" => ChatRole.Assistant,
                var other => throw message.Wrong("role", $"is '{Fields.Short(other)}'; it must be system, developer, user, assistant or tool."),
            },
            contents)
        { AuthorName = message.Text("name") };
    }

    private static List<AIContent> Contents(Fields message) => message.Get("content") switch
    {
        null => [],
        { ValueKind: JsonValueKind.String } text => [new TextContent(text.GetString())],
        { ValueKind: JsonValueKind.Array } => [.. message.Objects("content")!.Select(Part)],
        { } other => throw message.Must("content", "a text or a list of parts", other),
    };

    private static TextContent Part(Fields part) => part.NeededText("type") is ("text" or "refusal") and var type
        ? new TextContent(part.Text(type) ?? throw part.Wrong(type, "is missing."))
        : throw part.Wrong("type", $"is '{Fields.Short(part.Text("type")!)}'; the model reads text, so a part must be text.");

    private static FunctionCallContent Call(Fields call)
    {
        var function = call.Object("function") ?? throw call.Wrong("function", "is missing.");
        var (id, name, text) = (call.NeededText("id"), function.NeededText("name"), function.Text("arguments") is { Length: > 0 } given ? given : "{}");
        try
        {
            var arguments = RequestJson.Parse(Encoding.UTF8.GetBytes(text));
            return new FunctionCallContent(id, name, arguments.EnumerateObject().ToDictionary(a => a.Name, a => (object?)a.Value));
        }
        catch (Exception e) when (e is RefusedException or InvalidOperationException)
        {
            // As a limit cut it off, or as another model wrote it: the text itself is shown again, as it was when it came.
            return new FunctionCallContent(id, name) { RawRepresentation = text, Exception = new FormatException("The arguments are no JSON object.", e) };
        }
    }
}
