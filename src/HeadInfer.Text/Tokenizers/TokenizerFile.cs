using HeadInfer.Text.Templates;
using Microsoft.ML.Tokenizers;

namespace HeadInfer.Text.Tokenizers;

/// <summary>Reads a <c>tokenizer.json</c> of Hugging Face's tokenizers: byte-pair encoding, over bytes or over characters.</summary>
internal static class TokenizerFile
{
    private const int MaxId = 1 << 22;
    private const long JoinSteps = 100_000_000; // characters of halves of tokens; the largest published vocabulary has a tenth of it

    /// <param name="guarded">text of the chat template: what it has of added tokens is not matched in users' text</param>
    /// <exception cref="TokenizerException">The file is missing or is not a tokenizer.</exception>
    /// <exception cref="UnsupportedModelException">It uses a part that is not supported.</exception>
    public static TokenizerModel Read(string path, string guarded)
    {
        if (!File.Exists(path))
        {
            throw new TokenizerException($"There is no tokenizer '{path}'.");
        }

        try
        {
            using var json = JsonDocument.Parse(ModelFile.Read(path));
            return Build(json.RootElement, new TokenizerParts(json.RootElement, path), guarded);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or IOException or ArgumentException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"'{path}' is not a tokenizer: {e.Message}", e);
        }
    }

    /// <summary>The byte that a token such as <c>&lt;0x0A&gt;</c> stands for; null if it is another token.</summary>
    public static byte? ByteOf(string token) =>
        token is ['<', '0', 'x', _, _, '>'] && byte.TryParse(token.AsSpan(3, 2), System.Globalization.NumberStyles.AllowHexSpecifier, null, out var value) ? value : null;

    private static TokenizerModel Build(JsonElement json, TokenizerParts parts, string guarded)
    {
        var model = json.GetProperty("model");
        RequireSupported(model, parts);
        var vocabulary = model.GetProperty("vocab").EnumerateObject().ToDictionary(p => p.Name, p => p.Value.GetInt32(), StringComparer.Ordinal);
        var normalizers = parts.Normalizers();
        var listed = TokenizerParts.Items(json, "added_tokens").Where(t => TokenizerParts.Text(t, "content") is not "").ToList();
        var open = AddedToken.Open(listed.Select(t => TokenizerParts.Text(t, "content") ?? throw new FormatException("an added token has no content")), guarded);
        var added = listed.Select(t => ReadAdded(t, open, normalizers.Count > 0)).ToList();
        var merges = TokenizerParts.Items(model, "merges").Select(ReadMerge).ToList();
        var (prefix, suffix) = parts.Surroundings();
        var (splits, byteLevel) = parts.Words();
        var tokens = new AddedTokens(added);
        // Bytes are text, whatever the file says. What is special comes of no merge: text cannot spell it.
        var special = added.Where(t => t.Special && (byteLevel || ByteOf(t.Content) is null)).Select(t => t.Id).ToHashSet();
        var spelled = vocabulary.Where(v => !special.Contains(v.Value)).ToDictionary(StringComparer.Ordinal);
        var bytes = Bytes(vocabulary, added, byteLevel);
        if (prefix.Concat(suffix).Any(id => (uint)id >= (uint)bytes.Length))
        {
            throw new FormatException("the post_processor has a token id that is not in the vocabulary");
        }

        return new TokenizerModel
        {
            Normalizers = normalizers,
            NormalizedTokens = Normalized(added, normalizers),
            Words = byteLevel ? ByteLevelWords(vocabulary, spelled, merges, splits, TokenizerParts.IsTrue(model, "ignore_merges")) : PieceWords(model, vocabulary, spelled, merges, splits, parts),
            AddedTokens = tokens,
            Markers = TextMarkers.Of(guarded, tokens),
            SpecialIds = special,
            TokenBytes = bytes,
            StrippedSpaces = parts.StrippedSpaces(byteLevel),
            Prefix = prefix,
            Suffix = suffix,
        };
    }

    private static AddedTokens? Normalized(List<AddedToken> added, List<TextNormalizer> normalizers)
    {
        var work = new TextWork(added.Sum(t => t.Content.Length));
        string Form(string content)
        {
            var text = normalizers.Aggregate(content, (text, n) => n.Apply(text, TextPlace.First, work));
            work.Take(text.Length);
            return text;
        }

        var tokens = added.Where(t => t.IsNormalized)
            .Select(t => t with { IsNormalized = false, Content = Form(t.Content) })
            .Where(t => t.Content.Length > 0).ToList();
        return tokens.Count > 0 ? new AddedTokens(tokens) : null;
    }

    private static void RequireSupported(JsonElement model, TokenizerParts parts)
    {
        if (TokenizerParts.Text(model, "type") is { } type && type != "BPE")
        {
            throw parts.Unsupported("model.type", type);
        }

        foreach (var affix in (string[])["dropout", "continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (model.TryGetProperty(affix, out var value) && value.ValueKind != JsonValueKind.Null && value.ToString() is not ("" or "0" or "0.0"))
            {
                throw parts.Unsupported($"model.{affix}", value.ToString());
            }
        }
    }

    /// <summary>Byte-pair encoding over bytes.</summary>
    /// <param name="vocabulary">all tokens, in the byte-level alphabet</param>
    /// <param name="spelled">those that text may become</param>
    /// <param name="merges">their halves, the first ones first</param>
    /// <param name="splits">cut text into words</param>
    /// <param name="ignoresMerges">whether a word that is a token is that token, whatever the merges say</param>
    public static ByteLevelEncoder ByteLevelWords(Dictionary<string, int> vocabulary, Dictionary<string, int> spelled, List<(string Left, string Right)> merges, IReadOnlyList<WordSplit> splits, bool ignoresMerges)
    {
        var splitter = new WordSplitter(splits);
        var bpe = BpeTokenizer.Create(new BpeOptions(vocabulary) { Merges = merges.Where(m => !vocabulary.ContainsKey(m.Left + m.Right) || spelled.ContainsKey(m.Left + m.Right)).Select(m => $"{m.Left} {m.Right}"), ByteLevel = true });
        var bytes = Enumerable.Range(0, 256).Select(b => vocabulary.GetValueOrDefault(ByteLevel.Character((byte)b).ToString(), -1)).ToArray();
        return new ByteLevelEncoder(bpe, splitter, ignoresMerges ? spelled : null, bytes, new Lazy<PairMerger>(() => new PairMerger(Pairs(spelled, merges))));
    }

    /// <summary>Merges by their tokens, the first ones first. One whose parts or whole are no tokens is passed over, as everywhere.</summary>
    public static List<PairMerge> Pairs(Dictionary<string, int> vocabulary, List<(string Left, string Right)> merges)
    {
        var pairs = new List<PairMerge>(merges.Count);
        foreach (var (left, right) in merges)
        {
            if (vocabulary.TryGetValue(left, out var first) && vocabulary.TryGetValue(right, out var second) && vocabulary.TryGetValue(left + right, out var whole))
            {
                pairs.Add(new PairMerge(first, second, pairs.Count, whole));
            }
        }

        return pairs;
    }

    /// <summary>Merges of a vocabulary that has none: any two tokens whose texts together are a token become it.</summary>
    /// <param name="vocabulary">ids by their texts</param>
    /// <param name="rankOf">of the token that two become; smaller ones first</param>
    /// <exception cref="FormatException">Tokens are so long that it takes too much work.</exception>
    public static List<PairMerge> Joins(Dictionary<string, int> vocabulary, Func<int, int> rankOf)
    {
        var find = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        var merges = new List<PairMerge>();
        var work = new WorkBudget(JoinSteps, 0, (_, count) => new FormatException(string.Create(CultureInfo.InvariantCulture, $"its pieces are so long that finding their merges takes more than {count:N0} steps")));
        foreach (var (text, id) in vocabulary)
        {
            work.Spend((long)text.Length * text.Length);
            for (var cut = 1; cut < text.Length; cut++)
            {
                if (find.TryGetValue(text.AsSpan(0, cut), out var left) && find.TryGetValue(text.AsSpan(cut), out var right))
                {
                    merges.Add(new PairMerge(left, right, rankOf(id), id));
                }
            }
        }

        return merges;
    }

    private static PieceBpe PieceWords(JsonElement model, Dictionary<string, int> vocabulary, Dictionary<string, int> spelled, List<(string Left, string Right)> merges, List<WordSplit> splits, TokenizerParts parts)
    {
        if (TokenizerParts.IsTrue(model, "ignore_merges"))
        {
            throw parts.Unsupported("model.ignore_merges", "true (without ByteLevel)");
        }

        // Gemma cuts at spaces, of which its normalizer has left none.
        if (splits.Any(s => s.Pattern.ToString() is not (" " or "\\ ")))
        {
            throw parts.Unsupported("pre_tokenizer.type", "Split (without ByteLevel)");
        }

        int? unknown = TokenizerParts.Text(model, "unk_token") is { } name && vocabulary.TryGetValue(name, out var id) ? id : null;
        var bytes = Enumerable.Range(0, 256).Select(b => TokenizerParts.IsTrue(model, "byte_fallback") ? vocabulary.GetValueOrDefault($"<0x{b:X2}>", -1) : -1).ToArray();
        return new PieceBpe(spelled, Pairs(spelled, merges), bytes, unknown, TokenizerParts.IsTrue(model, "fuse_unk"), parts.CutsAtMarks());
    }

    private static (string Left, string Right) ReadMerge(JsonElement merge)
    {
        if (merge.ValueKind == JsonValueKind.Array && merge.GetArrayLength() == 2)
        {
            return (merge[0].GetString() ?? "", merge[1].GetString() ?? "");
        }

        return merge.GetString()?.Split(' ') is [var left, var right] ? (left, right) : throw new FormatException($"a merge is {merge.GetRawText()}");
    }

    // A special token, or one that the template writes, is matched as it stands: normalizing would hide where it came from.
    private static AddedToken ReadAdded(JsonElement token, HashSet<string> open, bool hasNormalizer)
    {
        var content = TokenizerParts.Text(token, "content")!;
        var special = token.GetProperty("special").GetBoolean();
        return new AddedToken(token.GetProperty("id").GetInt32(), content, special)
        {
            StripsBefore = TokenizerParts.IsTrue(token, "lstrip"),
            StripsAfter = TokenizerParts.IsTrue(token, "rstrip"),
            SingleWord = TokenizerParts.IsTrue(token, "single_word"),
            IsOpen = !special && open.Contains(content),
            IsNormalized = hasNormalizer && !special && TokenizerParts.IsTrue(token, "normalized") && open.Contains(content),
        };
    }

    /// <summary>[id] what each token stands for.</summary>
    /// <exception cref="FormatException">An id is out of range.</exception>
    public static ReadOnlyMemory<byte>[] Bytes(Dictionary<string, int> vocabulary, List<AddedToken> added, bool byteLevel)
    {
        var ids = vocabulary.Values.Concat(added.Select(t => t.Id)).ToList();
        if (ids.Count == 0 || ids.Min() < 0 || ids.Max() >= MaxId)
        {
            throw new FormatException("token ids are out of range");
        }

        var bytes = new ReadOnlyMemory<byte>[ids.Max() + 1];
        foreach (var token in added)
        {
            bytes[token.Id] = byteLevel ? Encoding.UTF8.GetBytes(token.Content) : PieceBytes(token.Content);
        }

        foreach (var (token, id) in vocabulary)
        {
            bytes[id] = !bytes[id].IsEmpty ? bytes[id] : byteLevel ? ByteLevel.Decode(token) : PieceBytes(token);
        }

        return bytes;
    }

    /// <summary>The bytes of a token written as SentencePiece does.</summary>
    public static byte[] PieceBytes(string token) =>
        ByteOf(token) is { } value ? [value] : Encoding.UTF8.GetBytes(token.Replace(PieceBpe.SpaceMark, ' '));
}
