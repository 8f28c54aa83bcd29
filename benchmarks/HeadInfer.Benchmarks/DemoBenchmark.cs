using System.Diagnostics;
using System.Globalization;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Planning;

namespace HeadInfer.Benchmarks;

/// <summary>Prefill and decode of a model folder on the CPU, beside the machine's own rates.</summary>
internal static class DemoBenchmark
{
    private const int Runs = 3;

    public static async Task<int> RunAsync(string folder, int context, int steps, Func<HeadInferOptions, Task<HeadInferModel>> load, HeadInferOptions options)
    {
        await using var model = await load(options).ConfigureAwait(false);
        var loaded = PeakMemory();
        var random = new Random(1);
        var tokens = Enumerable.Range(0, context).Select(_ => random.Next(model.Config.VocabularySize)).ToArray();

        using var session = model.CreateSession();
        await session.PrefillAsync(tokens[..Math.Min(512, context)]).ConfigureAwait(false);
        List<double> prefills = [], decodes = [];
        for (var run = 0; run < Runs; run++)
        {
            tokens[0] = run; // another first token: nothing that was computed before can be taken again
            session.Truncate(0);
            var clock = Stopwatch.StartNew();
            await session.PrefillAsync(tokens).ConfigureAwait(false);
            prefills.Add(clock.Elapsed.TotalSeconds);
            decodes.Add(await DecodeAsync(session, steps).ConfigureAwait(false));
        }

        var (peak, cache) = (PeakMemory(), model.Memory.HostCache + model.Memory.KeptCache);
        var (operations, bytes) = (Cost.Prefill(model.Config, 0, context), model.Plan.Weights + model.Plan.KvFor(context));

        // The machine's own rates, each beside another run of what is compared with it: a shared machine's speed wanders.
        List<double> products = [], readings = [];
        var buffer = new float[bytes.Bytes / sizeof(float)];
        Array.Fill(buffer, 1f);
        for (var run = 0; run < Runs; run++)
        {
            products.Add(MachineRates.MatrixProduct());
            tokens[0] = Runs + run;
            session.Truncate(0);
            var clock = Stopwatch.StartNew();
            await session.PrefillAsync(tokens).ConfigureAwait(false);
            prefills.Add(clock.Elapsed.TotalSeconds);
            readings.Add(MachineRates.Reading(buffer));
            decodes.Add(await DecodeAsync(session, steps).ConfigureAwait(false));
        }

        double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);
        var (prefill, decode, product, reading) = (Median(prefills), Median(decodes), Median(products), Median(readings));
        Print($"model             {folder}: {model.Plan.Weights} of weights, {model.Plan.KvPerToken} of KV a token ({model.Plan.KvElementType})");
        Print($"matrix product    {product / 1e9:F1} GFLOP/s in float32, {Environment.ProcessorCount} cores");
        Print($"prefill           {context:N0} tokens in {prefill:F2} s: {context / prefill:N0} tok/s, {operations / prefill / 1e9:F1} GFLOP/s, {100 * operations / prefill / product:F1}% of the matrix product");
        Print($"reading           {reading / 1e9:F1} GB/s of {bytes}");
        Print($"decode            {decode * 1e3:F2} ms a token at {context:N0} tokens: {bytes.Bytes / decode / 1e9:F1} GB/s, {100 * bytes.Bytes / decode / reading:F1}% of reading");
        Print($"memory            peak {peak}, of which weights {model.Plan.Weights}, KV cache {cache}, the rest {peak - model.Plan.Weights - cache} (peak after loading {loaded})");
        return 0;
    }

    /// <summary>The mean of seconds a token: tokens may reach their reader some at a time.</summary>
    public static async Task<double> DecodeAsync(HeadInferSession session, int steps)
    {
        var times = new List<double>();
        var clock = Stopwatch.StartNew();
        await foreach (var step in session.GenerateAsync([1], new GenerationOptions { MaxTokens = steps + 1, StopTokens = [] }).ConfigureAwait(false))
        {
            times.Add(clock.Elapsed.TotalSeconds);
            clock.Restart();
        }

        return times.Skip(1).Average(); // the first comes with the prompt's token
    }

    private static void Print(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));

    private static ByteSize PeakMemory() => new(Process.GetCurrentProcess().PeakWorkingSet64);
}
