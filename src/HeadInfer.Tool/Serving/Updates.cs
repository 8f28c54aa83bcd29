using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Serving;

/// <summary>The updates of one answer, of which one is always awaited. Who reads them may do something else meanwhile.</summary>
internal sealed class Updates : IAsyncDisposable
{
    private readonly CancellationTokenSource _leaving;
    private readonly IAsyncEnumerator<ChatResponseUpdate> _updates;

    private Updates(CancellationTokenSource leaving, IAsyncEnumerable<ChatResponseUpdate> updates)
    {
        _leaving = leaving;
        _updates = updates.GetAsyncEnumerator(leaving.Token);
        Next = _updates.MoveNextAsync().AsTask();
    }

    /// <summary>Whether there is another update.</summary>
    public Task<bool> Next { get; private set; }

    /// <summary>The update that <see cref="Next"/> told of. What follows is awaited from now on.</summary>
    public ChatResponseUpdate Take()
    {
        var update = _updates.Current;
        Next = _updates.MoveNextAsync().AsTask();
        return update;
    }

    /// <summary>Makes a request ready, and begins to answer it.</summary>
    /// <param name="client">who answers</param>
    /// <param name="request">the request</param>
    /// <param name="cancellationToken">cancels both</param>
    /// <remarks>
    /// Templates, tokens and schemas are work for the processor, of seconds at worst. It has a thread of its own, so that
    /// the pool's are left to those who wait, read or leave.
    /// </remarks>
    public static async Task<Updates> BeginAsync(IChatClient client, Request request, CancellationToken cancellationToken)
    {
        var leaving = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            return await Task.Factory.StartNew(() => new Updates(leaving, client.GetStreamingResponseAsync(request.Messages, request.Options, leaving.Token)), leaving.Token, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }
        catch
        {
            leaving.Dispose();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _leaving.CancelAsync();
        await ((Task)Next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // an update under way must end first
        await _updates.DisposeAsync();
        _leaving.Dispose();
    }
}
