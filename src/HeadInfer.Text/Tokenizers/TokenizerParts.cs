using System.Text.RegularExpressions;

namespace HeadInfer.Text.Tokenizers;

/// <summary>Reads the steps of a <c>tokenizer.json</c> around its model: normalizers, word splits, decoders, processors.</summary>
/// <param name="json">the file</param>
/// <param name="path">its name, for errors</param>
internal sealed class TokenizerParts(JsonElement json, string path)
{
    private const string SpaceMark = "\u2581";
    private const int MaxPattern = 1 << 14;
    private const int MaxSteps = 32; // published tokenizers have six at most

    /// <summary>What is done to text first.</summary>
    public List<TextNormalizer> Normalizers()
    {
        var result = new List<TextNormalizer>();
        foreach (var step in Steps("normalizer", "normalizers"))
        {
            result.Add(Type(step) switch
            {
                "NFC" => new TextNormalizer.Form(NormalizationForm.FormC),
                "NFD" => new TextNormalizer.Form(NormalizationForm.FormD),
                "NFKC" => new TextNormalizer.Form(NormalizationForm.FormKC),
                "NFKD" => new TextNormalizer.Form(NormalizationForm.FormKD),
                "Prepend" => new TextNormalizer.Prepend(Text(step, "prepend") ?? ""),
                "Replace" when Pattern(step, "String") is { Length: > 0 } old => new TextNormalizer.Replace(old, Text(step, "content") ?? ""),
                "Replace" when Pattern(step, "Regex") is { } old => new TextNormalizer.ReplaceMatches(Compile(old, "normalizer.pattern"), Text(step, "content") ?? ""),
                var type => throw Unsupported("normalizer.type", type),
            });
        }

        // Metaspace is a step between words, and does to text what a normalizer does.
        if (Steps("pre_tokenizer", "pretokenizers").FirstOrDefault(s => Type(s) == "Metaspace") is { ValueKind: JsonValueKind.Object } mark)
        {
            var scheme = Text(mark, "prepend_scheme") ?? (IsFalse(mark, "add_prefix_space") ? "never" : "always");
            result.Add(new TextNormalizer.MarkSpaces(Text(mark, "replacement") ?? SpaceMark, scheme == "always", scheme == "never"));
        }

        return result;
    }

    /// <summary>Whether each mark of a space begins a word: what Metaspace does unless it is told not to.</summary>
    public bool CutsAtMarks() => Steps("pre_tokenizer", "pretokenizers").Any(s => Type(s) == "Metaspace" && !IsFalse(s, "split"));

    /// <summary>How text is cut into words, and whether words are then bytes.</summary>
    public (List<WordSplit> Splits, bool ByteLevel) Words()
    {
        var (splits, byteLevel) = (new List<WordSplit>(), false);
        foreach (var step in Steps("pre_tokenizer", "pretokenizers"))
        {
            switch (Type(step))
            {
                case "Split":
                    splits.Add(Split(step));
                    break;
                case "Digits":
                    splits.Add(new WordSplit(Expressions.Compile(IsTrue(step, "individual_digits") ? @"\p{N}" : @"\p{N}+")));
                    break;
                case "ByteLevel":
                    if (!IsFalse(step, "add_prefix_space")) // on where it is not mentioned
                    {
                        throw Unsupported("pre_tokenizer.add_prefix_space", "true");
                    }

                    byteLevel = true;
                    if (!IsFalse(step, "use_regex"))
                    {
                        splits.Add(new WordSplit(Expressions.Compile(Expressions.Gpt2)));
                    }

                    break;
                case "Metaspace":
                    break; // see CutsAtMarks
                case var type:
                    throw Unsupported("pre_tokenizer.type", type);
            }
        }

        return (splits, byteLevel);
    }

    /// <summary>Spaces that a decoded text loses at its beginning. Decoders must undo what encoding does.</summary>
    /// <param name="byteLevel">whether tokens are bytes in an alphabet</param>
    public int StrippedSpaces(bool byteLevel)
    {
        var stripped = 0;
        foreach (var step in Steps("decoder", "decoders"))
        {
            switch (Type(step))
            {
                case "ByteLevel" when byteLevel:
                case "ByteFallback" or "Fuse" when !byteLevel:
                case "Replace" when !byteLevel && Pattern(step, "String") == SpaceMark && Text(step, "content") == " ":
                    break;
                case "Strip" when Text(step, "content") == " " && Number(step, "stop") == 0:
                    stripped = Number(step, "start");
                    break;
                case "Metaspace" when !byteLevel && Text(step, "replacement") == SpaceMark:
                    stripped = Text(step, "prepend_scheme") == "never" || IsFalse(step, "add_prefix_space") ? 0 : 1;
                    break;
                case var type:
                    throw Unsupported("decoder.type", type);
            }
        }

        return stripped;
    }

    /// <summary>Tokens around a text: a template of special tokens with the text between. Byte-level steps only move offsets.</summary>
    public (List<int> Prefix, List<int> Suffix) Surroundings()
    {
        var (prefix, suffix) = (new List<int>(), new List<int>());
        foreach (var step in Steps("post_processor", "processors").Where(s => Type(s) != "ByteLevel"))
        {
            if (Type(step) != "TemplateProcessing")
            {
                throw Unsupported("post_processor.type", Type(step));
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

    public static JsonElement[] Items(JsonElement json, string name) =>
        json.TryGetProperty(name, out var list) && list.ValueKind == JsonValueKind.Array ? [.. list.EnumerateArray()] : [];

    public static string? Text(JsonElement json, string name) =>
        json.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    public static bool IsTrue(JsonElement json, string name) => json.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.True;

    public UnsupportedModelException Unsupported(string field, string? value) => new($"'{path}': {field} is '{value}', which is not supported.");

    private static bool IsFalse(JsonElement json, string name) => json.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.False;

    private static int Number(JsonElement json, string name) => json.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetInt32() : 0;

    private static string? Type(JsonElement step) => Text(step, "type");

    private static string? Pattern(JsonElement step, string kind) => step.TryGetProperty("pattern", out var pattern) && pattern.ValueKind == JsonValueKind.Object ? Text(pattern, kind) : null;

    private WordSplit Split(JsonElement step)
    {
        var pattern = Pattern(step, "Regex") ?? (Pattern(step, "String") is { } text ? Regex.Escape(text) : throw Unsupported("pre_tokenizer.pattern", null));
        return Enum.TryParse<SplitBehavior>(Text(step, "behavior"), out var behavior)
            ? new WordSplit(Compile(pattern, "pre_tokenizer.pattern"), behavior, IsTrue(step, "invert"))
            : throw Unsupported("pre_tokenizer.behavior", Text(step, "behavior"));
    }

    // Each step costs time on every text, so their number is bounded.
    private List<JsonElement> Steps(string part, string inner)
    {
        var steps = json.TryGetProperty(part, out var step) && step.ValueKind == JsonValueKind.Object ? Flat(step, inner) : [];
        return steps.Count <= MaxSteps ? steps : throw Unsupported($"the number of steps of {part}", $"{steps.Count}");
    }

    private static List<JsonElement> Flat(JsonElement step, string inner) => Type(step) == "Sequence" ? [.. Items(step, inner).SelectMany(s => Flat(s, inner))] : [step];

    private Regex Compile(string pattern, string field)
    {
        if (pattern.Length > MaxPattern)
        {
            throw Unsupported(field, string.Create(CultureInfo.InvariantCulture, $"an expression of {pattern.Length:N0} characters, more than {MaxPattern:N0}"));
        }

        try
        {
            return Expressions.Compile(pattern);
        }
        catch (ArgumentException e)
        {
            throw Unsupported(field, $"{pattern} ({e.Message})");
        }
    }
}
