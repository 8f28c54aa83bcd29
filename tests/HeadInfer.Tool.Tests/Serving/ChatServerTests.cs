using System.ClientModel;
using System.Net;
using System.Text;
using System.Text.Json;
using OpenAI.Chat;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>The server on the loopback, under a client of OpenAI's.</summary>
public sealed class ChatServerTests : IAsyncLifetime
{
    private const string Document = "The access code for the old harbor is amber-4821.\n\nWhat is the access code for the old harbor?";

    private RunningServer _server = null!;

    public async ValueTask InitializeAsync() => _server = await RunningServer.StartAsync("--max-request-bytes", "400000");

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task A_chat_is_answered_whole_and_in_pieces()
    {
        var whole = (await _server.Client().CompleteChatAsync([new UserChatMessage(Document)])).Value;
        Assert.Equal("The access code for the old harbor is amber-4821.", whole.Content[0].Text);
        Assert.Equal(ChatFinishReason.Stop, whole.FinishReason);
        Assert.Equal(whole.Usage.TotalTokenCount, whole.Usage.InputTokenCount + whole.Usage.OutputTokenCount);
        var (text, usages, reason) = (new StringBuilder(), 0, (ChatFinishReason?)null);
        await foreach (var update in _server.Client().CompleteChatStreamingAsync([new SystemChatMessage("Be brief."), new UserChatMessage(ChatMessageContentPart.CreateTextPart(Document))]))
        {
            text.Append(string.Concat(update.ContentUpdate.Select(p => p.Text)));
            usages += update.Usage is null ? 0 : 1;
            reason ??= update.FinishReason;
        }

        Assert.Equal("The access code for the old harbor is amber-4821.", text.ToString());
        Assert.Equal((1, ChatFinishReason.Stop), (usages, reason));
    }

    [Fact]
    public async Task A_function_is_called_and_its_result_is_read()
    {
        var tool = ChatTool.CreateFunctionTool("get_weather", "Gets the weather of a city", BinaryData.FromString("""{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"""));
        var options = new ChatCompletionOptions { Tools = { tool } };
        List<ChatMessage> messages = [new UserChatMessage("What is the weather in Oslo?")];
        var first = (await _server.Client().CompleteChatAsync(messages, options)).Value;
        var call = Assert.Single(first.ToolCalls);
        Assert.Equal(ChatFinishReason.ToolCalls, first.FinishReason);
        Assert.Equal(("get_weather", "Oslo"), (call.FunctionName, JsonDocument.Parse(call.FunctionArguments).RootElement.GetProperty("city").GetString()));
        messages.AddRange([new AssistantChatMessage(first), new ToolChatMessage(call.Id, "17 degrees and rain")]);
        Assert.NotEmpty((await _server.Client().CompleteChatAsync(messages, options)).Value.Content[0].Text);

        options.ToolChoice = ChatToolChoice.CreateFunctionChoice("get_weather");
        options.AllowParallelToolCalls = false;
        var arguments = new StringBuilder();
        await foreach (var update in _server.Client().CompleteChatStreamingAsync([new UserChatMessage("Hello")], options))
        {
            foreach (var part in update.ToolCallUpdates)
            {
                arguments.Append(part.FunctionArgumentsUpdate);
            }
        }

        Assert.True(JsonDocument.Parse(arguments.ToString()).RootElement.TryGetProperty("city", out _));
    }

    [Fact]
    public async Task Json_has_the_schema_asked_for()
    {
        var schema = BinaryData.FromString("""{"type":"object","properties":{"code":{"type":"string","pattern":"^[a-z]+-\\d{1,6}$"}},"required":["code"],"additionalProperties":false}""");
        var options = new ChatCompletionOptions { ResponseFormat = ChatResponseFormat.CreateJsonSchemaFormat("code", schema, jsonSchemaIsStrict: true), Temperature = 1, MaxOutputTokenCount = 60 };
        var text = (await _server.Client().CompleteChatAsync([new UserChatMessage(Document)], options)).Value.Content[0].Text;
        Assert.Matches(@"^[a-z]+-\d{1,6}$", JsonDocument.Parse(text).RootElement.GetProperty("code").GetString());
    }

    [Fact]
    public async Task The_model_is_listed()
    {
        var models = JsonElement.Parse(await _server.Http.GetByteArrayAsync("/v1/models"));
        var model = Assert.Single(models.GetProperty("data").EnumerateArray());
        Assert.Equal(("list", "model", "headinfer"), (models.GetProperty("object").GetString(), model.GetProperty("object").GetString(), model.GetProperty("owned_by").GetString()));
        Assert.InRange(model.GetProperty("created").GetInt64(), 1_700_000_000, DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        var id = model.GetProperty("id").GetString();
        Assert.Equal(model.GetRawText(), await _server.Http.GetStringAsync("/v1/models/" + id));
        var listed = (await new OpenAI.Models.OpenAIModelClient(new ApiKeyCredential(RunningServer.Key), new OpenAI.OpenAIClientOptions { Endpoint = new Uri(_server.Address, "/v1") }).GetModelsAsync()).Value;
        Assert.Equal((id, "headinfer"), (Assert.Single(listed).Id, listed[0].OwnedBy));
    }

    [Theory]
    [InlineData(404, "POST", "/v1/embeddings")]
    [InlineData(405, "GET", "/v1/responses")]
    [InlineData(405, "GET", "/v1/chat/completions")]
    [InlineData(405, "DELETE", "/v1/models")]
    public async Task What_is_not_there_is_said_in_json(int status, string method, string path)
    {
        using var response = await _server.Http.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));
        Assert.Equal(status, (int)response.StatusCode);
        Assert.Contains("/v1/models", JsonElement.Parse(await response.Content.ReadAsByteArrayAsync()).GetProperty("error").GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("another")]
    [InlineData("a secreT")]
    public async Task Without_the_key_nothing_is_answered(string? key)
    {
        var error = await Assert.ThrowsAsync<ClientResultException>(() => _server.Client(key ?? " ").CompleteChatAsync([new UserChatMessage("Hello")]));
        Assert.Equal(401, error.Status);
        using var http = new HttpClient { BaseAddress = _server.Address };
        Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync("/v1/models")).StatusCode);
    }

    [Theory]
    [InlineData("There are no messages", "{\"messages\":[]}")]
    [InlineData("tool_choice requires a function call", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"required\"}")]
    [InlineData("tool_choice requires a call of 'g'", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}}")]
    [InlineData("reasoning_effort", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"reasoning_effort\":\"xhigh\"}")]
    [InlineData("two functions named 'f'", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}},{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}")]
    [InlineData("Nothing satisfies the JSON schema", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"integer\",\"minimum\":2,\"maximum\":1}}}}")]
    [InlineData("surrogate", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"const\":\"\\ud800\"}}}}")]
    public Task A_mistake_is_named(string part, string body) => AssertFailsAsync(HttpStatusCode.BadRequest, part, RunningServer.Json(body));

    [Fact]
    public async Task Requests_are_limited_in_size_kind_and_length()
    {
        await AssertFailsAsync(HttpStatusCode.RequestEntityTooLarge, "--max-request-bytes", RunningServer.Json($"{{\"messages\":[{{\"role\":\"user\",\"content\":\"{new string('x', 500_000)}\"}}]}}"));
        foreach (var path in (string[])["/api/chat", "/api/show", "/api/headinfer/plan"])
        {
            var (status, body) = await _server.AskAsync($"{{\"model\":\"{new string('x', 500_000)}\"}}", path);
            Assert.Equal((HttpStatusCode.RequestEntityTooLarge, "The request is larger than --max-request-bytes allows."), (status, body.GetProperty("error").GetString()));
        }

        await AssertFailsAsync(HttpStatusCode.UnsupportedMediaType, "application/json", new StringContent("{}", Encoding.UTF8, "text/plain"));
        var text = string.Concat(Enumerable.Repeat("harbor ", 40_000));
        await AssertFailsAsync(HttpStatusCode.BadRequest, "context_length_exceeded", RunningServer.Json($"{{\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"));
        using var foreign = new HttpRequestMessage(HttpMethod.Get, "/v1/models");
        foreign.Headers.Host = "pages.example";
        Assert.Equal(HttpStatusCode.OK, (await _server.Http.SendAsync(foreign)).StatusCode); // a proxy's, with the key
        Assert.NotEmpty((await _server.Client().CompleteChatAsync([new UserChatMessage("Hello")])).Value.Content[0].Text); // and goes on
    }

    [Fact]
    public async Task A_call_that_the_limit_cut_off_is_none_that_could_be_made()
    {
        var options = new ChatCompletionOptions { Tools = { ChatTool.CreateFunctionTool("get_weather") }, ToolChoice = ChatToolChoice.CreateRequiredChoice(), MaxOutputTokenCount = 5 };
        var cut = (await _server.Client().CompleteChatAsync([new UserChatMessage("Hello")], options)).Value;
        Assert.Equal(ChatFinishReason.Length, cut.FinishReason);
        Assert.All(cut.ToolCalls, c => Assert.ThrowsAny<JsonException>(() => JsonDocument.Parse(c.FunctionArguments)));
    }

    private async Task AssertFailsAsync(HttpStatusCode status, string part, HttpContent content)
    {
        using var response = await _server.PostAsync(content);
        var text = await response.Content.ReadAsStringAsync();
        Assert.Equal(status, response.StatusCode);
        Assert.Contains(part, text, StringComparison.Ordinal);
        Assert.DoesNotMatch(RequestTests.NetWords(), JsonElement.Parse(text).GetProperty("error").GetProperty("message").GetString());
    }
}
