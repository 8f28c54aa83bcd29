using System.Runtime.ExceptionServices;

namespace HeadInfer.Runtime.Compute;

/// <summary>What was made so far of something that is made of many parts, to be taken back if the next one fails.</summary>
internal sealed class Parts
{
    private readonly Stack<IDisposable> _made = [];

    public T Add<T>(T part)
        where T : IDisposable
    {
        _made.Push(part);
        return part;
    }

    /// <summary>Keeps a part that owns some others from now on: those that were added last.</summary>
    public T AddOwner<T>(T owner, int parts)
        where T : IDisposable
    {
        for (; parts > 0; parts--)
        {
            _made.Pop();
        }

        return Add(owner);
    }

    /// <summary>Disposes them all, the last first, while the failure that is on its way is the one to tell.</summary>
    public void TakeBack() => Run(_made.Select(part => (Action)part.Dispose));

    /// <summary>Disposes all parts of something whatever becomes of those before, and then throws the first failure.</summary>
    public static void Dispose(params IEnumerable<Action> parts)
    {
        if (Run(parts) is [var first, ..])
        {
            ExceptionDispatchInfo.Throw(first);
        }
    }

    /// <summary>Runs all actions, whatever becomes of those before.</summary>
    /// <returns>what failed</returns>
    public static List<Exception> Run(params IEnumerable<Action> actions)
    {
        var failures = new List<Exception>();
        foreach (var action in actions)
        {
            try
            {
                action();
            }
            catch (Exception e)
            {
                failures.Add(e);
            }
        }

        return failures;
    }
}
