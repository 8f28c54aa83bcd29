using Google.Protobuf;
using HeadInfer.Text.Templates;

namespace HeadInfer.Text.Tokenizers;

/// <summary>Reads a SentencePiece <c>tokenizer.model</c>, which Llama 2 and Mistral come with: byte-pair encoding over characters.</summary>
/// <remarks>The file is a protocol buffer; of its fields, those that say how text is encoded are read (sentencepiece_model.proto).</remarks>
internal static class SentencePieceFile
{
    private const int Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6; // types of pieces
    private const int MaxId = 1 << 22;
    private const int BytePair = 2; // the trainer's kind of model

    /// <param name="guarded">text of the chat template: what it has of added tokens is not matched in users' text</param>
    /// <exception cref="TokenizerException">The file is not a tokenizer.</exception>
    /// <exception cref="UnsupportedModelException">It uses a part that is not supported.</exception>
    public static TokenizerModel Read(string path, string guarded)
    {
        try
        {
            return Build(ModelFile.Read(path), path, guarded);
        }
        catch (Exception e) when (e is FormatException or IOException or ArgumentException or IndexOutOfRangeException or OverflowException or UnauthorizedAccessException or JsonException or InvalidOperationException)
        {
            throw new TokenizerException($"'{path}' is not a SentencePiece model: {e.Message}", e);
        }
    }

    private static TokenizerModel Build(ReadOnlyMemory<byte> file, string path, string guarded)
    {
        var pieces = new List<(string Text, float Score, int Type)>();
        var (kind, prefixes, strips, escapes, map) = (1, true, true, true, 0); // the format's own defaults
        var trainer = ReadOnlyMemory<byte>.Empty;
        foreach (var (field, value) in Fields(file))
        {
            switch (field)
            {
                case 1:
                    pieces.Add(ReadPiece(value));
                    break;
                case 2:
                    (trainer, kind) = (value, (int)Number(value, 3, kind));
                    break;
                case 3:
                    (prefixes, strips, escapes) = (Number(value, 3, 1) != 0, Number(value, 4, 1) != 0, Number(value, 5, 1) != 0);
                    map = Fields(value).Where(f => f.Field == 2).Select(f => f.Value.Length).FirstOrDefault();
                    break;
                default:
                    break;
            }
        }

        if (pieces.Count == 0)
        {
            throw new FormatException("it has no pieces");
        }

        var (first, last) = (Text(trainer, 46, "<s>"), Text(trainer, 47, "</s>"));
        Require(path, kind == BytePair, "trainer_spec.model_type", kind);
        Require(path, map == 0, "normalizer_spec.precompiled_charsmap", $"{map} bytes");
        Require(path, !strips, "normalizer_spec.remove_extra_whitespaces", strips);
        Require(path, escapes, "normalizer_spec.escape_whitespaces", escapes);
        var (bos, eos) = Surroundings(path);
        int[] IdOf(bool wanted, string text) => wanted && pieces.FindIndex(p => p.Text == text) is >= 0 and var id ? [id] : [];
        var beside = AddedBeside(path, pieces);
        foreach (var token in beside.Where(t => t.Id < pieces.Count))
        {
            pieces[token.Id] = (token.Content, 0, Unused); // as itself it is no piece any more
        }

        return Model(pieces, prefixes, beside, guarded, IdOf(bos, first), IdOf(eos, last));
    }

    /// <summary>Makes a tokenizer of pieces.</summary>
    /// <param name="pieces">by their ids</param>
    /// <param name="prefixes">whether a space is put before a text</param>
    /// <param name="beside">tokens that were added after training</param>
    /// <param name="guarded">text of the chat template: what it has of added tokens is not matched in users' text</param>
    /// <param name="prefix">tokens before a text that is encoded with special tokens</param>
    /// <param name="suffix">tokens after it</param>
    /// <param name="stripsAfter">whether white space after a control token is part of it, except for those that begin and end texts</param>
    /// <param name="merges">halves of pieces, the first ones first; null takes what the scores say</param>
    public static TokenizerModel Model(List<(string Text, float Score, int Type)> pieces, bool prefixes, List<AddedToken> beside, string guarded, IReadOnlyList<int> prefix, IReadOnlyList<int> suffix, bool stripsAfter = false, List<(string Left, string Right)>? merges = null)
    {
        var normal = new Dictionary<string, int>(StringComparer.Ordinal); // what merges may make
        var bytes = Enumerable.Repeat(-1, 256).ToArray();
        var added = new List<AddedToken>();
        int? unknown = null;
        for (var id = 0; id < pieces.Count; id++)
        {
            var (text, _, type) = pieces[id];
            switch (type)
            {
                case Control or UserDefined when text.Length > 0:
                    added.Add(new AddedToken(id, text.Replace(PieceBpe.SpaceMark, ' '), type == Control) { StripsAfter = stripsAfter && type == Control && text is not ("<s>" or "<|endoftext|>") });
                    break;
                case Unknown:
                    unknown = id;
                    break;
                case Byte when TokenizerFile.ByteOf(text) is { } value:
                    bytes[value] = id;
                    break;
                case Unused:
                    break;
                default:
                    normal.TryAdd(text, id);
                    break;
            }
        }

        added.AddRange(beside);
        var open = AddedToken.Open(added.Where(t => !t.Special).Select(t => t.Content), guarded);
        added = [.. added.Select(t => t with { IsOpen = !t.Special && open.Contains(t.Content) })];
        var size = added.Select(t => t.Id + 1).Append(pieces.Count).Max();
        var tokenBytes = new ReadOnlyMemory<byte>[size];
        for (var id = 0; id < pieces.Count; id++)
        {
            tokenBytes[id] = TokenizerFile.PieceBytes(pieces[id].Text);
        }

        foreach (var token in added.Where(t => t.Id >= pieces.Count))
        {
            tokenBytes[token.Id] = Encoding.UTF8.GetBytes(token.Content);
        }

        var tokens = new AddedTokens(added);
        return new TokenizerModel
        {
            Normalizers = [.. prefixes ? [new TextNormalizer.Prepend(" ")] : (TextNormalizer[])[], new TextNormalizer.Replace(" ", PieceBpe.SpaceMark.ToString())],
            Words = new PieceBpe(normal, merges is null ? TokenizerFile.Joins(normal, Ranks(normal, pieces)) : TokenizerFile.Pairs(normal, merges), bytes, unknown, fusesUnknown: true),
            AddedTokens = tokens,
            Markers = TextMarkers.Of(guarded, tokens),
            SpecialIds = added.Where(t => t.Special).Select(t => t.Id).Concat(unknown is { } u ? [u] : []).ToHashSet(),
            TokenBytes = tokenBytes,
            StrippedSpaces = prefixes ? 1 : 0,
            Prefix = prefix,
            Suffix = suffix,
        };
    }

    // Tokens that were added after training stand in files of their own. Most ids below the pieces' only repeat them; InternLM2's take the place of some.
    private static List<AddedToken> AddedBeside(string path, List<(string Text, float Score, int Type)> pieces)
    {
        var added = new Dictionary<int, AddedToken>();
        void Add(int id, string? content, JsonElement flags, bool special)
        {
            if (id >= 0 && id < MaxId && content is { Length: > 0 }
                && (id >= pieces.Count || (pieces[id].Type is not (Unknown or Byte) && pieces[id].Text.Replace(PieceBpe.SpaceMark, ' ') != content)))
            {
                added[id] = new AddedToken(id, content, special)
                {
                    StripsBefore = TokenizerParts.IsTrue(flags, "lstrip"),
                    StripsAfter = TokenizerParts.IsTrue(flags, "rstrip"),
                    SingleWord = TokenizerParts.IsTrue(flags, "single_word"),
                };
            }
        }

        if (Beside(path, "added_tokens.json") is { } list)
        {
            foreach (var token in list.EnumerateObject().Where(t => t.Value.ValueKind == JsonValueKind.Number))
            {
                Add(token.Value.GetInt32(), token.Name, list, special: true);
            }
        }

        if (Beside(path, "tokenizer_config.json") is { } config && config.TryGetProperty("added_tokens_decoder", out var decoder) && decoder.ValueKind == JsonValueKind.Object)
        {
            foreach (var token in decoder.EnumerateObject().Where(t => t.Value.ValueKind == JsonValueKind.Object))
            {
                Add(int.Parse(token.Name, CultureInfo.InvariantCulture), TokenizerParts.Text(token.Value, "content"), token.Value, TokenizerParts.IsTrue(token.Value, "special"));
            }
        }

        return [.. added.Values];
    }

    private static JsonElement? Beside(string path, string name)
    {
        var file = Path.Combine(Path.GetDirectoryName(path) ?? "", name);
        if (!File.Exists(file))
        {
            return null;
        }

        using var json = JsonDocument.Parse(ModelFile.Read(file));
        return json.RootElement.ValueKind == JsonValueKind.Object ? json.RootElement.Clone() : throw new FormatException($"{name} is no JSON object");
    }

    // The pieces with higher scores first.
    private static Func<int, int> Ranks(Dictionary<string, int> vocabulary, List<(string Text, float Score, int Type)> pieces)
    {
        var ranks = vocabulary.Values.Select(id => pieces[id].Score).Distinct().OrderDescending().Select((score, rank) => (score, rank)).ToDictionary(p => p.score, p => p.rank);
        return id => ranks[pieces[id].Score];
    }

    // Whether a text is begun and ended by tokens stands in another file; Llama's tokenizers begin it unless that says otherwise.
    private static (bool Bos, bool Eos) Surroundings(string path)
    {
        if (Beside(path, "tokenizer_config.json") is not { } config)
        {
            return (true, false);
        }

        bool Flag(string name, bool otherwise) => config.TryGetProperty(name, out var flag) ? flag.ValueKind == JsonValueKind.True : otherwise;
        return (Flag("add_bos_token", true), Flag("add_eos_token", false));
    }

    private static void Require(string path, bool supported, string field, object value)
    {
        if (!supported)
        {
            throw new UnsupportedModelException($"'{path}': {field} is '{value}', which is not supported. Use the model's tokenizer.json.");
        }
    }

    private static (string Text, float Score, int Type) ReadPiece(ReadOnlyMemory<byte> message)
    {
        var (text, score, type) = ("", 0f, 1);
        foreach (var (field, value) in Fields(message))
        {
            switch (field)
            {
                case 1:
                    text = Encoding.UTF8.GetString(value.Span);
                    break;
                case 2:
                    score = BitConverter.ToSingle(value.Span);
                    break;
                case 3:
                    type = (int)BitConverter.ToInt64(value.Span);
                    break;
                default:
                    break;
            }
        }

        return (text, score, type);
    }

    private static long Number(ReadOnlyMemory<byte> message, int wanted, long otherwise)
    {
        foreach (var (field, value) in Fields(message))
        {
            otherwise = field == wanted && value.Length == sizeof(long) ? BitConverter.ToInt64(value.Span) : otherwise;
        }

        return otherwise;
    }

    private static string Text(ReadOnlyMemory<byte> message, int wanted, string otherwise)
    {
        foreach (var (field, value) in Fields(message))
        {
            otherwise = field == wanted ? Encoding.UTF8.GetString(value.Span) : otherwise;
        }

        return otherwise;
    }

    // The fields of a protocol buffer's message: bytes as they are, numbers as eight of them.
    private static IEnumerable<(int Field, ReadOnlyMemory<byte> Value)> Fields(ReadOnlyMemory<byte> message)
    {
        var input = new CodedInputStream(message.ToArray());
        for (uint tag; (tag = input.ReadTag()) != 0;)
        {
            yield return (WireFormat.GetTagFieldNumber(tag), WireFormat.GetTagWireType(tag) switch
            {
                WireFormat.WireType.Varint => BitConverter.GetBytes(input.ReadInt64()),
                WireFormat.WireType.Fixed64 => BitConverter.GetBytes(input.ReadFixed64()),
                WireFormat.WireType.Fixed32 => BitConverter.GetBytes(input.ReadFixed32()),
                WireFormat.WireType.LengthDelimited => input.ReadBytes().Memory,
                var wire => throw new FormatException($"a field has the unknown wire type {wire}"),
            });
        }
    }
}
