using HeadInfer.Runtime;

// One model in memory at a time: the machine that runs the tests may be small.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>The demo model, loaded once for a class of tests.</summary>
public sealed class DemoModel : IAsyncLifetime
{
    public static string Path { get; } = System.IO.Path.Combine(AppContext.BaseDirectory, "models", "headinfer-demo");

    public HeadInferModel Model { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Model = await HeadInferModel.LoadAsync(Path);

    public ValueTask DisposeAsync() => Model.DisposeAsync();
}
