using HeadInfer.Runtime;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Benchmarks;

/// <summary>Reads the GPU's used memory from the driver all the while, and keeps the largest.</summary>
/// <remarks>On a machine with nothing else on the GPU that is what this process takes, CUDA's own part included.</remarks>
internal sealed class GpuMonitor : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);

    private readonly CancellationTokenSource _stop = new();
    private readonly Thread _thread;
    private long _peak;

    public GpuMonitor()
    {
        LibTorch.EnsureLoaded();
        _thread = new Thread(Watch) { IsBackground = true };
        _thread.Start();
    }

    public ByteSize Peak => new(Interlocked.Read(ref _peak));

    public void Dispose()
    {
        _stop.Cancel();
        _thread.Join();
        _stop.Dispose();
    }

    private void Watch()
    {
        using var gpu = Gpu.Open(0);
        do
        {
            var (free, total) = Gpu.Memory();
            _peak = Math.Max(_peak, (total - free).Bytes);
        }
        while (!_stop.Token.WaitHandle.WaitOne(Interval));
    }
}
