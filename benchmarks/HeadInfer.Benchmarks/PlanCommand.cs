using System.Globalization;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;

namespace HeadInfer.Benchmarks;

/// <summary>Where a model goes on a machine that need not be there, and how fast it would be; needs no weights.</summary>
internal static class PlanCommand
{
    private static readonly string[] OfGpu = ["--host-share", "--resident", "--stream"];

    public static readonly IReadOnlyList<string> Known = [.. ShapeBenchmark.Known, "--gpu", "--memory-rate", "--link-rate", "--tflops", "--host-rate"];

    public static int Run(Options options)
    {
        LibTorch.EnsureLoaded();
        var shape = options.Text("--shape", "llama-3-8b");
        var config = Shapes.Config(shape);
        var machine = MachineOf(options);
        ByteSize? gpu = machine is { GpuMemory: null } ? null
            : options.Size("--gpu-memory") ?? (machine is null ? ByteSize.FromGiB(24) : MemoryBudget.OfGpu(machine.GpuMemory!.Value));
        var budget = new MemoryBudget(options.Size("--host-memory") ?? MemoryBudget.OfHost(HostMemory.Free()), gpu);
        using var checkpoint = Shapes.Weights(shape, config, options);
        var runtime = ShapeBenchmark.RuntimeOptions(options, config);
        var plan = ModelLoading.Plan(config, checkpoint, runtime, budget);
        var report = new PlanReport(shape, config, plan, machine, runtime.HostShare);
        if (options.Has("--json"))
        {
            ShapeBenchmark.Report(options, report.Figures(options.Count("--context")));
        }
        else
        {
            Console.WriteLine(report.ToText(options.Count("--context")));
        }

        if (options.Count("--context") is { } context)
        {
            plan.EnsureFits(context);
            (options.Has("--json") ? Console.Error : Console.Out).WriteLine($"{context.ToString("N0", CultureInfo.InvariantCulture)} tokens fit.");
        }

        return 0;
    }

    // A name, numbers, or a name with some numbers of its own; null if nothing was said.
    private static Machine? MachineOf(Options options)
    {
        var machine = Machine.Of(
            options.Has("--gpu") ? options.Text("--gpu", "") : null, options.Size("--gpu-memory"),
            options.Number("--memory-rate") * 1e9, options.Number("--link-rate") * 1e9, options.Number("--tflops") * 1e12, options.Number("--host-rate") * 1e9);
        return machine is { GpuMemory: null } && OfGpu.FirstOrDefault(options.Has) is { } other
            ? throw new FormatException($"{other} is of a GPU, and --gpu says {machine.Name}. Leave one of them out.")
            : machine;
    }
}
