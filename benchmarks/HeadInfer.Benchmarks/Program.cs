using BenchmarkDotNet.Running;
using HeadInfer;
using HeadInfer.Benchmarks;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;

try
{
    return args switch
    {
        ["kernels", .. var rest] => Kernels(rest),
        ["demo", .. var rest] => await DemoAsync(rest),
        ["hostattention", .. var rest] => HostAttentionBenchmark.Run(new Options(rest, HostAttentionBenchmark.Known)),
        ["hostproducts", .. var rest] => HostProductsBenchmark.Run(new Options(rest, HostProductsBenchmark.Known)),
        ["fair", .. var rest] => await FairAsync(rest),
        ["constraints", .. var rest] => ConstraintBenchmark.Run(new Options(rest, ["--model"]).Text("--model", "models/headinfer-demo")),
        ["text", .. var rest] => TextBenchmark.Measure(new Options(rest, ["--fixtures"]).Text("--fixtures", "tests/fixtures")),
        ["agents", .. var rest] => await AgentBenchmark.RunAsync(new Options(rest, ["--model", "--fixtures", "--concurrent", "--check"])),
        ["lookup", .. var rest] => await LookupBenchmark.RunAsync(new Options(rest, ["--model", "--document", "--check"])),
        ["needle", .. var rest] => await NeedleBenchmark.RunAsync(new Options(rest, ["--model", "--out", "--context"])),
        ["serve", .. var rest] => await ServeBenchmark.RunAsync(new Options(rest, ServeBenchmark.Known)),
        ["plan", .. var rest] => PlanCommand.Run(new Options(rest, PlanCommand.Known)),
        ["plans", .. var rest] => PlanTable.Run(new Options(rest, ["--host-memory"])),
        ["prefill", .. var rest] => await ShapeBenchmark.PrefillAsync(new Options(rest, ShapeBenchmark.Known)),
        ["decode", .. var rest] => await ShapeBenchmark.DecodeAsync(new Options(rest, ShapeBenchmark.Known)),
        ["plot", "--decode", var results, var target] => Plot.RunDecode(results, target),
        ["plot", "--needle", var results, var target] => NeedlePlot.Run(results, target),
        ["plot", var results, var target] => Plot.Run(results, target, "llama-3-8b"),
        _ => Usage(),
    };
}
catch (Exception e) when (e is HeadInferException or FormatException or ArgumentException)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}

static int Kernels(string[] args)
{
    BenchmarkSwitcher.FromAssembly(typeof(MachineRates).Assembly).Run(args.Length > 0 ? args : ["--filter", "*"]);
    return 0;
}

static Task<int> DemoAsync(string[] args)
{
    var options = new Options(args, ["--model", "--shape", "--weights", "--context", "--steps", "--page", "--tile", "--group", "--segment", "--chunk", "--kv"]);
    var name = options.Has("--shape") ? options.Text("--shape", "") : options.Text("--model", "models/headinfer-demo");
    return DemoBenchmark.RunAsync(
        options.Has("--shape") ? $"{name}, {options.Text("--weights", "bf16")}" : name,
        options.Count("--context") ?? 8192,
        options.Count("--steps") ?? 64,
        runtime => options.Has("--shape") ? Task.Run(() => Shaped(name, options, runtime)) : HeadInferModel.LoadAsync(name, runtime),
        new HeadInferOptions
        {
            Device = ComputeDevice.Cpu, DraftTokens = 0, // a pass a token
            KvCacheType = options.KvType(),
            PageTokens = options.Count("--page"), TileTokens = options.Count("--tile"), HeadGroupSize = options.Count("--group"),
            SegmentTokens = options.Count("--segment"), ChunkTokens = options.Count("--chunk"),
        });
}

static HeadInferModel Shaped(string shape, Options options, HeadInferOptions runtime)
{
    LibTorch.EnsureLoaded();
    var config = Shapes.Config(shape);
    using var weights = Shapes.Weights(shape, config, options);
    return ModelLoading.Create(config, weights, runtime);
}

static async Task<int> FairAsync(string[] args)
{
    var options = new Options(args, ["--model", .. ShapeBenchmark.Known]);
    var model = options.Has("--shape")
        ? ShapeBenchmark.Create(options, out _)
        : await HeadInferModel.LoadAsync(options.Text("--model", "models/headinfer-demo"), new HeadInferOptions { Device = ComputeDevice.Cpu, DraftTokens = 0 });
    return await FairBenchmark.RunAsync(model, options.Count("--context") ?? 30_000);
}

static int Usage()
{
    Console.Error.WriteLine(
        $"""
        usage: HeadInfer.Benchmarks VERB
          demo [--model PATH | --shape S [--weights T]] [--context N] [--steps K] [--page N] [--tile N] [--group N] [--segment N] [--chunk N]
               [--kv f32|bf16|f16]
                           prefill and decode of a model on the CPU, beside the machine's own rates
          hostattention [--size 256MiB] [--runs 9] [--dim N]
                           attention of the CPU over pages that do not fit its caches, beside a loop that only reads them
          hostproducts [--size 128MiB] [--runs 9] [--columns 4096] [--weights T]
                           products of the CPU of 1, 4 and 16 rows and a matrix that does not fit its caches, of each type of weights, beside the same loop
          fair [--model PATH | --shape S, as prefill] [--context N]
                           a short question, and a decoding neighbour, beside a long prompt, and what they cost it; on the
                           CPU, or with a shape on a GPU
          constraints [--model DIR]
                           masking of tokens by JSON schemas, on a vocabulary of 150,000; run from the repository's root
          text [--fixtures DIR]
                           encoding and rendering of 4 million characters, beside the library's own time and a copy
          agents [--model PATH] [--fixtures DIR] [--concurrent] [--check]
                           8 agents, 3 documents of 8K tokens, 10 turns each, through the chat client: tokens read beside the fewest possible;
                           --concurrent asks all at once, --check exits with 1 beyond 1.02 times the fewest
          lookup [--model PATH] [--document FILE] [--check]
                           passages quoted from a document: passes and time with guessed tokens and without; --check exits with 1
                           below three times fewer passes
          needle [--model PATH] [--out docs/results/needle.jsonl] [--context N]
                           facts hidden at 7 depths of texts of 1K to 28K tokens, or of N, asked for greedily; writes a line a cell, and draws them;
                           run from the repository's root
          serve [--shape S] [--context 8K] [--steps K] [--documents own|shared|both] [--gpu-memory 24GiB] [--stream] [--json]
                           1 to 16 sequences that decode together, on documents of their own and all on one, beside the machine's own rates;
                           random weights, on a GPU if there is one; takes the other options of decode too
          plan --shape S|CONFIG.JSON|DIR|FILE.gguf [--weights T] [--gpu NAME] [--gpu-memory 24GiB] [--host-memory 640GiB] [--context 4M] [--json]
                           where a model of that shape, or of a configuration, goes on a GPU, what fits, and how fast it would be; needs no
                           GPU and no weights. Times are predicted for a GPU by its name, or by its published rates: --memory-rate GB/s,
                           --link-rate GB/s, --tflops N (16 bits, sums of 32, dense), --host-rate GB/s; --gpu none is the CPU, with
                           --tflops in float32
          plans [--host-memory 58GiB]
                           the tables of models and GPUs in docs/plans.md
          prefill --shape S [--weights T] [--context 128K] [--gpu-memory 24GiB] [--stream] [--json]
          decode --shape S [--weights T] [--context 128K] [--gpu-memory 24GiB] [--stream] [--steps K] [--json]
                           a model of that shape with random weights on a GPU; --stream keeps no head resident, --resident SIZE bounds them;
                           --segment, --chunk, --tile, --group, --page, --attention flash|cudnn overrule the plan
          plot RESULTS.jsonl TARGET.svg
                           draws what prefill and decode printed with --json for llama-3-8b
          plot --decode RESULTS.jsonl TARGET.svg
                           draws what decode printed with --json beside its bound and other systems
          plot --needle RESULTS.jsonl TARGET.svg
                           draws what needle wrote
          kernels [ARGS]   BenchmarkDotNet: attention kernels, merging, tile copies, sampling
        shapes: {string.Join(", ", Shapes.Names)}
        GPUs: {string.Join(", ", Machine.Known.Select(m => m.Name))}
        weights: bf16, f16, f32, or a type of GGUF such as q4_0, q4_k, q6_k, q8_0
        """);
    return 2;
}
