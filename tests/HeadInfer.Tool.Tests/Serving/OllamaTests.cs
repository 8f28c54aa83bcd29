using System.Net;
using System.Text.Json;
using HeadInfer.Tool.Serving;
using Microsoft.Extensions.AI;
using OllamaSharp;
using OllamaSharp.Models.Exceptions;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>Ollama's chat and generate, under OllamaSharp and on the wire.</summary>
public sealed class OllamaTests : IAsyncLifetime
{
    private readonly List<(IReadOnlyList<ChatMessage> Messages, ChatOptions Options)> _asked = [];
    private RunningServer _server = null!;

    public async ValueTask InitializeAsync() => _server = await ScriptedClient.ServeAsync(_asked, new TextReasoningContent("Hm."), new TextContent("Hel"), new TextContent("lo"));

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task A_chat_is_answered_whole_and_in_pieces()
    {
        using var ollama = new OllamaApiClient(_server.Address, "scripted");
        IChatClient client = ollama;
        var whole = await client.GetResponseAsync("Hi", new ChatOptions { Temperature = 0.5f, MaxOutputTokens = 9, StopSequences = ["x"], Seed = 7 });
        Assert.Equal(("Hello", 3, 2), (whole.Text, whole.Usage!.InputTokenCount, whole.Usage.OutputTokenCount));
        var options = Assert.Single(_asked).Options;
        Assert.Equal((0.5f, 9, "x", 7), (options.Temperature, options.MaxOutputTokens, Assert.Single(options.StopSequences!), options.Seed));
        var pieces = await client.GetStreamingResponseAsync([new(ChatRole.System, "Be brief."), new(ChatRole.User, "Hi")]).ToChatResponseAsync();
        Assert.Equal("Hello", pieces.Text);
        Assert.Equal(["system", "user"], _asked[^1].Messages.Select(m => m.Role.Value));
    }

    [Fact]
    public async Task A_prompt_is_answered()
    {
        using var ollama = new OllamaApiClient(_server.Address, "scripted");
        var text = "";
        await foreach (var part in ((IOllamaApiClient)ollama).GenerateAsync("Hi"))
        {
            text += part?.Response;
        }

        Assert.Equal(("Hello", "Hi"), (text, Assert.Single(Assert.Single(_asked).Messages).Text));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Functions_are_called_in_a_loop(bool stream)
    {
        await using var server = await ScriptedClient.ServeAsync((messages, _, _) =>
            ScriptedClient.Answer(messages[^1].Contents[0] is FunctionResultContent { CallId: var id } result
                ? new TextContent($"{(ScriptedClient.Text(result).Contains("17 degrees in Oslo", StringComparison.Ordinal) ? "It is 17 degrees in Oslo" : "It is not said")} ({messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>().Count(c => c.CallId == id)}).")
                : new FunctionCallContent("c1", "get_weather", new Dictionary<string, object?> { ["city"] = "Oslo" })).ToAsyncEnumerable());
        using var client = ((IChatClient)new OllamaApiClient(server.Address, "scripted")).AsBuilder().UseFunctionInvocation().Build();
        var options = new ChatOptions { Tools = [AIFunctionFactory.Create((string city) => $"17 degrees in {city}", "get_weather")] };
        var text = stream
            ? (await client.GetStreamingResponseAsync("What is the weather?", options).ToChatResponseAsync()).Text
            : (await client.GetResponseAsync("What is the weather?", options)).Text;
        Assert.Equal("It is 17 degrees in Oslo (1).", text); // the result belongs to the one call
    }

    // A client may have dropped the call. Results of calls that are there belong to them.
    [Fact]
    public async Task A_result_without_its_call_is_taken()
    {
        await LinesAsync("/api/chat", """{"messages":[{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{}}}]},{"role":"tool","content":"1","tool_name":"f"},{"role":"tool","content":"2","tool_name":"f"},{"role":"tool","content":"3","tool_call_id":"c9"},{"role":"user","content":"x"}]}""");
        var messages = Assert.Single(_asked).Messages;
        var call = Assert.Single(messages[0].Contents.OfType<FunctionCallContent>()).CallId;
        var results = messages.SelectMany(m => m.Contents.OfType<FunctionResultContent>().Select(r => (r.CallId, r.Result, m.AuthorName))).ToList();
        Assert.Equal([(call, "1", null), (results[1].CallId, "2", "f"), ("c9", "3", null)], results);
        Assert.DoesNotContain(results[1].CallId, (string[])[call, "", "c9"]);
    }

    [Fact]
    public async Task Lines_say_what_is_thought_and_said_and_how_it_ended()
    {
        var lines = await LinesAsync("/api/chat", """{"messages":[{"role":"user","content":"Hi"}],"think":true}""");
        Assert.Equal(ReasoningOutput.Full, _asked[^1].Options.Reasoning!.Output);
        Assert.Equal("Hm.", string.Concat(lines.Select(l => l.GetProperty("message").TryGetProperty("thinking", out var thought) ? thought.GetString() : "")));
        Assert.Equal("Hello", string.Concat(lines.Select(l => l.GetProperty("message").GetProperty("content").GetString())));
        Assert.Equal((true, "stop", 3, 2), (lines[^1].GetProperty("done").GetBoolean(), lines[^1].GetProperty("done_reason").GetString(), lines[^1].GetProperty("prompt_eval_count").GetInt32(), lines[^1].GetProperty("eval_count").GetInt32()));
        Assert.All(lines.SkipLast(1), l => Assert.False(l.GetProperty("done").GetBoolean()));
        var (_, loaded) = await _server.AskAsync("""{"messages":[]}""", "/api/chat");
        Assert.Equal("load", loaded.GetProperty("done_reason").GetString());
    }

    [Theory]
    [InlineData("/api/chat", "options.mirostat", """{"messages":[{"role":"user","content":"x"}],"options":{"mirostat":1}}""")]
    [InlineData("/api/chat", "options.temperature", """{"messages":[{"role":"user","content":"x"}],"options":{"temperature":"hot"}}""")]
    [InlineData("/api/chat", "options.num_predict", """{"messages":[{"role":"user","content":"x"}],"options":{"num_predict":0}}""")]
    [InlineData("/api/chat", "format", """{"messages":[{"role":"user","content":"x"}],"format":"yaml"}""")]
    [InlineData("/api/chat", "messages[0].images", """{"messages":[{"role":"user","content":"x","images":["AAAA"]}]}""")]
    [InlineData("/api/chat", "options.num_ctx", """{"messages":[{"role":"user","content":"x"}],"options":{"num_ctx":0}}""")]
    [InlineData("/api/chat", "truncate", """{"messages":[{"role":"user","content":"x"}],"truncate":true}""")]
    [InlineData("/api/chat", "think", """{"messages":[{"role":"user","content":"x"}],"think":5}""")]
    [InlineData("/api/generate", "suffix", """{"prompt":"x","suffix":"y"}""")]
    [InlineData("/api/generate", "context", """{"prompt":"x","context":[1]}""")]
    [InlineData("/api/generate", "raw", """{"prompt":"x","raw":true,"system":"y"}""")]
    [InlineData("/api/show", "The model 'other'", """{"model":"other"}""")]
    public async Task What_cannot_be_done_is_refused_by_name(string path, string part, string body)
    {
        var (status, answer) = await _server.AskAsync(body, path);
        Assert.Equal(path == "/api/show" ? HttpStatusCode.NotFound : HttpStatusCode.BadRequest, status);
        Assert.StartsWith(part, answer.GetProperty("error").GetString(), StringComparison.Ordinal);
        Assert.Empty(_asked);
    }

    // As curl sends it with -d alone, and as a page could without being asked for leave.
    [Theory]
    [InlineData("application/x-www-form-urlencoded", null, true)]
    [InlineData(null, null, true)]
    [InlineData("application/x-www-form-urlencoded", "Origin: null", false)]
    [InlineData("text/plain", "Origin: http://pages.example", false)]
    [InlineData("text/plain", "Sec-Fetch-Site: cross-site", false)]
    [InlineData("application/json", "Origin: http://pages.example", true)]
    public async Task Json_needs_its_type_from_browsers_alone(string? type, string? header, bool isTaken)
    {
        foreach (var path in (string[])["/api/chat", "/api/show", "/v1/chat/completions"])
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new ByteArrayContent("""{"messages":[{"role":"user","content":"x"}],"stream":false}"""u8.ToArray()) };
            request.Content.Headers.TryAddWithoutValidation("Content-Type", type);
            if (header?.Split(": ") is [var name, var value])
            {
                request.Headers.Add(name, value);
            }

            using var response = await _server.Http.SendAsync(request);
            Assert.Equal(isTaken && (path.StartsWith("/api", StringComparison.Ordinal) || type == "application/json") ? HttpStatusCode.OK : HttpStatusCode.UnsupportedMediaType, response.StatusCode);
        }
    }

    [Fact]
    public async Task Clients_see_that_the_server_is_there_and_what_it_can()
    {
        await using var server = await ScriptedClient.ServeAsync((_, _, _) => ScriptedClient.Answer().ToAsyncEnumerable(), map: Page.Map);
        foreach (var path in (string[])["/", "/api/version", "/api/tags"])
        {
            using var response = await server.Http.SendAsync(new HttpRequestMessage(HttpMethod.Head, path));
            Assert.Equal((HttpStatusCode.OK, 0), (response.StatusCode, (await response.Content.ReadAsByteArrayAsync()).Length));
        }

        Assert.True(Version.Parse(JsonElement.Parse(await server.Http.GetByteArrayAsync("/api/version")).GetProperty("version").GetString()!) >= new Version(0, 6, 4)); // as VS Code wants it
        async Task<string> DigestAsync(RunningServer of, string path) => JsonElement.Parse(await of.Http.GetByteArrayAsync(path)).GetProperty("models")[0].GetProperty("digest").GetString()!;
        var digest = await DigestAsync(server, "/api/tags");
        Assert.Matches("^[0-9a-f]{64}$", digest);
        Assert.Equal((digest, digest), (await DigestAsync(server, "/api/ps"), await DigestAsync(_server, "/api/tags"))); // of the same model elsewhere
        await using var other = await ScriptedClient.ServeAsync((_, _, _) => ScriptedClient.Answer().ToAsyncEnumerable(), model: "other");
        Assert.NotEqual(digest, await DigestAsync(other, "/api/tags"));
    }

    [Fact]
    public async Task A_refusal_reaches_the_client_in_words()
    {
        using IChatClient client = new OllamaApiClient(_server.Address, "scripted");
        var error = await Assert.ThrowsAnyAsync<Exception>(() => client.GetResponseAsync([new(ChatRole.User, [new DataContent(new byte[] { 1 }, "image/png")])]));
        Assert.Contains("messages[0].images", error.ToString(), StringComparison.Ordinal);
    }

    // Ollama's own clients look at the line; OllamaSharp sees only that the answer breaks off.
    [Fact]
    public async Task A_failure_of_a_stream_is_a_line_and_breaks_it_off()
    {
        static async IAsyncEnumerable<ChatResponseUpdate> Answer()
        {
            await Task.Yield();
            yield return ScriptedClient.Answer(new TextContent("Hel")).First();
            throw new MemoryBudgetException("Raise HeadInferOptions.HostMemory or shorten the prompt.");
        }

        await using var server = await ScriptedClient.ServeAsync((_, _, _) => Answer());
        using var response = await server.PostAsync(RunningServer.Json("""{"messages":[{"role":"user","content":"x"}]}"""), "/api/chat");
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        var last = "";
        await Assert.ThrowsAsync<HttpIOException>(async () =>
        {
            while (await reader.ReadLineAsync() is { } line)
            {
                last = line;
            }
        });
        Assert.Equal("""{"error":"Raise --host-memory or shorten the prompt."}""", last);
        using var ollama = new OllamaApiClient(server.Address, "scripted");
        await Assert.ThrowsAnyAsync<Exception>(() => ((IChatClient)ollama).GetStreamingResponseAsync("x").ToChatResponseAsync());
    }

    private async Task<List<JsonElement>> LinesAsync(string path, string body)
    {
        using var response = await _server.PostAsync(RunningServer.Json(body), path: path);
        Assert.Equal("application/x-ndjson", response.Content.Headers.ContentType?.MediaType);
        return [.. (await response.Content.ReadAsStringAsync()).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonElement.Parse(l))];
    }
}
