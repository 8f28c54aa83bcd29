using HeadInfer.Text.Templates;

namespace HeadInfer.Text.Tokenizers;

/// <summary>Reads a <c>tekken.json</c> of mistral-common, which Mistral's models of 2025 come with: byte-pair encoding over bytes, in which ranks are merges.</summary>
/// <remarks>Special tokens have the first ids, and after them a token's id follows its rank. The file lists more tokens than count.</remarks>
internal static class TekkenFile
{
    private const int MaxId = 1 << 22;
    private const int MaxSpecial = 1 << 16; // published files have 1,000
    private const int ByteValues = 256;
    private const string First = "<s>"; // before a text

    // Versions whose files may leave out their special tokens, which are then these.
    private static readonly string[] Older = ["v1", "v2", "v3", "v7"];
    private static readonly string[] OlderSpecial =
    [
        "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]",
        "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
    ];

    /// <summary>What templates call its tokens, which have these texts in every file.</summary>
    public static readonly (string Name, string Content)[] NamedTokens = [("bos_token", First), ("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")];

    /// <param name="guarded">text of the chat template: what it has of markers is not matched in users' text</param>
    /// <exception cref="TokenizerException">The file is not a tokenizer.</exception>
    public static TokenizerModel Read(string path, string guarded)
    {
        try
        {
            using var json = JsonDocument.Parse(ModelFile.Read(path));
            return Build(json.RootElement, guarded);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or IOException or ArgumentException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"'{path}' is not a tokenizer: {e.Message}", e);
        }
    }

    private static TokenizerModel Build(JsonElement json, string guarded)
    {
        var (config, vocab) = (Field(json, "config"), Field(json, "vocab"));
        var (size, specials) = (Field(config, "default_vocab_size").GetInt32(), Field(config, "default_num_special_tokens").GetInt32());
        if (specials is < 0 or > MaxSpecial || size > MaxId || size < specials + ByteValues || size - specials > vocab.GetArrayLength())
        {
            throw new FormatException($"config.default_vocab_size is {size}, config.default_num_special_tokens {specials}, and vocab has {vocab.GetArrayLength()} tokens");
        }

        var added = Special(json, config, specials);
        var vocabulary = Vocabulary(vocab, size - specials, specials);
        var splitter = new WordSplitter([new WordSplit(Expressions.Compile(Text(config, "pattern")))]);
        var merger = new PairMerger(TokenizerFile.Joins(vocabulary, rankOf: id => id));
        var tokens = new AddedTokens(added);
        return new TokenizerModel
        {
            Words = new ByteLevelEncoder(null, splitter, vocabulary, [.. Enumerable.Range(specials, ByteValues)], new Lazy<PairMerger>(merger)),
            AddedTokens = tokens,
            Markers = TextMarkers.Of(guarded, tokens),
            SpecialIds = added.Where(t => t.Special).Select(t => t.Id).ToHashSet(),
            TokenBytes = TokenizerFile.Bytes(vocabulary, added, byteLevel: true),
            Prefix = tokens.IdOf(First) is { } first ? [first] : [],
        };
    }

    // None is open: mistral-common finds no special token in text, whether it is for control or not.
    private static List<AddedToken> Special(JsonElement json, JsonElement config, int count)
    {
        var listed = json.TryGetProperty("special_tokens", out var list) && list.ValueKind != JsonValueKind.Null ? [.. list.EnumerateArray().Select(Read)]
            : Older.Contains(Text(config, "version")) ? OlderSpecial.Select((name, id) => new AddedToken(id, name, Special: true)).ToList()
            : throw new FormatException($"it has no special_tokens, which of version {Text(config, "version")} are not known");
        if (listed.Count > count)
        {
            throw new FormatException($"it has {listed.Count} special tokens, and config.default_num_special_tokens is {count}");
        }

        listed.AddRange(Enumerable.Range(listed.Count, count - listed.Count).Select(id => new AddedToken(id, $"<SPECIAL_{id}>", Special: true)));
        return listed.CountBy(t => t.Content).FirstOrDefault(c => c.Value > 1).Key is { } twice ? throw new FormatException($"it has the special token '{twice}' twice") : listed;

        AddedToken Read(JsonElement token, int place)
        {
            RequireRank(token, place, "special_tokens");
            var special = !token.TryGetProperty("is_control", out var control) || control.GetBoolean();
            return Text(token, "token_str") is { Length: > 0 } name ? new AddedToken(place, name, special) : throw new FormatException($"special_tokens[{place}] has no text");
        }
    }

    /// <summary>Ids by tokens in the byte-level alphabet.</summary>
    private static Dictionary<string, int> Vocabulary(JsonElement vocab, int count, int firstId)
    {
        var vocabulary = new Dictionary<string, int>(count, StringComparer.Ordinal);
        foreach (var (place, token) in vocab.EnumerateArray().Take(count).Index())
        {
            RequireRank(token, place, "vocab");
            if (!Field(token, "token_bytes").TryGetBytesFromBase64(out var bytes) || bytes.Length == 0 || (place < ByteValues && (bytes.Length > 1 || bytes[0] != place)) || !vocabulary.TryAdd(string.Concat(bytes.Select(ByteLevel.Character)), firstId + place))
            {
                throw new FormatException($"the token_bytes of vocab[{place}] are no base64, or empty, or another token's, or not the byte that each of the first {ByteValues} is");
            }
        }

        return vocabulary;
    }

    private static void RequireRank(JsonElement token, int place, string list)
    {
        if (Field(token, "rank").GetInt32() is var rank && rank != place)
        {
            throw new FormatException($"{list}[{place}] has the rank {rank}");
        }
    }

    private static string Text(JsonElement parent, string name) => Field(parent, name).GetString() ?? throw new FormatException($"its '{name}' is null");

    private static JsonElement Field(JsonElement parent, string name) => parent.TryGetProperty(name, out var value) ? value : throw new FormatException($"it lacks '{name}'");
}
