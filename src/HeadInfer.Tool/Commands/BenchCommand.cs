using System.CommandLine;
using System.Diagnostics;

namespace HeadInfer.Tool.Commands;

/// <summary>How fast a model reads and answers on this machine.</summary>
internal static class BenchCommand
{
    private static readonly Flag<Bench>[] Own =
    [
        new("--context", "TOKENS", "tokens to read, such as 8192 or 32K; default: 4096, or as many as fit", (flags, text) => flags.Context = Values.Tokens(text)),
        new("--steps", "N", "tokens to generate after them; default: 64", (flags, text) => flags.Steps = Values.Above0(text)),
        new("--runs", "N", "runs after a first one that is not counted; default: 3", (flags, text) => flags.Runs = Values.Above0(text)),
        .. ModelFlags.For<Bench>(),
    ];

    public static Command Create()
    {
        var model = new Argument<string>("MODEL") { Description = ModelPlace.Meaning };
        var json = Outputs.JsonOption();
        var command = new Command("bench", "Measures how fast a model reads a prompt and generates after it, on this machine.") { model, json };
        var flags = new FlagSet<Bench>(command, Own);
        command.SetAction((result, cancellationToken) => RunAsync(ModelPlace.Find(result.GetValue(model)!), flags.Read(result), result.GetValue(json), cancellationToken));
        return command;
    }

    private static async Task<int> RunAsync(string path, Bench bench, bool json, CancellationToken cancellationToken)
    {
        var options = bench.Options();
        options.DraftTokens = 0; // of random tokens none comes true
        await using var model = await HeadInferModel.LoadAsync(path, options, cancellationToken: cancellationToken);
        var context = bench.Context ?? Math.Max(1, Math.Min(4096, model.Plan.LongestContext - bench.Steps - 1));
        model.Plan.EnsureFits((long)context + bench.Steps + 1);
        var random = new Random(1);
        var tokens = Enumerable.Range(0, context).Select(_ => random.Next(model.Config.VocabularySize)).ToArray();
        List<double> prefills = [], steps = [];
        using var session = model.CreateSession();
        for (var run = 0; run <= bench.Runs; run++)
        {
            tokens[0] = run % model.Config.VocabularySize; // another first token: nothing that was read before can be taken again
            session.Truncate(0);
            model.ClearCache();
            var clock = Stopwatch.StartNew();
            await session.PrefillAsync(tokens, cancellationToken: cancellationToken);
            var prefill = clock.Elapsed.TotalSeconds;
            var step = await StepAsync(session, bench.Steps, cancellationToken);
            if (run > 0)
            {
                prefills.Add(prefill);
                steps.Add(step);
            }
        }

        var (reading, writing) = (Spread.Of(prefills), Spread.Of(steps));
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(
                new
                {
                    Model = model.Name, model.Device, model.Plan.ElementType, KvType = model.Plan.KvElementType, Context = context, bench.Steps, bench.Runs,
                    PrefillSeconds = reading, PrefillTokensPerSecond = context / reading.Median, TokenSeconds = writing, TokensPerSecond = 1 / writing.Median,
                },
                Outputs.Json));
            return Exits.Done;
        }

        void Line(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));
        Line($"model     {model.Name} on {model.Device}, computed in {model.Plan.ElementType}, keys and values in {model.Plan.KvElementType}");
        Line($"prefill   {context:N0} tokens in {reading.Median:F2} s ({reading.Least:F2} to {reading.Most:F2}): {context / reading.Median:N0} tok/s");
        Line($"decode    {1e3 * writing.Median:F2} ms a token ({1e3 * writing.Least:F2} to {1e3 * writing.Most:F2}) after {context:N0}: {1 / writing.Median:N1} tok/s");
        Line($"runs      {bench.Runs} after one that is not counted; medians, least and most; no tokens are guessed");
        return Exits.Done;
    }

    // Seconds a token, without the first, which comes with the prompt's last token.
    private static async Task<double> StepAsync(HeadInferSession session, int steps, CancellationToken cancellationToken)
    {
        var (first, last) = (0L, 0L);
        await foreach (var _ in session.GenerateAsync([1], new GenerationOptions { MaxTokens = steps + 1, StopTokens = [] }, cancellationToken: cancellationToken))
        {
            last = Stopwatch.GetTimestamp();
            first = first == 0 ? last : first;
        }

        return Stopwatch.GetElapsedTime(first, last).TotalSeconds / steps;
    }

    /// <summary>Seconds of several runs.</summary>
    private sealed record Spread(double Median, double Least, double Most)
    {
        public static Spread Of(List<double> values) => new(values.Order().ElementAt(values.Count / 2), values.Min(), values.Max());
    }

    /// <summary>What is measured.</summary>
    private sealed class Bench : ModelFlags
    {
        public int? Context { get; set; }

        public int Steps { get; set; } = 64;

        public int Runs { get; set; } = 3;
    }
}
