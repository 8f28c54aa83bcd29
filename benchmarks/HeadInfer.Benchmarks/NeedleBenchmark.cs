using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.Text;

namespace HeadInfer.Benchmarks;

/// <summary>
/// A fact hidden at a depth of a text of a length, and asked for, greedily: a needle in a haystack. A text hides one fact at every
/// depth, all of one form, and is read once; every other question finds it known. A right answer is exact.
/// </summary>
internal static class NeedleBenchmark
{
    private const int Depths = 7;

    private static readonly int[] Lengths = [1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 28 << 10];

    private static readonly string[] Books = ["tests/fixtures/books/acts.txt", "samples/AskDocument/documents/esther.txt", "tests/fixtures/books/ruth.txt", "tests/fixtures/books/jonah.txt"];

    // What is hidden, and how it is asked for: {0} differs between the facts of a text, {1} is the answer's core. A text takes one form.
    private static readonly (string Fact, string Question)[] Forms =
    [
        ("The access code for the {0} is {1}.", "What is the access code for the {0}?"),
        ("The owner of the {0} is {1}.", "Who owns the {0}?"),
        ("The password for the {0} is {1}.", "What is the password for the {0}?"),
        ("The magic number for the {0} is {1}.", "What is the magic number for the {0}?"),
    ];

    private static readonly string[] Kinds = ["old", "north", "silver", "hidden", "third", "quiet", "eastern", "iron", "stone", "upper"],
        Places = ["harbor", "bridge", "castle", "library", "mill", "lighthouse", "market", "chapel", "orchard", "tunnel"],
        Words = ["amber", "falcon", "granite", "maple", "cobalt", "lantern", "violet", "juniper", "walnut", "copper"];

    private static readonly JsonSerializerOptions Wire = new(JsonSerializerDefaults.Web);

    public static async Task<int> RunAsync(Options options)
    {
        var (target, clock) = (options.Text("--out", "docs/results/needle.jsonl"), Stopwatch.StartNew());
        var model = await HeadInferModel.LoadAsync(options.Text("--model", "models/headinfer-demo"), new HeadInferOptions { Device = ComputeDevice.Cpu }).ConfigureAwait(false);
        await using var owned = model.ConfigureAwait(false);
        var text = string.Join("\n\n", Books.Select(b => File.ReadAllText(b).Trim()));
        List<string> lines = [];
        foreach (var length in options.Count("--context") is { } only ? [only] : Lengths.Where(n => n <= model.Plan.MaxContextTokens))
        {
            var cells = Enumerable.Range(0, Depths).Select(i => new List<Answer>()).ToList();
            for (var form = 0; form < Forms.Length; form++)
            {
                var random = new Random((length * Forms.Length) + form);
                var (document, facts) = Hide(model.Tokenizer, text, length, Forms[form], random);
                for (var i = 0; i < Depths; i++)
                {
                    cells[i].Add(await AskAsync(model, document, facts[i]).ConfigureAwait(false));
                }
            }

            lines.AddRange(cells.Select((answers, i) => JsonSerializer.Serialize(new Cell("needle", length, (double)i / (Depths - 1), answers.Count, answers.Count(a => a.Right), [.. answers.Where(a => !a.Right)]), Wire)));
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{length,6:N0} tokens  {string.Join("  ", cells.Select(c => $"{c.Count(a => a.Right)}/{c.Count}"))}  after {clock.Elapsed.TotalSeconds:N0} s"));
        }

        await File.WriteAllTextAsync(target, string.Join('\n', lines) + '\n').ConfigureAwait(false);
        return NeedlePlot.Run(target, Path.ChangeExtension(target, ".svg"));
    }

    // A text of the length with a fact at every depth: each stands at the end of the sentence that is there.
    private static (string Document, List<Fact> Facts) Hide(Tokenizer tokenizer, string text, int length, (string Fact, string Question) form, Random random)
    {
        var names = (from kind in Kinds from place in Places select $"{kind} {place}").ToArray();
        random.Shuffle(names);
        var facts = names.Take(Depths).Select(name =>
        {
            var value = $"{Words[random.Next(Words.Length)]}-{random.Next(10, 9999).ToString(CultureInfo.InvariantCulture)}";
            return new Fact(string.Format(CultureInfo.InvariantCulture, form.Fact, name, value), string.Format(CultureInfo.InvariantCulture, form.Question, name));
        }).ToList();

        const int asked = 40; // tokens of the question and the chat's markers, at most
        var room = length - asked - facts.Sum(f => tokenizer.Encode(" " + f.Text).Count);
        var begin = text.IndexOf(". ", random.Next(text.Length / 8), StringComparison.Ordinal) + 2; // begins elsewhere each time
        var hay = tokenizer.Decode(tokenizer.Encode(text[begin..]).Take(room));
        var size = hay.Length;
        for (var i = Depths - 1; i >= 0; i--) // the last first, so that places before it stay
        {
            var end = i == 0 ? 0 : i == Depths - 1 ? size : hay.IndexOf(". ", i * size / (Depths - 1), StringComparison.Ordinal) + 1;
            if (i > 0 && end is 0)
            {
                throw new FormatException($"The text has no end of a sentence after {i} of {Depths - 1} parts of {length} tokens.");
            }

            hay = $"{hay[..end].TrimEnd()} {facts[i].Text} {hay[end..].TrimStart()}";
        }

        hay = hay.Trim();
        return (hay, facts);
    }

    private static async Task<Answer> AskAsync(HeadInferModel model, string document, Fact fact)
    {
        var prompt = model.ChatTemplate!.Encode([new ChatTurn("user", $"{document}\n\n{fact.Question}")], model.Tokenizer);
        var session = model.CreateSession();
        await using var owned = session.ConfigureAwait(false);
        var said = "";
        await foreach (var step in session.GenerateAsync(prompt, new GenerationOptions { MaxTokens = 60 }).ConfigureAwait(false))
        {
            said += step.Text;
        }

        return new Answer(fact.Question, fact.Text, said.Trim(), said.Trim() == fact.Text);
    }

    private sealed record Fact(string Text, string Question);

    private sealed record Answer(string Question, string Expected, string Said, bool Right);

    private sealed record Cell(string Verb, int Context, double Depth, int Asked, int Right, List<Answer> Wrong);
}
