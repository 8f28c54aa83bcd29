using System.ComponentModel;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.Text;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace HeadInfer.SemanticKernel.Tests;

public sealed class ChatClientTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private const string Document = "The access code for the old harbor is amber-4821. The access code for the silver tower is 7305926.";

    [Fact]
    public async Task Answers_from_the_document_with_every_field_of_an_update()
    {
        using var client = new HeadInferChatClient(demo.Model, "demo");
        var updates = await client.GetStreamingResponseAsync([new ChatMessage(ChatRole.User, Document + "\n\nWhat is the access code for the old harbor?")]).ToListAsync();
        Assert.Equal("The access code for the old harbor is amber-4821.", string.Concat(updates.Select(u => u.Text)));
        Assert.All(updates, u =>
        {
            Assert.Equal(ChatRole.Assistant, u.Role);
            Assert.Equal("demo", u.ModelId);
            Assert.NotNull(u.CreatedAt);
            Assert.Equal(updates[0].MessageId, u.MessageId);
            Assert.Equal(updates[0].ResponseId, u.ResponseId);
            Assert.False(string.IsNullOrEmpty(u.MessageId));
        });
        Assert.All(updates.SkipLast(1), u => Assert.Null(u.FinishReason));
        Assert.Equal(ChatFinishReason.Stop, updates[^1].FinishReason);
        Assert.Equal("stop", updates[^1].AdditionalProperties!["finish_reason"]);
        var usage = Assert.Single(updates.SelectMany(u => u.Contents).OfType<UsageContent>()).Details;
        Assert.Equal(usage.TotalTokenCount, usage.InputTokenCount + usage.OutputTokenCount);
        Assert.True(usage.OutputTokenCount > 5);
    }

    [Fact]
    public async Task What_was_read_is_not_read_again_and_history_grows_by_one_message()
    {
        demo.Model.ClearCache();
        using var client = new HeadInferChatClient(demo.Model);
        var history = new List<ChatMessage> { new(ChatRole.User, Document + "\n\nWhat is the access code for the old harbor?") };
        var first = await client.GetResponseAsync(history);
        Assert.Equal(0, first.Usage!.CachedInputTokenCount);
        history.AddMessages(first);
        Assert.Equal(2, history.Count);
        Assert.IsType<TextContent>(Assert.Single(history[1].Contents, c => c is not UsageContent));
        history.Add(new ChatMessage(ChatRole.User, "What is the access code for the silver tower?"));
        var second = await client.GetResponseAsync(history);
        Assert.Equal("The access code for the silver tower is 7305926.", second.Text);
        Assert.True(second.Usage!.CachedInputTokenCount >= first.Usage.InputTokenCount);
    }

    [Fact]
    public async Task Eight_callers_at_once_get_eight_right_answers()
    {
        using var client = new HeadInferChatClient(demo.Model);
        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => client.GetResponseAsync($"The access code for the old harbor is otter-{100 + i}.\n\nWhat is the access code for the old harbor?")));
        Assert.Equal(Enumerable.Range(0, 8).Select(i => $"The access code for the old harbor is otter-{100 + i}."), answers.Select(a => a.Text));
    }

    [Fact]
    public async Task A_cancelled_or_abandoned_stream_leaves_the_client_usable()
    {
        using var client = new HeadInferChatClient(demo.Model);
        using var cancel = new CancellationTokenSource();
        var question = Document + "\n\nWhat is the access code for the old harbor?";
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var update in client.GetStreamingResponseAsync(question, cancellationToken: cancel.Token))
            {
                await cancel.CancelAsync();
            }
        });
        await foreach (var update in client.GetStreamingResponseAsync(question))
        {
            break;
        }

        Assert.Equal("The access code for the old harbor is amber-4821.", (await client.GetResponseAsync(question)).Text);
    }

    [Fact]
    public async Task Too_long_a_conversation_names_the_numbers_and_the_next_one_works()
    {
        using var client = new HeadInferChatClient(demo.Model);
        var error = await Assert.ThrowsAsync<ContextLengthException>(() => client.GetResponseAsync(string.Concat(Enumerable.Repeat("harbor ", 40_000))));
        Assert.Contains("32,768", error.Message, StringComparison.Ordinal);
        Assert.NotEmpty((await client.GetResponseAsync("Hello")).Text);
    }

    [Fact]
    public async Task A_function_is_called_and_the_reply_uses_its_result()
    {
        var called = new List<string>();
        var tool = AIFunctionFactory.Create(
            ([Description("Name of the city")] string city) =>
            {
                called.Add(city);
                return "17 degrees";
            },
            "get_weather",
            "Gets the weather of a city");
        using var inner = new HeadInferChatClient(demo.Model);
        using var client = inner.AsBuilder().UseFunctionInvocation().Build();
        var response = await client.GetResponseAsync("What is the weather in Oslo?", new ChatOptions { Tools = [tool] });
        Assert.Equal(["Oslo"], called);
        Assert.NotEmpty(response.Text);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(1000)]
    public async Task Calls_are_complete_and_never_show_as_text(int piece)
    {
        const string answer = "Let me look.\n<tool_call>\n{\"name\": \"read\", \"arguments\": {\"path\": \"a.txt\", \"lines\": [1, 2]}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\"}\n</tool_call>";
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, answer) { Piece = piece });
        var response = await client.GetResponseAsync("Go", new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "now")] });
        Assert.Equal("Let me look.", response.Text);
        var calls = response.Messages[0].Contents.OfType<FunctionCallContent>().ToList();
        Assert.Equal(["read", "now"], calls.Select(c => c.Name));
        Assert.Equal("a.txt", ((JsonElement)calls[0].Arguments!["path"]!).GetString());
        Assert.Empty(calls[1].Arguments!);
        Assert.NotEqual(calls[0].CallId, calls[1].CallId);
        Assert.Equal(ChatFinishReason.ToolCalls, response.FinishReason);
    }

    [Theory]
    [InlineData("<tool_call>{\"name\": \"read\", \"arguments\": {oops}}</tool_call>")]
    [InlineData("<tool_call>not JSON</tool_call>")]
    [InlineData("<tool_call>{\"name\": \"read\", \"arguments\": [1]}</tool_call>")]
    [InlineData("<tool_call>{\"arguments\": {}}</tool_call>")]
    [InlineData("<tool_call>{\"name\": \"read\", \"argum")]
    public async Task A_call_that_cannot_be_read_carries_its_error(string answer)
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, answer));
        var response = await client.GetResponseAsync("Go", new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "read")] });
        Assert.IsType<FormatException>(Assert.Single(response.Messages[0].Contents.OfType<FunctionCallContent>()).Exception);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1000)]
    public async Task One_call_is_one_where_more_are_not_wanted(int piece)
    {
        const string call = "<tool_call>{\"name\": \"now\"}</tool_call>";
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, call + call, call + call) { Piece = piece });
        var tools = new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "now")], AllowMultipleToolCalls = false };
        var response = await client.GetResponseAsync("Go", tools);
        Assert.Single(response.Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Equal(ChatFinishReason.ToolCalls, response.FinishReason);
        tools.AllowMultipleToolCalls = true;
        Assert.Equal(2, (await client.GetResponseAsync("Go", tools)).Messages[0].Contents.OfType<FunctionCallContent>().Count());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(1000)]
    public async Task Thoughts_are_shown_only_if_asked_for(int piece)
    {
        const string answer = "<think>\nIs a < b? <tool_call>\n</think>\n\nYes. <think> is a word here.";
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, answer, answer, "<th is no marker", "<think>unfinished") { Piece = piece });
        var options = new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "now")] };
        var hidden = await client.GetResponseAsync("Go", options);
        Assert.Equal("Yes. <think> is a word here.", hidden.Text);
        Assert.Empty(hidden.Messages[0].Contents.OfType<TextReasoningContent>());
        options.Reasoning = new ReasoningOptions { Output = ReasoningOutput.Full };
        var shown = await client.GetResponseAsync("Go", options);
        Assert.Equal("Yes. <think> is a word here.", shown.Text);
        Assert.Equal("\nIs a < b? <tool_call>\n", string.Concat(shown.Messages[0].Contents.OfType<TextReasoningContent>().Select(c => c.Text)));
        Assert.Equal("<th is no marker", (await client.GetResponseAsync("Go")).Text);
        Assert.Equal("", (await client.GetResponseAsync("Go")).Text);
    }

    [Fact]
    public async Task Text_that_only_looks_like_a_call_is_text()
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, "a < b and <tool_box> <tool_cal", "<tool_call>{}</tool_call>"));
        var options = new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "f")] };
        Assert.Equal("a < b and <tool_box> <tool_cal", (await client.GetResponseAsync("Go", options)).Text);
        Assert.Equal("<tool_call>{}</tool_call>", (await client.GetResponseAsync("Go")).Text); // nothing was offered
    }

    [Fact]
    public async Task Calls_results_instructions_and_tools_reach_the_model()
    {
        var engine = new ScriptedEngine(demo.Model, "Done.");
        using var client = new HeadInferChatClient(engine);
        List<ChatMessage> messages =
        [
            new(ChatRole.System, "Be brief."),
            new(ChatRole.User, "Read it."),
            new(ChatRole.Assistant, [new FunctionCallContent("c1", "read", new Dictionary<string, object?> { ["path"] = "a.txt" })]),
            new(ChatRole.Tool, [new FunctionResultContent("c1", "three lines")]),
        ];
        await client.GetResponseAsync(messages, new ChatOptions { Instructions = "Answer in English.", Tools = [AIFunctionFactory.Create((string path) => path, "read", "Reads a file")] });
        var prompt = Assert.Single(engine.Prompts);
        foreach (var part in (string[])["Be brief.\n\nAnswer in English.", "\"name\": \"read\"", "Reads a file", "{\"path\": \"a.txt\"}", "<tool_response>\nthree lines\n</tool_response>"])
        {
            Assert.Contains(part, prompt, StringComparison.Ordinal);
        }

        Assert.Equal(4, messages.Count);
        Assert.Equal("Be brief.", messages[0].Text); // nothing of the caller's was changed
    }

    [Fact]
    public async Task Roles_are_known_in_any_case_and_a_developer_speaks_as_the_system()
    {
        var engine = new ScriptedEngine(demo.Model, "x", "x");
        using var client = new HeadInferChatClient(engine);
        await client.GetResponseAsync([new(new ChatRole("Developer"), "Be brief."), new(new ChatRole("USER"), "Go"), new(new ChatRole("Assistant"), "So"), new(new ChatRole("User"), "On")], new ChatOptions { Instructions = "Please." });
        await client.GetResponseAsync([new(ChatRole.System, "Be brief.\n\nPlease."), new(ChatRole.User, "Go"), new(ChatRole.Assistant, "So"), new(ChatRole.User, "On")]);
        Assert.Contains("Be brief.", engine.Prompts[0], StringComparison.Ordinal);
        Assert.Equal(engine.Prompts[1], engine.Prompts[0]);
        var error = await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync([new(new ChatRole("narrator"), "Once")]));
        Assert.Contains("'narrator'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_functions_result_of_contents_is_their_text()
    {
        static ChatMessage[] Of(object result) => [new(ChatRole.User, "Go"), new(ChatRole.Assistant, [new FunctionCallContent("c1", "f")]), new(ChatRole.Tool, [new FunctionResultContent("c1", result)])];
        var engine = new ScriptedEngine(demo.Model, "x", "x");
        using var client = new HeadInferChatClient(engine);
        await client.GetResponseAsync(Of(new TextContent("three lines")));
        await client.GetResponseAsync(Of((AIContent[])[new TextContent("one"), new TextContent("two")]));
        Assert.Contains("<tool_response>\nthree lines\n</tool_response>", engine.Prompts[0], StringComparison.Ordinal);
        Assert.Contains("<tool_response>\none\ntwo\n</tool_response>", engine.Prompts[1], StringComparison.Ordinal);
        foreach (var result in (object[])[new DataContent(new byte[] { 1 }, "image/png"), (AIContent[])[new TextContent("one"), new DataContent(new byte[] { 1 }, "image/png")]])
        {
            Assert.Contains("image/png", (await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync(Of(result)))).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_request_is_made_ready_on_another_thread_and_refused_by_its_task()
    {
        var caller = Environment.CurrentManagedThreadId;
        using var made = new ManualResetEventSlim();
        var others = new List<int>();
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, "x", "x"));
        var options = new ChatOptions { RawRepresentationFactory = _ => { others.Add(Environment.CurrentManagedThreadId); made.Set(); return null; } };
        var updates = client.GetStreamingResponseAsync("Go", options);
        Assert.Empty(others); // nothing is done before somebody reads
        foreach (var ask in (Func<Task>[])[() => updates.ToListAsync().AsTask(), () => client.GetResponseAsync("Go", options)])
        {
            var answer = ask();
            made.Wait(); // this thread does nothing else meanwhile
            made.Reset();
            Assert.NotEqual(caller, others[^1]);
            await answer;
            caller = Environment.CurrentManagedThreadId;
        }

        var refused = client.GetResponseAsync("Go", new ChatOptions { ModelId = "another" });
        await Assert.ThrowsAsync<NotSupportedException>(() => refused);
        var stream = client.GetStreamingResponseAsync("Go", new ChatOptions { ModelId = "another" });
        await Assert.ThrowsAsync<NotSupportedException>(async () => await stream.ToListAsync());
    }

    [Fact]
    public async Task What_is_not_known_is_logged_once()
    {
        using var logs = new LogRecords();
        using var factory = LoggerFactory.Create(b => b.AddProvider(logs));
        var template = new ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}{{ tools }}<|START_ACTION|>\"parameters\": ", new Dictionary<string, object?>(), TimeProvider.System);
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, "x", "x", "x") { Template = template }, loggerFactory: factory);
        var options = new ChatOptions { AdditionalProperties = new() { ["num_ctx"] = 5, ["nothing"] = null, ["min_p"] = 0.1, ["cache_key"] = "me", ["repetition_penalty"] = 1, ["show_reasoning"] = true } };
        await client.GetResponseAsync("Go", options);
        Assert.DoesNotContain(logs.All, r => r.Id == 21);
        options.Tools = [AIFunctionFactory.Create(() => 1, "f")];
        await client.GetResponseAsync("Go", options);
        await client.GetResponseAsync("Go", options);
        Assert.Contains("'num_ctx'", Assert.Single(logs.All, r => r.Id == 22).Text, StringComparison.Ordinal);
        Assert.Single(logs.All, r => r.Id == 21);
    }

    [Fact]
    public async Task Bad_messages_are_refused_and_the_next_request_works()
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, "x"));
        await Assert.ThrowsAsync<ArgumentNullException>(() => client.GetResponseAsync((IEnumerable<ChatMessage>)null!));
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync(Array.Empty<ChatMessage>()));
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync([null!]));
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync("Go", new ChatOptions { Tools = [null!] }));
        var image = await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync([new ChatMessage(ChatRole.User, [new DataContent(new byte[] { 1 }, "image/png")])]));
        Assert.Contains("image/png", image.Message, StringComparison.Ordinal);
        var twice = new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "f"), AIFunctionFactory.Create(() => 2, "f")] };
        Assert.Contains("'f'", (await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync("Go", twice))).Message, StringComparison.Ordinal);
        Assert.Equal("x", (await client.GetResponseAsync("Go")).Text);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Other_peoples_clients_wrap_it(bool streaming)
    {
        var spans = new List<System.Diagnostics.Activity>();
        using var listener = new System.Diagnostics.ActivityListener
        {
            ShouldListenTo = s => s.Name == "test",
            Sample = (ref System.Diagnostics.ActivityCreationOptions<System.Diagnostics.ActivityContext> _) => System.Diagnostics.ActivitySamplingResult.AllData,
            ActivityStopped = spans.Add,
        };
        System.Diagnostics.ActivitySource.AddActivityListener(listener);
        using var inner = new HeadInferChatClient(demo.Model, "demo");
        using var client = inner.AsBuilder().UseLogging(Microsoft.Extensions.Logging.Abstractions.NullLoggerFactory.Instance).UseOpenTelemetry(sourceName: "test").Build();
        var text = streaming
            ? string.Concat(await client.GetStreamingResponseAsync("Hello").Select(u => u.Text).ToListAsync())
            : (await client.GetResponseAsync("Hello")).Text;
        Assert.Equal("Hello! Give me a document and ask me to find or quote something in it.", text);
        var span = Assert.Single(spans);
        Assert.Equal("headinfer", span.GetTagItem("gen_ai.provider.name"));
        Assert.Equal("demo", span.GetTagItem("gen_ai.response.model"));
        Assert.True((int)span.GetTagItem("gen_ai.usage.output_tokens")! > 5);
    }

    [Fact]
    public void Services_are_found_through_the_client()
    {
        using var client = new HeadInferChatClient(demo.Model, "demo");
        Assert.Equal(("headinfer", "demo"), (client.GetService<ChatClientMetadata>()!.ProviderName, client.GetService<ChatClientMetadata>()!.DefaultModelId));
        Assert.Same(demo.Model, client.GetService<HeadInferModel>());
        Assert.Same(client, client.GetService<IChatClient>());
        Assert.NotNull(client.GetService<Tokenizer>());
        Assert.Null(client.GetService(typeof(HeadInferModel), "key"));
        Assert.Null(client.GetService<string>());
    }
}
