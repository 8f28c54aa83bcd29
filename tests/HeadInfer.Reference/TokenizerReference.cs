using System.Text.Json;
using HeadInfer.Runtime;

namespace HeadInfer.Reference;

/// <summary>Compares a tokenizer with the ids and texts that Hugging Face's tokenizers gave.</summary>
public static class TokenizerReference
{
    public static (bool Ok, string Figure) Check(string folder)
    {
        var tokenizer = Tokenizer.Load(folder);
        using var golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "golden.json")));
        var (rows, wrong) = (0, new List<string>());
        foreach (var row in golden.RootElement.EnumerateArray())
        {
            var text = row.GetProperty("text").GetString()!;
            var (ids, plain) = (Ids(row, "ids"), Ids(row, "ids_without_added_bos"));
            var same = tokenizer.Encode(text, parseSpecial: true, addSpecial: true).SequenceEqual(ids)
                && tokenizer.Encode(text, parseSpecial: true).SequenceEqual(plain)
                && tokenizer.Decode(plain, skipSpecial: false) == row.GetProperty("decoded").GetString();
            if (!same)
            {
                wrong.Add(JsonSerializer.Serialize(text.Length > 40 ? text[..40] : text));
            }

            rows++;
        }

        return (wrong.Count == 0 && rows > 0, $"{rows - wrong.Count} of {rows} rows{(wrong.Count > 0 ? $"; first that differs: {wrong[0]}" : "")}");
    }

    private static int[] Ids(JsonElement row, string name) => [.. row.GetProperty(name).EnumerateArray().Select(i => i.GetInt32())];
}
