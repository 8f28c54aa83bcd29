using HeadInfer.SemanticKernel;
using HeadInfer.Text;

namespace HeadInfer.Tool.Serving;

/// <summary>Requests as Ollama's clients write them: every setting is honoured or refused by name.</summary>
/// <param name="client">the model's</param>
internal sealed class OllamaRequests(IChatClient client)
{
    private static readonly HashSet<string> OfChat = new(StringComparer.Ordinal) { "messages", "tools", "format", "options", "stream", "think" };
    private static readonly HashSet<string> OfGenerate = new(StringComparer.Ordinal) { "prompt", "system", "raw", "format", "options", "stream", "think" };

    // The model stays loaded as long as the server runs. OllamaSharp writes its own headers into the body too.
    private static readonly HashSet<string> Harmless = new(StringComparer.Ordinal) { "model", "keep_alive", "CustomHeaders" };

    private static readonly Dictionary<string, JsonElement> Neutral = Requests.Nothing(
        ("suffix", "\"\""), ("template", "\"\""), ("images", "[]"), ("context", "[]"), ("logprobs", "false"), ("top_logprobs", "0"), ("truncate", "false"), ("shift", "false"), ("system", "\"\""));

    private static readonly HashSet<string> Options = new(StringComparer.Ordinal)
    {
        "temperature", "top_p", "top_k", "min_p", "seed", "stop", "repeat_penalty", "frequency_penalty", "presence_penalty", "num_predict", "num_ctx",
    };

    // They say where and in which pieces Ollama computes, which is settled when this server starts, and change no answer.
    private static readonly HashSet<string> Placing = new(StringComparer.Ordinal)
    {
        "num_gpu", "main_gpu", "num_thread", "num_batch", "num_keep", "numa", "low_vram", "f16_kv", "use_mmap", "use_mlock",
    };

    private static readonly Dictionary<string, JsonElement> NeutralOptions = Requests.Nothing(
        ("typical_p", "1"), ("tfs_z", "1"), ("mirostat", "0"), ("penalize_newline", "true"), ("logits_all", "false"), ("vocab_only", "false"), ("embedding_only", "false"));

    /// <exception cref="RefusedException">Something is not what it should be, or is not done here; the message names it.</exception>
    public Request ReadChat(JsonElement json)
    {
        var body = new Fields(json, "");
        Requests.RefuseOthers(body, OfChat, Harmless, Neutral);
        var (messages, open, made) = (new List<ChatMessage>(), new List<FunctionCallContent>(), 0);
        foreach (var message in body.Objects("messages") ?? [])
        {
            messages.Add(Message(message, open, ref made));
        }

        var options = Read(body);
        options.Tools = Requests.Tools(body);
        if (messages is [.., { Role.Value: "assistant" } last] && last.Contents.All(c => c is TextContent) && last.Text.Length > 0)
        {
            options.WithContinuedMessage(); // as Ollama does
        }

        return new Request(messages, options, body.Flag("stream") != false, new OllamaFormat(isChat: true, Id));
    }

    /// <summary>A prompt, with the model's template or as it stands.</summary>
    /// <exception cref="RefusedException">Something is not what it should be, or is not done here; the message names it.</exception>
    public (Request Request, bool IsRaw) ReadGenerate(JsonElement json)
    {
        var body = new Fields(json, "");
        Requests.RefuseOthers(body, OfGenerate, Harmless, Neutral);
        var (prompt, raw) = (body.Text("prompt") ?? "", body.Flag("raw") == true);
        if (raw && (body.Text("system") is { Length: > 0 } || body.Get("format") is not null || body.Get("think") is not null))
        {
            throw body.Wrong("raw", "is true, so there is no template, and system, format and think cannot be honoured. Leave them out.");
        }

        List<ChatMessage> messages = prompt.Length > 0 ? [new ChatMessage(ChatRole.User, prompt)] : [];
        var options = Read(body);
        options.Instructions = body.Text("system");
        return (new Request(messages, options, body.Flag("stream") != false, new OllamaFormat(isChat: false, Id)), raw);
    }

    private string Id => client.GetService<ChatClientMetadata>()?.DefaultModelId ?? "";

    private ChatOptions Read(Fields body)
    {
        var given = body.Object("options");
        var options = given is { } fields ? Sampling(fields) : new ChatOptions { AdditionalProperties = [] };
        options.ResponseFormat = body.Get("format") switch
        {
            null => null,
            { ValueKind: JsonValueKind.String } word when word.GetString() is "json" or "" => word.GetString() == "" ? null : ChatResponseFormat.Json,
            { ValueKind: JsonValueKind.Object } schema => ChatResponseFormat.ForJsonSchema(schema),
            { } other => throw body.Must("format", "json or a JSON schema", other),
        };
        options.Reasoning = body.Get("think") switch
        {
            null => null,
            { ValueKind: JsonValueKind.True } => new ReasoningOptions { Output = ReasoningOutput.Full },
            // A model that cannot be told not to think is not shown thinking.
            { ValueKind: JsonValueKind.False } => client.GetService<ChatTemplate>() is { } template && ChatRequest.Switch(template, ReasoningEffort.None) is not null ? new ReasoningOptions { Effort = ReasoningEffort.None } : null,
            { ValueKind: JsonValueKind.String } => new ReasoningOptions { Output = ReasoningOutput.Full, Effort = Requests.Effort(body, "think") },
            { } other => throw body.Must("think", "true, false, low, medium or high", other),
        };
        return options;
    }

    private static ChatOptions Sampling(Fields fields)
    {
        Requests.RefuseOthers(fields, Options, Placing, NeutralOptions);
        var options = Requests.Sampling(fields);
        options.MaxOutputTokens = fields.Whole("num_predict", -2, int.MaxValue) is { } most ? most > 0 ? (int)most : most < 0 ? null : throw fields.Wrong("num_predict", "is 0, which is no answer; -1 is as many tokens as it takes.") : null;
        fields.Whole("num_ctx", 1, int.MaxValue); // clients send what the model may hold; a prompt that is too long is refused for itself
        return options;
    }

    // Ollama's calls have no ids, or had none: a result belongs to the first call of its name that has none yet.
    private static ChatMessage Message(Fields message, List<FunctionCallContent> open, ref int made)
    {
        var role = message.NeededText("role");
        if (message.Get("images") is { } images && !(images.ValueKind == JsonValueKind.Array && images.GetArrayLength() == 0))
        {
            throw message.Wrong("images", "are given; the model reads text. Leave them out.");
        }

        var text = message.Text("content") ?? "";
        if (role == "tool")
        {
            var (id, name) = (message.Text("tool_call_id"), message.Text("tool_name") ?? message.Text("name"));
            var call = open.Find(c => id is { Length: > 0 } ? c.CallId == id : name is null || c.Name == name);
            if (call is null)
            {
                made++;
                return new ChatMessage(ChatRole.Tool, [new FunctionResultContent(id is { Length: > 0 } ? id : $"call_{made}", text)]) { AuthorName = name }; // a client may have dropped the call
            }

            open.Remove(call);
            return new ChatMessage(ChatRole.Tool, [new FunctionResultContent(call.CallId, text)]);
        }

        var contents = new List<AIContent>();
        if (message.Text("thinking") is { Length: > 0 } thinking)
        {
            contents.Add(new TextReasoningContent(thinking));
        }

        contents.Add(new TextContent(text));
        foreach (var call in message.Objects("tool_calls") ?? [])
        {
            var function = call.Object("function") ?? throw call.Wrong("function", "is missing.");
            var arguments = function.Object("arguments") is { } given ? given.All.ToDictionary(a => a.Name, a => (object?)a.Value) : [];
            made++;
            var content = new FunctionCallContent(call.Text("id") is { Length: > 0 } id ? id : $"call_{made}", function.NeededText("name"), arguments);
            contents.Add(content);
            open.Add(content);
        }

        return new ChatMessage(
            role switch
            {
                "system" => ChatRole.System,
                "user" => ChatRole.User,
                "assistant" => ChatRole.Assistant,
                var other => throw message.Wrong("role", $"is '{Fields.Short(other)}'; it must be system, user, assistant or tool."),
            },
            contents);
    }
}
