using System.Collections.Concurrent;
using HeadInfer.Runtime.Compute;
using TorchSharp;

namespace HeadInfer.Runtime.Requests;

/// <summary>The one thread on which a model computes.</summary>
/// <remarks>
/// TorchSharp's dispose scopes and inference mode belong to a thread, so no tensor work may cross an await. Tasks are done
/// in the order they were asked for; between them the thread takes steps of its own accord.
/// </remarks>
internal sealed class EngineThread
{
    private readonly ConcurrentQueue<Action> _tasks = [];
    private readonly object _wake = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _ending; // set under _wake, and nothing is put into the queue afterwards
    private bool _woken; // guarded by _wake

    public EngineThread(string name)
    {
        LibTorch.EnsureLoaded(); // here, so that a failure reaches the caller
        new Thread(Loop) { IsBackground = true, Name = name }.Start();
    }

    /// <summary>Takes a step where there is one to take. Null until there is something to serve. Set and called on the thread.</summary>
    /// <returns>zero if a step was taken; else the time after which to look again</returns>
    public Func<TimeSpan>? Step { get; set; }

    /// <summary>Ends when the thread has.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Runs <paramref name="work"/> on the thread, between steps, inside a dispose scope of its own.</summary>
    public Task<T> RunAsync<T>(Func<T> work, CancellationToken cancellationToken = default)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        void Run()
        {
            try
            {
                cancellationToken.ThrowIfCancellationRequested();
                T result;
                using (torch.NewDisposeScope())
                {
                    result = work();
                }

                done.SetResult(result); // only now: whoever waits finds the work's tensors gone
            }
            catch (OperationCanceledException e)
            {
                done.SetCanceled(e.CancellationToken);
            }
            catch (Exception e)
            {
                done.SetException(e);
            }
        }

        lock (_wake)
        {
            if (_ending)
            {
                done.SetException(new ObjectDisposedException(nameof(HeadInferModel)));
                return done.Task;
            }

            _tasks.Enqueue(Run);
        }

        Wake();
        return done.Task;
    }

    /// <summary>Runs work that has no result.</summary>
    public Task RunAsync(Action work, CancellationToken cancellationToken = default) =>
        RunAsync(() => { work(); return true; }, cancellationToken);

    /// <summary>Says that there may be a step to take.</summary>
    public void Wake()
    {
        lock (_wake)
        {
            _woken = true;
            Monitor.Pulse(_wake);
        }
    }

    /// <summary>Lets the thread do the tasks asked for so far, then end. Returns at once.</summary>
    public void End()
    {
        lock (_wake)
        {
            _ending = true;
        }

        Wake();
    }

    private void Loop()
    {
        NativeCounts.Add(NativeKind.EngineThread);
        using (torch.inference_mode())
        {
            while (true)
            {
                var ending = _ending; // looked at before the queue, which then has all that will ever be in it
                if (_tasks.TryDequeue(out var task))
                {
                    task();
                }
                else if (ending)
                {
                    break;
                }
                else if (Step?.Invoke() is var wait && wait != TimeSpan.Zero)
                {
                    Wait(wait ?? Timeout.InfiniteTimeSpan);
                }
            }
        }

        NativeCounts.Remove(NativeKind.EngineThread); // by the thread itself: a loop that never ends is counted
        _ended.SetResult();
    }

    private void Wait(TimeSpan atMost)
    {
        lock (_wake)
        {
            if (!_woken)
            {
                Monitor.Wait(_wake, atMost);
            }

            _woken = false;
        }
    }
}
