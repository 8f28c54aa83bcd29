using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The small files of a model folder.</summary>
/// <param name="Path">The folder.</param>
/// <param name="Config">Its <c>config.json</c>.</param>
/// <param name="Tokenizer">Its <c>tokenizer.json</c>, or null if there is none.</param>
/// <param name="ChatTemplate">Its chat template, or null if there is none.</param>
/// <param name="Defaults">Generation defaults.</param>
/// <param name="EndTokens">Tokens that end a generation.</param>
internal sealed record ModelFolder(string Path, ModelConfig Config, Tokenizer? Tokenizer, ChatTemplate? ChatTemplate, GenerationOptions Defaults, IReadOnlyList<int> EndTokens)
{
    private const string HubPrefix = "models--"; // of models--org--name, which has snapshots/COMMIT

    /// <summary>What the model is called: the folder's name, or that of its repository in a hub's cache.</summary>
    public string Name
    {
        get
        {
            var folder = new DirectoryInfo(System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(Path)));
            var repository = folder.Parent?.Name == "snapshots" ? folder.Parent.Parent ?? folder : folder;
            return repository.Name.StartsWith(HubPrefix, StringComparison.Ordinal) && repository.Name.Length > HubPrefix.Length
                ? repository.Name[HubPrefix.Length..].Replace("--", "/", StringComparison.Ordinal)
                : folder.Name;
        }
    }

    /// <summary>Reads and checks them; reads no weight.</summary>
    /// <param name="path">the folder</param>
    /// <param name="template">a chat template in place of the folder's; null takes that</param>
    public static ModelFolder Open(string path, string? template = null)
    {
        var config = ModelConfig.Load(path);
        var tokenizer = Runtime.Tokenizer.IsIn(path) ? Runtime.Tokenizer.Load(path, template) : null;
        if (tokenizer is not null && tokenizer.VocabularySize > config.VocabularySize)
        {
            throw new CheckpointException($"'{path}': the tokenizer has {tokenizer.VocabularySize} tokens and the model {config.VocabularySize}; they do not belong together.");
        }

        var (defaults, end) = ReadDefaults(System.IO.Path.Combine(path, "generation_config.json"));
        var chat = template is null ? Runtime.ChatTemplate.Load(path, tokenizer) : Runtime.ChatTemplate.Of(template, path);
        // Published configurations forget the token that ends a turn; the template never does.
        int[] turn = tokenizer is not null && chat?.EndOfTurn(tokenizer) is { } token ? [token] : [];
        return new ModelFolder(path, config, tokenizer, chat, defaults, [.. (end.Length > 0 ? end : config.EndTokens).Union(turn)]);
    }

    private static (GenerationOptions Defaults, int[] EndTokens) ReadDefaults(string file)
    {
        if (!File.Exists(file))
        {
            return (new GenerationOptions(), []);
        }

        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(file));
            var json = new ConfigReader(document.RootElement, file);
            var greedy = !json.Bool("do_sample", false) || (json.Has("temperature") && json.Number("temperature") == 0);
            var sampling = greedy ? new SamplingOptions() : new SamplingOptions
            {
                Temperature = json.Positive("temperature", 1),
                TopK = json.Has("top_k") && json.Int("top_k", least: -1) is > 0 and var k ? k : null,
                TopP = json.Positive("top_p", 1),
                MinP = json.Has("min_p") ? json.Number("min_p") : 0,
            };
            var defaults = new GenerationOptions { Sampling = sampling with { RepetitionPenalty = json.Positive("repetition_penalty", 1) } };
            defaults.Validate();
            return (defaults, json.Ints("eos_token_id"));
        }
        catch (Exception e) when (e is JsonException or IOException or InvalidOperationException or UnauthorizedAccessException or ArgumentException)
        {
            throw new CheckpointException($"'{file}' cannot be read: {e.Message}", e);
        }
    }
}
