using System.Text;
using System.Text.Json;
using HeadInfer.Text;

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
                && tokenizer.Decode(plain, skipSpecial: false) == row.GetProperty("decoded").GetString()
                && DecodesInPieces(tokenizer, plain);
            if (!same)
            {
                wrong.Add(JsonSerializer.Serialize(text.Length > 40 ? text[..40] : text));
            }

            rows++;
        }

        return (wrong.Count == 0 && rows > 0, $"{rows - wrong.Count} of {rows} rows{(wrong.Count > 0 ? $"; first that differs: {wrong[0]}" : "")}");
    }

    // After every token: what came so far, and what waits, are the text of all bytes so far.
    private static bool DecodesInPieces(Tokenizer tokenizer, int[] ids)
    {
        var (bytes, sofar, stream) = (new List<byte>(), new StringBuilder(), new TokenStream(tokenizer, skipSpecial: false));
        foreach (var id in ids)
        {
            bytes.AddRange(tokenizer.Bytes(id).Span);
            sofar.Append(stream.Append(id));
            var whole = Encoding.UTF8.GetString([.. bytes]);
            whole = tokenizer.StrippedSpaces > 0 && whole.StartsWith(' ') ? whole[1..] : whole;
            var waiting = whole.Length - whole.TrimEnd('\ufffd').Length;
            if (!whole.StartsWith(sofar.ToString(), StringComparison.Ordinal) || whole.Length - sofar.Length > waiting)
            {
                return false;
            }
        }

        return true;
    }

    private static int[] Ids(JsonElement row, string name) => [.. row.GetProperty(name).EnumerateArray().Select(i => i.GetInt32())];
}
