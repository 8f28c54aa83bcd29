using System.Net;

namespace HeadInfer.Tool.Serving;

/// <summary>Lets the answers under way end before the server stops, and refuses new ones meanwhile.</summary>
/// <param name="most">how long they are waited for</param>
internal sealed class Stopping(TimeSpan most) : IHostedLifecycleService
{
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _isStopping;

    /// <summary>Requests that are being answered.</summary>
    public int Running { get; private set; }

    /// <summary>Whether the server is to stop.</summary>
    public bool IsStopping
    {
        get
        {
            lock (_gate)
            {
                return _isStopping;
            }
        }
    }

    /// <summary>Answers a request, or refuses it.</summary>
    public async Task PassAsync(HttpContext context, RequestDelegate next)
    {
        if (!TryEnter())
        {
            context.Response.Headers.Connection = "close";
            await (Refusal.Of(HttpStatusCode.ServiceUnavailable, "The server is being stopped. Try again later.", "stopping") with { RetryAfter = Refusal.Soon }).SendAsync(context);
            return;
        }

        try
        {
            await next(context);
        }
        finally
        {
            Leave();
        }
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Comes before the server stops listening.</summary>
    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            _isStopping = true;
            if (Running == 0)
            {
                _ended.TrySetResult();
            }
        }

        try
        {
            await _ended.Task.WaitAsync(most, cancellationToken);
        }
        catch (Exception e) when (e is TimeoutException or OperationCanceledException)
        {
            // What is still under way is cut off.
        }
    }

    private bool TryEnter()
    {
        lock (_gate)
        {
            Running += _isStopping ? 0 : 1;
            return !_isStopping;
        }
    }

    private void Leave()
    {
        lock (_gate)
        {
            if (--Running == 0 && _isStopping)
            {
                _ended.TrySetResult();
            }
        }
    }
}
