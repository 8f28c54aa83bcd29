namespace HeadInfer.Tool.Serving;

/// <summary>Requests of OpenAI's Responses, as agents' clients write them: every setting is honoured or refused by name.</summary>
/// <param name="store">responses that a request may go on from</param>
/// <param name="model">the model's name</param>
internal sealed class ResponseRequests(ResponseStore store, string caller, string model)
{
    private static readonly HashSet<string> Honoured = new(StringComparer.Ordinal)
    {
        "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "max_output_tokens", "temperature", "top_p", "reasoning", "stream", "store", "previous_response_id", "stream_options",
    };

    // They change nothing in the answer.
    private static readonly HashSet<string> Harmless = new(StringComparer.Ordinal)
    {
        "model", "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "max_tool_calls",
    };

    // "auto" would shorten a conversation that is too long; here nothing is shortened, and it is refused for its length instead.
    private static readonly Dictionary<string, JsonElement> Neutral = Requests.Nothing(
        ("truncation", "\"disabled\""), ("background", "false"), ("top_logprobs", "0"), ("include", "[]"), ("conversation", "null"), ("frequency_penalty", "0"), ("presence_penalty", "0"));

    private static readonly HashSet<string> TextHonoured = new(StringComparer.Ordinal) { "format" };
    private static readonly Dictionary<string, JsonElement> TextNeutral = Requests.Nothing(("verbosity", "\"medium\""));

    /// <exception cref="RefusedException">Something is missing, is not what it should be, or is not done here; the message names it.</exception>
    public Request Read(JsonElement json)
    {
        var body = new Fields(json, "");
        // Thoughts are not given out encrypted; a request that would take them does without.
        var without = body.Get("include") is { ValueKind: JsonValueKind.Array } include && include.EnumerateArray().All(i => i.ValueKind == JsonValueKind.String && i.GetString() == "reasoning.encrypted_content");
        Requests.RefuseOthers(body, without ? [.. Honoured, "include"] : Honoured, Harmless, Neutral);
        var before = body.Text("previous_response_id") is { Length: > 0 } id ? store.Find(caller, id)?.Messages ?? throw body.Wrong("previous_response_id", $"is '{Fields.Short(id)}', which is not remembered: it never was, was asked for with store false, or made room for others. Send the whole conversation as input.") : [];
        var given = body.Get("input") switch
        {
            { ValueKind: JsonValueKind.String } text => [new ChatMessage(ChatRole.User, text.GetString())],
            { ValueKind: JsonValueKind.Array } => Items(body.Objects("input")!),
            null => throw body.Wrong("input", "is missing."),
            { } other => throw body.Must("input", "a text or a list of items", other),
        };
        if (given.Count == 0)
        {
            throw body.Wrong("input", "is empty. There is nothing to answer.");
        }

        List<ChatMessage> messages = [.. before, .. given];
        var options = Requests.Sampling(body);
        options.Instructions = body.Text("instructions");
        options.MaxOutputTokens = (int?)body.Whole("max_output_tokens", 1, int.MaxValue);
        options.ResponseFormat = Format(body);
        options.Tools = Requests.Tools(body, Requests.Function);
        options.ToolMode = Requests.Mode(body, choice => Requests.Only(choice, "type", "name"));
        options.AllowMultipleToolCalls = body.Flag("parallel_tool_calls");
        options.Reasoning = Reasoning(body);
        var isStored = body.Flag("store") != false;
        var asked = new ResponseFormat(json, model, isStored, Requests.StreamFlag(body, "include_progress"));
        return new Request(messages, options, body.Flag("stream") == true, asked)
        {
            Answered = response =>
            {
                if (isStored)
                {
                    store.Keep(new KeptResponse(caller, asked.Id, [.. messages, .. response.Messages], asked.Items(response).ToDictionary()));
                }
            },
        };
    }

    private static ChatResponseFormat? Format(Fields body)
    {
        if (body.Object("text") is not { } text)
        {
            return null;
        }

        Requests.RefuseOthers(text, TextHonoured, [], TextNeutral);
        return text.Object("format") is { } format ? Requests.Format(Requests.Only(format, "type", "name", "description", "schema", "strict"), format) : null;
    }

    private static ReasoningOptions? Reasoning(Fields body)
    {
        if (body.Object("reasoning") is not { } reasoning)
        {
            return null;
        }

        Requests.Only(reasoning, "effort", "summary", "generate_summary");

        // "auto" is as much as there is, and there is none.
        foreach (var name in (string[])["summary", "generate_summary"])
        {
            if (reasoning.Text(name) is not (null or "auto") and var summary)
            {
                throw reasoning.Wrong(name, $"is '{Fields.Short(summary)}'; thoughts are not summarised here. Leave it out.");
            }
        }

        return Requests.Effort(reasoning, "effort") is { } effort ? new ReasoningOptions { Effort = effort } : null;
    }

    // Calls that follow each other are one message, as the model made them.
    private List<ChatMessage> Items(IEnumerable<Fields> items)
    {
        var messages = new List<ChatMessage>();
        void Say(AIContent content)
        {
            if (content is FunctionCallContent && messages is [.., { Role.Value: "assistant" } said])
            {
                said.Contents.Add(content);
            }
            else
            {
                messages.Add(new ChatMessage(ChatRole.Assistant, [content]));
            }
        }

        foreach (var item in items)
        {
            switch (item.Text("type") ?? "message")
            {
                case "message":
                    messages.Add(new ChatMessage(Role(item), item.Get("content") is null ? throw item.Wrong("content", "is missing.") : Requests.Contents(item)));
                    break;
                case "function_call":
                    Say(Requests.Call(item.NeededText("call_id"), item.NeededText("name"), item.Text("arguments")));
                    break;
                case "item_reference":
                    var id = item.NeededText("id");
                    Say(store.FindItem(caller, id) ?? throw item.Wrong("id", $"is '{Fields.Short(id)}', which is not remembered: it never was, was asked for with store false, or made room for others. Send the item itself."));
                    break;
                case "function_call_output":
                    var output = item.Get("output") is { ValueKind: JsonValueKind.Array } ? string.Concat(item.Objects("output")!.Select(part => part.Text("text") ?? throw part.Wrong("text", "is missing; the model reads text."))) : item.Text("output") ?? "";
                    messages.Add(new ChatMessage(ChatRole.Tool, [new FunctionResultContent(item.NeededText("call_id"), output)]));
                    break;
                case "reasoning":
                    break; // clients send back what they were given; the client of the model remembers its own thoughts
                case var type:
                    throw item.Wrong("type", $"is '{Fields.Short(type)}'; it must be message, function_call, function_call_output, item_reference or reasoning.");
            }
        }

        return messages;
    }

    private static ChatRole Role(Fields item) => item.NeededText("role") switch
    {
        "system" or "developer" => ChatRole.System,
        "user" => ChatRole.User,
        "assistant" => ChatRole.Assistant,
        var other => throw item.Wrong("role", $"is '{Fields.Short(other)}'; it must be system, developer, user or assistant."),
    };
}
