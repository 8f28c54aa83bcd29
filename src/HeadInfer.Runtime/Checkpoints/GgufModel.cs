using System.Text.Json;
using HeadInfer.Text;
using HeadInfer.Text.Templates;
using HeadInfer.Text.Tokenizers;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads from a GGUF file's metadata what a model folder has in small files.</summary>
internal static class GgufModel
{
    private const int LongestName = 200;
    private const string Tokens = "tokenizer.ggml.", Sampling = "general.sampling.";

    // Control tokens that end an answer whatever the file says: files name one of them, and models write others too.
    private static readonly string[] Ends = ["<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"];

    // GLM ends its turn by beginning another's.
    private static readonly string[] EndsOfGlm = ["<|endoftext|>", "<|user|>", "<|observation|>"];

    // Gemma 4 waits for what a tool answers. Its marker is no control token in files, so that it is shown.
    private static readonly string[] EndsOfGemma4 = ["<eos>", "<turn|>", "<|tool_response>"];

    // gpt-oss ends each message with <|end|>, thoughts among them.
    private static readonly string[] EndsOfGptOss = ["<|endoftext|>", "<|return|>", "<|call|>"];

    /// <summary>Reads and checks it; reads no weight.</summary>
    /// <param name="path">the file; of several shards the first one</param>
    /// <param name="options">a chat template or a scaling of positions in place of the file's, and who is warned</param>
    public static ModelFolder Open(string path, HeadInferOptions options)
    {
        using var checkpoint = GgufCheckpoint.Open(path);
        var metadata = checkpoint.Metadata;
        var config = GgufArchitecture.Configure(checkpoint, options.RopeScaling, options.Warning);
        if (checkpoint.Tensors.Keys.FirstOrDefault(TensorNames.IsOfSenses) is { } sense)
        {
            options.Warning?.Invoke($"'{path}': the model reads text alone; '{sense}' and others of what sees or hears are not read.");
        }

        var vocabulary = ReadVocabulary(metadata, checkpoint.Architecture, options.Warning);
        var files = Templates(metadata, vocabulary, options.ChatTemplate);
        var tokenizer = vocabulary?.Build(files.Text);
        ModelFolder.RefuseStranger(tokenizer, config, path);
        var (chat, endOfTurn, fault) = ModelFolder.Chat(files, tokenizer, options);
        var ends = ((string[])["eos", "eot", "eom"]).Select(name => TokenId(metadata, name, config.VocabularySize)).OfType<int>();
        var ofGemma4 = checkpoint.Architecture.Name == GgufArchitecture.Gemma4;
        var candidates = ofGemma4 ? EndsOfGemma4 : checkpoint.Architecture switch { { Name: GgufArchitecture.GptOss } => EndsOfGptOss, { IsGlm: true } => EndsOfGlm, _ => Ends };
        var named = tokenizer is null ? [] : candidates.Select(tokenizer.AddedToken).OfType<int>().Where(id => ofGemma4 || tokenizer.IsSpecial(id));
        var name = metadata.Text("general.name")?.Trim();
        return new ModelFolder(path, config, tokenizer, chat, Defaults(metadata, config, options.Warning), [.. ends.Union(endOfTurn).Union(named)])
        {
            ChatFault = fault,
            Title = name is { Length: > 0 and <= LongestName } && !name.Any(char.IsControl) ? name : Path.GetFileNameWithoutExtension(path),
        };
    }

    // What is sampled is a configuration's own, so a file that has a temperature samples.
    private static GenerationOptions Defaults(GgufMetadata metadata, ModelConfig config, Action<string>? warn)
    {
        var fields = new Dictionary<string, object>(StringComparer.Ordinal) { ["do_sample"] = metadata.Has(Sampling + "temp") };
        foreach (var (name, key) in ((string, string)[])[("temperature", "temp"), ("top_k", "top_k"), ("top_p", "top_p"), ("min_p", "min_p"), ("repetition_penalty", "penalty_repeat")])
        {
            if (metadata.Number(Sampling + key) is { } number)
            {
                fields[name] = number;
            }
        }

        if (metadata.Ints(Tokens + "suppress_tokens") is [_, ..] suppressed)
        {
            fields["suppress_tokens"] = suppressed;
        }

        foreach (var key in metadata.Unasked.Where(k => k.StartsWith(Sampling, StringComparison.Ordinal)))
        {
            warn?.Invoke($"'{metadata.Path}': '{key}' is not followed.");
        }

        return GenerationDefaults.Read(new ConfigReader(JsonSerializer.SerializeToElement(fields), metadata.Path, warn), config).Defaults;
    }

    private static GgmlVocabulary? ReadVocabulary(GgufMetadata metadata, GgufArchitecture architecture, Action<string>? warn)
    {
        if (metadata.Text(Tokens + "model") is not { } model || model is "none" or "no_vocab")
        {
            return null;
        }

        foreach (var part in (string[])["precompiled_charsmap", "remove_extra_whitespaces"])
        {
            if (metadata.Has(Tokens + part) && !(part.StartsWith("remove", StringComparison.Ordinal) && metadata.Bool(Tokens + part) == false))
            {
                throw new UnsupportedModelException($"'{metadata.Path}': {Tokens}{part} is not supported.");
            }
        }

        var (tokens, pre) = (metadata.Texts(Tokens + "tokens"), metadata.Text(Tokens + "pre"));
        return new GgmlVocabulary(metadata.Path, tokens)
        {
            Model = model,
            Pre = pre is not null && architecture.Name == "seed_oss" ? $"{pre} of Seed-OSS" : pre, // it is cut as Seed-Coder's; whether it is composed too is not known
            Types = metadata.Ints(Tokens + "token_type"),
            Scores = metadata.Floats(Tokens + "scores"),
            Merges = metadata.Texts(Tokens + "merges"),
            First = TokenId(metadata, "bos", tokens.Length),
            Last = TokenId(metadata, "eos", tokens.Length),
            AddsFirst = metadata.Bool(Tokens + "add_bos_token"),
            AddsLast = metadata.Bool(Tokens + "add_eos_token") ?? false,
            AddsSpace = metadata.Bool(Tokens + "add_space_prefix") ?? true,
            StripsAfterControl = architecture.Name == "phi3",
            Named = [.. ((string[])["bos", "eos", "eot", "eom"]).Select(name => TokenId(metadata, name, tokens.Length)).OfType<int>()],
            Warn = warn,
        };
    }

    private static ChatTemplateFiles Templates(GgufMetadata metadata, GgmlVocabulary? vocabulary, string? chosen)
    {
        var special = new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach (var (name, key) in ((string, string)[])[("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"), ("sep", "seperator")]) // so spelled
        {
            if (vocabulary is not null && TokenId(metadata, key, vocabulary.Tokens.Count) is { } id)
            {
                special[$"{name}_token"] = TemplateText.Trusted(vocabulary.Tokens[id]);
            }
        }

        return new ChatTemplateFiles(ChatTemplate.Named(chosen ?? metadata.Text("tokenizer.chat_template")), chosen is null ? metadata.Text("tokenizer.chat_template.tool_use") : null, special);
    }

    private static int? TokenId(GgufMetadata metadata, string name, int tokens) => metadata.Int($"{Tokens}{name}_token_id", 0, tokens - 1);
}
