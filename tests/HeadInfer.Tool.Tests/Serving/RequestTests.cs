using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;
using HeadInfer.Runtime;
using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>Requests as the server reads them: what it passes on, and what it refuses, in the wire's words.</summary>
public sealed partial class RequestTests : IAsyncLifetime
{
    private readonly List<(IReadOnlyList<ChatMessage> Messages, ChatOptions Options)> _asked = [];
    private RunningServer _server = null!;

    public async ValueTask InitializeAsync() => _server = await ScriptedClient.ServeAsync(_asked, new TextContent("Hello"));

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    /// <summary>What a message may not show: .NET's names, where only the wire's are known.</summary>
    [GeneratedRegex(@"\(Parameter|System\.|HeadInfer\.|Json[A-Z]|Options\b|\bat line number|isFinalBlock|Nullable|ValueKind|Int32|Utf8|ReadOnly|BytePosition|Exception|Unicode")]
    public static partial Regex NetWords();

    [Fact]
    public async Task Settings_are_passed_on()
    {
        var options = await OptionsAsync(""" "temperature":0.5,"top_p":0.9,"top_k":7,"min_p":0.1,"repetition_penalty":1.1,"max_completion_tokens":5.0,"max_tokens":5,"seed":-9223372036854775808,"stop":["a","b"],"frequency_penalty":-1,"presence_penalty":2,"parallel_tool_calls":false,"tool_choice":"required","tools":[{"type":"function","function":{"name":"f","strict":true}}] """);
        Assert.Equal((0.5f, 0.9f, 7, 5, long.MinValue, -1f, 2f, false), (options.Temperature, options.TopP, options.TopK, options.MaxOutputTokens, options.Seed, options.FrequencyPenalty, options.PresencePenalty, options.AllowMultipleToolCalls));
        Assert.Equal((0.1f, 1.1f), ((float)options.AdditionalProperties!["min_p"]!, (float)options.AdditionalProperties["repetition_penalty"]!));
        Assert.Equal(["a", "b"], options.StopSequences!);
        Assert.Equal(ChatToolMode.RequireAny, options.ToolMode);
        var function = Assert.IsAssignableFrom<AIFunctionDeclaration>(Assert.Single(options.Tools!));
        Assert.Equal(("f", "object"), (function.Name, function.JsonSchema.GetProperty("type").GetString()));
        Assert.Null((await OptionsAsync(""" "top_k":null,"temperature":null,"stop":null """)).TopK);
    }

    // What is left out is the model's own choice, which may be a limit; so no limit must be said.
    [Theory]
    [InlineData("0")]
    [InlineData("-1")]
    public async Task A_model_with_a_limit_of_tokens_can_be_asked_for_all(string value) => Assert.Equal(value, $"{(await OptionsAsync($"\"top_k\":{value}")).TopK}");

    [Theory]
    [InlineData("none", ReasoningEffort.None)]
    [InlineData("minimal", ReasoningEffort.Low)]
    [InlineData("low", ReasoningEffort.Low)]
    [InlineData("medium", ReasoningEffort.Medium)]
    [InlineData("high", ReasoningEffort.High)]
    [InlineData("xhigh", ReasoningEffort.ExtraHigh)]
    public async Task Every_effort_is_known(string word, ReasoningEffort effort) =>
        Assert.Equal(effort, (await OptionsAsync($"\"reasoning_effort\":\"{word}\"")).Reasoning!.Effort);

    [Fact]
    public async Task What_changes_nothing_is_taken() => await OptionsAsync(
        """
        "model":"any","user":"u","metadata":{"a":"b"},"store":true,"service_tier":"auto","safety_identifier":"s","prompt_cache_key":"k","prediction":{"type":"content","content":"x"},
        "n":1,"best_of":1,"logprobs":false,"top_logprobs":0,"logit_bias":{},"modalities":["text"],"verbosity":"medium","functions":[],"echo":false,"audio":null,"stream":false,"tools":[{"type":"function","function":{"name":"f","strict":true}}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{},"strict":false}},"stream_options":{"include_obfuscation":false}
        """);

    [Theory]
    [InlineData("n", "2")]
    [InlineData("best_of", "3")]
    [InlineData("logprobs", "true")]
    [InlineData("top_logprobs", "5")]
    [InlineData("logit_bias", """{"50256":-100}""")]
    [InlineData("modalities", """["text","audio"]""")]
    [InlineData("verbosity", "\"low\"")]
    [InlineData("audio", """{"voice":"alloy"}""")]
    [InlineData("functions", """[{"name":"f"}]""")]
    [InlineData("add_generation_prompt", "false")]
    [InlineData("web_search_options", "{}")]
    [InlineData("typical_p", "0.5")]
    [InlineData("temprature", "0.5")]
    [InlineData("temperature", "-0.1")]
    [InlineData("temperature", "1e999")]
    [InlineData("temperature", "\"hot\"")]
    [InlineData("temperature", "true")]
    [InlineData("top_p", "-0.1")]
    [InlineData("top_p", "1.5")]
    [InlineData("top_k", "-2")]
    [InlineData("top_k", "1e10")]
    [InlineData("min_p", "2")]
    [InlineData("max_tokens", "0")]
    [InlineData("max_tokens", "-1")]
    [InlineData("max_tokens", "1.5")]
    [InlineData("max_tokens", "99999999999")]
    [InlineData("max_completion_tokens", "[]")]
    [InlineData("seed", "1e30")]
    [InlineData("seed", "0.5")]
    [InlineData("frequency_penalty", "1e39")]
    [InlineData("presence_penalty", "{}")]
    [InlineData("stop", "5")]
    [InlineData("stop", "\"\"")]
    [InlineData("stop", "[\"a\",null]")]
    [InlineData("stream", "\"yes\"")]
    [InlineData("stream_options", "[]")]
    [InlineData("stream_options.include_usage", "1")]
    [InlineData("reasoning_effort", "\"2\"")]
    [InlineData("reasoning_effort", "\"ExtraHigh\"")]
    [InlineData("parallel_tool_calls", "0")]
    [InlineData("response_format", "\"json_object\"")]
    [InlineData("response_format.type", "5")]
    [InlineData("response_format.type", "\"json_schema\"")]
    [InlineData("response_format.json_schema", """{"name":"x"}""")]
    [InlineData("response_format.json_schema", """{"schema":[]}""")]
    [InlineData("tools", "{}")]
    [InlineData("tools", "[null]")]
    [InlineData("tools", """[{"type":"web_search"}]""")]
    [InlineData("tools", """[{"type":"function","function":{"name":""}}]""")]
    [InlineData("tools", """[{"type":"function","function":{"name":"f","parameters":[]}}]""")]
    [InlineData("stream_options.foo", "1")]
    [InlineData("response_format.schema", "{}")]
    [InlineData("response_format.json_schema", """{"name":"x","schema":{},"foo":1}""")]
    [InlineData("tools[0].foo", """[{"type":"function","function":{"name":"f"},"foo":1}]""")]
    [InlineData("tools[0].function.foo", """[{"type":"function","function":{"name":"f","foo":1}}]""")]
    [InlineData("tool_choice.mode", """{"type":"function","function":{"name":"f"},"mode":"auto"}""")]
    [InlineData("tool_choice.function.foo", """{"type":"function","function":{"name":"f","foo":1}}""")]
    [InlineData("tool_choice", "\"perhaps\"")]
    [InlineData("tool_choice", "{}")]
    [InlineData("tool_choice", "1")]
    public async Task What_cannot_be_done_is_refused_by_name(string name, string value)
    {
        var parts = name.Split('.');
        var field = value[0] is '[' or '{' && name.Split('[', '.')[0] is "tools" or "tool_choice" ? $"\"{name.Split('[', '.')[0]}\":{value}" : parts[^1] is "json_schema" ? $"\"response_format\":{{\"type\":\"json_schema\",\"json_schema\":{value}}}" : parts.Length == 1 ? $"\"{name}\":{value}" : $"\"{parts[0]}\":{{\"{parts[1]}\":{value}}}";
        var error = await RefusedAsync($$"""{"messages":[{"role":"user","content":"x"}],{{field}}}""");
        Assert.StartsWith(name, error.GetProperty("message").GetString(), StringComparison.Ordinal);
        Assert.StartsWith(name, error.GetProperty("param").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("messages", "{}")]
    [InlineData("messages", """{"messages":{}}""")]
    [InlineData("messages is empty", """{"messages":[]}""")]
    [InlineData("messages[0]", """{"messages":["x"]}""")]
    [InlineData("messages[1].role", """{"messages":[{"role":"user","content":"x"},{"content":"x"}]}""")]
    [InlineData("messages[0].content", """{"messages":[{"role":"user"}]}""")]
    [InlineData("messages[0].content", """{"messages":[{"role":"user","content":5}]}""")]
    [InlineData("messages[0].content[1].text", """{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":1}]}]}""")]
    [InlineData("image_url", """{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}]}""")]
    [InlineData("messages[0].tool_call_id", """{"messages":[{"role":"tool","content":"x"}]}""")]
    [InlineData("messages[0].tool_calls[0].function", """{"messages":[{"role":"assistant","tool_calls":[{"id":"c"}]}]}""")]
    [InlineData("messages[0].tool_calls[0].id", """{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}]}""")]
    [InlineData("'role' twice", """{"messages":[{"role":"user","role":"system","content":"x"}]}""")]
    [InlineData("surrogate", """{"messages":[{"role":"user","content":"\ud800"}]}""")]
    [InlineData("surrogate", """{"messages":[{"role":"user","content":"\udc00\ud800"}]}""")]
    [InlineData("surrogate", """{"messages":[{"role":"user","content":"x"}],"\udfff":1}""")]
    [InlineData("surrogate", """{"messages":[{"role":"user","content":"x","elsewhere":["\ud83d"]}]}""")]
    [InlineData("JSON", "")]
    [InlineData("JSON", "{")]
    [InlineData("JSON", """{"messages":[]}]""")]
    [InlineData("JSON", """{"temperature":NaN}""")]
    [InlineData("JSON", """{"temperature":-Infinity}""")]
    [InlineData("JSON", """{'messages':[]}""")]
    [InlineData("line 2, byte 2", "{\n //\n}")]
    [InlineData("must be an object", "null")]
    [InlineData("must be an object", "[]")]
    [InlineData("max_tokens", """{"messages":[{"role":"user","content":"x"}],"max_tokens":1,"max_completion_tokens":2}""")]
    public async Task A_mistake_is_named(string part, string body) => Assert.Contains(part, (await RefusedAsync(body)).GetProperty("message").GetString(), StringComparison.Ordinal);

    [Theory]
    [InlineData("stop", 64, "\"a\"")]
    [InlineData("tools", 1024, """{"type":"function","function":{"name":"f"}}""")]
    public async Task Lists_have_an_end(string name, int most, string item)
    {
        string List(int count) => $"\"{name}\":[{string.Join(',', Enumerable.Repeat(item, count))}]";
        Assert.StartsWith($"{name} has {most + 1} ", (await RefusedAsync($$"""{"messages":[{"role":"user","content":"x"}],{{List(most + 1)}}}""")).GetProperty("message").GetString(), StringComparison.Ordinal);
        await OptionsAsync(List(most));
    }

    [Theory]
    [InlineData(65)]
    [InlineData(100_000)]
    public async Task Json_is_not_deep(int depth)
    {
        Assert.Contains("deep", (await RefusedAsync(new string('[', depth) + new string(']', depth))).GetProperty("message").GetString(), StringComparison.Ordinal);
        Assert.Contains("deep", (await RefusedAsync(string.Concat(Enumerable.Repeat("{\"a\":", depth)) + "1" + new string('}', depth))).GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(200, "application/json")]
    [InlineData(200, "application/json; charset=UTF-8")]
    [InlineData(200, "application/json; charset=\"utf-8\"")]
    [InlineData(200, "application/vnd.api+json")]
    [InlineData(415, "application/json; charset=utf-16")]
    [InlineData(415, "application/json; charset=no-such-charset")]
    [InlineData(415, "application/json; charset=latin1")]
    [InlineData(415, "application/json; charset=utf-7")]
    [InlineData(415, "text/plain")]
    [InlineData(415, "application/jsonl")]
    [InlineData(415, "application/json/json")]
    [InlineData(415, "")]
    [InlineData(415, null)]
    public async Task Requests_are_json_in_utf8(int status, string? type)
    {
        var content = new ByteArrayContent("""{"messages":[{"role":"user","content":"x"}]}"""u8.ToArray());
        if (type is not null)
        {
            content.Headers.TryAddWithoutValidation("Content-Type", type);
        }

        Assert.Equal(status, (int)(await _server.AskAsync(content)).Status);
    }

    [Fact]
    public async Task Bytes_are_utf8_and_not_compressed()
    {
        Assert.Equal(HttpStatusCode.OK, (await _server.AskAsync(Bytes([.. "\uFEFF"u8, .. """{"messages":[{"role":"user","content":"é"}]}"""u8]))).Status);
        foreach (var bad in (byte[][])[[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xE9]])
        {
            var (status, body) = await _server.AskAsync(Bytes([.. "{\"messages\":[{\"role\":\"user\",\"content\":\""u8, .. bad, .. "\"}]}"u8]));
            Assert.Equal((HttpStatusCode.BadRequest, "The request is not UTF-8."), (status, body.GetProperty("error").GetProperty("message").GetString()));
        }

        var zipped = Bytes([0x1F, 0x8B]);
        zipped.Headers.ContentEncoding.Add("gzip");
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await _server.AskAsync(zipped)).Status);
    }

    [Theory]
    [InlineData("Transfer-Encoding: chunked\r\n\r\nZZ\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n5\r\n{}")]
    [InlineData("Content-Length: 10\r\n\r\n{}")]
    public async Task A_body_that_breaks_off_is_refused(string rest)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, _server.Address.Port);
        var stream = client.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes("POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + rest));
        client.Client.Shutdown(SocketShutdown.Send);
        var answer = "";
        try
        {
            answer = await new StreamReader(stream).ReadToEndAsync();
        }
        catch (IOException)
        {
            // The server may also drop the connection.
        }

        Assert.True(answer.Length == 0 || answer.StartsWith("HTTP/1.1 400", StringComparison.Ordinal), answer); // nobody may be there to be answered
        Assert.Empty(_asked);
        await OptionsAsync("\"n\":1"); // and goes on
    }

    [Fact]
    public async Task Calls_come_back_as_they_were_given()
    {
        var (status, _) = await _server.AskAsync(
            """
            {"messages":[
                {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"name":"Ann"},
                {"role":"assistant","content":null,"refusal":null,"tool_calls":[
                    {"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":[1]}"}},
                    {"id":"2","type":"function","function":{"name":"f","arguments":""}},
                    {"id":"3","type":"function","function":{"name":"f","arguments":"{\"a\":"}},
                    {"id":"4","type":"function","function":{"name":"f","arguments":"[1]"}},
                    {"id":"5","type":"function","function":{"name":"f","arguments":"{\"\\ud800\":1}"}}]},
                {"role":"tool","tool_call_id":"1","content":[{"type":"text","text":"17"}]},
                {"role":"tool","tool_call_id":"2","content":null},
                {"role":"developer","content":""}]}
            """);
        Assert.Equal(HttpStatusCode.OK, status);
        var messages = Assert.Single(_asked).Messages;
        Assert.Equal("user assistant tool tool system", string.Join(' ', messages.Select(m => m.Role)));
        Assert.Equal(("ab", "Ann"), (messages[0].Text, messages[0].AuthorName));
        var calls = messages[1].Contents.Cast<FunctionCallContent>().ToList();
        Assert.Equal("""{"a":[1]} {} -""", $"{{\"a\":{calls[0].Arguments!["a"]}}} {{{string.Concat(calls[1].Arguments!)}}} {(calls[2].Arguments is null ? "-" : "")}");
        Assert.Equal(["""{"a":""", "[1]", """{"\ud800":1}"""], calls.Skip(2).Select(c => c.RawRepresentation));
        Assert.Equal(("17", ""), (((FunctionResultContent)messages[2].Contents[0]).Result, ((FunctionResultContent)messages[3].Contents[0]).Result));
    }

    [Fact]
    public async Task An_answer_of_calls_alone_has_null_for_content()
    {
        await using var server = await ScriptedClient.ServeAsync([], new FunctionCallContent("c", "f"));
        var choice = (await server.AskAsync("""{"messages":[{"role":"user","content":"x"}]}""")).Body.GetProperty("choices")[0];
        Assert.Equal("""{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}""", choice.GetProperty("message").GetRawText());
        Assert.Equal("tool_calls", choice.GetProperty("finish_reason").GetString());
    }

    // OpenAI's clients escape the name, as one part of a path.
    [Theory]
    [InlineData("org/name", "org%2Fname", true)]
    [InlineData("org/name", "org%2fname", true)]
    [InlineData("org/name", "org/name", true)]
    [InlineData("a b%+", "a%20b%25+", true)]
    [InlineData("org/name", "other%2Fname", false)]
    public async Task A_model_is_found_by_its_name(string model, string path, bool isFound)
    {
        await using var server = await ScriptedClient.ServeAsync((_, _, _) => ScriptedClient.Answer().ToAsyncEnumerable(), model: model);
        using var response = await server.Http.GetAsync(new Uri("/v1/models/" + path, UriKind.Relative));
        var body = System.Text.Json.JsonElement.Parse(await response.Content.ReadAsByteArrayAsync());
        Assert.Equal(isFound ? HttpStatusCode.OK : HttpStatusCode.NotFound, response.StatusCode);
        Assert.Equal(isFound ? model : "model_not_found", isFound ? body.GetProperty("id").GetString() : body.GetProperty("error").GetProperty("code").GetString());
        Assert.Contains(model, body.GetRawText(), StringComparison.Ordinal);
    }

    private async Task<ChatOptions> OptionsAsync(string fields)
    {
        var (status, body) = await _server.AskAsync($$"""{"messages":[{"role":"user","content":"x"}],{{fields}}}""");
        Assert.True(status == HttpStatusCode.OK, body.GetRawText());
        return _asked[^1].Options;
    }

    private async Task<System.Text.Json.JsonElement> RefusedAsync(string body)
    {
        var (status, answer) = await _server.AskAsync(body);
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.DoesNotMatch(NetWords(), answer.GetProperty("error").GetProperty("message").GetString());
        Assert.Empty(_asked);
        return answer.GetProperty("error");
    }

    private static ByteArrayContent Bytes(byte[] bytes) => new(bytes) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } };
}
