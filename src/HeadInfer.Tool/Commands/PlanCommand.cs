using System.CommandLine;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Planning;

namespace HeadInfer.Tool.Commands;

/// <summary>Where a model goes, on this machine or on another, and how fast it would be. Reads no weights.</summary>
internal static class PlanCommand
{
    private static readonly Flag<Wanted>[] Own =
    [
        new("--gpu", "NAME", $"plan for a machine with this GPU, which need not be there: {string.Join(", ", Machine.Known.Select(m => m.Name))}; default: this machine", (flags, text) => flags.Gpu = Machine.Of(text).Name),
        new("--memory-rate", "GB/S", "what the GPU reads of its memory, of one that --gpu does not know, or in place of what is known of it; needs --link-rate, --tflops and --gpu-memory where there is no name", (flags, text) => flags.MemoryRate = Rate(text) * 1e9),
        new("--link-rate", "GB/S", "what its link carries, one way", (flags, text) => flags.LinkRate = Rate(text) * 1e9),
        new("--tflops", "N", "of its matrix products, of 16 bits with sums of 32, dense; with --gpu none the CPU's, of 32 bits", (flags, text) => flags.ProductRate = Rate(text) * 1e12),
        new("--host-rate", "GB/S", "what all cores read of host memory; default: 70 for a desktop, or the named machine's", (flags, text) => flags.HostRate = Rate(text) * 1e9),
        new("--weights", "TYPE", "of a config.json alone, how its weights would be stored, such as bf16, q4_k or awq; default: bf16", (flags, text) =>
        {
            ShapeCheckpoint.PackingOf(text);
            flags.Weights = text;
        }),
        new("--context", "TOKENS", "a context that must fit, such as 128K; else the exit code is 1", (flags, text) => flags.Context = Values.Tokens(text)),
    ];

    private static IEnumerable<Flag<Wanted>> All => [.. Own, .. ModelFlags.For<Wanted>()];

    public static Command Create()
    {
        var model = new Argument<string>("MODEL") { Description = ModelPlace.Meaning + "; or a config.json alone" };
        var json = Outputs.JsonOption();
        var command = new Command("plan", "Says where a model goes in memory, the longest context that fits, and how fast it would be. Reads no weights.") { model, json };
        var flags = new FlagSet<Wanted>(command, All);
        command.Validators.Add(result =>
        {
            if (flags.TryRead(result) is { } wanted)
            {
                try
                {
                    wanted.Machine();
                }
                catch (ArgumentException e)
                {
                    result.AddError(e.Message);
                }
            }
        });
        command.SetAction(result => Run(ModelPlace.Find(result.GetValue(model)!), flags.Read(result), result.GetValue(json)));
        return command;
    }

    /// <summary>What flags and their values ask for.</summary>
    /// <exception cref="ArgumentException">A value cannot be read; the message names its flag.</exception>
    public static Wanted Read(IEnumerable<(string Flag, string Value)> given)
    {
        var wanted = new Wanted();
        foreach (var (name, value) in given)
        {
            All.First(f => f.Name == name).Read(wanted, value);
        }

        return wanted;
    }

    /// <summary>The report on a model.</summary>
    public static PlanReport Report(string path, Wanted wanted)
    {
        var options = wanted.Options();
        options.Validate();
        LibTorch.EnsureLoaded();
        var isAlone = File.Exists(path) && path.EndsWith(".json", StringComparison.OrdinalIgnoreCase);
        var named = wanted.Machine();
        if (named is null && !isAlone)
        {
            var (name, config, plan) = ModelLoading.Plan(path, options);
            return new PlanReport(name, config, plan);
        }
        else
        {
            var machine = named ?? Machine.Of(Machine.NoGpu);
            var config = isAlone ? ModelConfigReader.Parse(File.ReadAllText(path), path, warn: options.Warning) : ModelFolder.Configure(path, options.RopeScaling, options.Warning);
            using var checkpoint = isAlone ? new ShapeCheckpoint(path, config, ShapeCheckpoint.PackingOf(wanted.Weights ?? "bf16")) : Checkpoint.Open(ModelFolder.Locate(path), config);
            var budget = new MemoryBudget(
                options.HostMemory ?? MemoryBudget.OfHost(HostMemory.Free()),
                machine.GpuMemory is { } memory ? options.GpuMemory ?? MemoryBudget.OfGpu(memory) : null);
            return new PlanReport(isAlone ? path : Path.GetFileName(Path.TrimEndingDirectorySeparator(path)), config, ModelLoading.Plan(config, checkpoint, options, budget), machine, options.HostShare);
        }
    }

    private static double Rate(string text) => Values.Number(text, 0.001, 1e6);

    private static int Run(string path, Wanted wanted, bool json)
    {
        var report = Report(path, wanted);
        Console.WriteLine(json ? JsonSerializer.Serialize(report.Figures(wanted.Context), Outputs.Json) : report.ToText(wanted.Context));
        if (wanted.Context is { } context)
        {
            report.Plan.EnsureFits(context);
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{context:N0} tokens fit."));
        }

        return Exits.Done;
    }

    /// <summary>What is to be planned.</summary>
    public sealed class Wanted : ModelFlags
    {
        /// <summary>The name of its machine's GPU; null if none is said.</summary>
        public string? Gpu { get; set; }

        /// <summary>Bytes and operations a second of the machine, as <see cref="HeadInfer.Runtime.Planning.Machine"/> has them; null if they are not said.</summary>
        public double? MemoryRate { get; set; }

        public double? LinkRate { get; set; }

        public double? ProductRate { get; set; }

        public double? HostRate { get; set; }

        /// <summary>How the weights of a configuration alone are stored.</summary>
        public string? Weights { get; set; }

        /// <summary>A context that must fit.</summary>
        public int? Context { get; set; }

        /// <summary>The machine; null is this one.</summary>
        /// <exception cref="ArgumentException">What is said of it contradicts itself, or does not suffice.</exception>
        public Machine? Machine() => HeadInfer.Runtime.Planning.Machine.Of(Gpu, Options().GpuMemory, MemoryRate, LinkRate, ProductRate, HostRate);
    }
}
