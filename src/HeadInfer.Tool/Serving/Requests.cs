using System.Text;
using HeadInfer.SemanticKernel;

namespace HeadInfer.Tool.Serving;

/// <summary>Requests of the wire, in the words of chat clients: every setting is honoured or refused by name.</summary>
internal static class Requests
{
    private const int MaxStops = 64, MaxTools = 1024; // no model is told more of either

    private static readonly JsonElement NoParameters = JsonElement.Parse("""{"type":"object","properties":{}}""");

    private static readonly HashSet<string> Honoured = new(StringComparer.Ordinal)
    {
        "messages", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "stop", "seed", "frequency_penalty",
        "presence_penalty", "repetition_penalty", "response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort",
        "continue_final_message", "add_generation_prompt",
    };

    // They change nothing in the answer. A client must name a model; there is one, and answers name it.
    private static readonly HashSet<string> Harmless = new(StringComparer.Ordinal)
    {
        "model", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prediction", "cache_prompt",
    };

    // What clients send that the server does not do, and the values that ask for nothing.
    private static readonly Dictionary<string, JsonElement> Neutral = Nothing(
        ("n", "1"), ("best_of", "1"), ("logprobs", "false"), ("top_logprobs", "0"), ("logit_bias", "{}"), ("modalities", """["text"]"""), ("verbosity", "\"medium\""),
        ("functions", "[]"), ("function_call", "\"none\""), ("echo", "false"), ("suffix", "\"\""), ("min_tokens", "0"), ("ignore_eos", "false"));

    private static readonly HashSet<string> HonouredOfText = new(StringComparer.Ordinal)
    {
        "prompt", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p", "max_tokens", "stop", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty",
    };

    /// <exception cref="RefusedException">Something is missing, is not what it should be, or is not done here; the message names it.</exception>
    public static Request Read(JsonElement json)
    {
        var body = new Fields(json, "");
        RefuseOthers(body, Honoured, Harmless, Neutral);
        var messages = (body.Objects("messages") ?? throw body.Wrong("messages", "is missing.")).Select(Message).ToList();
        if (messages.Count == 0)
        {
            throw body.Wrong("messages", "is empty. There are no messages; there is nothing to answer.");
        }

        var options = Sampling(body);
        options.MaxOutputTokens = MaxTokens(body);
        options.ResponseFormat = Format(body);
        options.Tools = Tools(body);
        options.ToolMode = Mode(body);
        options.AllowMultipleToolCalls = body.Flag("parallel_tool_calls");
        options.Reasoning = Effort(body, "reasoning_effort") is { } effort ? new ReasoningOptions { Effort = effort } : null;
        var continues = body.Flag("continue_final_message") == true;
        if (body.Flag("add_generation_prompt") is { } begins && begins == continues)
        {
            throw body.Wrong("add_generation_prompt", $"is {(begins ? "true" : "false")} beside a continue_final_message of the same value; an answer is begun or continued. Leave it out.");
        }

        if (continues)
        {
            options.WithContinuedMessage();
        }

        return new Request(messages, options, body.Flag("stream") == true, new ChatFormat(StreamFlag(body, "include_usage"), StreamFlag(body, "include_progress")));
    }

    /// <summary>A text that is to go on, without a chat template.</summary>
    /// <exception cref="RefusedException">Something is missing, is not what it should be, or is not done here; the message names it.</exception>
    public static Request ReadText(JsonElement json)
    {
        var body = new Fields(json, "");
        RefuseOthers(body, HonouredOfText, Harmless, Neutral);
        var prompt = body.Get("prompt") switch
        {
            { ValueKind: JsonValueKind.Array } list when list.GetArrayLength() == 1 && list[0].ValueKind == JsonValueKind.String => list[0].GetString()!,
            { ValueKind: JsonValueKind.Array } => throw body.Wrong("prompt", "is a list; one text is answered at a time. Send a request for each; what they begin with is read once."),
            _ => body.NeededText("prompt"),
        };
        var options = Sampling(body);
        options.MaxOutputTokens = MaxTokens(body) ?? 16; // as OpenAI's default is
        return new Request(
            [new ChatMessage(ChatRole.User, prompt.Length > 0 ? prompt : throw body.Wrong("prompt", "is empty."))], options, body.Flag("stream") == true,
            new TextFormat(StreamFlag(body, "include_usage"), StreamFlag(body, "include_progress")));
    }

    /// <summary>Refuses fields that are neither honoured, nor harmless, nor at the value that asks for nothing.</summary>
    public static void RefuseOthers(Fields body, HashSet<string> honoured, HashSet<string> harmless, Dictionary<string, JsonElement> neutral)
    {
        foreach (var field in body.All.Where(f => f.Value.ValueKind != JsonValueKind.Null && !honoured.Contains(f.Name) && !harmless.Contains(f.Name)))
        {
            if (!neutral.TryGetValue(field.Name, out var nothing) || !JsonElement.DeepEquals(field.Value, nothing))
            {
                throw body.Wrong(Fields.Short(field.Name), $"is {Fields.Short(field.Value.GetRawText())}; that cannot be done here. Leave it out.");
            }
        }
    }

    /// <summary>The fields of an object within a request, of which others than these are refused.</summary>
    public static Fields Only(Fields fields, params string[] known)
    {
        RefuseOthers(fields, [.. known], [], []);
        return fields;
    }

    /// <summary>Values that ask for nothing.</summary>
    public static Dictionary<string, JsonElement> Nothing(params (string Name, string Value)[] values) =>
        values.ToDictionary(n => n.Name, n => JsonElement.Parse(n.Value), StringComparer.Ordinal);

    /// <summary>How tokens are drawn, and what ends an answer.</summary>
    public static ChatOptions Sampling(Fields body)
    {
        var options = new ChatOptions
        {
            Temperature = body.Number("temperature", 0, 100),
            TopP = body.Number("top_p", 0, 1),
            TopK = (int?)body.Whole("top_k", -1, int.MaxValue),
            StopSequences = Stops(body),
            Seed = body.Whole("seed", long.MinValue, long.MaxValue),
            FrequencyPenalty = body.Number("frequency_penalty", -100, 100),
            PresencePenalty = body.Number("presence_penalty", -100, 100),
            AdditionalProperties = [],
        };
        foreach (var (name, property, least, greatest) in ((string, string, float, float)[])[("min_p", "min_p", 0, 1), ("repetition_penalty", "repetition_penalty", 0.001f, 1000), ("repeat_penalty", "repetition_penalty", 0.001f, 1000)])
        {
            if (body.Number(name, least, greatest) is { } number)
            {
                options.AdditionalProperties[property] = number;
            }
        }

        return options;
    }

    /// <summary>Whether something is asked of a stream.</summary>
    public static bool StreamFlag(Fields body, string name) => body.Object("stream_options") is { } options && Only(options, "include_usage", "include_progress", "include_obfuscation").Flag(name) == true;

    private static int? MaxTokens(Fields body)
    {
        var (now, before) = (body.Whole("max_completion_tokens", 1, int.MaxValue), body.Whole("max_tokens", 1, int.MaxValue));
        return now is not null && before is not null && now != before
            ? throw body.Wrong("max_tokens", $"is {before}, and max_completion_tokens is {now}. Leave one of them out.")
            : (int?)(now ?? before);
    }

    /// <summary>How much is to be thought.</summary>
    public static ReasoningEffort? Effort(Fields body, string name) => body.Text(name) switch
    {
        null => null,
        "none" => ReasoningEffort.None,
        "minimal" or "low" => ReasoningEffort.Low,
        "medium" => ReasoningEffort.Medium,
        "high" => ReasoningEffort.High,
        "xhigh" => ReasoningEffort.ExtraHigh,
        var other => throw body.Wrong(name, $"is '{Fields.Short(other)}'; it must be none, minimal, low, medium, high or xhigh."),
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

    private static ChatResponseFormat? Format(Fields body) => body.Object("response_format") is { } format
        ? Format(Only(format, "type", "json_schema"), format.Object("json_schema") is { } named ? Only(named, "name", "description", "schema", "strict") : null)
        : null;

    /// <summary>The form of an answer.</summary>
    /// <param name="format">says which</param>
    /// <param name="named">has the schema, if one is wanted</param>
    public static ChatResponseFormat Format(Fields format, Fields? named) => format.NeededText("type") switch
    {
        "text" => ChatResponseFormat.Text,
        "json_object" => ChatResponseFormat.Json,
        "json_schema" when named is { } schemaOf => schemaOf.Get("schema") switch
        {
            null => throw schemaOf.Wrong("schema", "is missing."),
            { ValueKind: JsonValueKind.Object } schema => ChatResponseFormat.ForJsonSchema(schema, schemaOf.Text("name"), schemaOf.Text("description")),
            { } other => throw schemaOf.Must("schema", "an object", other),
        },
        var other => throw format.Wrong("type", $"is '{Fields.Short(other)}'; it must be text, json_object, or json_schema beside a json_schema."),
    };

    /// <summary>Functions that may be called.</summary>
    public static List<AITool>? Tools(Fields body) => Tools(body, tool => Function(Only(tool, "type", "function").Object("function") ?? throw tool.Wrong("function", "is missing.")));

    /// <param name="body">the request</param>
    /// <param name="read">reads one that says it is a function</param>
    public static List<AITool>? Tools(Fields body, Func<Fields, AITool> read)
    {
        var count = body.Get("tools") is { ValueKind: JsonValueKind.Array } list ? list.GetArrayLength() : 0;
        return count <= MaxTools ? body.Objects("tools")?.Select(tool => tool.NeededText("type") is "function" ? read(tool) : throw tool.Wrong("type", $"is '{Fields.Short(tool.Text("type")!)}'; the server knows functions.")).ToList() : throw body.Wrong("tools", $"has {count} functions; {MaxTools} may be given.");
    }

    /// <summary>A function by its name, what it does, and the schema of its parameters.</summary>
    public static AITool Function(Fields function)
    {
        Only(function, "type", "name", "description", "parameters", "strict"); // of a response's functions the type stands beside
        var parameters = function.Get("parameters") ?? NoParameters;
        return parameters.ValueKind == JsonValueKind.Object
            ? AIFunctionFactory.CreateDeclaration(function.NeededText("name"), function.Text("description") ?? "", parameters)
            : throw function.Must("parameters", "an object", parameters);
    }

    private static ChatToolMode? Mode(Fields body) => Mode(body, choice => Only(Only(choice, "type", "function").Object("function") ?? throw body.Wrong("tool_choice.function", "is missing."), "name"));

    /// <summary>Whether functions may or must be called.</summary>
    /// <param name="body">the request</param>
    /// <param name="function">what in a choice of one has its name</param>
    public static ChatToolMode? Mode(Fields body, Func<Fields, Fields> function) => body.Get("tool_choice") switch
    {
        null => null,
        { ValueKind: JsonValueKind.String } word => word.GetString() switch
        {
            "none" => ChatToolMode.None,
            "auto" => ChatToolMode.Auto,
            "required" => ChatToolMode.RequireAny,
            var other => throw body.Wrong("tool_choice", $"is '{Fields.Short(other!)}'; it must be none, auto, required or a function."),
        },
        { ValueKind: JsonValueKind.Object } => ChatToolMode.RequireSpecific(function(body.Object("tool_choice")!.Value).NeededText("name")),
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

    /// <summary>What a message says: a text, or parts that are texts.</summary>
    public static List<AIContent> Contents(Fields message) => message.Get("content") switch
    {
        null => [],
        { ValueKind: JsonValueKind.String } text => [new TextContent(text.GetString())],
        { ValueKind: JsonValueKind.Array } => [.. message.Objects("content")!.Select(Part)],
        { } other => throw message.Must("content", "a text or a list of parts", other),
    };

    private static TextContent Part(Fields part)
    {
        var name = part.NeededText("type") switch
        {
            "text" or "input_text" or "output_text" => "text",
            "refusal" => "refusal",
            var type => throw part.Wrong("type", $"is '{Fields.Short(type)}'; the model reads text, so a part must be text."),
        };
        return new TextContent(part.Text(name) ?? throw part.Wrong(name, "is missing."));
    }

    private static FunctionCallContent Call(Fields call)
    {
        var function = call.Object("function") ?? throw call.Wrong("function", "is missing.");
        return Call(call.NeededText("id"), function.NeededText("name"), function.Text("arguments"));
    }

    /// <summary>A call that was made, with the text of its arguments.</summary>
    public static FunctionCallContent Call(string id, string name, string? text)
    {
        text = text is { Length: > 0 } ? text : "{}";
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
