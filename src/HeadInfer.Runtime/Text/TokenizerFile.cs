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
        return new TokenizerModel
        {
            Bpe = BpeTokenizer.Create(new BpeOptions(vocabulary)
            {
                Merges = merges,
                ByteLevel = true,
                PreTokenizer = new WordSplitter(ReadWordPattern(json, path)),
            }),
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

        foreach (var flag in (string[])["byte_fallback", "ignore_merges"])
        {
            if (model.TryGetProperty(flag, out var value) && value.ValueKind == JsonValueKind.True)
            {
                throw Unsupported(path, $"model.{flag}", "true");
            }
        }
    }

    private static AddedToken ReadAdded(JsonElement token, string path)
    {
        foreach (var flag in (string[])["lstrip", "rstrip", "single_word"])
        {
            if (token.TryGetProperty(flag, out var value) && value.ValueKind == JsonValueKind.True)
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
            || (split.TryGetProperty("invert", out var invert) && invert.ValueKind == JsonValueKind.True) || bytes.GetProperty("use_regex").GetBoolean() || bytes.GetProperty("add_prefix_space").GetBoolean())
        {
            throw Unsupported(path, "pre_tokenizer", string.Join(", ", steps.Select(s => Text(s, "type"))));
        }

        return new Regex(split.GetProperty("pattern").GetProperty("Regex").GetString() ?? "", RegexOptions.Compiled | RegexOptions.CultureInvariant);
    }

    // Tokens around a text: a template of special tokens with the text between.
    private static (List<int> Prefix, List<int> Suffix) ReadPostProcessor(JsonElement json, string path)
    {
        var (prefix, suffix) = (new List<int>(), new List<int>());
        if (Part(json, "post_processor") is not { } part || Text(part, "type") == "ByteLevel")
        {
            return (prefix, suffix);
        }

        if (Text(part, "type") != "TemplateProcessing")
        {
            throw Unsupported(path, "post_processor.type", Text(part, "type"));
        }

        var into = prefix;
        foreach (var step in Items(part, "single"))
        {
            if (step.TryGetProperty("SpecialToken", out var special))
            {
                into.AddRange(part.GetProperty("special_tokens").GetProperty(Text(special, "id") ?? "").GetProperty("ids").EnumerateArray().Select(i => i.GetInt32()));
            }
            else
            {
                into = suffix;
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

    private static UnsupportedModelException Unsupported(string path, string field, string? value) =>
        new($"'{path}': {field} is '{value}', which is not supported.");
}
