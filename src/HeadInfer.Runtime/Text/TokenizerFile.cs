using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.ML.Tokenizers;

namespace HeadInfer.Runtime.Text;

/// <summary>Reads a <c>tokenizer.json</c> of Hugging Face's tokenizers: byte-level BPE.</summary>
internal static class TokenizerFile
{
    /// <exception cref="TokenizerException">The file is missing or is not a tokenizer.</exception>
    /// <exception cref="UnsupportedModelException">It uses a part that is not supported.</exception>
    public static TokenizerModel Read(string path)
    {
        if (!File.Exists(path))
        {
            throw new TokenizerException($"There is no tokenizer '{path}'.");
        }

        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(path));
            return Build(json.RootElement, path);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or IOException or ArgumentException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"'{path}' is not a tokenizer: {e.Message}", e);
        }
    }

    private static TokenizerModel Build(JsonElement json, string path)
    {
        var model = json.GetProperty("model");
        RequireSupported(model, path);
        var vocabulary = model.GetProperty("vocab").EnumerateObject().ToDictionary(p => p.Name, p => p.Value.GetInt32(), StringComparer.Ordinal);
        var added = Items(json, "added_tokens").Where(t => Text(t, "content") is not "").Select(t => ReadAdded(t, path)).ToList();
        var merges = Items(model, "merges").Select(m => m.ValueKind == JsonValueKind.Array && m.GetArrayLength() == 2 ? $"{m[0].GetString()} {m[1].GetString()}" : m.GetString() ?? "");
        var (prefix, suffix) = ReadPostProcessor(json, path);
        var splitter = new WordSplitter(ReadWordPattern(json, path));
        return new TokenizerModel
        {
            Bpe = BpeTokenizer.Create(new BpeOptions(vocabulary)
            {
                Merges = merges,
                ByteLevel = true,
                PreTokenizer = splitter,
            }),
            Splitter = splitter,
            WholeWords = IsTrue(model, "ignore_merges") ? vocabulary : null,
            AddedTokens = new AddedTokens(added),
            SpecialIds = added.Where(t => t.Special).Select(t => t.Id).ToHashSet(),
            TokenBytes = Bytes(vocabulary, added),
            ComposesText = ReadNormalizer(json, path),
            Prefix = prefix,
            Suffix = suffix,
        };
    }

    private static void RequireSupported(JsonElement model, string path)
    {
        if (Text(model, "type") is { } type && type != "BPE")
        {
            throw Unsupported(path, "model.type", type);
        }

        foreach (var affix in (string[])["dropout", "continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (model.TryGetProperty(affix, out var value) && value.ValueKind != JsonValueKind.Null && value.ToString().Length > 0)
            {
                throw Unsupported(path, $"model.{affix}", value.ToString());
            }
        }

        if (IsTrue(model, "byte_fallback"))
        {
            throw Unsupported(path, "model.byte_fallback", "true");
        }
    }

    private static AddedToken ReadAdded(JsonElement token, string path)
    {
        foreach (var flag in (string[])["lstrip", "rstrip", "single_word"])
        {
            if (IsTrue(token, flag))
            {
                throw Unsupported(path, $"added_tokens.{flag}", "true");
            }
        }

        return new AddedToken(token.GetProperty("id").GetInt32(), Text(token, "content") is { Length: > 0 } content ? content : throw new FormatException("an added token has no content"), token.GetProperty("special").GetBoolean());
    }

    private static bool ReadNormalizer(JsonElement json, string path) => Part(json, "normalizer") switch
    {
        null => false,
        { } part when Text(part, "type") == "NFC" => true,
        { } part => throw Unsupported(path, "normalizer.type", Text(part, "type")),
    };

    // A split by an expression, then the byte-level alphabet.
    private static Regex ReadWordPattern(JsonElement json, string path)
    {
        var steps = Part(json, "pre_tokenizer") is { } part
            ? Text(part, "type") == "Sequence" ? Items(part, "pretokenizers") : [part]
            : [];
        if (steps is not [var split, var bytes] || Text(split, "type") != "Split" || Text(split, "behavior") != "Isolated" || Text(bytes, "type") != "ByteLevel"
            || IsTrue(split, "invert") || !IsFalse(bytes, "use_regex") || !IsFalse(bytes, "add_prefix_space")) // both are on where they are not mentioned
        {
            throw Unsupported(path, "pre_tokenizer", string.Join(", ", steps.Select(s => Text(s, "type"))));
        }

        return new Regex(split.GetProperty("pattern").GetProperty("Regex").GetString() ?? "", RegexOptions.Compiled | RegexOptions.CultureInvariant);
    }

    // Tokens around a text: a template of special tokens with the text between. Byte-level steps only move offsets.
    private static (List<int> Prefix, List<int> Suffix) ReadPostProcessor(JsonElement json, string path)
    {
        var (prefix, suffix) = (new List<int>(), new List<int>());
        var steps = Part(json, "post_processor") is { } part
            ? Text(part, "type") == "Sequence" ? Items(part, "processors") : [part]
            : [];
        foreach (var step in steps.Where(s => Text(s, "type") != "ByteLevel"))
        {
            if (Text(step, "type") != "TemplateProcessing")
            {
                throw Unsupported(path, "post_processor.type", Text(step, "type"));
            }

            var into = prefix;
            foreach (var piece in Items(step, "single"))
            {
                if (piece.TryGetProperty("SpecialToken", out var special))
                {
                    into.AddRange(step.GetProperty("special_tokens").GetProperty(Text(special, "id") ?? "").GetProperty("ids").EnumerateArray().Select(i => i.GetInt32()));
                }
                else
                {
                    into = suffix;
                }
            }
        }

        return (prefix, suffix);
    }

    private static ReadOnlyMemory<byte>[] Bytes(Dictionary<string, int> vocabulary, List<AddedToken> added)
    {
        var size = vocabulary.Values.Concat(added.Select(t => t.Id)).DefaultIfEmpty(-1).Max() + 1L;
        if (size is 0 or > 1 << 24 || vocabulary.Values.Concat(added.Select(t => t.Id)).Min() < 0)
        {
            throw new FormatException("token ids are out of range");
        }

        var bytes = new ReadOnlyMemory<byte>[size];
        foreach (var token in added)
        {
            bytes[token.Id] = Encoding.UTF8.GetBytes(token.Content);
        }

        foreach (var (token, id) in vocabulary)
        {
            bytes[id] = bytes[id].IsEmpty ? ByteLevel.Decode(token) : bytes[id];
        }

        return bytes;
    }

    private static JsonElement? Part(JsonElement json, string name) =>
        json.TryGetProperty(name, out var part) && part.ValueKind == JsonValueKind.Object ? part : null;

    private static JsonElement[] Items(JsonElement json, string name) =>
        json.TryGetProperty(name, out var list) && list.ValueKind == JsonValueKind.Array ? [.. list.EnumerateArray()] : [];

    private static string? Text(JsonElement json, string name) =>
        json.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static bool IsTrue(JsonElement json, string name) => json.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.True;

    private static bool IsFalse(JsonElement json, string name) => json.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.False;

    private static UnsupportedModelException Unsupported(string path, string field, string? value) =>
        new($"'{path}': {field} is '{value}', which is not supported.");
}
