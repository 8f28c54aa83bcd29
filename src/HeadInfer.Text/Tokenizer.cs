using HeadInfer.Text.Templates;
using HeadInfer.Text.Tokenizers;

namespace HeadInfer.Text;

/// <summary>Text to token ids and back, as the <c>tokenizer.json</c> of a model folder says. Safe for concurrent use.</summary>
/// <example>
/// <code>
/// using HeadInfer.Text;
///
/// var tokenizer = Tokenizer.Load("path/to/a/model");
/// var ids = tokenizer.Encode("In the beginning");
/// Console.WriteLine((ids.Count, tokenizer.Decode(ids)));
/// </code>
/// </example>
public sealed class Tokenizer
{
    private const string JsonFile = "tokenizer.json", SentencePieceModel = "tokenizer.model", TekkenJson = "tekken.json";

    private readonly TokenizerModel _model;

    internal Tokenizer(TokenizerModel model) => _model = model;

    /// <summary>One more than the largest token id.</summary>
    public int VocabularySize => _model.TokenBytes.Length;

    /// <summary>Reads the <c>tokenizer.json</c> of a model folder, or where it has none the <c>tokenizer.model</c> of SentencePiece or the <c>tekken.json</c> of mistral-common.</summary>
    /// <exception cref="TokenizerException">It is missing or is not a tokenizer.</exception>
    /// <exception cref="UnsupportedModelException">It uses a part that is not supported; the message names it.</exception>
    public static Tokenizer Load(string folder) => Load(folder, template: null);

    /// <param name="template">a chat template in place of the folder's; null takes that</param>
    internal static Tokenizer Load(string folder, string? template)
    {
        var guarded = ChatTemplateFiles.AllText(folder) + template;
        var name = FileIn(folder) ?? JsonFile;
        var path = Path.Combine(folder, name);
        return new Tokenizer(name switch
        {
            SentencePieceModel => SentencePieceFile.Read(path, guarded),
            TekkenJson => TekkenFile.Read(path, guarded),
            _ => TokenizerFile.Read(path, guarded),
        });
    }

    /// <summary>Whether a folder has a tokenizer.</summary>
    internal static bool IsIn(string folder) => FileIn(folder) is not null;

    /// <summary>Whether it is that of mistral-common.</summary>
    internal static bool IsTekken(string folder) => FileIn(folder) == TekkenJson;

    /// <summary>Encodes text.</summary>
    /// <param name="text">the text</param>
    /// <param name="parseSpecial">whether special tokens written in the text (<c>&lt;|im_end|&gt;</c>) become those tokens; leave it off for text from users and documents, which must not be able to forge them</param>
    /// <param name="addSpecial">whether the tokens that the model expects around a text (such as one for its beginning) are added</param>
    /// <param name="cancellationToken">ends the work; the default never does</param>
    /// <exception cref="TokenizerException">The text needs Unicode normalization that this system cannot do, or the tokenizer's own steps take too long on it or make it too long.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    /// <remarks>Half a surrogate pair, which is no text, is encoded as U+FFFD.</remarks>
    public IReadOnlyList<int> Encode(string text, bool parseSpecial = false, bool addSpecial = false, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Encode(parseSpecial ? TemplateText.Trusted(text) : TemplateText.Data(text), addSpecial, cancellationToken: cancellationToken);
    }

    /// <summary>Encodes text of which some parts may stand for special tokens and the others may not.</summary>
    /// <param name="addSpecial">as above</param>
    /// <param name="continues">whether other tokens stand before it, which are encoded already</param>
    /// <param name="cancellationToken">ends the work</param>
    internal List<int> Encode(TemplateText text, bool addSpecial = false, bool continues = false, CancellationToken cancellationToken = default)
    {
        var work = new TextWork(text.Length, cancellationToken);
        var ids = new List<int>((text.Text.Length / 4) + 4);
        if (addSpecial)
        {
            ids.AddRange(_model.Prefix);
        }

        var at = 0;
        foreach (var (start, end, id) in _model.AddedTokens.FindIn(text, work))
        {
            EncodePlain(text, at, start, Place(at), ids, work);
            ids.Add(id);
            at = end;
        }

        EncodePlain(text, at, text.Length, Place(at), ids, work);
        if (addSpecial)
        {
            ids.AddRange(_model.Suffix);
        }

        return ids;

        TextPlace Place(int from) => from > 0 ? TextPlace.AfterToken : continues ? TextPlace.Continued : TextPlace.First;
    }

    /// <summary>Where the first of some added tokens stands in a text, from a place on; null if none does.</summary>
    internal int? Find(TemplateText text, int from, IReadOnlyCollection<int> tokens) =>
        _model.AddedTokens.FindIn(text, new TextWork(text.Length), from).Where(t => tokens.Contains(t.Id)).Select(t => (int?)t.Start).FirstOrDefault();

    /// <summary>The first added token of a text that is no white space; null if it has none.</summary>
    internal int? FirstMarker(TemplateText text) =>
        _model.AddedTokens.FindIn(text, new TextWork(text.Length)).Where(t => !string.IsNullOrWhiteSpace(text.Text[t.Start..t.End])).Select(t => (int?)t.Id).FirstOrDefault();

    /// <summary>Decodes token ids; bytes that are no UTF-8 become U+FFFD.</summary>
    /// <param name="ids">the tokens</param>
    /// <param name="skipSpecial">whether special tokens are left out</param>
    /// <exception cref="ArgumentOutOfRangeException">An id is not in the vocabulary.</exception>
    public string Decode(IEnumerable<int> ids, bool skipSpecial = true)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var stream = new TokenStream(this, skipSpecial);
        var text = new StringBuilder();
        foreach (var id in ids)
        {
            text.Append(stream.Append(id));
        }

        return text.Append(stream.Flush()).ToString();
    }

    /// <summary>The UTF-8 bytes that a token stands for; not always whole characters.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The id is not in the vocabulary.</exception>
    public ReadOnlyMemory<byte> Bytes(int id) =>
        (uint)id < (uint)VocabularySize ? _model.TokenBytes[id] : throw new ArgumentOutOfRangeException(nameof(id), id, $"Token ids are from 0 to {VocabularySize - 1}.");

    /// <summary>Spaces that a decoded text loses at its beginning, as encoding put them there.</summary>
    internal int StrippedSpaces => _model.StrippedSpaces;

    /// <summary>Whether a token is special: one that steers the model and is not text.</summary>
    public bool IsSpecial(int id) => _model.SpecialIds.Contains(id);

    /// <summary>The id of an added token, such as <c>&lt;|im_end|&gt;</c>, or null if there is none of that name.</summary>
    public int? AddedToken(string content) => _model.AddedTokens.IdOf(content);

    // The first that is there is read.
    private static string? FileIn(string folder) => ((string[])[JsonFile, SentencePieceModel, TekkenJson]).FirstOrDefault(name => File.Exists(Path.Combine(folder, name)));

    private void EncodePlain(TemplateText text, int from, int to, TextPlace place, List<int> ids, TextWork work)
    {
        foreach (var (start, length) in _model.Markers.FindIn(text, from, to, work))
        {
            var cut = _model.Words.SpellsBytes ? start : start + (length / 2);
            _model.EncodePlain(text.Text.AsSpan(from, cut - from), place, ids, work);
            from = cut + (_model.Words.SpellsBytes ? 1 : 0);
            _model.Words.SpellBytes(text.Text.AsSpan(cut, from - cut), ids);
            place = TextPlace.Continued;
        }

        _model.EncodePlain(text.Text.AsSpan(from, to - from), place, ids, work);
    }
}
