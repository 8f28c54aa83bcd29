using BenchmarkDotNet.Running;
using HeadInfer.Benchmarks;
using HeadInfer.Runtime;

return args switch
{
    ["kernels", .. var rest] => Kernels(rest),
    ["demo", .. var rest] => await DemoAsync(rest),
    _ => Usage(),
};

static int Kernels(string[] args)
{
    BenchmarkSwitcher.FromAssembly(typeof(MachineRates).Assembly).Run(args.Length > 0 ? args : ["--filter", "*"]);
    return 0;
}

static Task<int> DemoAsync(string[] args)
{
    var values = new Dictionary<string, string>(StringComparer.Ordinal);
    for (var i = 0; i + 1 < args.Length; i += 2)
    {
        values[args[i]] = args[i + 1];
    }

    int? Number(string name) => values.TryGetValue(name, out var value) ? int.Parse(value, System.Globalization.CultureInfo.InvariantCulture) : null;
    return DemoBenchmark.RunAsync(
        values.GetValueOrDefault("--model", "models/headinfer-demo"),
        Number("--context") ?? 8192,
        Number("--steps") ?? 64,
        new HeadInferOptions
        {
            PageTokens = Number("--page"), TileTokens = Number("--tile"), HeadGroupSize = Number("--group"),
            SegmentTokens = Number("--segment"), ChunkTokens = Number("--chunk"),
        });
}

static int Usage()
{
    Console.Error.WriteLine(
        """
        usage: HeadInfer.Benchmarks VERB
          demo [--model DIR] [--context N] [--steps K] [--page N] [--tile N] [--group N] [--segment N] [--chunk N]
                           prefill and decode of a model folder on the CPU, beside the machine's own rates
          kernels [ARGS]   BenchmarkDotNet: attention kernels, merging, tile copies, sampling
        """);
    return 2;
}
