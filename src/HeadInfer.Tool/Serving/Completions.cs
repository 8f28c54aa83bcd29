using System.Globalization;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.SemanticKernel;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Serving;

/// <summary>How long whom is waited for.</summary>
/// <param name="KeepAlive">between the comments of a stream that waits</param>
/// <param name="Write">for a reader to take what it is sent</param>
/// <param name="Beginning">for an answer to begin; null waits as long as it takes</param>
internal sealed record Patience(TimeSpan KeepAlive, TimeSpan Write, TimeSpan? Beginning = null);

/// <summary>Answers chat completions, whole or as a stream.</summary>
/// <param name="client">the model's</param>
/// <param name="patience">how long whom is waited for</param>
/// <param name="logger">told of failures that are not the caller's</param>
internal sealed partial class Completions(IChatClient client, Patience patience, ILogger<Completions> logger) : IDisposable
{
    // Each that is made ready may take a processor and some hundred MiB for a second or two.
    private readonly SemaphoreSlim _makingReady = new(Math.Max(1, Environment.ProcessorCount / 2));

    public async Task AnswerAsync(HttpContext context)
    {
        try
        {
            var request = Requests.Read(await RequestJson.ReadAsync(context.Request, context.RequestAborted));
            if (Callers.CacheKey(context) is { } caller)
            {
                request.Options.WithCacheKey(caller);
            }

            if (patience.Beginning is { } most)
            {
                var deadline = DateTimeOffset.UtcNow + most;
                request.Options.RawRepresentationFactory = model => (model.GetService<HeadInferModel>()?.Defaults ?? new GenerationOptions()) with { Deadline = deadline };
            }

            await (request.Stream ? StreamAsync(context, request) : WholeAsync(context, request));
        }
        catch (OperationCanceledException e) when (e is ConnectionAbortedException || context.RequestAborted.IsCancellationRequested)
        {
            // The caller has gone, and nobody else waits for the answer.
        }
        catch (Exception e) when (!context.Response.HasStarted)
        {
            await Told(e).SendAsync(context);
        }
    }

    public void Dispose() => _makingReady.Dispose();

    private async Task WholeAsync(HttpContext context, Request request)
    {
        await using var updates = await BeginAsync(request, context.RequestAborted);
        var all = new List<ChatResponseUpdate>();
        while (await updates.Next)
        {
            all.Add(updates.Take());
        }

        await context.Response.WriteAsJsonAsync(Answers.Whole(all.ToChatResponse()), Wire.Json, context.RequestAborted);
    }

    // Whatever can be refused by then is refused with a status of its own; the headers go before the model reads, or waits for its turn.
    private async Task StreamAsync(HttpContext context, Request request)
    {
        var reading = new Reading();
        request.Options.WithPrefillProgress(reading);
        await using var updates = await BeginAsync(request, context.RequestAborted);
        if (updates.Next.IsFaulted)
        {
            await updates.Next;
        }

        context.Response.ContentType = "text/event-stream";
        context.Response.Headers.CacheControl = "no-cache";
        var chunks = new Chunks(request.Usage);
        await SendAsync(context, reading.Comment);
        try
        {
            while (await NextAsync(context, updates, reading))
            {
                foreach (var chunk in chunks.Of(updates.Take()))
                {
                    await SendAsync(context, "data: " + JsonSerializer.Serialize(chunk, Wire.Json));
                }
            }
        }
        catch (Exception e) when (e is not ConnectionAbortedException && !context.RequestAborted.IsCancellationRequested)
        {
            // Some clients look at the event. Others see only that the answer breaks off, which it does when this goes on.
            await SendAsync(context, "data: " + JsonSerializer.Serialize(Told(e).Failure, Wire.Json));
            throw;
        }

        await SendAsync(context, "data: [DONE]");
    }

    private async Task<bool> NextAsync(HttpContext context, Updates updates, Reading reading)
    {
        while (!updates.Next.IsCompleted)
        {
            using var waited = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
            if (await Task.WhenAny(updates.Next, Task.Delay(patience.KeepAlive, waited.Token)) != updates.Next)
            {
                await SendAsync(context, reading.Comment);
            }

            await waited.CancelAsync();
        }

        return await updates.Next;
    }

    private async Task<Updates> BeginAsync(Request request, CancellationToken cancellationToken)
    {
        await _makingReady.WaitAsync(cancellationToken);
        try
        {
            return await Updates.BeginAsync(client, request, cancellationToken);
        }
        finally
        {
            _makingReady.Release();
        }
    }

    // A reader that stops reading may not hold its answer, and the memory of that, for ever.
    private async Task SendAsync(HttpContext context, string line)
    {
        using var late = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        late.CancelAfter(patience.Write);
        try
        {
            await context.Response.WriteAsync(line + "\n\n", late.Token);
            await context.Response.Body.FlushAsync(late.Token);
        }
        catch (OperationCanceledException) when (!context.RequestAborted.IsCancellationRequested)
        {
            LogSlowReader(patience.Write.TotalSeconds);
            context.Abort();
            throw new ConnectionAbortedException();
        }
    }

    private Refusal Told(Exception error)
    {
        var refusal = Refusal.Of(error);
        if (refusal.Status >= System.Net.HttpStatusCode.InternalServerError && error is not TimeoutException)
        {
            LogFailure(error);
        }

        return refusal;
    }

    [LoggerMessage(1, LogLevel.Error, "A request failed.")]
    private partial void LogFailure(Exception error);

    [LoggerMessage(2, LogLevel.Information, "A reader took nothing for {Seconds} s, and was cut off.")]
    private partial void LogSlowReader(double seconds);

    /// <summary>How far the reading of a prompt is, for a comment of the stream.</summary>
    private sealed class Reading : IProgress<PrefillProgress>
    {
        private volatile float _fraction;

        public string Comment => _fraction switch
        {
            0 => ": waiting",
            >= 1 => ": writing",
            _ => string.Create(CultureInfo.InvariantCulture, $": reading {_fraction * 100:F0}%"),
        };

        public void Report(PrefillProgress value) => _fraction = (float)value.Fraction;
    }
}
