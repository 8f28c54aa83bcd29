using System.ClientModel;
using System.ClientModel.Primitives;
using System.Net;
using System.Text.Json;
using Microsoft.Extensions.AI;
using OpenAI.Responses;

#pragma warning disable OPENAI001 // OpenAI's client for responses is marked as one that may still change

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>OpenAI's Responses: under its client for .NET, under agents' loops, and on the wire.</summary>
public sealed class ResponsesTests : IAsyncLifetime
{
    private readonly List<(IReadOnlyList<ChatMessage> Messages, ChatOptions Options)> _asked = [];
    private RunningServer _server = null!;

    public async ValueTask InitializeAsync() => _server = await ScriptedClient.ServeAsync(_asked, new TextContent("Hel"), new TextContent("lo"));

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task A_response_is_given_whole()
    {
        var options = new CreateResponseOptions { Model = "any", Instructions = "Be brief.", MaxOutputTokenCount = 9, Temperature = 0.5f };
        options.InputItems.Add(ResponseItem.CreateUserMessageItem("Hi"));
        var response = (await Client(_server).CreateResponseAsync(options)).Value;
        Assert.Equal(("Hello", "scripted", ResponseStatus.Completed), (response.GetOutputText(), response.Model, response.Status));
        Assert.Equal((3, 1, 2, 5), (response.Usage.InputTokenCount, response.Usage.InputTokenDetails.CachedTokenCount, response.Usage.OutputTokenCount, response.Usage.TotalTokenCount));
        var (messages, asked) = Assert.Single(_asked);
        Assert.Equal(("user", "Hi"), (Assert.Single(messages).Role.Value, messages[0].Text));
        Assert.Equal(("Be brief.", 9, 0.5f), (asked.Instructions, asked.MaxOutputTokens, asked.Temperature));
    }

    [Fact]
    public async Task A_stream_tells_of_items_as_they_come()
    {
        await using var server = await ScriptedClient.ServeAsync([], new TextContent("Hel"), new TextContent("lo"), new FunctionCallContent("c1", "f", new Dictionary<string, object?> { ["a"] = 1 }));
        var (text, calls, last) = ("", new List<string>(), (ResponseResult?)null);
        await foreach (var update in Client(server).CreateResponseStreamingAsync("any", "Hi"))
        {
            text += (update as StreamingResponseOutputTextDeltaUpdate)?.Delta;
            if (update is StreamingResponseOutputItemDoneUpdate { Item: FunctionCallResponseItem call })
            {
                calls.Add($"{call.CallId} {call.FunctionName} {call.FunctionArguments}");
            }

            last = (update as StreamingResponseCompletedUpdate)?.Response ?? last;
        }

        Assert.Equal(("Hello", "Hello", 5), (text, last!.GetOutputText(), last.Usage.TotalTokenCount));
        Assert.Equal(["""c1 f {"a":1}"""], calls);
    }

    [Fact]
    public async Task Events_have_their_order_on_the_wire()
    {
        var events = new List<JsonElement>();
        await foreach (var line in _server.LinesAsync("""{"input":"Hi","stream":true}""", "/v1/responses"))
        {
            if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                events.Add(JsonElement.Parse(line["data: ".Length..]));
            }
        }

        Assert.Equal(
            [
                "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", "response.output_text.delta", "response.output_text.delta",
                "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
            ],
            events.Select(e => e.GetProperty("type").GetString()));
        Assert.Equal(Enumerable.Range(0, events.Count), events.Select(e => e.GetProperty("sequence_number").GetInt32()));
        Assert.Equal("Hello", events[^1].GetProperty("response").GetProperty("output")[0].GetProperty("content")[0].GetProperty("text").GetString());
    }

    // OpenAI's own clients throw at an event that comes before the response is created.
    [Theory]
    [InlineData(false, "completed")]
    [InlineData(true, "failed")]
    public async Task A_response_is_created_while_nothing_is_said_yet(bool fails, string end)
    {
        var say = new TaskCompletionSource();
        async IAsyncEnumerable<ChatResponseUpdate> Answer()
        {
            await say.Task;
            foreach (var update in fails ? throw new ContextLengthException("9 tokens are too many.") : ScriptedClient.Answer(new TextContent("Hello")))
            {
                yield return update;
            }
        }

        await using var server = await ScriptedClient.ServeAsync((_, _, _) => Answer(), ScriptedClient.Restless);
        var lines = new List<string>();
        try
        {
            await foreach (var line in server.LinesAsync("""{"input":"Hi","stream":true}""", "/v1/responses"))
            {
                lines.Add(line);
                if (line.StartsWith(':'))
                {
                    say.TrySetResult(); // only when it has waited
                }
            }
        }
        catch (HttpIOException) when (fails)
        {
            // it breaks off after its last event
        }

        Assert.Equal(["event: response.created", "event: response.in_progress"], lines.Where(l => !l.StartsWith("data:", StringComparison.Ordinal)).Take(2));
        var responses = lines.Where(l => l.StartsWith("data:", StringComparison.Ordinal)).Select(l => JsonElement.Parse(l["data: ".Length..])).Where(e => e.TryGetProperty("response", out _)).Select(e => e.GetProperty("response")).ToList();
        Assert.Equal(["in_progress", "in_progress", end], responses.Select(r => r.GetProperty("status").GetString()));
        Assert.Equal("scripted", Assert.Single(responses.Select(r => r.GetProperty("model").GetString()).Distinct()));
        var body = $$"""{"input":"go on","previous_response_id":"{{Assert.Single(responses.Select(r => r.GetProperty("id").GetString()).Distinct())}}"}""";
        var (status, answer) = await server.AskAsync(body, "/v1/responses");
        Assert.Equal(fails ? "previous_response_id" : null, status == HttpStatusCode.OK ? null : answer.GetProperty("error").GetProperty("param").GetString());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Functions_are_called_in_a_loop_that_goes_on_from_the_response_before(bool stream)
    {
        var asked = new List<IReadOnlyList<ChatMessage>>();
        await using var server = await ScriptedClient.ServeAsync((messages, _, _) =>
        {
            asked.Add(messages);
            AIContent said = messages[^1].Contents[0] is FunctionResultContent result ? new TextContent($"It is {ScriptedClient.Text(result)}.") : new FunctionCallContent("c1", "get_weather", new Dictionary<string, object?> { ["city"] = "Oslo" });
            return ScriptedClient.Answer(said).ToAsyncEnumerable();
        });
        using var client = Client(server).AsIChatClient("any").AsBuilder().UseFunctionInvocation().Build();
        var options = new ChatOptions { Tools = [AIFunctionFactory.Create((string city) => $"17 degrees in {city}", "get_weather")] };
        var text = stream
            ? (await client.GetStreamingResponseAsync("What is the weather?", options).ToChatResponseAsync()).Text
            : (await client.GetResponseAsync("What is the weather?", options)).Text;
        Assert.Equal("It is 17 degrees in Oslo.", text);
        Assert.Equal([1, 3], asked.Select(m => m.Count)); // the second request brought the result alone
        Assert.Equal(["user", "assistant", "tool"], asked[1].Select(m => m.Role.Value));
    }

    [Fact]
    public async Task Items_become_messages()
    {
        var (status, _) = await _server.AskAsync(
            """
            {"input":[{"role":"developer","content":"d"},{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]},
              {"type":"reasoning","id":"rs","summary":[]},
              {"type":"message","role":"assistant","id":"m","status":"completed","content":[{"type":"output_text","text":"b","annotations":[]}]},
              {"type":"function_call","id":"fc","call_id":"1","name":"f","arguments":"{\"x\":2}"},{"type":"function_call","call_id":"2","name":"g","arguments":"{"},
              {"type":"function_call_output","call_id":"1","output":"r"},{"type":"function_call_output","call_id":"2","output":[{"type":"input_text","text":"s"}]}],
             "tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":true}],"tool_choice":{"type":"function","name":"f"},"parallel_tool_calls":false,
             "text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}},"verbosity":"medium"},"reasoning":{"effort":"low","summary":"auto"},"include":["reasoning.encrypted_content"],"truncation":"disabled"}
            """, "/v1/responses");
        Assert.Equal(HttpStatusCode.OK, status);
        var (messages, options) = Assert.Single(_asked);
        Assert.Equal("system user assistant tool tool", string.Join(' ', messages.Select(m => m.Role)));
        Assert.Equal(("b", "1", "{"), (messages[2].Text, ((FunctionCallContent)messages[2].Contents[1]).CallId, ((FunctionCallContent)messages[2].Contents[2]).RawRepresentation));
        Assert.Equal(("r", "s"), (((FunctionResultContent)messages[3].Contents[0]).Result, ((FunctionResultContent)messages[4].Contents[0]).Result));
        Assert.Equal(("f", false, ReasoningEffort.Low), (((RequiredChatToolMode)options.ToolMode!).RequiredFunctionName, options.AllowMultipleToolCalls, options.Reasoning!.Effort));
        Assert.Equal("n", ((ChatResponseFormatJson)options.ResponseFormat!).SchemaName);
    }

    [Theory]
    [InlineData("input", "{}")]
    [InlineData("input is empty", """{"input":[]}""")]
    [InlineData("input", """{"input":5}""")]
    [InlineData("input[0].id", """{"input":[{"type":"item_reference","id":"x"}]}""")]
    [InlineData("input[0].type", """{"input":[{"type":"web_search_call","id":"x"}]}""")]
    [InlineData("input[0].content[0].type", """{"input":[{"role":"user","content":[{"type":"input_image","image_url":"x"}]}]}""")]
    [InlineData("input[0].call_id", """{"input":[{"type":"function_call_output","output":"x"}]}""")]
    [InlineData("previous_response_id", """{"input":"x","previous_response_id":"resp_none"}""")]
    [InlineData("truncation", """{"input":"x","truncation":"auto"}""")]
    [InlineData("background", """{"input":"x","background":true}""")]
    [InlineData("include", """{"input":"x","include":["file_search_call.results"]}""")]
    [InlineData("reasoning.summary", """{"input":"x","reasoning":{"summary":"detailed"}}""")]
    [InlineData("reasoning.context", """{"input":"x","reasoning":{"context":"all"}}""")]
    [InlineData("text.foo", """{"input":"x","text":{"foo":1}}""")]
    [InlineData("text.verbosity", """{"input":"x","text":{"verbosity":"low"}}""")]
    [InlineData("text.format.foo", """{"input":"x","text":{"format":{"type":"text","foo":1}}}""")]
    [InlineData("stream_options.foo", """{"input":"x","stream_options":{"foo":1}}""")]
    [InlineData("tools[0].foo", """{"input":"x","tools":[{"type":"function","name":"f","foo":1}]}""")]
    [InlineData("tool_choice.foo", """{"input":"x","tool_choice":{"type":"function","name":"f","foo":1}}""")]
    [InlineData("tools[0].type", """{"input":"x","tools":[{"type":"web_search"}]}""")]
    [InlineData("text.format.type", """{"input":"x","text":{"format":{"type":"grammar"}}}""")]
    [InlineData("conversation", """{"input":"x","conversation":"c"}""")]
    [InlineData("no_such_setting", """{"input":"x","no_such_setting":1}""")]
    public async Task What_cannot_be_done_is_refused_by_name(string part, string body)
    {
        var (status, answer) = await _server.AskAsync(body, "/v1/responses");
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.StartsWith(part, answer.GetProperty("error").GetProperty("message").GetString(), StringComparison.Ordinal);
        Assert.Empty(_asked);
    }

    // As agents' clients do, which send an item's id in its place where the server stores it.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_item_of_a_response_may_be_named(bool stream)
    {
        var asked = new List<(IReadOnlyList<ChatMessage> Messages, ChatOptions Options)>();
        await using var server = await ScriptedClient.ServeAsync(asked, new TextContent("Let me "), new TextContent("see."), new FunctionCallContent("c1", "f", new Dictionary<string, object?> { ["a"] = 1 }));
        var client = Client(server);
        var options = new CreateResponseOptions { Model = "any" };
        options.InputItems.Add(ResponseItem.CreateUserMessageItem("Hi"));
        options.StreamingEnabled = stream;
        ResponseResult? first = stream ? null : (await client.CreateResponseAsync(options)).Value;
        if (stream)
        {
            await foreach (var update in client.CreateResponseStreamingAsync(options))
            {
                first = (update as StreamingResponseCompletedUpdate)?.Response ?? first;
            }
        }

        var next = new CreateResponseOptions { Model = "any" };
        next.InputItems.Add(ResponseItem.CreateUserMessageItem("Hi"));
        first!.OutputItems.ToList().ForEach(item => next.InputItems.Add(ResponseItem.CreateReferenceItem(item.Id)));
        next.InputItems.Add(ResponseItem.CreateFunctionCallOutputItem("c1", "17"));
        await client.CreateResponseAsync(next);
        var messages = asked[^1].Messages;
        Assert.Equal(["user", "assistant", "tool"], messages.Select(m => m.Role.Value));
        Assert.Equal(("Let me see.", "f"), (messages[1].Text, Assert.Single(messages[1].Contents.OfType<FunctionCallContent>()).Name));
    }

    [Fact]
    public async Task What_is_not_to_be_stored_is_not()
    {
        async Task<HttpStatusCode> GoOnAsync(string first)
        {
            var id = (await _server.AskAsync(first, "/v1/responses")).Body.GetProperty("id").GetString();
            return (await _server.AskAsync($$"""{"input":"y","previous_response_id":"{{id}}"}""", "/v1/responses")).Status;
        }

        Assert.Equal(HttpStatusCode.BadRequest, await GoOnAsync("""{"input":"x","store":false}"""));
        Assert.Equal(HttpStatusCode.OK, await GoOnAsync("""{"input":"x"}"""));
        Assert.Equal("x Hello y", string.Join(' ', _asked[^1].Messages.Select(m => m.Text)));
    }

    [Fact]
    public async Task A_limit_makes_it_incomplete_and_a_failure_is_an_event()
    {
        await using var server = await ScriptedClient.ServeAsync((messages, _, _) => Cut(messages[0].Text == "fail"));
        var whole = (await server.AskAsync("""{"input":"x"}""", "/v1/responses")).Body;
        Assert.Equal(("incomplete", "max_output_tokens"), (whole.GetProperty("status").GetString(), whole.GetProperty("incomplete_details").GetProperty("reason").GetString()));
        var lines = new List<string>();
        await foreach (var line in server.LinesAsync("""{"input":"fail","stream":true}""", "/v1/responses")) // it is an end: the connection is not broken off
        {
            lines.Add(line);
        }

        Assert.Equal("event: response.failed", lines[^2]);
        Assert.Contains("context_length_exceeded", lines[^1], StringComparison.Ordinal);
    }

    // What is whole is completed; the last item is what the limit cut off.
    [Theory]
    [InlineData("message", false)]
    [InlineData("message", true)]
    [InlineData("function_call", false)]
    [InlineData("function_call", true)]
    public async Task What_the_limit_cut_off_is_incomplete(string type, bool stream)
    {
        AIContent[] contents = [new FunctionCallContent("c1", "f", new Dictionary<string, object?>()), type == "message" ? new TextContent("Hel") : new FunctionCallContent("c2", "f") { RawRepresentation = """{"a":""", Exception = new FormatException("It breaks off.") }];
        await using var server = await ScriptedClient.ServeAsync((_, _, _) => ScriptedClient.Answer(contents).Select(u =>
        {
            u.FinishReason = u.FinishReason is null ? null : ChatFinishReason.Length;
            return u;
        }).ToAsyncEnumerable());
        var (response, done) = ((JsonElement?)null, new List<JsonElement>());
        if (!stream)
        {
            response = (await server.AskAsync("""{"input":"x"}""", "/v1/responses")).Body;
        }
        else
        {
            await foreach (var line in server.LinesAsync("""{"input":"x","stream":true}""", "/v1/responses"))
            {
                if (line.StartsWith("data: ", StringComparison.Ordinal) && JsonElement.Parse(line["data: ".Length..]) is var data)
                {
                    response = data.TryGetProperty("response", out var told) ? told : response;
                    done.AddRange(data.GetProperty("type").GetString() == "response.output_item.done" ? [data.GetProperty("item")] : []);
                }
            }
        }

        var output = response!.Value.GetProperty("output").EnumerateArray().ToList();
        Assert.Equal(["function_call completed", $"{type} incomplete"], output.Select(i => $"{i.GetProperty("type").GetString()} {i.GetProperty("status").GetString()}"));
        Assert.Equal(stream ? output.Select(i => i.GetRawText()) : [], done.Select(i => i.GetRawText()));
    }

    private static async IAsyncEnumerable<ChatResponseUpdate> Cut(bool fails)
    {
        await Task.Yield();
        foreach (var update in ScriptedClient.Answer(new TextContent("Hel")))
        {
            update.FinishReason = update.FinishReason is null ? null : ChatFinishReason.Length;
            yield return update;
            if (fails)
            {
                throw new ContextLengthException("9 tokens are too many.");
            }
        }
    }

    private static ResponsesClient Client(RunningServer server) =>
        new(new ApiKeyCredential(RunningServer.Key), new ResponsesClientOptions { Endpoint = new Uri(server.Address, "/v1"), RetryPolicy = new ClientRetryPolicy(0) });
}
