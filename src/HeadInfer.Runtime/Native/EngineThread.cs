using System.Collections.Concurrent;
using TorchSharp;

namespace HeadInfer.Runtime.Native;

/// <summary>The one thread on which a model computes.</summary>
/// <remarks>
/// TorchSharp's dispose scopes and inference mode belong to a thread, so no tensor work may cross an await. Work is done
/// in the order it was asked for, which is also what makes concurrent callers safe.
/// </remarks>
internal sealed class EngineThread : IDisposable
{
    private readonly BlockingCollection<Action> _work = [];
    private readonly Thread _thread;

    public EngineThread(string name)
    {
        LibTorch.EnsureLoaded(); // here, so that a failure reaches the caller
        _thread = new Thread(Loop) { IsBackground = true, Name = name };
        _thread.Start();
        NativeCounts.Add(NativeKind.EngineThread);
    }

    /// <summary>Runs <paramref name="work"/> on the engine thread inside a dispose scope of its own.</summary>
    public Task<T> RunAsync<T>(Func<T> work, CancellationToken cancellationToken = default)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        try
        {
            _work.Add(() =>
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
            }, CancellationToken.None);
        }
        catch (InvalidOperationException)
        {
            done.SetException(new ObjectDisposedException(nameof(HeadInferModel)));
        }

        return done.Task;
    }

    /// <summary>Runs work that has no result.</summary>
    public Task RunAsync(Action work, CancellationToken cancellationToken = default) =>
        RunAsync(() => { work(); return true; }, cancellationToken);

    /// <summary>Runs work and waits for it; work asked for from the engine thread itself runs at once.</summary>
    public void Run(Action work)
    {
        if (Thread.CurrentThread == _thread)
        {
            work();
        }
        else
        {
            RunAsync(work).GetAwaiter().GetResult();
        }
    }

    /// <summary>Finishes the work already asked for, then ends the thread.</summary>
    public void Dispose()
    {
        _work.CompleteAdding();
        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
            _work.Dispose();
        }
    }

    private void Loop()
    {
        using (torch.inference_mode())
        {
            foreach (var work in _work.GetConsumingEnumerable())
            {
                work();
            }
        }

        NativeCounts.Remove(NativeKind.EngineThread); // by the thread itself: a loop that never ends is counted
    }
}
