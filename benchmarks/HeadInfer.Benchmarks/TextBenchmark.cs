using System.Diagnostics;
using System.Text.Json;
using System.Text.RegularExpressions;
using HeadInfer.Text.Templates;
using HeadInfer.Text.Templates.Jinja;
using Microsoft.ML.Tokenizers;

namespace HeadInfer.Benchmarks;

/// <summary>Encoding of long texts beside the library's own time, and rendering of long messages beside a copy.</summary>
internal static class TextBenchmark
{
    private const int Length = 4 << 20;
    private const int Run = 100_000;

    public static int Measure(string fixtures)
    {
        var book = string.Concat(Directory.GetFiles(Path.Combine(fixtures, "books"), "*.txt").Order(StringComparer.Ordinal).Select(File.ReadAllText));
        var text = string.Concat(Enumerable.Repeat(book + "\n", (Length / book.Length) + 1))[..Length];
        var letters = string.Concat(text.Where(char.IsLetter))[..Run];
        var library = 0.0;
        foreach (var folder in Directory.GetDirectories(Path.Combine(fixtures, "tokenizers")).Order(StringComparer.Ordinal).OrderBy(f => f.Contains("llama2", StringComparison.Ordinal)))
        {
            var tokenizer = HeadInfer.Text.Tokenizer.Load(folder);
            var own = Best(() => tokenizer.Encode(text).Count);
            var (with, without) = (Best(() => tokenizer.Encode(text[..Run]).Count), Best(() => tokenizer.Encode(letters).Count));
            var plain = Library(Path.Combine(folder, "tokenizer.json")) is { } bpe ? Best(() => bpe.EncodeToIds(text).Count) : (double?)null;
            library = plain ?? library; // what is no byte-level BPE is compared with the last that was
            Console.WriteLine($"{Path.GetFileName(folder)}: 4 Mi characters in {own:F0} ms, BpeTokenizer {(plain is null ? "of qwen2-style " : "")}{library:F0} ms ({own / library:F2} times); {Run:N0} letters without a space {without:F1} ms, text with spaces {with:F1} ms ({without / with:F1} times)");
        }

        var template = Parser.Parse("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim + '<|im_end|>\n' }}{% endfor %}");
        var messages = new List<object?> { Values.Dict([("role", TemplateText.Trusted("user")), ("content", TemplateText.Data(text))]) };
        var copy = Best(() => new string(text.AsSpan()).Length);
        var render = Best(() => Interpreter.Render(template, [new("messages", messages)], TimeProvider.System).Length);
        Console.WriteLine($"a message of 4 Mi characters rendered in {render:F1} ms, copied in {copy:F1} ms");
        return 0;
    }

    // The library by itself, as its users build it.
    private static BpeTokenizer? Library(string file)
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(file));
        var (model, words) = (json.RootElement.GetProperty("model"), json.RootElement.GetProperty("pre_tokenizer"));
        if (words.ValueKind != JsonValueKind.Object)
        {
            return null;
        }

        var pattern = words.GetProperty("pretokenizers")[0].GetProperty("pattern").GetProperty("Regex").GetString()!;
        return BpeTokenizer.Create(new BpeOptions(model.GetProperty("vocab").EnumerateObject().ToDictionary(p => p.Name, p => p.Value.GetInt32()))
        {
            Merges = model.GetProperty("merges").EnumerateArray().Select(m => m.ValueKind == JsonValueKind.Array ? $"{m[0].GetString()} {m[1].GetString()}" : m.GetString()!),
            ByteLevel = true,
            PreTokenizer = new RegexPreTokenizer(new Regex(pattern, RegexOptions.Compiled), null),
        });
    }

    private static double Best(Func<int> work)
    {
        var best = double.MaxValue;
        for (var i = 0; i < 10; i++)
        {
            var clock = Stopwatch.StartNew();
            work();
            best = Math.Min(best, clock.Elapsed.TotalMilliseconds);
        }

        return best;
    }
}
