using HeadInfer.SemanticKernel;
using Microsoft.AspNetCore.Connections;

namespace HeadInfer.Tool.Serving;

/// <summary>How long whom is waited for.</summary>
/// <param name="KeepAlive">between the comments of a stream that waits</param>
/// <param name="Write">for a reader to take what it is sent</param>
/// <param name="Beginning">for an answer to begin; null waits as long as it takes</param>
internal sealed record Patience(TimeSpan KeepAlive, TimeSpan Write, TimeSpan? Beginning = null);

/// <summary>Answers requests of every wire format, whole or as a stream.</summary>
/// <param name="patience">how long whom is waited for</param>
/// <param name="logger">told of failures that are not the caller's</param>
internal sealed partial class Answering(Patience patience, ILogger<Answering> logger) : IDisposable
{
    // Each that is made ready may take a processor and some hundred MiB for a second or two.
    private readonly SemaphoreSlim _makingReady = new(Math.Max(1, Environment.ProcessorCount / 2));

    /// <param name="context">the request</param>
    /// <param name="read">what the request asks for, by its body</param>
    public Task AnswerAsync(HttpContext context, IChatClient client, Func<JsonElement, Request> read)
    {
        var deadline = DateTimeOffset.UtcNow + patience.Beginning; // from when it came, wherever it waits
        return GuardAsync(context, json => AnswerAsync(context, client, read(json) with { Deadline = deadline }));
    }

    private Task AnswerAsync(HttpContext context, IChatClient client, Request request)
    {
        if (Callers.CacheKey(context) is { } caller)
        {
            request.Options.WithCacheKey(caller);
        }

        if (request.Deadline is { } deadline)
        {
            request.Options.RawRepresentationFactory = model => (model.GetService<HeadInferModel>()?.Defaults ?? new GenerationOptions()) with { MaxTokens = null, Deadline = deadline };
        }

        client = request.By ?? client;
        return request.Messages.Count > 0 && request.Stream ? StreamAsync(context, client, request) : WholeAsync(context, client, request);
    }

    /// <summary>Reads a request and has it answered. What fails until the answer begins is refused.</summary>
    /// <param name="context">the request</param>
    /// <param name="answer">answers its body</param>
    public async Task GuardAsync(HttpContext context, Func<JsonElement, Task> answer)
    {
        try
        {
            await answer(await RequestJson.ReadAsync(context.Request, context.RequestAborted));
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

    private async Task WholeAsync(HttpContext context, IChatClient client, Request request)
    {
        var all = new List<ChatResponseUpdate>();
        if (request.Messages.Count > 0)
        {
            await using var updates = new Updates(client, request, new Reading(), _makingReady, context.RequestAborted);
            while (await updates.Next)
            {
                all.Add(updates.Take());
            }
        }

        var response = all.ToChatResponse();
        request.Answered?.Invoke(response);
        await context.Response.WriteAsJsonAsync(request.Format.Whole(response), Wire.Json, context.RequestAborted);
    }

    // What is refused before the request has its place in the queue is refused with a status of its own. No connection waits for
    // its headers longer than for anything else.
    private async Task StreamAsync(HttpContext context, IChatClient client, Request request)
    {
        var (reading, format, all) = (new Reading(), request.Format, new List<ChatResponseUpdate>());
        await using var updates = new Updates(client, request, reading, _makingReady, context.RequestAborted);
        await AnyAsync(context, patience.KeepAlive, updates.Next, reading.Begun);
        if (updates.Next is { IsCompleted: true, IsCompletedSuccessfully: false })
        {
            await updates.Next;
        }

        context.Response.ContentType = format.ContentType;
        context.Response.Headers.CacheControl = "no-cache";
        await SendAsync(context, [.. format.Begin(), format.Waiting(reading)]);
        try
        {
            while (await NextAsync(context, updates, format, reading))
            {
                var update = updates.Take();
                if (request.Answered is not null)
                {
                    all.Add(update);
                }

                await SendAsync(context, format.Of(update));
            }
        }
        catch (Exception e) when (e is not ConnectionAbortedException && !context.RequestAborted.IsCancellationRequested)
        {
            // Where the format has no end for it, some clients look at the event. Others see only that the answer breaks off, which it
            // does when this goes on. A client that knows the end would lose its message by that.
            await SendAsync(context, [format.Failed(Told(e))]);
            if (format.EndsByFailure)
            {
                return;
            }

            throw;
        }

        request.Answered?.Invoke(all.ToChatResponse());
        await SendAsync(context, format.End());
    }

    private async Task<bool> NextAsync(HttpContext context, Updates updates, IAnswerFormat format, Reading reading)
    {
        while (!updates.Next.IsCompleted)
        {
            if (!await AnyAsync(context, format.Interval ?? patience.KeepAlive, updates.Next))
            {
                await SendAsync(context, [format.Waiting(reading)]);
            }
        }

        return await updates.Next;
    }

    // Whether one of them is done before the time is over.
    private static async Task<bool> AnyAsync(HttpContext context, TimeSpan most, params Task[] tasks)
    {
        using var waited = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        var late = Task.Delay(most, waited.Token);
        var first = await Task.WhenAny([.. tasks, late]);
        await waited.CancelAsync();
        return first != late;
    }

    // A reader that stops reading may not hold its answer, and the memory of that, for ever.
    private async Task SendAsync(HttpContext context, IEnumerable<string> frames)
    {
        using var late = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        late.CancelAfter(patience.Write);
        try
        {
            foreach (var frame in frames)
            {
                await context.Response.WriteAsync(frame, late.Token);
            }

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
}
