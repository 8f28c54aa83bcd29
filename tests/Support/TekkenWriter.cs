using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HeadInfer.Tests;

/// <summary>Writes a <c>tekken.json</c> as mistral-common reads it.</summary>
internal static class TekkenWriter
{
    public const string Pattern = @"\p{L}+|[^\p{L}]+";

    public static readonly string[] Special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"];

    /// <param name="tokens">those after the single bytes, by rank</param>
    /// <param name="special">special tokens that are listed; null leaves the list out</param>
    /// <param name="specials">how many the file says there are</param>
    /// <param name="beyond">tokens at the end that are listed and do not count</param>
    public static JsonObject Of(IEnumerable<byte[]> tokens, string[]? special, int specials, int beyond = 0, string pattern = Pattern, string version = "v3")
    {
        byte[][] all = [.. Enumerable.Range(0, 256).Select(b => (byte[])[(byte)b]), .. tokens];
        var json = new JsonObject
        {
            ["config"] = new JsonObject { ["pattern"] = pattern, ["num_vocab_tokens"] = all.Length, ["default_vocab_size"] = specials + all.Length - beyond, ["default_num_special_tokens"] = specials, ["version"] = version },
            ["vocab"] = new JsonArray([.. all.Select((bytes, rank) => new JsonObject { ["rank"] = rank, ["token_bytes"] = Convert.ToBase64String(bytes), ["token_str"] = null })]),
        };
        if (special is not null)
        {
            json["special_tokens"] = new JsonArray([.. special.Select((name, rank) => new JsonObject { ["rank"] = rank, ["token_str"] = name, ["is_control"] = true })]);
        }

        return json;
    }

    /// <summary>A small one: five special tokens of eight, and words of English.</summary>
    public static JsonObject Small() => Of(((string[])["he", "ll", "llo", "xyz", "hello"]).Select(Encoding.UTF8.GetBytes), Special, specials: 8, beyond: 1);

    /// <summary>The vocabulary of a byte-level tokenizer.json, its added tokens first.</summary>
    /// <param name="ids">[id in tokenizer.json] the id in tekken.json</param>
    public static JsonObject FromTokenizer(string tokenizerJson, out Dictionary<int, int> ids)
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(tokenizerJson));
        var words = json.RootElement.GetProperty("model").GetProperty("vocab").EnumerateObject().Select(v => (Id: v.Value.GetInt32(), Bytes: Text.Tokenizers.ByteLevel.Decode(v.Name))).OrderBy(v => v.Id).ToList();
        var added = json.RootElement.GetProperty("added_tokens").EnumerateArray().Select(t => (Id: t.GetProperty("id").GetInt32(), Text: t.GetProperty("content").GetString()!)).ToList();
        var longer = words.Where(w => w.Bytes.Length > 1).ToList();
        ids = added.Select((t, i) => (t.Id, New: i))
            .Concat(words.Where(w => w.Bytes.Length == 1).Select(w => (w.Id, New: added.Count + w.Bytes[0])))
            .Concat(longer.Select((w, i) => (w.Id, New: added.Count + 256 + i))).ToDictionary(p => p.Id, p => p.New);
        var pattern = json.RootElement.GetProperty("pre_tokenizer").GetProperty("pretokenizers")[0].GetProperty("pattern").GetProperty("Regex").GetString()!;
        return Of(longer.Select(w => w.Bytes), [.. added.Select(t => t.Text)], added.Count, pattern: pattern);
    }
}
