using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>Prefill and decode of a published model's shape with random weights on a GPU, beside the machine's own rates.</summary>
internal static class ShapeBenchmark
{
    private const int WarmTokens = 4096;
    private const double WarmSeconds = 1.5; // of steps, until .NET has compiled what runs in them for good

    public static readonly IReadOnlyList<string> Known =
        ["--shape", "--context", "--gpu-memory", "--host-memory", "--resident", "--steps", "--json", "--stream", "--segment", "--chunk", "--tile", "--group", "--page", "--attention", "--runs", "--host-share", "--weights"];

    public static async Task<int> PrefillAsync(Options options)
    {
        var context = options.Count("--context") ?? 128 << 10;
        using var monitor = new GpuMonitor();
        await using var model = Create(options, out var shape);
        var device = (CudaDevice)model.Hardware;
        var random = new Random(1);
        var tokens = Enumerable.Range(0, context).Select(_ => random.Next(model.Config.VocabularySize)).ToArray();
        using var session = model.CreateSession();

        // The first prompt pays for pinning its pages and for cuDNN's plans; a second one of the same length does not.
        var seconds = new List<double>();
        var (times, traffic) = (default(CopyTimes), default(Traffic));
        for (var run = 0; run < (options.Count("--runs") ?? 2); run++)
        {
            tokens[0] = run; // another first token: nothing that was computed before can be taken again
            session.Truncate(0);
            model.ClearCache(); // so that pages which are pinned already are used again
            await model.Thread.RunAsync(() => device.IsMeasured = true);
            var before = device.Traffic;
            var clock = Stopwatch.StartNew();
            await session.PrefillAsync(tokens).ConfigureAwait(false);
            await model.Thread.RunAsync(Gpu.Synchronize);
            seconds.Add(clock.Elapsed.TotalSeconds);
            times = await model.Thread.RunAsync(device.TakeTimes);
            traffic = new Traffic(device.Traffic.Uploaded - before.Uploaded, device.Traffic.Downloaded - before.Downloaded);
        }

        var peak = monitor.Peak;
        var rates = await model.Thread.RunAsync(() => GpuRates.Measure(model.Config, forDecode: false));
        var bound = (Cost.Linear(model.Config, context) / rates.Product) + (Cost.Attention(model.Config, 0, context) / rates.Attention);
        var best = seconds.Min();
        Report(options, new Dictionary<string, object>
        {
            ["verb"] = "prefill", ["mode"] = options.Has("--stream") ? "streamed" : "resident", ["shape"] = shape, ["gpu"] = model.Device, ["context"] = context,
            ["seconds"] = best, ["firstSeconds"] = seconds[0], ["tokensPerSecond"] = context / best,
            ["boundSeconds"] = bound, ["boundTokensPerSecond"] = context / bound, ["percentOfBound"] = 100 * bound / best,
            ["productTflops"] = rates.Product / 1e12, ["attentionTflops"] = rates.Attention / 1e12,
            ["gpuPeakBytes"] = peak.Bytes, ["gpuBudgetBytes"] = model.Plan.Gpu!.Budget.Bytes, ["kvOnGpuBytes"] = (model.Plan.Gpu.KvBuffers + session.CacheSize.Resident).Bytes,
            ["uploadedBytes"] = traffic.Uploaded.Bytes, ["downloadedBytes"] = traffic.Downloaded.Bytes,
            ["copySeconds"] = times.Copying.TotalSeconds, ["exposedSeconds"] = times.Exposed.TotalSeconds, ["hiddenPercent"] = 100 * times.Hidden,
            ["segment"] = model.Plan.SegmentTokens, ["kernel"] = options.Text("--attention", "auto"),
        });
        return 0;
    }

    public static async Task<int> DecodeAsync(Options options)
    {
        var context = options.Count("--context") ?? 128 << 10;
        var steps = options.Count("--steps") ?? 8;
        using var monitor = new GpuMonitor();
        await using var model = Create(options, out var shape);
        var device = (CudaDevice)model.Hardware;
        using var session = model.CreateSession();
        await session.FillAsync(context - 1).ConfigureAwait(false);
        var first = await DemoBenchmark.DecodeAsync(session, 2).ConfigureAwait(false);
        await DemoBenchmark.DecodeAsync(session, (int)Math.Clamp(WarmSeconds / first, 2, 256)).ConfigureAwait(false);
        model.Attention.Host?.TakeRate();
        var before = device.Traffic;
        var seconds = await DemoBenchmark.DecodeAsync(session, steps).ConfigureAwait(false);
        var hostRate = model.Attention.Host?.TakeRate() ?? 0;
        var (up, down) = ((device.Traffic.Uploaded - before.Uploaded).Bytes / (steps + 1), (device.Traffic.Downloaded - before.Downloaded).Bytes / (steps + 1));

        // Timing the copies takes events between them, which costs some itself.
        await model.Thread.RunAsync(() => device.IsMeasured = true);
        await DemoBenchmark.DecodeAsync(session, 2).ConfigureAwait(false);
        var times = await model.Thread.RunAsync(device.TakeTimes);
        var peak = monitor.Peak;

        // The link carries what is streamed and layers that come by turns, beside the CPU; the GPU's memory gives what is resident and the weights that a token reads.
        var rates = await model.Thread.RunAsync(() => GpuRates.Measure(model.Config, forDecode: true));
        var (copied, streamed) = DecodeForecast.Cache(model.Config, model.Plan, session.Length);
        var gpuBytes = model.Plan.ReadPerToken.Bytes + copied + up;
        var (beside, onHost) = (model.Attention.HostRates ?? new HostRates(rates.Upload, 0, 0), (double)model.Attention.HostHeads(1, 1) / model.Config.AttendingLayers.Sum(layer => model.Config.HeadsOf(layer).KvHeads));
        double weights = model.Plan.ComingPerToken.Bytes;
        var bound = Math.Max(Math.Max(weights / beside.Link, (weights + streamed) / (beside.Link + beside.Host)), gpuBytes / rates.Memory);
        var predicted = model.Plan.Forecast!.Seconds(model.Config, model.Plan, context);
        Report(options, new Dictionary<string, object>
        {
            ["verb"] = "decode", ["mode"] = options.Has("--stream") ? "streamed" : "resident", ["shape"] = shape, ["gpu"] = model.Device, ["context"] = context, ["steps"] = steps,
            ["seconds"] = seconds, ["tokensPerSecond"] = 1 / seconds, ["boundSeconds"] = bound, ["boundTokensPerSecond"] = 1 / bound, ["percentOfBound"] = 100 * bound / seconds, ["predictedSeconds"] = predicted,
            ["hostHeadsPercent"] = 100 * onHost, ["hostBytesPerSecond"] = hostRate, ["predictedHostBytesPerSecond"] = beside.Host, ["linkBesideHostBytesPerSecond"] = beside.Link,
            ["linkBytesPerSecond"] = rates.Upload, ["gpuMemoryBytesPerSecond"] = rates.Memory,
            ["gpuPeakBytes"] = peak.Bytes, ["gpuBudgetBytes"] = model.Plan.Gpu!.Budget.Bytes, ["kvOnGpuBytes"] = (model.Plan.Gpu.KvBuffers + session.CacheSize.Resident).Bytes,
            ["residentBytes"] = session.CacheSize.Resident.Bytes, ["streamedBytes"] = streamed,
            ["uploadedBytes"] = up, ["downloadedBytes"] = down,
            ["copySeconds"] = times.Copying.TotalSeconds / 3, ["exposedSeconds"] = times.Exposed.TotalSeconds / 3,
        });
        return 0;
    }

    // What has to come over the link for one token: everything that is neither resident nor outside a window.
    public static HeadInferModel Create(Options options, out string shape)
    {
        LibTorch.EnsureLoaded();
        shape = options.Text("--shape", "llama-3-8b");
        var config = Shapes.Config(shape);
        var runtime = RuntimeOptions(options, config) with
        {
            Device = ComputeDevice.Cuda,
            GpuMemory = options.Size("--gpu-memory"),
            HostMemory = options.Size("--host-memory"),
            Warning = Console.Error.WriteLine,
        };
        using var weights = Shapes.Weights(shape, config, options);
        return ModelLoading.Create(config, weights, runtime);
    }

    internal static HeadInferOptions RuntimeOptions(Options options, ModelConfig config) => new()
    {
        DraftTokens = 0, // a pass a token: random weights repeat themselves, and would be guessed
        MaxContextTokens = Math.Max(config.MaxPositions, (options.Count("--context") ?? 128 << 10) + 1024),
        HostShare = options.Has("--host-share") ? double.Parse(options.Text("--host-share", ""), CultureInfo.InvariantCulture) : null,
        ResidentMemory = options.Has("--stream") ? ByteSize.Zero : options.Size("--resident"),
        SegmentTokens = options.Count("--segment"), ChunkTokens = options.Count("--chunk"), TileTokens = options.Count("--tile"),
        HeadGroupSize = options.Count("--group"), PageTokens = options.Count("--page"),
        FusedAttention = options.Has("--attention") ? Enum.Parse<FusedAttention>(options.Text("--attention", ""), ignoreCase: true) : null,
    };

    internal static void Report(Options options, Dictionary<string, object> figures)
    {
        if (options.Has("--json"))
        {
            Console.WriteLine(JsonSerializer.Serialize(figures));
            return;
        }

        foreach (var (name, value) in figures)
        {
            var text = (name, value) switch
            {
                (_, double number) when name.EndsWith("BytesPerSecond", StringComparison.Ordinal) => $"{number / 1e9:F1} GB/s",
                (_, double number) when name.EndsWith("Bytes", StringComparison.Ordinal) => new ByteSize((long)number).ToString(),
                (_, long number) => new ByteSize(number).ToString(),
                (_, double number) => number.ToString(number < 10 ? "F5" : "N1", CultureInfo.InvariantCulture),
                _ => Convert.ToString(value, CultureInfo.InvariantCulture),
            };
            Console.WriteLine($"{name,-24}{text}");
        }
    }
}
