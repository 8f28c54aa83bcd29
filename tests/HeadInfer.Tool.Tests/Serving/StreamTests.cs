using System.Net;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.Tool.Serving;
using Microsoft.Extensions.AI;
using OpenAI.Chat;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>Streams of the server, as they are on the wire, and as OpenAI's client for .NET sees them.</summary>
public sealed class StreamTests
{
    private const string Ask = """{"messages":[{"role":"user","content":"x"}],"stream":true}""";

    [Fact]
    public async Task Headers_and_comments_come_while_nothing_is_said_yet()
    {
        var (read, say) = (new TaskCompletionSource(), new TaskCompletionSource());
        async IAsyncEnumerable<ChatResponseUpdate> Answer(IReadOnlyList<Microsoft.Extensions.AI.ChatMessage> messages, ChatOptions options, [EnumeratorCancellation] CancellationToken cancellationToken)
        {
            await read.Task.WaitAsync(cancellationToken);
            Progress(options).Report(new PrefillProgress(100, 0.42, TimeSpan.Zero));
            await say.Task.WaitAsync(cancellationToken);
            foreach (var update in ScriptedClient.Answer(new TextContent("Hello")))
            {
                yield return update;
            }
        }

        await using var server = await ScriptedClient.ServeAsync(Answer, ScriptedClient.Restless);
        var (comments, data) = (new List<string>(), new List<string>());
        await foreach (var line in server.LinesAsync(Ask))
        {
            (line.StartsWith(':') ? comments : data).Add(line);
            if (comments.Count == 3)
            {
                read.TrySetResult();
            }

            if (line == ": reading 42%")
            {
                say.TrySetResult();
            }
        }

        Assert.Equal([": waiting", ": waiting", ": waiting"], comments.Take(3));
        Assert.Contains(": reading 42%", comments);
        Assert.Equal("data: [DONE]", data[^1]);
    }

    [Fact]
    public async Task Events_tell_of_the_reading_to_who_asks_for_them()
    {
        var say = new TaskCompletionSource();
        async IAsyncEnumerable<ChatResponseUpdate> Answer(IReadOnlyList<Microsoft.Extensions.AI.ChatMessage> messages, ChatOptions options, [EnumeratorCancellation] CancellationToken cancellationToken)
        {
            Progress(options).Report(new PrefillProgress(100, 0.25, TimeSpan.FromSeconds(2)));
            await say.Task.WaitAsync(cancellationToken);
            foreach (var update in ScriptedClient.Answer(new TextContent("Hello")))
            {
                yield return update;
            }
        }

        await using var server = await ScriptedClient.ServeAsync(Answer);
        var lines = new List<string>();
        await foreach (var line in server.LinesAsync("""{"messages":[{"role":"user","content":"x"}],"stream":true,"stream_options":{"include_progress":true}}"""))
        {
            lines.Add(line);
            say.TrySetResult();
        }

        Assert.Equal(["event: progress", """data: {"state":"reading","tokens":100,"fraction":0.25,"elapsed_seconds":2,"remaining_seconds":6}"""], lines.Take(2));
        Assert.DoesNotContain(lines, l => l.StartsWith(':'));
        Assert.Equal("data: [DONE]", lines[^1]);
    }

    [Fact]
    public async Task Chunks_say_who_speaks_once_and_have_a_reason_from_the_first_to_the_last()
    {
        await using var server = await ScriptedClient.ServeAsync([], new TextContent("He"), new TextContent("llo"), new FunctionCallContent("c1", "f", new Dictionary<string, object?> { ["a"] = 1 }), new FunctionCallContent("c2", "g"));
        var chunks = await ChunksAsync(server, """{"messages":[{"role":"user","content":"x"}],"stream":true,"stream_options":{"include_usage":true}}""");
        Assert.Equal(
            [
                """{"role":"assistant","content":""} null""",
                """{"content":"He"} null""",
                """{"content":"llo"} null""",
                """{"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"},"index":0}]} null""",
                """{"tool_calls":[{"id":"c2","type":"function","function":{"name":"g","arguments":"{}"},"index":1}]} null""",
                """{} "tool_calls" """.TrimEnd(),
            ],
            chunks.Take(6).Select(c => c.GetProperty("choices")[0]).Select(c => $"{c.GetProperty("delta")} {c.GetProperty("finish_reason").GetRawText()}"));
        Assert.Equal((7, 0, 5), (chunks.Count, chunks[6].GetProperty("choices").GetArrayLength(), chunks[6].GetProperty("usage").GetProperty("total_tokens").GetInt32()));
        Assert.All(chunks, c => Assert.Equal(("chatcmpl-r", "chat.completion.chunk", "scripted", 0), (c.GetProperty("id").GetString(), c.GetProperty("object").GetString(), c.GetProperty("model").GetString(), c.GetProperty("created").GetInt64())));
        Assert.Equal(6, (await ChunksAsync(server, Ask)).Count); // usage is not wanted
    }

    [Fact]
    public async Task An_error_after_the_headers_is_an_event_and_breaks_the_answer_off()
    {
        static async IAsyncEnumerable<ChatResponseUpdate> Answer([EnumeratorCancellation] CancellationToken cancellationToken)
        {
            await Task.Yield();
            yield return ScriptedClient.Answer(new TextContent("Hello")).First();
            throw new MemoryBudgetException("Raise HeadInferOptions.HostMemory or shorten the prompt.");
        }

        await using var server = await ScriptedClient.ServeAsync((_, _, token) => Answer(token));
        var lines = new List<string>();
        await Assert.ThrowsAsync<HttpIOException>(async () =>
        {
            await foreach (var line in server.LinesAsync(Ask))
            {
                lines.Add(line);
            }
        });
        Assert.Equal("""data: {"error":{"message":"Raise --host-memory or shorten the prompt.","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}""", lines[^1]);

        var text = "";
        await Assert.ThrowsAnyAsync<Exception>(async () =>
        {
            await foreach (var update in server.Client().CompleteChatStreamingAsync([new UserChatMessage("x")]))
            {
                text += string.Concat(update.ContentUpdate.Select(p => p.Text));
            }
        });
        Assert.Equal("Hello", text);
    }

    [Theory]
    [InlineData(Ask)]
    [InlineData("""{"messages":[{"role":"user","content":"x"}]}""")]
    public async Task What_goes_wrong_at_once_has_a_status(string ask)
    {
        await using var refusing = await ScriptedClient.ServeAsync((_, _, _) => throw new ArgumentException("ChatOptions.ToolMode requires a function call, and ChatOptions.Tools has no function.", nameof(ask)));
        var (status, body) = await refusing.AskAsync(ask);
        Assert.Equal((400, "tool_choice requires a function call, and tools has no function."), ((int)status, body.GetProperty("error").GetProperty("message").GetString()));

        await using var failing = await ScriptedClient.ServeAsync((_, _, _) => throw new InvalidOperationException("secret"));
        (status, body) = await failing.AskAsync(ask);
        Assert.Equal((500, "The server failed."), ((int)status, body.GetProperty("error").GetProperty("message").GetString()));

        static async IAsyncEnumerable<ChatResponseUpdate> TooLong()
        {
            await Task.CompletedTask;
            throw new ContextLengthException("9 tokens are too many.");
#pragma warning disable CS0162 // an iterator needs one
            yield break;
#pragma warning restore CS0162
        }

        await using var small = await ScriptedClient.ServeAsync((_, _, _) => TooLong());
        (status, body) = await small.AskAsync(ask);
        Assert.Equal((400, "context_length_exceeded"), ((int)status, body.GetProperty("error").GetProperty("code").GetString()));
    }

    // As HeadInfer's own client fails, which makes a request ready on another thread.
    [Theory]
    [InlineData("/v1/chat/completions", Ask)]
    [InlineData("/v1/chat/completions", """{"messages":[{"role":"user","content":"x"}],"stream":true,"stream_options":{"include_progress":true}}""")]
    [InlineData("/v1/completions", """{"prompt":"x","stream":true}""")]
    [InlineData("/v1/responses", """{"input":"x","stream":true}""")]
    [InlineData("/api/chat", """{"messages":[{"role":"user","content":"x"}]}""")]
    [InlineData("/api/generate", """{"prompt":"x"}""")]
    public async Task What_goes_wrong_before_the_reading_has_a_status(string path, string ask)
    {
        static async IAsyncEnumerable<ChatResponseUpdate> Full()
        {
            await Task.Delay(50);
            throw new QueueFullException("7 requests wait.");
#pragma warning disable CS0162 // an iterator needs one
            yield break;
#pragma warning restore CS0162
        }

        await using var server = await ScriptedClient.ServeAsync((_, _, _) => Full(), new Patience(TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(1)));
        using var full = await server.PostAsync(RunningServer.Json(ask), path);
        Assert.Equal((HttpStatusCode.TooManyRequests, "application/json"), (full.StatusCode, full.Content.Headers.ContentType?.MediaType));
        Assert.NotNull(full.Headers.RetryAfter);
        Assert.Contains("7 requests wait.", await full.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("waiting")]
    [InlineData("reading")]
    public async Task Headers_come_with_a_place_in_the_queue(string state)
    {
        var say = new TaskCompletionSource();
        async IAsyncEnumerable<ChatResponseUpdate> Answer(ChatOptions options, [EnumeratorCancellation] CancellationToken cancellationToken)
        {
            await Task.Yield();
            Progress(options).Report(new PrefillProgress(100, 0, TimeSpan.Zero) { Place = state == "waiting" ? 1 : 0 });
            await say.Task.WaitAsync(cancellationToken);
            foreach (var update in ScriptedClient.Answer(new TextContent("Hello")))
            {
                yield return update;
            }
        }

        await using var server = await ScriptedClient.ServeAsync((_, options, token) => Answer(options, token), new Patience(TimeSpan.FromMinutes(5), TimeSpan.FromMinutes(1)));
        using var response = await server.PostAsync(RunningServer.Json(Ask)).WaitAsync(TimeSpan.FromMinutes(1));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        say.SetResult();
        Assert.EndsWith("data: [DONE]\n\n", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Work_ends_when_the_caller_leaves(bool stream)
    {
        var (begun, ended) = (new TaskCompletionSource(), new TaskCompletionSource());
        async IAsyncEnumerable<ChatResponseUpdate> Answer([EnumeratorCancellation] CancellationToken cancellationToken)
        {
            try
            {
                begun.SetResult();
                await Task.Delay(Timeout.Infinite, cancellationToken);
                yield break;
            }
            finally
            {
                ended.SetResult();
            }
        }

        await using var server = await ScriptedClient.ServeAsync((_, _, token) => Answer(token), ScriptedClient.Restless);
        using var leave = new CancellationTokenSource();
        var asked = server.PostAsync(RunningServer.Json(stream ? Ask : """{"messages":[{"role":"user","content":"x"}]}"""), cancellationToken: leave.Token);
        await begun.Task.WaitAsync(TimeSpan.FromMinutes(1));
        if (stream)
        {
            (await asked).Dispose();
        }

        await leave.CancelAsync();
        await ended.Task.WaitAsync(TimeSpan.FromMinutes(1));
    }

    [Fact]
    public async Task Making_ready_ends_when_the_caller_leaves()
    {
        var (begun, ended) = (new TaskCompletionSource(), new TaskCompletionSource());
        await using var server = await ScriptedClient.ServeAsync((_, _, token) =>
        {
            begun.TrySetResult();
            token.WaitHandle.WaitOne(TimeSpan.FromMinutes(1)); // holds its thread, as a schema does
            if (token.IsCancellationRequested)
            {
                ended.TrySetResult();
            }

            throw new OperationCanceledException(token);
        });
        using var leave = new CancellationTokenSource();
        var asked = server.PostAsync(RunningServer.Json(Ask), cancellationToken: leave.Token);
        await begun.Task.WaitAsync(TimeSpan.FromMinutes(1));
        await leave.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asked);
        await ended.Task.WaitAsync(TimeSpan.FromMinutes(1));
    }

    [Fact]
    public async Task Openai_reads_a_stream_of_text_and_calls()
    {
        await using var server = await ScriptedClient.ServeAsync([], new TextContent("Hello"), new FunctionCallContent("c1", "f", new Dictionary<string, object?> { ["a"] = 1 }));
        var (text, calls, roles, reason) = ("", new List<string>(), new List<ChatMessageRole>(), (OpenAI.Chat.ChatFinishReason?)null);
        await foreach (var update in server.Client().CompleteChatStreamingAsync([new UserChatMessage("x")]))
        {
            text += string.Concat(update.ContentUpdate.Select(p => p.Text));
            calls.AddRange(update.ToolCallUpdates.Select(c => $"{c.Index} {c.ToolCallId} {c.FunctionName} {c.FunctionArgumentsUpdate}"));
            roles.AddRange(update.Role is { } role ? [role] : []);
            reason = update.FinishReason ?? reason;
        }

        Assert.Equal(("Hello", OpenAI.Chat.ChatFinishReason.ToolCalls), (text, reason));
        Assert.Equal(["""0 c1 f {"a":1}"""], calls);
        Assert.Equal([ChatMessageRole.Assistant], roles);
    }

    private static async Task<List<JsonElement>> ChunksAsync(RunningServer server, string ask)
    {
        var chunks = new List<JsonElement>();
        await foreach (var line in server.LinesAsync(ask))
        {
            if (line.StartsWith("data: {", StringComparison.Ordinal))
            {
                chunks.Add(JsonElement.Parse(line["data: ".Length..]));
            }
        }

        return chunks;
    }

    // It travels in the factory of the raw representation, which shows it to no client but HeadInfer's own; this one stands in for that.
    internal static IProgress<PrefillProgress> Progress(ChatOptions options)
    {
        var factory = options.RawRepresentationFactory!.Target!;
        return factory.GetType().GetFields(BindingFlags.Instance | BindingFlags.NonPublic).Select(f => f.GetValue(factory)).OfType<IProgress<PrefillProgress>>().Single();
    }
}
