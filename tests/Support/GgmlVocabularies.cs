using System.Text.Json;
using HeadInfer.Text.Tokenizers;

namespace HeadInfer.Tests;

/// <summary>Makes of a tokenizer.json what a converter writes into a GGUF file.</summary>
internal static class GgmlVocabularies
{
    private const int Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6;

    /// <param name="tokenizerJson">the file</param>
    /// <param name="pre">how text is cut; null for SentencePiece's vocabularies, and <c>gemma4</c> for one of its kind with merges</param>
    /// <param name="size">ids in all; those that no token has are filled up</param>
    public static GgmlVocabulary Of(string tokenizerJson, string? pre, int size = 0)
    {
        var (scored, pieces) = (pre is null, pre is null or "gemma4");
        using var json = JsonDocument.Parse(File.ReadAllBytes(tokenizerJson));
        var model = json.RootElement.GetProperty("model");
        var tokens = model.GetProperty("vocab").EnumerateObject().ToDictionary(p => p.Value.GetInt32(), p => p.Name);
        var added = json.RootElement.GetProperty("added_tokens").EnumerateArray().ToDictionary(t => t.GetProperty("id").GetInt32(), t => (Content: t.GetProperty("content").GetString()!, Special: t.GetProperty("special").GetBoolean()));
        var merges = model.GetProperty("merges").EnumerateArray().Select(m => m.ValueKind == JsonValueKind.Array ? $"{m[0].GetString()} {m[1].GetString()}" : m.GetString()!).ToList();
        var ranks = merges.Select((m, i) => (Token: m.Replace(" ", "", StringComparison.Ordinal), Rank: i)).GroupBy(m => m.Token).ToDictionary(g => g.Key, g => g.First().Rank);
        var texts = Enumerable.Range(0, Math.Max(size, tokens.Keys.Concat(added.Keys).Max() + 1)).Select(id => added.TryGetValue(id, out var a) ? a.Content : tokens.GetValueOrDefault(id, $"[PAD{id}]")).ToList();
        int TypeOf(int id) => pieces && texts[id] == "<unk>" ? Unknown
            : pieces && texts[id].StartsWith("<0x", StringComparison.Ordinal) ? Byte
            : added.TryGetValue(id, out var a) ? a.Special ? Control : UserDefined
            : tokens.ContainsKey(id) ? Normal : Unused;
        return new GgmlVocabulary("test.gguf", texts)
        {
            Model = scored ? "llama" : pieces ? "gemma4" : "gpt2",
            Pre = pieces && !scored ? null : pre ?? "default",
            Types = [.. texts.Select((_, id) => TypeOf(id))],
            Scores = scored ? [.. texts.Select(t => ranks.TryGetValue(t, out var rank) ? -rank : -1e6f)] : [],
            Merges = scored ? [] : merges,
            First = texts.IndexOf("<s>") is >= 0 and var s ? s : texts.IndexOf("<|begin_of_text|>") is >= 0 and var b ? b : null,
            AddsFirst = pre == "qwen2" ? false : null,
        };
    }
}
