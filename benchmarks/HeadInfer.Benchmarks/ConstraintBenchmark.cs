using System.Diagnostics;
using System.Text;
using System.Text.Json;
using HeadInfer.Text;
using HeadInfer.Text.Constraints;

namespace HeadInfer.Benchmarks;

/// <summary>What it costs to keep an output to a form, on a vocabulary as large as those of published models.</summary>
internal static class ConstraintBenchmark
{
    private const int Vocabulary = 150_000;
    private const int Outputs = 40;

    private static readonly (string Name, OutputConstraint Constraint)[] Forms =
    [
        ("JSON of any form", OutputConstraint.Json()),
        ("a record", Schema("""
            {"type":"object","properties":{"title":{"type":"string"},"year":{"type":"integer","minimum":1000,"maximum":2100},"rating":{"type":"number","minimum":0,"maximum":5},
             "kind":{"enum":["book","film","play"]},"tags":{"type":"array","items":{"type":"string"},"maxItems":5},"author":{"type":"object","properties":{"name":{"type":"string"},
             "born":{"type":["string","null"],"format":"date"}},"required":["name","born"]}},"required":["title","year","rating","kind","tags","author"],"additionalProperties":false}
            """)),
        ("strings of a length and a pattern", Schema("""
            {"type":"array","minItems":4,"maxItems":8,"items":{"anyOf":[{"type":"string","maxLength":60},{"type":"string","pattern":"^[A-Z][a-z ]*\\.$"}]}}
            """)),
        ("a recursive tree", Schema("""
            {"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#/$defs/n"}}},"required":["name","children"]}}}
            """)),
    ];

    public static int Run(string folder)
    {
        var clock = Stopwatch.StartNew();
        var trie = new TokenTrie(Words(Tokenizer.Load(folder)));
        Console.WriteLine($"{trie.Size:N0} tokens, {trie.Entries.Length:N0} entries, made in {clock.Elapsed.TotalSeconds:F2} s");
        var logits = new float[trie.Size];
        foreach (var (name, constraint) in Forms)
        {
            var first = clock.Elapsed;
            var (cold, warm) = (new List<double>(), new List<double>());
            for (var output = 0; output < 2 * Outputs; output++)
            {
                // The same outputs twice: once to warm up, once to measure.
                var random = new Random(output % Outputs);
                var text = constraint.Begin(trie);
                for (var left = 120; left > 0 && !text.IsComplete; left--)
                {
                    foreach (ref var logit in logits.AsSpan())
                    {
                        logit = random.NextSingle();
                    }

                    var start = Stopwatch.GetTimestamp();
                    text.Mask(logits, left, []);
                    (output < Outputs ? cold : warm).Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
                    text.Advance(Array.IndexOf(logits, logits.Max()));
                }
            }

            warm.Sort();
            Console.WriteLine($"{name}: {warm.Average():F3} ms a token, median {warm[warm.Count / 2]:F3}, 99th of a hundred {warm[(int)(warm.Count * 0.99)]:F3}, most {warm[^1]:F3} of {warm.Count:N0}; before warm-up {cold.Average():F3}, most {cold.Max():F1}");
        }

        return 0;
    }

    private static OutputConstraint Schema(string json) => OutputConstraint.JsonSchema(JsonDocument.Parse(json).RootElement);

    // The model's own tokens, and runs of two to four of them from its documents until there are enough: words and phrases, brackets and quotes in all their company.
    private static byte[][] Words(Tokenizer tokenizer)
    {
        var words = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        void Add(byte[] bytes) => words.TryAdd(Convert.ToHexString(bytes), bytes);
        for (var id = 0; id < tokenizer.VocabularySize; id++)
        {
            Add(tokenizer.IsSpecial(id) ? [TokenTrie.SpecialMark, .. tokenizer.Bytes(id).Span] : tokenizer.Bytes(id).ToArray());
        }

        var files = new DirectoryInfo(".").EnumerateFiles("*", new EnumerationOptions { RecurseSubdirectories = true })
            .Where(f => f.Extension is ".cs" or ".json" or ".txt" or ".md" && f.Length < 1 << 19 && !f.FullName.Contains("/bin/", StringComparison.Ordinal) && !f.FullName.Contains("/obj/", StringComparison.Ordinal))
            .OrderBy(f => f.FullName, StringComparer.Ordinal);
        for (var run = 2; run <= 4; run++)
        {
            foreach (var file in files)
            {
                var ids = tokenizer.Encode(File.ReadAllText(file.FullName, Encoding.UTF8));
                for (var i = 0; i + run <= ids.Count && words.Count < Vocabulary; i++)
                {
                    Add([.. ids.Skip(i).Take(run).SelectMany(id => tokenizer.Bytes(id).ToArray())]);
                }
            }
        }

        return [.. words.Values.Take(Vocabulary)];
    }
}
