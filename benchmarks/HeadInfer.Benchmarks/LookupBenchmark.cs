using System.Diagnostics;
using System.Globalization;
using HeadInfer.Runtime;
using HeadInfer.Text;

namespace HeadInfer.Benchmarks;

/// <summary>Passages of a document that are asked for by their first words: passes and time with guessed tokens and without.</summary>
internal static class LookupBenchmark
{
    private const double Fewest = 3; // times fewer passes
    private const int Questions = 16, Words = 4;

    public static async Task<int> RunAsync(Options options)
    {
        var (folder, document) = (options.Text("--model", "models/headinfer-demo"), await File.ReadAllTextAsync(options.Text("--document", "samples/AskDocument/documents/esther.txt")).ConfigureAwait(false));
        var guessing = await LoadAsync(folder, drafts: null).ConfigureAwait(false);
        await using var withDrafts = guessing.ConfigureAwait(false);
        var plain = await LoadAsync(folder, drafts: 0).ConfigureAwait(false);
        await using var without = plain.ConfigureAwait(false);
        var (fast, slow) = (default(Counts), default(Counts));
        foreach (var question in Ask(document))
        {
            var prompt = guessing.ChatTemplate!.Encode([new ChatTurn("user", $"{document}\n\n{question}")], guessing.Tokenizer);
            var (quoted, some) = await AnswerAsync(guessing, prompt).ConfigureAwait(false);
            var (same, all) = await AnswerAsync(plain, prompt).ConfigureAwait(false);
            if (quoted != same)
            {
                Console.Error.WriteLine($"{question}\nwith guesses: {quoted}\nwithout: {same}");
                return 1;
            }

            (fast, slow) = (fast + some, slow + all);
        }

        var fewer = (double)slow.Passes / fast.Passes;
        Print($"{Questions} passages, {slow.Tokens:N0} tokens of answers, the same with guesses and without");
        Print($"without guesses   {slow.Passes:N0} passes, {slow.Seconds:F2} s, {1e3 * slow.Seconds / slow.Tokens:F2} ms a token");
        Print($"with guesses      {fast.Passes:N0} passes, {fast.Seconds:F2} s, {1e3 * fast.Seconds / fast.Tokens:F2} ms a token; {fast.Drafted:N0} tokens guessed, {fast.Accepted:N0} of them came");
        Print($"fewer passes      {fewer:F2} times; faster {slow.Seconds / fast.Seconds:F2} times");
        return options.Has("--check") && fewer < Fewest ? 1 : 0;
    }

    private static Task<HeadInferModel> LoadAsync(string folder, int? drafts) =>
        HeadInferModel.LoadAsync(folder, new HeadInferOptions { Device = ComputeDevice.Cpu, DraftTokens = drafts });

    // Sentences at equal distances, by their first words.
    private static IEnumerable<string> Ask(string document)
    {
        var sentences = document.Split(". ").Select(s => s.Trim().Split(' ', '\n')).Where(words => words.Length > 2 * Words).ToList();
        for (var i = 0; i < Questions; i++)
        {
            yield return $"Quote the passage that begins with \"{string.Join(' ', sentences[i * sentences.Count / Questions].Take(Words))}\".";
        }
    }

    private static async Task<(string Text, Counts Counts)> AnswerAsync(HeadInferModel model, IReadOnlyList<int> prompt)
    {
        var session = model.CreateSession();
        await using var owned = session.ConfigureAwait(false);
        var (text, tokens, clock) = ("", 0, new Stopwatch());
        await foreach (var step in session.GenerateAsync(prompt, model.Defaults with { MaxTokens = 200 }).ConfigureAwait(false))
        {
            clock.Start(); // the first comes with the prompt
            text += step.Text;
            tokens++;
        }

        return (text, new Counts(tokens, tokens - 1 - session.Accepted, session.Drafted, session.Accepted, clock.Elapsed.TotalSeconds));
    }

    private static void Print(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));

    private readonly record struct Counts(int Tokens, int Passes, int Drafted, int Accepted, double Seconds)
    {
        public static Counts operator +(Counts a, Counts b) => new(a.Tokens + b.Tokens, a.Passes + b.Passes, a.Drafted + b.Drafted, a.Accepted + b.Accepted, a.Seconds + b.Seconds);
    }
}
