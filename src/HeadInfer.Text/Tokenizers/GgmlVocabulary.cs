using HeadInfer.Text.Templates;

namespace HeadInfer.Text.Tokenizers;

/// <summary>A tokenizer as ggml's metadata has it: tokens with types, and merges or scores.</summary>
/// <param name="Source">The file, for messages.</param>
/// <param name="Tokens">By their ids.</param>
internal sealed record GgmlVocabulary(string Source, IReadOnlyList<string> Tokens)
{
    private const int Normal = 1, Control = 3, UserDefined = 4, Unused = 5;
    private const string Gemma4 = "gemma4";
    private const int MaxId = 1 << 22;

    // Words in markers of calls, of their results and of thoughts.
    private static readonly string[] Shown = ["tool", "think", "[ARGS]", "[CALL_ID]"];

    /// <summary><c>tokenizer.ggml.model</c>: <c>gpt2</c> for byte-level vocabularies, <c>llama</c> for SentencePiece's, <c>gemma4</c> for one like SentencePiece's with merges in place of scores.</summary>
    public required string Model { get; init; }

    /// <summary>How text is cut into words, by its name.</summary>
    public string? Pre { get; init; }

    /// <summary>[id] 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 a byte; all are normal if it is empty.</summary>
    public IReadOnlyList<int> Types { get; init; } = [];

    /// <summary>[id] SentencePiece's scores.</summary>
    public IReadOnlyList<float> Scores { get; init; } = [];

    /// <summary>Halves of tokens with a space between, the first ones first.</summary>
    public IReadOnlyList<string> Merges { get; init; } = [];

    /// <summary>The token before a text.</summary>
    public int? First { get; init; }

    /// <summary>The token after a text.</summary>
    public int? Last { get; init; }

    /// <summary>Whether the first is added; null leaves it to the kind of vocabulary, and that of Gemma 4 always does.</summary>
    public bool? AddsFirst { get; init; }

    /// <summary>Whether the last is added.</summary>
    public bool AddsLast { get; init; }

    /// <summary>Whether SentencePiece's text gets a space before it.</summary>
    public bool AddsSpace { get; init; } = true;

    /// <summary>Whether white space after a control token is part of it: true for Phi-3, and in no file.</summary>
    public bool StripsAfterControl { get; init; }

    /// <summary>Tokens that the file names as the beginning or the end of something.</summary>
    public IReadOnlyCollection<int> Named { get; init; } = [];

    /// <summary>Told of what is corrected; null tells nobody.</summary>
    public Action<string>? Warn { get; init; }

    /// <param name="guarded">text of the chat template: what it has of added tokens is not matched in users' text</param>
    /// <exception cref="TokenizerException">The vocabulary contradicts itself.</exception>
    /// <exception cref="UnsupportedModelException">Its kind, or its way to cut text, is not supported.</exception>
    public Tokenizer Build(string guarded)
    {
        try
        {
            Check();
            return new Tokenizer(Model switch
            {
                Gemma4 => MergedPieceModel(guarded),
                "llama" when Pre == Gemma4 && Merges.Count > 0 => MergedPieceModel(guarded), // as Ollama's converter calls it
                "gpt2" => Corrected(guarded).ByteLevelModel(GgmlSplits.Of(Pre, Source), guarded),
                "llama" => Corrected(guarded).PieceModel(guarded),
                _ => throw new UnsupportedModelException($"'{Source}': tokenizer.ggml.model is '{Model}', which is not supported. Supported: gpt2, llama, gemma4."),
            });
        }
        catch (Exception e) when (e is FormatException or ArgumentException or InvalidOperationException or KeyNotFoundException or OverflowException)
        {
            throw new TokenizerException($"'{Source}' has a damaged tokenizer: {e.Message}", e);
        }
    }

    private void Check()
    {
        if (Tokens.Count is 0 or > MaxId || (Types.Count > 0 && Types.Count != Tokens.Count) || (Model == "llama" && Scores.Count != Tokens.Count))
        {
            throw new FormatException($"it has {Tokens.Count} tokens, {Types.Count} types and {Scores.Count} scores");
        }

        if (((int?[])[First, Last]).FirstOrDefault(id => (uint)(id ?? 0) >= (uint)Tokens.Count) is { } id)
        {
            throw new FormatException($"it begins or ends texts with the token {id}, and has {Tokens.Count}");
        }
    }

    // Converters have given markers the types of text. Then the template's are spelled in pieces, and the end of a turn ends nothing.
    // Gemma 4's are text on purpose, and so are those of calls and thoughts: they are shown, and yet each is one token.
    private GgmlVocabulary Corrected(string template)
    {
        var written = TextMarkers.In(template).ToHashSet(StringComparer.Ordinal);
        bool IsMarker(int id) => Tokens[id] is ['<', .., '>'] or ['[', .., ']'] && TypeOf(id) is Normal or UserDefined && (written.Contains(Tokens[id]) || Named.Contains(id));
        bool IsShown(int id) => !Named.Contains(id) && Shown.Any(word => Tokens[id].Contains(word, StringComparison.OrdinalIgnoreCase));
        var wrong = Enumerable.Range(0, Tokens.Count).Where(IsMarker).ToLookup(IsShown);
        var (shown, markers) = (wrong[true].ToHashSet(), wrong[false].ToHashSet());
        if (markers.Count > 0)
        {
            Warn?.Invoke($"'{Source}': the file has {string.Join(", ", markers.Take(5).Select(id => $"'{Tokens[id]}'"))}{(markers.Count > 5 ? " and others" : "")} as text; they are taken for control tokens, since {(written.Overlaps(markers.Select(id => Tokens[id])) ? "the chat template writes them" : "it names them as ends")}.");
        }

        return wrong.Count == 0 ? this : this with { Types = [.. Enumerable.Range(0, Tokens.Count).Select(id => markers.Contains(id) ? Control : shown.Contains(id) ? UserDefined : TypeOf(id))] };
    }

    private TokenizerModel ByteLevelModel(GgmlSplits splits, string guarded)
    {
        var (spelled, listed) = (new Dictionary<string, int>(StringComparer.Ordinal), new List<AddedToken>());
        for (var id = 0; id < Tokens.Count; id++)
        {
            switch (TypeOf(id))
            {
                case Control or UserDefined when Tokens[id].Length > 0:
                    listed.Add(new AddedToken(id, Tokens[id], TypeOf(id) == Control));
                    break;
                case Unused: // fills the vocabulary up to the rows of the embedding
                    break;
                default:
                    spelled.TryAdd(Tokens[id], id);
                    break;
            }
        }

        var open = AddedToken.Open(listed.Select(t => t.Content), guarded);
        var added = listed.ConvertAll(t => t with { IsOpen = !t.Special && open.Contains(t.Content) });
        var tokens = new AddedTokens(added);
        var merges = Halves()
            .Where(m => spelled.ContainsKey(m.Left) && spelled.ContainsKey(m.Right) && spelled.ContainsKey(m.Left + m.Right)).ToList();
        return new TokenizerModel
        {
            Normalizers = splits.Form is { } form ? [new TextNormalizer.Form(form)] : [],
            Words = TokenizerFile.ByteLevelWords(spelled, spelled, merges, [.. splits.Expressions.Select(e => new WordSplit(Expressions.Compile(e)))], splits.IgnoresMerges),
            AddedTokens = tokens,
            Markers = TextMarkers.Of(guarded, tokens),
            SpecialIds = added.Where(t => t.Special).Select(t => t.Id).ToHashSet(),
            TokenBytes = TokenizerFile.Bytes(spelled, added, byteLevel: true),
            Prefix = Around(AddsFirst ?? splits.AddsFirst, First),
            Suffix = Around(AddsLast, Last),
        };
    }

    private TokenizerModel PieceModel(string guarded) => SentencePieceFile.Model(
        [.. Tokens.Select((text, id) => (text, Scores[id], TypeOf(id)))], AddsSpace, [], guarded, Around(AddsFirst ?? true, First), Around(AddsLast, Last), StripsAfterControl);

    // Text is not cut into words: a mark stands for each space, and merges go across all of it. It is begun by a token even where the file says otherwise, as the first ones did.
    private TokenizerModel MergedPieceModel(string guarded) => SentencePieceFile.Model(
        [.. Tokens.Select((text, id) => (text, 0f, TypeOf(id)))], prefixes: false, [], guarded, Around(true, First), Around(AddsLast, Last), merges: [.. Halves()]);

    private IEnumerable<(string Left, string Right)> Halves() =>
        Merges.Select(m => m.IndexOf(' ', Math.Min(1, m.Length)) is > 0 and var space ? (m[..space], m[(space + 1)..]) : throw new FormatException($"a merge is '{m}'"));

    private int TypeOf(int id) => Types.Count > 0 ? Types[id] : Normal;

    private static int[] Around(bool adds, int? token) => adds && token is { } id ? [id] : [];
}
