using HeadInfer.Reference;
using HeadInfer.Runtime.Compute;
using TorchSharp;

// One process-wide count of native tensors tells a leak only while one test runs at a time.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>A test that allocates native memory: at its end, none of it is left, nor any fence, pin, module or thread. Random tensors are the same every run.</summary>
/// <remarks>Classes that run on every device have a nested class for each; those of the GPU are skipped where there is none.</remarks>
public abstract class NativeTest : IDisposable
{
    private const int Seed = 1;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30); // for a thread that is about to end

    private readonly long _before;
    private readonly string _thingsBefore;
    private readonly IDisposable _inference;
    private readonly DisposeScope _scope;

    protected NativeTest(ComputeDevice device = ComputeDevice.Cpu)
    {
        LibTorch.EnsureLoaded();
        Device = device;
        if (device == ComputeDevice.Cuda)
        {
            Assert.SkipUnless(Compute.Gpu.IsAvailable(out var reason), reason);
            Gpu = Compute.Gpu.Open(0);
        }

        // A model of another test may have threads that are just ending; they are none of this one's.
        SpinWait.SpinUntil(() => NativeCounts.Of(NativeKind.EngineThread) + NativeCounts.Of(NativeKind.TeamThread) == 0, Patience);
        torch.manual_seed(Seed);
        (_before, _thingsBefore) = (torch.Tensor.TotalCount, NativeCounts.Describe());
        _inference = torch.inference_mode();
        _scope = torch.NewDisposeScope();
    }

    protected ComputeDevice Device { get; }

    /// <summary>The GPU, current on the test's thread; null on the CPU.</summary>
    private protected Gpu? Gpu { get; }

    /// <summary>The test's device, to be disposed.</summary>
    private protected Compute.Device NewDevice() => Gpu is null ? new CpuDevice() : new CudaDevice(Compute.Gpu.Open(0));

    private protected torch.Device TorchDevice => Gpu?.Torch ?? torch.CPU;

    /// <summary>Loads a model on the test's device, in float32 unless the options say otherwise.</summary>
    protected virtual Task<HeadInferModel> Load(string folder, HeadInferOptions? options = null) =>
        HeadInferModel.LoadAsync(folder, ModelReference.On(options ?? new HeadInferOptions(), Device));

    public void Dispose()
    {
        _scope.Dispose();
        _inference.Dispose();
        Gpu?.Dispose();
        Assert.Equal(_before, torch.Tensor.TotalCount);
        SpinWait.SpinUntil(() => NativeCounts.Describe() == _thingsBefore, Patience);
        Assert.Equal(_thingsBefore, NativeCounts.Describe());
        GC.SuppressFinalize(this);
    }
}
