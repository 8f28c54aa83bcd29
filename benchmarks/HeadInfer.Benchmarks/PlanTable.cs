using System.Globalization;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;

namespace HeadInfer.Benchmarks;

/// <summary>The tables of docs/plans.md: models and GPUs, what lies where, and how fast that is by the planner.</summary>
internal static class PlanTable
{
    private const int First = 8 << 10, Short = 1 << 10, Long = 32 << 10;
    private const string Most = "4M"; // tokens, whatever a model was made for

    private static readonly string[] Machines = ["rtx-4060", "rtx-4070", "rtx-4080", "rtx-4090", Machine.NoGpu];

    private static readonly (string Name, string Shape, string Weights)[] Models =
    [
        ("Qwen3-4B", "qwen3-4b", "bf16"), ("Qwen3-4B", "qwen3-4b", "q4_k"),
        ("Qwen3-8B", "qwen3-8b", "bf16"), ("Qwen3-8B", "qwen3-8b", "q4_k"),
        ("Llama-3.1-8B", "llama-3-8b", "bf16"), ("Llama-3.1-8B", "llama-3-8b", "q4_k"),
        ("Qwen3-14B", "qwen3-14b", "q4_k"), ("Qwen3-30B-A3B", "qwen3-30b-a3b", "q4_k"), ("gpt-oss-20B", "gpt-oss-20b", "mxfp4"), ("Llama-3-70B", "llama-3-70b", "q4_k"),
    ];

    public static int Run(Options options)
    {
        LibTorch.EnsureLoaded();
        var host = options.Size("--host-memory") ?? ByteSize.FromGiB(58);
        var cells = Models.Select(m => Machines.Select(name => Plan(m.Shape, m.Weights, Machine.Of(name), host)).ToArray()).ToArray();
        Print(cells, Place);
        Console.WriteLine();
        Print(cells, Speed);
        return 0;
    }

    private static (MemoryPlan Plan, SpeedForecast Speed)? Plan(string shape, string weights, Machine machine, ByteSize host)
    {
        var options = new Options(["--weights", weights, "--context", Most], ["--weights", "--context"]);
        var config = Shapes.Config(shape);
        using var checkpoint = Shapes.Weights(shape, config, options);
        try
        {
            var plan = ModelLoading.Plan(config, checkpoint, ShapeBenchmark.RuntimeOptions(options, config), new MemoryBudget(host, machine.GpuMemory is { } memory ? MemoryBudget.OfGpu(memory) : null));
            return (plan, new SpeedForecast(config, plan, machine));
        }
        catch (MemoryBudgetException)
        {
            return null;
        }
    }

    private static void Print((MemoryPlan Plan, SpeedForecast Speed)?[][] cells, Func<(MemoryPlan Plan, SpeedForecast Speed), string> cell)
    {
        Console.WriteLine($"| | {string.Join(" | ", Machines.Select(name => Machine.Of(name) is { GpuMemory: { } memory } gpu ? $"{gpu.Name.ToUpperInvariant().Replace('-', ' ')}, {memory}" : "no GPU"))} |");
        Console.WriteLine($"|{string.Concat(Enumerable.Repeat("---|", Machines.Length + 1))}");
        for (var row = 0; row < Models.Length; row++)
        {
            var title = $"{Models[row].Name}, {(Models[row].Weights == "bf16" ? "16 bits" : Models[row].Weights.ToUpperInvariant())}";
            Console.WriteLine($"| {title} | {string.Join(" | ", cells[row].Select(c => c is { } made ? cell(made) : "does not fit"))} |");
        }
    }

    // Tokens with copies, or layers that come by turns; and the longest context.
    private static string Place((MemoryPlan Plan, SpeedForecast Speed) made)
    {
        var longest = Thousands(made.Plan.LongestContext);
        return made.Plan.Gpu is null ? longest
            : made.Plan.StreamedLayers > 0 ? $"{made.Plan.StreamedLayers} of {made.Speed.Layers} layers; {longest}"
            : $"{Thousands(made.Plan.ResidentTokens)}; {longest}";
    }

    private static string Speed((MemoryPlan Plan, SpeedForecast Speed) made)
    {
        string Token(int context) => context > made.Plan.LongestContext ? "-" : PlanReport.Milliseconds(made.Speed.Token(context))[..^3];
        return $"{PlanReport.Seconds(made.Speed.FirstToken(First))}; {Token(Short)}; {Token(Long)} ms";
    }

    private static string Thousands(int tokens) => string.Create(CultureInfo.InvariantCulture, $"{tokens / 1024.0:#,0.#}K");
}
