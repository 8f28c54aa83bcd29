using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using HeadInfer.Tool.Serving;
using HeadInfer.Runtime;
using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>More callers than the model can serve, readers that do not read, and callers that may not share.</summary>
public sealed class LoadTests
{
    private const string Ask = """{"messages":[{"role":"user","content":"x"}]}""", AskStream = """{"messages":[{"role":"user","content":"x"}],"stream":true}""";

    [Theory]
    [InlineData(Ask)]
    [InlineData(AskStream)]
    public async Task A_full_queue_and_a_passed_deadline_say_when_to_come_again(string ask)
    {
        Exception error = new QueueFullException("7 requests wait, as many as HeadInferOptions.MaxQueuedRequests allows.");
        await using var server = await ScriptedClient.ServeAsync((_, _, _) => throw error);
        using var full = await server.PostAsync(RunningServer.Json(ask));
        Assert.Equal(HttpStatusCode.TooManyRequests, full.StatusCode);
        Assert.InRange(full.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 1, 60);
        Assert.Equal(
            """{"error":{"message":"7 requests wait, as many as --max-queued-requests allows.","type":"requests","param":null,"code":"rate_limit_exceeded"}}""", await full.Content.ReadAsStringAsync());
        error = new TimeoutException();
        using var late = await server.PostAsync(RunningServer.Json(ask));
        Assert.Equal(HttpStatusCode.GatewayTimeout, late.StatusCode);
        Assert.NotNull(late.Headers.RetryAfter);
        Assert.Contains("--deadline", await late.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task One_more_than_the_queue_holds_is_refused_and_the_others_are_answered(bool stream)
    {
        // Room for one conversation: a second one waits, and a third finds the queue full.
        MemoryPlan plan;
        await using (var model = await HeadInferModel.LoadAsync(RunningServer.Model, new HeadInferOptions { MaxContextTokens = 3000 }))
        {
            plan = model.Plan;
        }

        var memory = plan.HostBudget - plan.KvBudget + plan.KvFor(3000);
        await using var server = await RunningServer.StartAsync("--max-queued-requests", "1", "--max-context", "3000", "--host-memory", $"{memory.Bytes}B");
        async Task<(HttpStatusCode Status, TimeSpan? Retry, string Body)> AskAsync(string name)
        {
            using var response = await server.PostAsync(RunningServer.Json(stream ? Long(name)[..^1] + ""","stream":true}""" : Long(name)));
            return (response.StatusCode, response.Headers.RetryAfter?.Delta, await response.Content.ReadAsStringAsync());
        }

        var statuses = new List<(HttpStatusCode Status, TimeSpan? Retry, string Body)>();
        for (var burst = 0; burst < 50 && !statuses.Exists(s => s.Status == HttpStatusCode.TooManyRequests); burst++)
        {
            statuses.AddRange(await Task.WhenAll(Enumerable.Range(0, 6).Select(i => AskAsync($"{burst} {i}"))));
        }

        Assert.All(statuses, s => Assert.True(s.Status is HttpStatusCode.OK or HttpStatusCode.TooManyRequests && !s.Body.Contains("data: {\"error\"", StringComparison.Ordinal), s.Body));
        Assert.Contains(statuses, s => s.Status == HttpStatusCode.OK);
        var full = statuses.First(s => s.Status == HttpStatusCode.TooManyRequests);
        Assert.NotNull(full.Retry);
        Assert.Equal("rate_limit_exceeded", JsonElement.Parse(full.Body).GetProperty("error").GetProperty("code").GetString());
        Assert.Equal(HttpStatusCode.OK, (await server.AskAsync(Ask)).Status); // and goes on
    }

    // Some at once are made ready, and no more: each takes a processor and memory. Those who wait for their turn with the model are ready.
    [Fact]
    public async Task As_many_are_made_ready_at_once_as_there_is_room_for()
    {
        var (most, gate, running, greatest) = (Math.Max(1, Environment.ProcessorCount / 2), new Lock(), 0, 0);
        async IAsyncEnumerable<ChatResponseUpdate> Answer([EnumeratorCancellation] CancellationToken cancellationToken)
        {
            lock (gate)
            {
                greatest = Math.Max(greatest, ++running);
            }

            await Task.Delay(100, cancellationToken); // leaves its thread, as HeadInfer's own client does
            lock (gate)
            {
                running--;
            }

            foreach (var update in ScriptedClient.Answer(new TextContent("Hello")))
            {
                yield return update;
            }
        }

        await using var server = await ScriptedClient.ServeAsync((_, _, token) => Answer(token));
        Assert.All(await Task.WhenAll(Enumerable.Range(0, 3 * most).Select(i => server.AskAsync(Ask))), a => Assert.Equal(HttpStatusCode.OK, a.Status));
        Assert.InRange(greatest, 1, most);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Who_has_a_place_in_the_queue_keeps_nobody_from_being_made_ready(bool stream)
    {
        var (count, begun, all) = (Environment.ProcessorCount + 1, 0, new TaskCompletionSource());
        async IAsyncEnumerable<ChatResponseUpdate> Answer(ChatOptions options, [EnumeratorCancellation] CancellationToken cancellationToken)
        {
            StreamTests.Progress(options).Report(new PrefillProgress(100, 0, TimeSpan.Zero) { Place = 1 });
            if (Interlocked.Increment(ref begun) == count)
            {
                all.SetResult();
            }

            await all.Task.WaitAsync(cancellationToken);
            foreach (var update in ScriptedClient.Answer(new TextContent("Hello")))
            {
                yield return update;
            }
        }

        await using var server = await ScriptedClient.ServeAsync((_, options, token) => Answer(options, token));
        var answers = await Task.WhenAll(Enumerable.Range(0, count).Select(async i =>
        {
            using var response = await server.PostAsync(RunningServer.Json(stream ? AskStream : Ask));
            return await response.Content.ReadAsStringAsync();
        })).WaitAsync(TimeSpan.FromMinutes(1));
        Assert.All(answers, a => Assert.Contains("Hello", a, StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_answer_that_does_not_begin_in_time_is_given_up()
    {
        await using var server = await RunningServer.StartAsync("--deadline", "0.001");
        var (status, body) = await server.AskAsync(Long("late"));
        Assert.Equal((HttpStatusCode.GatewayTimeout, "timeout"), (status, body.GetProperty("error").GetProperty("code").GetString()));
    }

    // Those that are made ready take longer than the deadline, and one more waits for that alone.
    [Theory]
    [InlineData(Ask)]
    [InlineData(AskStream)]
    public async Task Who_waits_to_be_made_ready_is_given_up_in_time_too(string ask)
    {
        var (most, made, full, gate) = (Math.Max(1, Environment.ProcessorCount / 2), 0, new TaskCompletionSource(), new TaskCompletionSource());
        async IAsyncEnumerable<ChatResponseUpdate> Answer()
        {
            if (Interlocked.Increment(ref made) == most)
            {
                full.SetResult();
            }

            await gate.Task;
            yield break;
        }

        await using var server = await ScriptedClient.ServeAsync((_, _, _) => Answer(), new Patience(TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(1), TimeSpan.FromSeconds(10))); // within which the others must begin
        var others = Enumerable.Range(0, most).Select(_ => server.PostAsync(RunningServer.Json(ask))).ToList();
        await full.Task.WaitAsync(TimeSpan.FromMinutes(1));
        using var late = await server.PostAsync(RunningServer.Json(ask)).WaitAsync(TimeSpan.FromMinutes(1));
        Assert.Equal(HttpStatusCode.GatewayTimeout, late.StatusCode);
        gate.SetResult();
        foreach (var response in await Task.WhenAll(others))
        {
            Assert.Equal(HttpStatusCode.GatewayTimeout, response.StatusCode);
            response.Dispose();
        }

        Assert.Equal(most, made);
    }

    [Fact]
    public async Task The_time_of_a_request_begins_when_it_comes()
    {
        var asked = 0;
        await using var server = await ScriptedClient.ServeAsync((_, _, _) => ScriptedClient.Answer(new TextContent($"{asked++}")).ToAsyncEnumerable(), new Patience(TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(1), TimeSpan.FromMilliseconds(50)));
        server.Http.DefaultRequestHeaders.ExpectContinue = true; // the body is sent when the server begins to read it, however late that is
        using var response = await server.PostAsync(new SlowContent(Encoding.UTF8.GetBytes(Ask), TimeSpan.FromMilliseconds(200)));
        Assert.Equal((HttpStatusCode.GatewayTimeout, 0), (response.StatusCode, asked));
    }

    [Fact]
    public async Task What_is_late_already_does_not_begin()
    {
        var asked = 0;
        await using var server = await ScriptedClient.ServeAsync((_, _, _) => ScriptedClient.Answer(new TextContent($"{asked++}")).ToAsyncEnumerable(), new Patience(TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(1), TimeSpan.Zero));
        for (var i = 0; i < 50; i++)
        {
            Assert.Equal((HttpStatusCode.GatewayTimeout, 0), ((await server.AskAsync(Ask)).Status, asked));
        }
    }

    [Fact]
    public async Task A_reader_that_stops_reading_is_cut_off_and_costs_nobody_else()
    {
        var ended = new TaskCompletionSource();
        async IAsyncEnumerable<ChatResponseUpdate> Answer(IReadOnlyList<ChatMessage> messages, [EnumeratorCancellation] CancellationToken cancellationToken)
        {
            if (messages[0].Text == "short")
            {
                yield return ScriptedClient.Answer(new TextContent("Hello")).First();
                yield break;
            }

            try
            {
                // More than all buffers on the way.
                while (true)
                {
                    await Task.Yield();
                    cancellationToken.ThrowIfCancellationRequested();
                    yield return ScriptedClient.Answer(new TextContent(new string('x', 100_000))).First();
                }
            }
            finally
            {
                ended.TrySetResult();
            }
        }

        await using var server = await ScriptedClient.ServeAsync((messages, _, token) => Answer(messages, token), new Patience(TimeSpan.FromSeconds(1), TimeSpan.FromMilliseconds(300)));
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4096 };
        await socket.ConnectAsync(server.Address.Host, server.Address.Port);
        await socket.SendAsync(Encoding.ASCII.GetBytes($"POST /v1/chat/completions HTTP/1.1\r\nHost: {server.Address.Authority}\r\nContent-Type: application/json\r\nContent-Length: {AskStream.Length}\r\n\r\n{AskStream}"));
        Assert.Equal(HttpStatusCode.OK, (await server.AskAsync("""{"messages":[{"role":"user","content":"short"}]}""")).Status);
        await ended.Task.WaitAsync(TimeSpan.FromMinutes(1)); // Kestrel's own patience with so much unread is longer

        // What was on its way comes, and then the connection is gone.
        var buffer = new byte[1 << 16];
        await Assert.ThrowsAnyAsync<SocketException>(async () =>
        {
            while (await socket.ReceiveAsync(buffer) > 0)
            {
            }

            throw new SocketException((int)SocketError.ConnectionReset); // closed is as good as reset
        });
        Assert.Equal(HttpStatusCode.OK, (await server.AskAsync("""{"messages":[{"role":"user","content":"short"}]}""")).Status);
    }

    [Fact]
    public async Task Each_key_is_a_caller_of_its_own()
    {
        await using var server = await RunningServer.StartAsync("--api-key", "second", "--api-key", "third");
        async Task<int> Known(string key)
        {
            server.Http.DefaultRequestHeaders.Remove("Authorization");
            server.Http.DefaultRequestHeaders.Add("Authorization", "Bearer " + key);
            var (status, body) = await server.AskAsync(Long("same"));
            return status == HttpStatusCode.OK ? body.GetProperty("usage").GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32() : -(int)status;
        }

        Assert.Equal(0, await Known(RunningServer.Key));
        Assert.Equal(0, await Known("second"));
        Assert.True(await Known("second") > 100);
        Assert.True(await Known(RunningServer.Key) > 100);
        Assert.Equal(0, await Known("third"));
        Assert.Equal(-401, await Known("fourth"));
    }

    private static string Long(string name) => $$"""{"messages":[{"role":"user","content":"{{name}} {{string.Concat(Enumerable.Repeat("The access code for the old harbor is amber-4821. ", 80))}}"}],"max_tokens":4}""";

    /// <summary>A body whose second half comes after a while.</summary>
    private sealed class SlowContent : HttpContent
    {
        private readonly byte[] _bytes;
        private readonly TimeSpan _wait;

        public SlowContent(byte[] bytes, TimeSpan wait)
        {
            (_bytes, _wait) = (bytes, wait);
            Headers.ContentType = new("application/json");
        }

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            await stream.WriteAsync(_bytes.AsMemory(0, _bytes.Length / 2));
            await stream.FlushAsync();
            await Task.Delay(_wait);
            await stream.WriteAsync(_bytes.AsMemory(_bytes.Length / 2));
        }

        protected override bool TryComputeLength(out long length)
        {
            length = _bytes.Length;
            return true;
        }
    }
}
