using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>Decoding of many sequences together: each on a document of its own, and all on one.</summary>
internal static class ServeBenchmark
{
    private const int WarmSteps = 4;

    private static readonly int[] Counts = [1, 2, 4, 8, 16];

    public static readonly IReadOnlyList<string> Known = [.. ShapeBenchmark.Known, "--documents"];

    /// <summary>What a row of the table says.</summary>
    /// <param name="Documents">documents in all</param>
    /// <param name="Sequences">sequences that decode together</param>
    /// <param name="TokensPerSecond">of all of them</param>
    /// <param name="Gain">times the rate of one sequence</param>
    /// <param name="StepSeconds">time of a step, in which each gets a token</param>
    /// <param name="Bound">what a step takes at least</param>
    /// <param name="UploadedBytes">bytes that went to the device in a step; none where the CPU computes</param>
    private sealed record Row(int Documents, int Sequences, double TokensPerSecond, double Gain, double StepSeconds, StepBound Bound, long UploadedBytes);

    public static async Task<int> RunAsync(Options options)
    {
        LibTorch.EnsureLoaded();
        var onGpu = Gpu.IsAvailable(out _);
        var shape = options.Text("--shape", onGpu ? "llama-3-8b" : "models/headinfer-demo");
        var context = options.Count("--context") ?? 8 << 10;
        var steps = options.Count("--steps") ?? (onGpu ? 16 : 48);
        var documents = options.Text("--documents", "both");
        if (documents is not ("both" or "own" or "shared"))
        {
            throw new FormatException($"--documents is '{documents}'; write own, shared or both.");
        }

        await using var model = Create(options, shape, onGpu);
        if (!options.Has("--json"))
        {
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{shape} on {model.Device}, {context:N0} tokens of context, {model.Plan.Weights} of weights, {model.Plan.KvPerToken} of KV a token; {steps} steps after {WarmSteps} that warm up"));
        }

        // The machine's rates first: sessions may leave no room for it later.
        var rates = await RatesAsync(model, onGpu).ConfigureAwait(false);
        if (documents != "shared")
        {
            await MeasureAsync(model, options, rates, context, steps, shared: false).ConfigureAwait(false);
            model.ClearCache();
        }

        if (documents != "own")
        {
            await MeasureAsync(model, options, rates, context, steps, shared: true).ConfigureAwait(false);
        }

        return 0;
    }

    private static async Task MeasureAsync(HeadInferModel model, Options options, StepRates rates, int context, int steps, bool shared)
    {
        if (!options.Has("--json"))
        {
            Console.WriteLine(shared ? "all on one document" : "each on its own document");
            Console.WriteLine("sequences   tokens/s  times one   ms a step   bound ms (link, memory, products)   % of bound   up a step");
        }

        var sessions = new List<HeadInferSession>();
        try
        {
            var (one, count) = (0.0, 0);
            foreach (var next in Counts)
            {
                count = next;
                var fits = model.Plan.KvBudget.Bytes / model.Plan.KvFor(context + steps + (WarmSteps * next)).Bytes;
                if (!shared && count > fits)
                {
                    Console.Error.WriteLine($"{count} documents do not fit {model.Plan.KvBudget} of host memory.");
                    break;
                }

                while (sessions.Count < count)
                {
                    sessions.Add(shared && sessions.Count > 0 ? sessions[0].Fork() : await FilledAsync(model, sessions.Count, context).ConfigureAwait(false));
                }

                var (seconds, uploaded) = await StepAsync(model, sessions, steps).ConfigureAwait(false);
                sessions.ForEach(s => s.Truncate(context));
                one = one > 0 ? one : 1 / seconds;
                var bound = StepBound.Of(model, rates, context, count, shared ? 1 : count);
                Print(options, new Row(shared ? 1 : count, count, count / seconds, count / seconds / one, seconds, bound, uploaded));
            }
        }
        finally
        {
            foreach (var session in sessions)
            {
                await session.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    // Sessions with keys of their own share nothing, though they are filled with the same tokens.
    private static async Task<HeadInferSession> FilledAsync(HeadInferModel model, int number, int tokens)
    {
        var session = model.CreateSession($"document {number}");
        await session.FillAsync(tokens).ConfigureAwait(false);
        return session;
    }

    /// <summary>The median time between a sequence's tokens while all of them decode.</summary>
    /// <returns>seconds, and bytes that went to the device in a step</returns>
    private static async Task<(double Seconds, long Uploaded)> StepAsync(HeadInferModel model, IReadOnlyList<HeadInferSession> sessions, int steps)
    {
        var (waiting, uploaded) = (sessions.Count, 0L);
        async Task<List<double>> Read(HeadInferSession session, int number)
        {
            var (times, together, last) = (new List<double>(), 0, 0L);
            await foreach (var _ in session.GenerateAsync([number + 1], new GenerationOptions { MaxTokens = null, StopTokens = [] }).ConfigureAwait(false))
            {
                var now = Stopwatch.GetTimestamp();
                if (last == 0)
                {
                    Interlocked.Decrement(ref waiting);
                }

                // Steps before all have begun are not counted, nor the first ones after that.
                if (Volatile.Read(ref waiting) == 0 && ++together > WarmSteps)
                {
                    times.Add(Stopwatch.GetElapsedTime(last, now).TotalSeconds);
                }

                last = now;
                if (number == 0 && together == WarmSteps)
                {
                    uploaded = -model.Memory.Uploaded.Bytes;
                }

                if (times.Count == steps)
                {
                    break;
                }
            }

            uploaded += number == 0 ? model.Memory.Uploaded.Bytes : 0;
            return times;
        }

        var all = await Task.WhenAll(sessions.Select((s, i) => Task.Run(() => Read(s, i)))).ConfigureAwait(false);
        return (all.SelectMany(t => t).Order().ElementAt(sessions.Count * steps / 2), uploaded / steps);
    }

    private static async Task<StepRates> RatesAsync(HeadInferModel model, bool onGpu)
    {
        if (!onGpu)
        {
            var buffer = new float[256 << 20 >> 2];
            Array.Fill(buffer, 1f);
            return new StepRates(double.PositiveInfinity, MachineRates.Reading(buffer), MachineRates.MatrixProduct());
        }

        var (moving, products) = await model.Thread.RunAsync(() => (GpuRates.Measure(model.Config, forDecode: true), GpuRates.Measure(model.Config, forDecode: false))).ConfigureAwait(false);
        return new StepRates(moving.Upload, moving.Memory, products.Product);
    }

    private static HeadInferModel Create(Options options, string shape, bool onGpu)
    {
        var config = Shapes.Config(shape);
        var runtime = ShapeBenchmark.RuntimeOptions(options, config) with
        {
            Device = onGpu ? ComputeDevice.Cuda : ComputeDevice.Cpu,
            GpuMemory = options.Size("--gpu-memory"),
            HostMemory = options.Size("--host-memory"),
            Warning = Console.Error.WriteLine,
        };
        using var weights = Shapes.Weights(shape, config, options);
        return ModelLoading.Create(config, weights, runtime);
    }

    private static void Print(Options options, Row row) => Console.WriteLine(options.Has("--json") ? JsonSerializer.Serialize(row) : string.Create(
        CultureInfo.InvariantCulture,
        $"{row.Sequences,9} {row.TokensPerSecond,10:N1} {row.Gain,10:F2} {1e3 * row.StepSeconds,11:F2}   {1e3 * row.Bound.Seconds,8:F2} ({1e3 * row.Bound.Link,6:F2}, {1e3 * row.Bound.Memory,6:F2}, {1e3 * row.Bound.Products,7:F2}) {100 * row.Bound.Seconds / row.StepSeconds,14:F0}% {new ByteSize(row.UploadedBytes),11}"));
}

/// <summary>What the machine does at best.</summary>
/// <param name="Link">bytes a second to the device; without end where the CPU computes</param>
/// <param name="Memory">bytes a second that are read where the model computes</param>
/// <param name="Product">operations a second of a matrix product</param>
internal readonly record struct StepRates(double Link, double Memory, double Product);

/// <summary>What a step takes at least, in seconds: the longest of three things that may be done at once.</summary>
/// <param name="Link">sending the KV cache of each document that is not resident</param>
/// <param name="Memory">reading the weights, and the KV cache of each document, once</param>
/// <param name="Products">the products with the weights, and attention, for every sequence</param>
internal readonly record struct StepBound(double Link, double Memory, double Products)
{
    public double Seconds => Math.Max(Link, Math.Max(Memory, Products));

    public static StepBound Of(HeadInferModel model, StepRates rates, int context, int sequences, int documents)
    {
        var config = model.Config;
        var attended = config.AttendingLayers.Sum(layer => config.AttendedElements(layer) * Math.Min((double)context, config.Windows[layer] - 1 ?? double.MaxValue));
        var kv = attended * model.Plan.KvPerToken.Bytes / config.KvElementsPerToken * documents;
        var operations = sequences * (Cost.Prefill(config, context, context + 1) + (2.0 * config.HiddenSize * config.VocabularySize));
        return new StepBound(Math.Max(0, kv - model.Memory.DeviceCache.Bytes) / rates.Link, (model.Plan.Weights.Bytes + kv) / rates.Memory, operations / rates.Product);
    }
}
