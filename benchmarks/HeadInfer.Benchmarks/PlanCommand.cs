using System.Globalization;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>Where a model goes on a machine that need not be there, and how fast it would be; needs no weights.</summary>
internal static class PlanCommand
{
    private const int PlannedCapability = 8; // of a GPU that need not be there

    private static readonly string[] OfGpu = ["--gpu-memory", "--memory-rate", "--link-rate", "--host-share", "--resident", "--stream"];

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
        var plan = Plan(config, checkpoint, runtime, budget);
        var speed = machine is null ? null : new SpeedForecast(config, plan, machine, runtime.HostShare);
        if (options.Has("--json"))
        {
            ShapeBenchmark.Report(options, Figures(shape, config, plan, machine, speed, Contexts(options, plan)));
        }
        else
        {
            Console.WriteLine(plan);
            Print(config, plan, machine, speed, Contexts(options, plan));
        }

        if (options.Count("--context") is { } context)
        {
            plan.EnsureFits(context);
            (options.Has("--json") ? Console.Error : Console.Out).WriteLine($"{context.ToString("N0", CultureInfo.InvariantCulture)} tokens fit.");
        }

        return 0;
    }

    /// <summary>The plan for a checkpoint of which nothing is read; without GPU memory for the CPU.</summary>
    public static MemoryPlan Plan(ModelConfig config, Checkpoint checkpoint, HeadInferOptions runtime, MemoryBudget budget)
    {
        using var check = new WeightCheck(checkpoint);
        DecoderWeights.Read(config, check, device: null);
        using var cpu = new CpuDevice();
        var type = budget.Gpu is null ? ScalarType.Float32 : ScalarType.BFloat16;
        return MemoryPlanner.Plan(config, check.NeedsOn(budget.Gpu is null ? cpu : new GpuLayout(PlannedCapability), type), type, runtime, budget);
    }

    // A name, numbers, or a name with some numbers of its own; null if nothing was said.
    private static Machine? MachineOf(Options options)
    {
        string[] names = ["--memory-rate", "--link-rate", "--tflops"];
        double Rate(string name, double factor, double known) => options.Number(name) * factor ?? known;
        if (options.Has("--gpu"))
        {
            var machine = Machine.Of(options.Text("--gpu", ""));
            if (machine.GpuMemory is null && OfGpu.FirstOrDefault(options.Has) is { } other)
            {
                throw new FormatException($"{other} is of a GPU, and --gpu says {machine.Name}. Leave one of them out.");
            }

            return machine with
            {
                Memory = Rate("--memory-rate", 1e9, machine.Memory), Link = Rate("--link-rate", 1e9, machine.Link),
                Product = Rate("--tflops", 1e12, machine.Product), Host = Rate("--host-rate", 1e9, machine.Host),
            };
        }

        if (!names.Append("--host-rate").Any(options.Has))
        {
            return null;
        }

        return names.FirstOrDefault(n => !options.Has(n)) is { } missing
            ? throw new FormatException($"A GPU without a name needs {missing} too, or give --gpu one of {string.Join(", ", Machine.Known.Select(m => m.Name))}.")
            : new Machine("a GPU of these rates", options.Size("--gpu-memory") ?? throw new FormatException("A GPU without a name needs --gpu-memory too."),
                Rate("--memory-rate", 1e9, 0), Rate("--link-rate", 1e9, 0), Rate("--tflops", 1e12, 0), Rate("--host-rate", 1e9, Machine.Desktop));
    }

    // Those of every plan, and the one that was asked for.
    private static IEnumerable<int> Contexts(Options options, MemoryPlan plan) =>
        plan.ForecastContexts.Append(Math.Min(options.Count("--context") ?? plan.LongestContext, plan.LongestContext)).Distinct().Order();

    private static void Print(ModelConfig config, MemoryPlan plan, Machine? machine, SpeedForecast? speed, IEnumerable<int> contexts)
    {
        if (machine is null || speed is null)
        {
            Console.WriteLine("times             are predicted for a GPU that --gpu names, or for rates");
            return;
        }

        var invariant = CultureInfo.InvariantCulture;
        var host = string.Create(invariant, $"{machine.Product / 1e12:0.###} Tflop/s, host memory {machine.Host / 1e9:0.#} GB/s");
        Console.WriteLine($"{"machine",-18}{machine.Name}: {(machine.GpuMemory is null ? "" : string.Create(invariant, $"memory {machine.Memory / 1e9:0.#} GB/s, link {machine.Link / 1e9:0.#} GB/s, "))}{host}");
        Console.WriteLine($"{"predicted for",-18}{"KV in host memory",-20}{"copies on the GPU",-20}{"first token",-14}a token");
        foreach (var context in contexts)
        {
            var copied = new ByteSize((long)DecodeForecast.Cache(config, plan, context).Copied);
            Console.WriteLine(string.Create(invariant, $"{context,-18:N0}{plan.KvFor(context),-20}{copied,-20}{Seconds(speed.FirstToken(context)),-14}{Milliseconds(speed.Token(context))}"));
        }
    }

    /// <summary>Seconds with two digits.</summary>
    public static string Seconds(double seconds) => string.Create(CultureInfo.InvariantCulture, $"{Round(seconds):#,0.####} s");

    /// <summary>Milliseconds with two digits.</summary>
    public static string Milliseconds(double seconds) => string.Create(CultureInfo.InvariantCulture, $"{Round(1000 * seconds):#,0.####} ms");

    private static double Round(double value)
    {
        var unit = Math.Pow(10, Math.Floor(Math.Log10(value)) - 1);
        return Math.Round(value / unit) * unit;
    }

    private static Dictionary<string, object> Figures(string shape, ModelConfig config, MemoryPlan plan, Machine? machine, SpeedForecast? speed, IEnumerable<int> contexts)
    {
        var figures = new Dictionary<string, object>
        {
            ["verb"] = "plan", ["shape"] = shape, ["elementType"] = plan.ElementType, ["weightBytes"] = plan.Weights.Bytes, ["layers"] = config.Layers, ["streamedLayers"] = plan.StreamedLayers,
            ["hostBudgetBytes"] = plan.HostBudget.Bytes, ["hostWeightBytes"] = (plan.Gpu is null ? plan.Weights : plan.HostWeights).Bytes, ["hostKvBytes"] = plan.KvBudget.Bytes,
            ["kvBytesPerToken"] = plan.KvPerToken.Bytes, ["residentTokens"] = plan.ResidentTokens, ["longestContext"] = plan.LongestContext,
        };
        if (plan.Gpu is { } gpu)
        {
            (figures["gpuBudgetBytes"], figures["gpuWeightBytes"], figures["gpuLibrariesBytes"]) = (gpu.Budget.Bytes, gpu.Weights.Bytes, gpu.Libraries.Bytes);
            (figures["gpuActivationBytes"], figures["gpuKvBufferBytes"], figures["gpuResidentBytes"]) = (gpu.Activations.Bytes, gpu.KvBuffers.Bytes, gpu.Resident.Bytes);
        }

        if (machine is null || speed is null)
        {
            return figures;
        }

        figures["machine"] = new Dictionary<string, object?>
        {
            ["name"] = machine.Name, ["gpuMemoryBytes"] = machine.GpuMemory?.Bytes, ["memoryBytesPerSecond"] = machine.Memory, ["linkBytesPerSecond"] = machine.Link,
            ["productPerSecond"] = machine.Product, ["hostBytesPerSecond"] = machine.Host, ["hostShare"] = speed.Decode.HostShare,
        };
        figures["predicted"] = contexts.Select(context => new Dictionary<string, object>
        {
            ["context"] = context, ["hostKvBytes"] = plan.KvFor(context).Bytes, ["gpuKvBytes"] = (long)DecodeForecast.Cache(config, plan, context).Copied,
            ["firstTokenSeconds"] = speed.FirstToken(context), ["tokenSeconds"] = speed.Token(context),
        }).ToArray();
        return figures;
    }
}
