namespace HeadInfer.Tool.Serving;

/// <summary>The updates of one answer, of which one is always awaited. Who reads them may do something else meanwhile.</summary>
internal sealed class Updates : IAsyncDisposable
{
    private readonly CancellationTokenSource _deadline = new(), _leaving;
    private IAsyncEnumerator<ChatResponseUpdate>? _updates; // null until it is made

    /// <summary>Makes a request ready, and begins to answer it.</summary>
    /// <param name="reading">told how far the reading is</param>
    /// <param name="makingReady">how many requests may be made ready at once</param>
    /// <param name="cancellationToken">cancels both</param>
    public Updates(IChatClient client, Request request, Reading reading, SemaphoreSlim makingReady, CancellationToken cancellationToken)
    {
        _leaving = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _deadline.Token);
        TextClient.Watch(client, request.Options, reading);
        Next = BeginInTimeAsync(client, request, reading, makingReady, cancellationToken);
    }

    /// <summary>Whether there is another update.</summary>
    public Task<bool> Next { get; private set; }

    /// <summary>The update that <see cref="Next"/> told of. What follows is awaited from now on.</summary>
    public ChatResponseUpdate Take()
    {
        var update = _updates!.Current;
        Next = _updates.MoveNextAsync().AsTask();
        return update;
    }

    public async ValueTask DisposeAsync()
    {
        await _leaving.CancelAsync();
        await ((Task)Next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // an update under way must end first
        if (_updates is not null)
        {
            await _updates.DisposeAsync();
        }

        _leaving.Dispose();
        _deadline.Dispose();
    }

    // Until the reading tells of itself; then the model knows the deadline.
    private async Task<bool> BeginInTimeAsync(IChatClient client, Request request, Reading reading, SemaphoreSlim makingReady, CancellationToken cancellationToken)
    {
        var left = request.Deadline - DateTimeOffset.UtcNow;
        if (left > TimeSpan.Zero)
        {
            _deadline.CancelAfter(left.Value);
        }
        else if (left is not null)
        {
            await _deadline.CancelAsync(); // not by a timer, which would let it begin meanwhile
        }

        try
        {
            return await BeginAsync(client, request, reading, makingReady);
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested && _deadline.IsCancellationRequested) // its clock may be ahead of the deadline's
        {
            throw new TimeoutException("The deadline passed before the request was made ready.", e);
        }
    }

    // Templates, tokens and schemas are work for the processor, of seconds at worst. A client may do it before it returns, so it
    // has a thread of its own, or leave it to the pool: it is over when the reading tells of itself.
    private async Task<bool> BeginAsync(IChatClient client, Request request, Reading reading, SemaphoreSlim makingReady)
    {
        await makingReady.WaitAsync(_leaving.Token);
        Task<bool> first;
        try
        {
            first = await Task.Factory.StartNew(
                () => (_updates = client.GetStreamingResponseAsync(request.Messages, request.Options, _leaving.Token).GetAsyncEnumerator(_leaving.Token)).MoveNextAsync().AsTask(),
                _leaving.Token, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            await Task.WhenAny(first, reading.Begun);
        }
        finally
        {
            makingReady.Release();
        }

        _deadline.CancelAfter(Timeout.InfiniteTimeSpan);
        var any = await first;
        _leaving.Token.ThrowIfCancellationRequested(); // the time was over just then
        return any;
    }
}
