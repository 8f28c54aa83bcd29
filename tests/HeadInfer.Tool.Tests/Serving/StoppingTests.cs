using System.Diagnostics;
using System.Text;
using HeadInfer.Tool.Serving;
using Microsoft.AspNetCore.Http;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>How a server ends.</summary>
public sealed class StoppingTests
{
    [Fact]
    public async Task Answers_under_way_end_and_new_ones_are_refused()
    {
        var (stopping, answer) = (new Stopping(TimeSpan.FromMinutes(1)), new TaskCompletionSource());
        var running = stopping.PassAsync(new DefaultHttpContext(), _ => answer.Task);
        var stopped = stopping.StoppingAsync(CancellationToken.None);
        Assert.Equal((false, true, 1), (stopped.IsCompleted, stopping.IsStopping, stopping.Running));
        var late = new DefaultHttpContext();
        await stopping.PassAsync(late, _ => throw new InvalidOperationException("It was let in."));
        Assert.Equal((503, "close"), (late.Response.StatusCode, late.Response.Headers.Connection.ToString()));
        answer.SetResult();
        await running;
        await stopped;
        Assert.Equal(0, stopping.Running);
    }

    [Fact]
    public async Task What_takes_too_long_is_not_waited_for()
    {
        var stopping = new Stopping(TimeSpan.FromMilliseconds(1));
        _ = stopping.PassAsync(new DefaultHttpContext(), _ => new TaskCompletionSource().Task);
        await stopping.StoppingAsync(CancellationToken.None);
        await new Stopping(TimeSpan.FromMinutes(1)).StoppingAsync(CancellationToken.None); // nobody is answered
    }

    [Theory]
    [InlineData("TERM", 0)]
    [InlineData("INT", 130)]
    public async Task A_signal_ends_the_tool_when_its_answer_is_whole(string signal, int code)
    {
        // Some hundred tokens, whatever the model thinks.
        await using var run = await Run.StartAsync("/v1/chat/completions", """{"messages":[{"role":"user","content":"x"}],"stream":true,"max_tokens":2000,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"array","items":{"const":1},"minItems":300,"maxItems":300}}}}""");
        await run.SignalAsync(signal);
        Assert.EndsWith("data: [DONE]\n\n", await run.Answer.ReadToEndAsync(), StringComparison.Ordinal);
        Assert.Equal(code, await run.EndAsync());
    }

    [Theory]
    [InlineData("TERM")]
    [InlineData("INT")]
    public async Task A_second_signal_ends_the_tool_at_once(string signal)
    {
        await using var run = await Run.StartAsync("/v1/completions", """{"prompt":"The access code for the old harbor","stream":true,"max_tokens":30000}""");
        await run.SignalAsync(signal);
        string? line;
        do
        {
            line = await run.Process.StandardError.ReadLineAsync();
        }
        while (line is not null && !line.StartsWith("Waiting up to 600 s for 1 request to end.", StringComparison.Ordinal));
        Assert.Contains("Ctrl-C again", line, StringComparison.Ordinal);
        await run.SignalAsync(signal);
        Assert.Equal(130, await run.EndAsync());
        var rest = "";
        try
        {
            rest = await run.Answer.ReadToEndAsync();
        }
        catch (IOException)
        {
            // it is broken off
        }

        Assert.DoesNotContain("[DONE]", rest, StringComparison.Ordinal);
    }

    /// <summary>The tool while it answers.</summary>
    private sealed class Run(Process process, HttpClient http, HttpResponseMessage response, StreamReader answer) : IAsyncDisposable
    {
        public Process Process => process;

        public StreamReader Answer => answer;

        /// <summary>Starts it, and asks until the answer has begun.</summary>
        public static async Task<Run> StartAsync(string path, string ask)
        {
            Assert.SkipWhen(OperatingSystem.IsWindows(), "There are no signals.");
            var process = Tool.Start([], "serve", RunningServer.Model, "--urls", "http://127.0.0.1:0", "--stop-timeout", "600");
            string? line;
            do
            {
                line = await process.StandardOutput.ReadLineAsync();
            }
            while (line is not null && !line.Contains("Now listening on: ", StringComparison.Ordinal));
            _ = process.StandardOutput.ReadToEndAsync();
            var http = new HttpClient { BaseAddress = new Uri(line![(line!.LastIndexOf(' ') + 1)..]) };
            using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(ask, Encoding.UTF8, "application/json") };
            var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            var answer = new StreamReader(await response.Content.ReadAsStreamAsync());
            while (await answer.ReadLineAsync() is { } first && !first.StartsWith("data: ", StringComparison.Ordinal))
            {
            }

            return new Run(process, http, response, answer);
        }

        public async Task SignalAsync(string name)
        {
            Assert.SkipWhen(name == "INT" && IsInterruptIgnored(), "SIGINT is ignored here, as in what a shell starts in the background, and so it is in what is started from here.");
            using var kill = Process.Start("kill", [$"-{name}", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
            await kill.WaitForExitAsync();
        }

        // The second bit of what the kernel says is ignored.
        private static bool IsInterruptIgnored() => File.Exists("/proc/self/status")
            && File.ReadLines("/proc/self/status").FirstOrDefault(l => l.StartsWith("SigIgn:", StringComparison.Ordinal)) is { } line && (Convert.ToUInt64(line["SigIgn:".Length..].Trim(), 16) & 2) != 0;

        /// <returns>the exit code</returns>
        public async Task<int> EndAsync()
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
            await process.WaitForExitAsync(limit.Token);
            return process.ExitCode;
        }

        public ValueTask DisposeAsync()
        {
            if (!process.HasExited)
            {
                process.Kill();
            }

            answer.Dispose();
            response.Dispose();
            http.Dispose();
            process.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
