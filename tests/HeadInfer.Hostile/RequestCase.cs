using System.Diagnostics;
using ChatServer;
using HeadInfer.SemanticKernel;

namespace HeadInfer.Hostile;

/// <summary>A request's body, sent to the chat server on the loopback.</summary>
internal static class RequestCase
{
    public static async Task<CaseResult> RunAsync(string file)
    {
        var body = await File.ReadAllBytesAsync(file);
        await using var app = Server.Build(["--model", HostileCase.DemoModel, "--urls", "http://127.0.0.1:0"]);
        await app.StartAsync();
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

    // A stream sends its headers before it knows whether it can answer, so the text is waited for.
    private static async Task<(int Status, string Text)> AnswerAsync(HttpClient http, byte[] body, CancellationToken cancellationToken)
    {
        using var content = new ByteArrayContent(body) { Headers = { ContentType = new("application/json") } };
        using var response = await http.PostAsync("/v1/chat/completions", content, cancellationToken);
        return ((int)response.StatusCode, await response.Content.ReadAsStringAsync(cancellationToken));
    }
}
