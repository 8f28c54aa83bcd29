using System.Text;

namespace HeadInfer.Text.Tokenizers;

/// <summary>How a byte-level vocabulary's text is cut, by the names that ggml gives to it (<c>tokenizer.ggml.pre</c>).</summary>
/// <remarks>
/// Each is what the <c>tokenizer.json</c> of the models of that name says, with its normalizer, so that ids are those of the
/// model's folder. A name is here if that is known for sure.
/// </remarks>
/// <param name="Expressions">cuts, one after the other</param>
internal sealed record GgmlSplits(params string[] Expressions)
{
    private const string Contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    private const string Spaces = @"\s*[\r\n]+|\s+(?!\S)|\s+";
    private const string Upper = @"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", Lower = @"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";

    private static readonly GgmlSplits Digits = new(@"\p{N}", Tokenizers.Expressions.Gpt2);
    private static readonly GgmlSplits Groups = new(Words(@"\p{N}{1,3}"));
    private static readonly GgmlSplits Llama3 = Groups with { IgnoresMerges = true, AddsFirst = true };
    private static readonly GgmlSplits Glm = Groups with { IgnoresMerges = true };
    private static readonly GgmlSplits Qwen2 = new(Words(@"\p{N}")) { Form = NormalizationForm.FormC };
    private static readonly GgmlSplits Gpt4o = new(Cased(Contractions + "?", @"\p{N}{1,3}"));

    private static readonly Dictionary<string, GgmlSplits> Known = new(StringComparer.Ordinal)
    {
        ["gpt-2"] = new(Tokenizers.Expressions.Gpt2),
        ["smollm"] = Digits,
        ["starcoder"] = Digits,
        ["refact"] = Digits,
        ["llama-bpe"] = Llama3,
        ["llama3"] = Llama3,
        ["llama-v3"] = Llama3,
        ["dbrx"] = Groups, // Phi-4
        ["smaug-bpe"] = Groups,
        ["glm4"] = Glm,
        ["chatglm-bpe"] = Glm,
        ["command-r"] = Digits with { Form = NormalizationForm.FormC, AddsFirst = true },
        ["qwen2"] = Qwen2,
        ["qwen35"] = new(Words(@"\p{N}", @"\p{L}\p{M}")) { Form = NormalizationForm.FormC },
        ["deepseek-r1-qwen"] = Qwen2,
        ["tekken"] = new(Cased("", @"\p{N}")) { IgnoresMerges = true, AddsFirst = true },
        ["gpt-4o"] = Gpt4o, // Phi-4-mini
        ["llama4"] = Gpt4o,
        ["deepseek-coder"] = new(@"[\r\n]", @"\s?\p{L}+", @"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", @"\p{N}"),
        ["deepseek-v3"] = new(@"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", @"[!""#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" + Spaces),
        // What converters of 2024 wrote where they did not know the model, as those that read it then take it.
        ["default"] = new(@"[\p{P}\$\+<=>\^~\|]+", Tokenizers.Expressions.Gpt2, @"\p{N}+", "[0-9][0-9][0-9]"),
    };

    /// <summary>Whether a word that is a token is that token, whatever the merges say.</summary>
    public bool IgnoresMerges { get; private init; }

    /// <summary>Whether a text is begun by a token where the file does not say.</summary>
    public bool AddsFirst { get; private init; }

    /// <summary>The form of Unicode that text is brought into; null for none.</summary>
    public NormalizationForm? Form { get; private init; }

    /// <summary>The cuts of a name.</summary>
    /// <param name="name">the name; null where the file has none</param>
    /// <param name="source">the file, for messages</param>
    /// <exception cref="UnsupportedModelException">It is not known.</exception>
    public static GgmlSplits Of(string? name, string source) => name is not null && Known.TryGetValue(name, out var splits)
        ? splits
        : throw new UnsupportedModelException($"'{source}': {(name is null ? "tokenizer.ggml.pre is missing, as in files of before May 2024" : $"tokenizer.ggml.pre is '{name}', which is not known")}. How text is cut into words cannot be told, so take a newer file, or the model's folder with its tokenizer.json. Known: {string.Join(", ", Known.Keys)}.");

    private static string Words(string digits, string letters = @"\p{L}") => $@"{Contractions}|[^\r\n\p{{L}}\p{{N}}]?[{letters}]+|{digits}| ?[^\s{letters}\p{{N}}]+[\r\n]*|{Spaces}";

    private static string Cased(string after, string digits) =>
        $@"[^\r\n\p{{L}}\p{{N}}]?{Upper}*{Lower}+{after}|[^\r\n\p{{L}}\p{{N}}]?{Upper}+{Lower}*{after}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{Spaces}";
}
