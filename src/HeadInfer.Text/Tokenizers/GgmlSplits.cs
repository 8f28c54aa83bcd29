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

    // Those of DeepSeek V2's tokenizer.json, which are none of Unicode's categories.
    private const string DeepSeekLetters = @"A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556"
        + @"\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
        + @"\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
        + CharacterProxies.Named;

    private static readonly GgmlSplits Digits = new(@"\p{N}", Tokenizers.Expressions.Gpt2);
    private static readonly GgmlSplits Groups = new(Words(@"\p{N}{1,3}"));
    private static readonly GgmlSplits Llama3 = Groups with { IgnoresMerges = true, AddsFirst = true };
    private static readonly GgmlSplits Glm = Groups with { IgnoresMerges = true };
    private static readonly GgmlSplits Qwen2 = new(Words(@"\p{N}")) { Form = NormalizationForm.FormC };
    private static readonly GgmlSplits Gpt4o = new(Cased(Contractions + "?", @"\p{N}{1,3}"));

    private static readonly Dictionary<string, GgmlSplits> Known = new(StringComparer.Ordinal)
    {
        ["gpt-2"] = new(Tokenizers.Expressions.Gpt2),
        ["olmo"] = new(Tokenizers.Expressions.Gpt2) { Form = NormalizationForm.FormC }, // OLMoE: GPT-NeoX's
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
        ["hunyuan"] = Qwen2, // of A13B and the dense 7B, by their tokenization_hy.py
        ["tekken"] = new(Cased("", @"\p{N}")) { IgnoresMerges = true, AddsFirst = true },
        ["gpt-4o"] = Gpt4o, // Phi-4-mini
        ["llama4"] = Gpt4o,
        ["seed-coder"] = new($@"{Contractions}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{Spaces}") { Form = NormalizationForm.FormC },
        ["tiny_aya"] = new(@"\d{1,3}(?=(?:\d{3})*\b)", Cased(Contractions + "?", @"\p{N}{1,3}")) { AddsFirst = true },
        ["deepseek-llm"] = new(@"[\r\n]", $@"\s?[{DeepSeekLetters}]+", @"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", @"\s+$", "[一-龥ࠀ-一가-\ud7ff]+", @"\p{N}"), // DeepSeek V2
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
