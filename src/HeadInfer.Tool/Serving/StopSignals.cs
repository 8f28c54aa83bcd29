using System.Runtime.InteropServices;

namespace HeadInfer.Tool.Serving;

/// <summary>The signals that stop a server: the first lets its answers end, and the second does not. That they stop it at all is the host's own doing.</summary>
internal sealed class StopSignals : IDisposable
{
    private readonly CancellationTokenSource _now = new();
    private readonly PosixSignalRegistration[] _registrations;
    private int _signals;

    /// <param name="stopping">knows the requests under way</param>
    /// <param name="most">how long they are waited for</param>
    public StopSignals(Stopping stopping, TimeSpan most)
    {
        void Told(PosixSignalContext context)
        {
            context.Cancel = true; // the server ends by itself
            var isFirst = Interlocked.Increment(ref _signals) == 1;
            WasInterrupted |= !isFirst || context.Signal == PosixSignal.SIGINT;
            if (!isFirst)
            {
                _now.Cancel();
            }
            else if (stopping.Running is > 0 and var running)
            {
                Console.Error.WriteLine($"Waiting up to {most.TotalSeconds:0.###} s for {running} request{(running == 1 ? "" : "s")} to end. Ctrl-C again stops now.");
            }
        }

        _registrations = [PosixSignalRegistration.Create(PosixSignal.SIGINT, Told), PosixSignalRegistration.Create(PosixSignal.SIGTERM, Told)];
    }

    /// <summary>Whether somebody at a terminal stopped it, or it was not to end its answers.</summary>
    public bool WasInterrupted { get; private set; }

    /// <summary>Waits until the server is to stop, and stops it.</summary>
    public async Task StopAsync(WebApplication app)
    {
        var told = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var registration = app.Lifetime.ApplicationStopping.Register(told.SetResult);
        await told.Task;
        try
        {
            await app.StopAsync(_now.Token);
        }
        catch (OperationCanceledException) when (_now.IsCancellationRequested)
        {
            // What was under way is cut off when the server is disposed.
        }
    }

    public void Dispose()
    {
        Array.ForEach(_registrations, r => r.Dispose());
        _now.Dispose();
    }
}
