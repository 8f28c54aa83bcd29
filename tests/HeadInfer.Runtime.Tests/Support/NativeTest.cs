using HeadInfer.Runtime.Native;
using TorchSharp;

// One process-wide count of native tensors tells a leak only while one test runs at a time.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>A test that allocates native memory: at its end, none of it is left.</summary>
public abstract class NativeTest : IDisposable
{
    private readonly long _before;
    private readonly IDisposable _inference;
    private readonly DisposeScope _scope;

    protected NativeTest()
    {
        LibTorch.EnsureLoaded();
        _before = torch.Tensor.TotalCount;
        _inference = torch.inference_mode();
        _scope = torch.NewDisposeScope();
    }

    public void Dispose()
    {
        _scope.Dispose();
        _inference.Dispose();
        Assert.Equal(_before, torch.Tensor.TotalCount);
        GC.SuppressFinalize(this);
    }
}
