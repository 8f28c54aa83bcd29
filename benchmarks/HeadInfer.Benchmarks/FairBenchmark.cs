using System.Diagnostics;
using System.Globalization;
using HeadInfer.Runtime;

namespace HeadInfer.Benchmarks;

/// <summary>What a long prompt costs those who ask beside it, and what they cost it.</summary>
internal static class FairBenchmark
{
    private const int Short = 100, Questions = 8, Runs = 3;

    public static async Task<int> RunAsync(HeadInferModel model, int context)
    {
        await using var owned = model.ConfigureAwait(false);
        var random = new Random(1);
        int[] Text(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(model.Config.VocabularySize))];

        await FirstTokenAsync(model, Text(Short)).ConfigureAwait(false); // a warm-up
        var questionAlone = await MedianAsync(Questions, () => FirstTokenAsync(model, Text(Short))).ConfigureAwait(false);
        var prefillAlone = await MedianAsync(Runs, () => PrefillAsync(model, Text(context), null)).ConfigureAwait(false);
        var decodeAlone = await DecodeAsync(model, Text(Short), 400, CancellationToken.None).ConfigureAwait(false);

        List<double> asked = [];
        var begun = new TaskCompletionSource();
        var reading = PrefillAsync(model, Text(context), new Begun(begun));
        await begun.Task.ConfigureAwait(false);
        while (!reading.IsCompleted && asked.Count < Questions)
        {
            var seconds = await FirstTokenAsync(model, Text(Short)).ConfigureAwait(false);
            if (!reading.IsCompleted)
            {
                asked.Add(seconds);
            }
        }

        await reading.ConfigureAwait(false);

        begun = new TaskCompletionSource();
        using var stop = new CancellationTokenSource();
        var own = new OwnTime(begun);
        reading = PrefillAsync(model, Text(context), own);
        await begun.Task.ConfigureAwait(false);
        var decoding = DecodeAsync(model, Text(Short), int.MaxValue, stop.Token);
        await reading.ConfigureAwait(false);
        await stop.CancelAsync().ConfigureAwait(false);
        var decodeBeside = await decoding.ConfigureAwait(false);

        Print($"short question    {Short} tokens, alone {questionAlone * 1e3:F0} ms to its first token; beside a prompt of {context:N0} tokens {Median(asked) * 1e3:F0} ms, at most {asked.Max() * 1e3:F0} ms ({asked.Count} asked)");
        Print($"decoding          alone {decodeAlone:F1} tok/s; beside the prompt {decodeBeside:F1} tok/s, {100 * decodeBeside / decodeAlone:F0}%");
        Print($"prompt            alone {prefillAlone:F2} s; beside the decoding neighbour {own.Elapsed.TotalSeconds:F2} s of its own, {100 * ((own.Elapsed.TotalSeconds / prefillAlone) - 1):F1}% more");
        return 0;
    }

    private static async Task<double> FirstTokenAsync(HeadInferModel model, int[] prompt)
    {
        using var session = model.CreateSession();
        var clock = Stopwatch.StartNew();
        await foreach (var step in session.GenerateAsync(prompt, new GenerationOptions { MaxTokens = 1, StopTokens = [] }).ConfigureAwait(false))
        {
            return clock.Elapsed.TotalSeconds;
        }

        throw new InvalidOperationException("There was no token.");
    }

    private static async Task<double> PrefillAsync(HeadInferModel model, int[] prompt, IProgress<PrefillProgress>? progress)
    {
        using var session = model.CreateSession();
        var clock = Stopwatch.StartNew();
        await session.PrefillAsync(prompt, progress).ConfigureAwait(false);
        return clock.Elapsed.TotalSeconds;
    }

    // Tokens a second.
    private static async Task<double> DecodeAsync(HeadInferModel model, int[] prompt, int most, CancellationToken stop)
    {
        using var session = model.CreateSession();
        var (clock, tokens) = (new Stopwatch(), 0);
        await foreach (var step in session.GenerateAsync(prompt, new GenerationOptions { MaxTokens = Math.Min(most, 4000), StopTokens = [] }, cancellationToken: CancellationToken.None).ConfigureAwait(false))
        {
            if (stop.IsCancellationRequested)
            {
                break;
            }

            tokens += clock.IsRunning ? 1 : 0;
            clock.Start();
        }

        return tokens / clock.Elapsed.TotalSeconds;
    }

    private static async Task<double> MedianAsync(int runs, Func<Task<double>> measure)
    {
        List<double> values = [];
        for (var run = 0; run < runs; run++)
        {
            values.Add(await measure().ConfigureAwait(false));
        }

        return Median(values);
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static void Print(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));

    private class Begun(TaskCompletionSource begun) : IProgress<PrefillProgress>
    {
        public virtual void Report(PrefillProgress value)
        {
            if (value.Fraction > 0)
            {
                begun.TrySetResult();
            }
        }
    }

    /// <summary>Keeps the last of the times that were told: others' are not in it.</summary>
    private sealed class OwnTime(TaskCompletionSource begun) : Begun(begun)
    {
        public TimeSpan Elapsed { get; private set; }

        public override void Report(PrefillProgress value)
        {
            Elapsed = value.Elapsed;
            base.Report(value);
        }
    }
}
