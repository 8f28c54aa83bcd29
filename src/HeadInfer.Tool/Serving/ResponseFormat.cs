using System.Text;
using System.Text.Json.Nodes;

namespace HeadInfer.Tool.Serving;

/// <summary>An answer as one of OpenAI's Responses: items, each a message or a call, and events that tell of them as they come.</summary>
/// <param name="asked">the request; a response repeats some of it</param>
/// <param name="model">the model's name</param>
/// <param name="isStored">whether a request may go on from it</param>
/// <param name="progress">whether events tell of the reading, in place of comments; they are not OpenAI's</param>
internal sealed class ResponseFormat(JsonElement asked, string model, bool isStored, bool progress) : IAnswerFormat
{
    private static readonly string[] Repeated = ["instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "previous_response_id", "reasoning", "temperature", "text", "tool_choice", "tools", "top_p", "user"];

    private readonly List<ChatResponseUpdate> _updates = [];
    private readonly StringBuilder _text = new(); // of the message that has begun
    private readonly JsonArray _output = []; // items that have ended
    private readonly long _created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    private readonly string _id = Guid.NewGuid().ToString("N"); // not the answer's, which is known only when that begins
    private AIContent? _begun; // whether it is whole is known when something follows, or the answer ends
    private int _events;

    public bool EndsByFailure => true;

    public string ContentType => Events.ContentType;

    public TimeSpan? Interval => progress ? TimeSpan.FromSeconds(0.5) : null;

    /// <summary>The response's id, by which the next request may name it.</summary>
    public string Id => "resp_" + _id;

    // Clients take no other event before these, and the first answer may be long in coming.
    public IEnumerable<string> Begin() => ((string[])["response.created", "response.in_progress"]).Select(e => Event(e, new() { ["response"] = Body("in_progress") }));

    public string Waiting(Reading reading) => progress ? Events.Named("headinfer.progress", reading.Body) : reading.Comment;

    public IEnumerable<string> Of(ChatResponseUpdate update)
    {
        _updates.Add(update);
        foreach (var content in update.Contents)
        {
            if (content is TextContent { Text.Length: > 0 } text)
            {
                if (_begun is not TextContent)
                {
                    foreach (var end in EndItem("completed"))
                    {
                        yield return end;
                    }

                    _begun = text;
                    yield return Event("response.output_item.added", Place(new() { ["item"] = Message("in_progress", null) }));
                    yield return Event("response.content_part.added", Part(new() { ["part"] = Text("") }));
                }

                _text.Append(text.Text);
                yield return Event("response.output_text.delta", Part(new() { ["delta"] = text.Text, ["logprobs"] = new JsonArray() }));
            }
            else if (content is FunctionCallContent call)
            {
                foreach (var end in EndItem("completed"))
                {
                    yield return end;
                }

                _begun = call;
                var item = Call(call, "in_progress");
                var arguments = item["arguments"]!.GetValue<string>();
                item["arguments"] = "";
                yield return Event("response.output_item.added", Place(new() { ["item"] = item }));
                yield return Event("response.function_call_arguments.delta", Item(item, new() { ["delta"] = arguments }));
            }
        }
    }

    public IEnumerable<string> End()
    {
        var response = _updates.ToChatResponse();
        var status = Status(response);
        foreach (var end in EndItem(status))
        {
            yield return end;
        }

        yield return Event("response." + status, new() { ["response"] = Body(status, response) });
    }

    public string Failed(Refusal refusal)
    {
        var body = Body("failed");
        body["error"] = new JsonObject { ["code"] = refusal.Failure.Error.Code ?? "server_error", ["message"] = refusal.Failure.Error.Message };
        return Event("response.failed", new() { ["response"] = body });
    }

    /// <summary>What an answer has said, each item with the id under which it is given.</summary>
    public IEnumerable<(string Id, AIContent Content)> Items(ChatResponse response) =>
        response.Messages.SelectMany(m => m.Contents).Where(c => c is TextContent { Text.Length: > 0 } or FunctionCallContent).Select((c, i) => (ItemId(c is FunctionCallContent, i), c));

    public object Whole(ChatResponse response)
    {
        foreach (var (_, content) in Items(response))
        {
            _output.Add(content is FunctionCallContent call ? Call(call, "completed") : Message("completed", ((TextContent)content).Text));
        }

        var status = Status(response);
        if (_output is [.., { } last])
        {
            last["status"] = status;
        }

        return Body(status, response);
    }

    private static string Status(ChatResponse response) => response.FinishReason == ChatFinishReason.Length ? "incomplete" : "completed";

    // A limit cuts off the last item.
    private IEnumerable<string> EndItem(string status)
    {
        if (_begun is null)
        {
            yield break;
        }

        JsonObject item;
        if (_begun is FunctionCallContent call)
        {
            item = Call(call, status);
            yield return Event("response.function_call_arguments.done", Item(item, new() { ["arguments"] = item["arguments"]!.GetValue<string>(), ["name"] = call.Name }));
        }
        else
        {
            var text = _text.ToString();
            item = Message(status, text);
            yield return Event("response.output_text.done", Part(new() { ["text"] = text, ["logprobs"] = new JsonArray() }));
            yield return Event("response.content_part.done", Part(new() { ["part"] = Text(text) }));
        }

        yield return Event("response.output_item.done", Place(new() { ["item"] = item.DeepClone() }));
        _output.Add(item);
        _begun = null;
        _text.Clear();
    }

    private JsonObject Body(string status, ChatResponse? response = null)
    {
        var body = new JsonObject
        {
            ["id"] = Id, ["object"] = "response", ["created_at"] = _created, ["status"] = status, ["model"] = model, ["output"] = _output.DeepClone(), ["store"] = isStored,
            ["error"] = null, ["incomplete_details"] = status == "incomplete" ? new JsonObject { ["reason"] = "max_output_tokens" } : null,
            ["parallel_tool_calls"] = true, ["tool_choice"] = "auto", ["tools"] = new JsonArray(), ["metadata"] = new JsonObject(),
        };
        foreach (var name in Repeated)
        {
            if (asked.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null)
            {
                body[name] = JsonNode.Parse(value.GetRawText());
            }
        }

        if (response?.Usage is { } usage)
        {
            // Clients look for reasoning tokens; thoughts are counted among the others, and not apart.
            body["usage"] = new JsonObject
            {
                ["input_tokens"] = usage.InputTokenCount ?? 0, ["input_tokens_details"] = new JsonObject { ["cached_tokens"] = usage.CachedInputTokenCount ?? 0 },
                ["output_tokens"] = usage.OutputTokenCount ?? 0, ["output_tokens_details"] = new JsonObject { ["reasoning_tokens"] = 0 },
                ["total_tokens"] = usage.TotalTokenCount ?? 0,
            };
        }

        return body;
    }

    private string ItemId(bool isCall, int? place = null) => $"{(isCall ? "fc" : "msg")}_{_id}_{place ?? _output.Count}";

    private JsonObject Message(string status, string? text) => new()
    {
        ["id"] = ItemId(isCall: false), ["type"] = "message", ["role"] = "assistant", ["status"] = status, ["content"] = text is null ? new JsonArray() : new JsonArray(Text(text)),
    };

    private static JsonObject Text(string text) => new() { ["type"] = "output_text", ["text"] = text, ["annotations"] = new JsonArray(), ["logprobs"] = new JsonArray() };

    private JsonObject Call(FunctionCallContent call, string status) => new()
    {
        ["id"] = ItemId(isCall: true), ["type"] = "function_call", ["call_id"] = call.CallId, ["name"] = call.Name, ["arguments"] = Answers.Call(call, null).Function.Arguments, ["status"] = status,
    };

    private JsonObject Place(JsonObject body)
    {
        body["output_index"] = _output.Count;
        return body;
    }

    private JsonObject Item(JsonObject item, JsonObject body)
    {
        body["item_id"] = item["id"]!.GetValue<string>();
        return Place(body);
    }

    private JsonObject Part(JsonObject body)
    {
        (body["item_id"], body["content_index"]) = (ItemId(isCall: false), 0);
        return Place(body);
    }

    private string Event(string type, JsonObject body)
    {
        (body["type"], body["sequence_number"]) = (type, _events++);
        return Events.Named(type, body);
    }
}
