using System.ClientModel;
using System.ClientModel.Primitives;
using System.Net;
using System.Text;
using System.Text.Json;
using ChatServer;
using Microsoft.AspNetCore.Builder;
using OpenAI;
using OpenAI.Chat;

namespace HeadInfer.Samples.Tests;

/// <summary>The server on the loopback, under a client of OpenAI's.</summary>
public sealed class ChatServerTests : IAsyncLifetime
{
    private const string Key = "a secret", Document = "The access code for the old harbor is amber-4821.\n\nWhat is the access code for the old harbor?";

    private WebApplication _app = null!;

    private Uri Address => new(_app.Urls.First() + "/v1");

    public async ValueTask InitializeAsync()
    {
        _app = Server.Build(["--urls", "http://127.0.0.1:0", "--api-key", Key, "--max-request-bytes", "400000"]);
        await _app.StartAsync();
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    [Fact]
    public async Task A_chat_is_answered_whole_and_in_pieces()
    {
        var whole = (await Client().CompleteChatAsync([new UserChatMessage(Document)])).Value;
        Assert.Equal("The access code for the old harbor is amber-4821.", whole.Content[0].Text);
        Assert.Equal(ChatFinishReason.Stop, whole.FinishReason);
        Assert.Equal(whole.Usage.TotalTokenCount, whole.Usage.InputTokenCount + whole.Usage.OutputTokenCount);
        var (text, usages, reason) = (new StringBuilder(), 0, (ChatFinishReason?)null);
        await foreach (var update in Client().CompleteChatStreamingAsync([new SystemChatMessage("Be brief."), new UserChatMessage(ChatMessageContentPart.CreateTextPart(Document))]))
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
        var first = (await Client().CompleteChatAsync(messages, options)).Value;
        var call = Assert.Single(first.ToolCalls);
        Assert.Equal(ChatFinishReason.ToolCalls, first.FinishReason);
        Assert.Equal(("get_weather", "Oslo"), (call.FunctionName, JsonDocument.Parse(call.FunctionArguments).RootElement.GetProperty("city").GetString()));
        messages.AddRange([new AssistantChatMessage(first), new ToolChatMessage(call.Id, "17 degrees and rain")]);
        Assert.NotEmpty((await Client().CompleteChatAsync(messages, options)).Value.Content[0].Text);

        options.ToolChoice = ChatToolChoice.CreateFunctionChoice("get_weather");
        options.AllowParallelToolCalls = false;
        var arguments = new StringBuilder();
        await foreach (var update in Client().CompleteChatStreamingAsync([new UserChatMessage("Hello")], options))
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
        var text = (await Client().CompleteChatAsync([new UserChatMessage(Document)], options)).Value.Content[0].Text;
        Assert.Matches(@"^[a-z]+-\d{1,6}$", JsonDocument.Parse(text).RootElement.GetProperty("code").GetString());
    }

    [Fact]
    public async Task The_model_is_listed()
    {
        using var http = Http();
        using var models = JsonDocument.Parse(await http.GetStringAsync(new Uri(Address + "/models")));
        Assert.Equal("headinfer-demo", models.RootElement.GetProperty("data")[0].GetProperty("id").GetString());
    }

    [Theory]
    [InlineData(null)]
    [InlineData("another")]
    [InlineData("a secreT")]
    public async Task Without_the_key_nothing_is_answered(string? key)
    {
        var error = await Assert.ThrowsAsync<ClientResultException>(() => Client(key ?? " ").CompleteChatAsync([new UserChatMessage("Hello")]));
        Assert.Equal(401, error.Status);
        using var http = new HttpClient();
        Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync(new Uri(Address + "/models"))).StatusCode);
    }

    [Theory]
    [InlineData(HttpStatusCode.BadRequest, "messages", "{}")]
    [InlineData(HttpStatusCode.BadRequest, "JSON", "{\"messages\":")]
    [InlineData(HttpStatusCode.BadRequest, "no messages", "{\"messages\":[]}")]
    [InlineData(HttpStatusCode.BadRequest, "role", "{\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}")]
    [InlineData(HttpStatusCode.BadRequest, "image_url", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]}")]
    [InlineData(HttpStatusCode.BadRequest, "tool_choice", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"perhaps\"}")]
    [InlineData(HttpStatusCode.BadRequest, "ToolMode", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"required\"}")]
    [InlineData(HttpStatusCode.BadRequest, "response_format", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"response_format\":{\"type\":\"yaml\"}}")]
    [InlineData(HttpStatusCode.BadRequest, "Temperature", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":-1}")]
    [InlineData(HttpStatusCode.BadRequest, "n is", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":2}")]
    [InlineData(HttpStatusCode.BadRequest, "null", "{\"messages\":[null]}")]
    [InlineData(HttpStatusCode.BadRequest, "tools", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[null]}")]
    [InlineData(HttpStatusCode.BadRequest, "tool call", "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[null]}]}")]
    [InlineData(HttpStatusCode.BadRequest, "part", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":5}]}]}")]
    [InlineData(HttpStatusCode.BadRequest, "stop", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stop\":[1]}")]
    [InlineData(HttpStatusCode.BadRequest, "response_format", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"response_format\":\"json\"}")]
    [InlineData(HttpStatusCode.BadRequest, "surrogate", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"const\":\"\\ud800\"}}}}")]
    public Task A_mistake_is_named(HttpStatusCode status, string part, string body) => AssertFailsAsync(status, part, new StringContent(body, Encoding.UTF8, "application/json"));

    [Fact]
    public async Task Requests_are_limited_in_size_kind_and_length()
    {
        await AssertFailsAsync(HttpStatusCode.RequestEntityTooLarge, "--max-request-bytes", new StringContent($"{{\"messages\":[{{\"role\":\"user\",\"content\":\"{new string('x', 500_000)}\"}}]}}", Encoding.UTF8, "application/json"));
        await AssertFailsAsync(HttpStatusCode.UnsupportedMediaType, "application/json", new StringContent("{}", Encoding.UTF8, "text/plain"));
        var text = string.Concat(Enumerable.Repeat("harbor ", 40_000));
        await AssertFailsAsync(HttpStatusCode.BadRequest, "context_length_exceeded", new StringContent($"{{\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}", Encoding.UTF8, "application/json"));
        using var http = Http();
        using var foreign = new HttpRequestMessage(HttpMethod.Get, Address + "/models");
        foreign.Headers.Host = "pages.example";
        Assert.Equal(HttpStatusCode.BadRequest, (await http.SendAsync(foreign)).StatusCode);
        Assert.NotEmpty((await Client().CompleteChatAsync([new UserChatMessage("Hello")])).Value.Content[0].Text); // and goes on
    }

    [Fact]
    public async Task A_call_that_the_limit_cut_off_is_none_that_could_be_made()
    {
        var options = new ChatCompletionOptions { Tools = { ChatTool.CreateFunctionTool("get_weather") }, ToolChoice = ChatToolChoice.CreateRequiredChoice(), MaxOutputTokenCount = 5 };
        var cut = (await Client().CompleteChatAsync([new UserChatMessage("Hello")], options)).Value;
        Assert.Equal(ChatFinishReason.Length, cut.FinishReason);
        Assert.All(cut.ToolCalls, c => Assert.ThrowsAny<JsonException>(() => JsonDocument.Parse(c.FunctionArguments)));
    }

    private async Task AssertFailsAsync(HttpStatusCode status, string part, HttpContent content)
    {
        using var http = Http();
        var response = await http.PostAsync(new Uri(Address + "/chat/completions"), content);
        var text = await response.Content.ReadAsStringAsync();
        Assert.Equal(status, response.StatusCode);
        Assert.Contains(part, text, StringComparison.Ordinal);
        Assert.False(string.IsNullOrEmpty(JsonDocument.Parse(text).RootElement.GetProperty("error").GetProperty("message").GetString()));
    }

    private static HttpClient Http()
    {
        var http = new HttpClient();
        http.DefaultRequestHeaders.Add("Authorization", "Bearer " + Key);
        return http;
    }

    private ChatClient Client(string key = Key) => new("headinfer-demo", new ApiKeyCredential(key), new OpenAIClientOptions { Endpoint = Address, RetryPolicy = new ClientRetryPolicy(0) });
}
