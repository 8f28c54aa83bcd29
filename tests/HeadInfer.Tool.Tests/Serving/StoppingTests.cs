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

    [Fact]
    public async Task A_signal_ends_the_tool_when_its_answer_is_whole()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "There are no signals.");
        using var process = Tool.Start([], "serve", RunningServer.Model, "--urls", "http://127.0.0.1:0");
        try
        {
            string? line;
            do
            {
                line = await process.StandardOutput.ReadLineAsync();
            }
            while (line is not null && !line.Contains("Now listening on: ", StringComparison.Ordinal));
            var rest = process.StandardOutput.ReadToEndAsync();
            using var http = new HttpClient { BaseAddress = new Uri(line![(line!.LastIndexOf(' ') + 1)..]) };

            // Some hundred tokens, whatever the model thinks.
            var ask = """{"messages":[{"role":"user","content":"x"}],"stream":true,"max_tokens":2000,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"array","items":{"const":1},"minItems":300,"maxItems":300}}}}""";
            using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions") { Content = new StringContent(ask, Encoding.UTF8, "application/json") };
            using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
            while (await reader.ReadLineAsync() is { } first && !first.StartsWith("data: ", StringComparison.Ordinal))
            {
            }

            using (var kill = Process.Start("kill", ["-TERM", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]))
            {
                await kill.WaitForExitAsync();
            }

            Assert.EndsWith("data: [DONE]\n\n", await reader.ReadToEndAsync(), StringComparison.Ordinal);
            using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
            await process.WaitForExitAsync(limit.Token);
            Assert.Equal(0, process.ExitCode);
            await rest;
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill();
            }
        }
    }
}
