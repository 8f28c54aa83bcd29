using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

public sealed class AtenTests : NativeTest
{
    [Fact]
    public async Task Numbers_that_are_passed_to_an_operator_outlive_its_call()
    {
        var (q, k, v) = (randn(1, 2, 1, 16), randn(1, 2, 9, 16), randn(1, 2, 9, 16));
        var (x, weight) = (randn(1, 16), ones(16));
        var (attended, normed) = (Aten.FlashCpu(q, k, v, false, 0.25).Output, Aten.RmsNorm(x, weight, 1e-3));

        // What is garbage while operators run is collected, and its native memory is used again at once.
        using var stop = new CancellationTokenSource();
        var collecting = Task.Run(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                GC.Collect(0);
                GC.WaitForPendingFinalizers();
                Scalar[] others = [.. Enumerable.Range(0, 32).Select(i => (Scalar)(100.0 + i))];
                Array.ForEach(others, s => s.Dispose());
            }
        });
        for (var time = 0; time < 30_000; time++)
        {
            using var scope = NewDisposeScope();
            Assert.True(Aten.FlashCpu(q, k, v, false, 0.25).Output.equal(attended).all().item<bool>());
            Assert.True(Aten.RmsNorm(x, weight, 1e-3).equal(normed).all().item<bool>());
        }

        await stop.CancelAsync();
        await collecting;
    }
}
