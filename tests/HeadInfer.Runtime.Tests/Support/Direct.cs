namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Progress that is told at once, on the thread that reports.</summary>
internal sealed class Direct<T>(Action<T> report) : IProgress<T>
{
    public void Report(T value) => report(value);
}
