using System.Diagnostics;
using HeadInfer.Tool.Commands;
using HeadInfer.Tool.Serving;
using HeadInfer.SemanticKernel;
using Microsoft.AspNetCore.Builder;

namespace HeadInfer.Hostile;

/// <summary>A request's body, sent to the chat server on the loopback.</summary>
internal static class RequestCase
{
    // Work that is shorter cannot be left in its midst.
    private const double WorthLeaving = 0.2;

    public static async Task<CaseResult> RunAsync(string file)
    {
        var body = await File.ReadAllBytesAsync(file);
        var result = await SendAsync(body);
        return result.Seconds < WorthLeaving || result.Outcome == "FAIL" ? result : result with { SecondsToCancel = await LeaveAsync(body, TimeSpan.FromSeconds(result.Seconds / 2)) };
    }

    private static async Task<CaseResult> SendAsync(byte[] body)
    {
        await using var app = await StartAsync();
        using var http = new HttpClient { BaseAddress = new Uri(app.Urls.First()) };
        await AnswerAsync(http, """{"messages": [{"role": "user", "content": "hi"}], "response_format": {"type": "json_object"}, "max_tokens": 8}"""u8.ToArray(), default); // so that start-up is not counted

        // An answer's activity starts when its prompt is about to be read.
        var reading = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var leave = new CancellationTokenSource();
        var measured = new Measured();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == HeadInferTelemetry.Name,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStarted = _ =>
            {
                measured.Stop();
                reading.TrySetResult();
            },
        };
        ActivitySource.AddActivityListener(listener);
        try
        {
            var answer = AnswerAsync(http, body, leave.Token);
            if (await Task.WhenAny(answer, reading.Task) == reading.Task)
            {
                await leave.CancelAsync();
                return new CaseResult("ok", measured.Seconds, measured.MiB, 0, 0, "read");
            }

            measured.Stop();
            var (status, text) = await answer;
            return new CaseResult(status >= 500 ? "FAIL" : status >= 400 || text.Contains("\"error\"", StringComparison.Ordinal) ? "refused" : "ok", measured.Seconds, measured.MiB, 0, 0, $"{status} {text}");
        }
        catch (Exception e)
        {
            return HostileCase.Ended(measured, e);
        }
    }

    // Sends it once more, to a server that has not seen it, and leaves amid the work. Seconds from then to the end of the work.
    private static async Task<double> LeaveAsync(byte[] body, TimeSpan patience)
    {
        var (ended, clock) = (new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously), new Stopwatch());
        await using var app = await StartAsync();
        using var http = new HttpClient { BaseAddress = new Uri(app.Urls.First()) };
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Microsoft.AspNetCore",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = _ => ended.TrySetResult(),
        };
        ActivitySource.AddActivityListener(listener);
        using var leave = new CancellationTokenSource(patience);
        leave.Token.Register(clock.Start);
        try
        {
            await AnswerAsync(http, body, leave.Token);
        }
        catch (OperationCanceledException)
        {
            await ended.Task;
        }

        return clock.Elapsed.TotalSeconds;
    }

    private static async Task<WebApplication> StartAsync()
    {
        var app = Server.Build(ServeCommand.Read(HostileCase.DemoModel, "--urls", "http://127.0.0.1:0"));
        await app.StartAsync();
        return app;
    }

    // A stream sends its headers before it knows whether it can answer, so the text is waited for.
    private static async Task<(int Status, string Text)> AnswerAsync(HttpClient http, byte[] body, CancellationToken cancellationToken)
    {
        using var content = new ByteArrayContent(body) { Headers = { ContentType = new("application/json") } };
        using var response = await http.PostAsync("/v1/chat/completions", content, cancellationToken);
        return ((int)response.StatusCode, await response.Content.ReadAsStringAsync(cancellationToken));
    }
}
