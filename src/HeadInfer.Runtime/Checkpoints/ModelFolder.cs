using HeadInfer.Text;
using HeadInfer.Text.Templates;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The small files of a model folder, or what a GGUF file says in their place.</summary>
/// <param name="Path">The folder or file.</param>
/// <param name="Config">Its <c>config.json</c>.</param>
/// <param name="Tokenizer">Its tokenizer, or null if there is none.</param>
/// <param name="ChatTemplate">Its chat template, or null if there is none.</param>
/// <param name="EndTokens">Tokens that end a generation.</param>
internal sealed record ModelFolder(string Path, ModelConfig Config, Tokenizer? Tokenizer, ChatTemplate? ChatTemplate, GenerationOptions Defaults, IReadOnlyList<int> EndTokens)
{
    private const string HubPrefix = "models--"; // of models--org--name, which has snapshots/COMMIT

    /// <summary>What the model calls itself; null if it does not.</summary>
    public string? Title { get; init; }

    /// <summary>Why the chat template that the model came with cannot be used; null if it can, or if there is none.</summary>
    public ChatTemplateException? ChatFault { get; init; }

    /// <summary>What the model is called: its title, the folder's name, or that of its repository in a hub's cache.</summary>
    public string Name
    {
        get
        {
            if (Title is not null)
            {
                return Title;
            }

            var folder = new DirectoryInfo(System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(Path)));
            var repository = folder.Parent?.Name == "snapshots" ? folder.Parent.Parent ?? folder : folder;
            return repository.Name.StartsWith(HubPrefix, StringComparison.Ordinal) && repository.Name.Length > HubPrefix.Length
                ? repository.Name[HubPrefix.Length..].Replace("--", "/", StringComparison.Ordinal)
                : folder.Name;
        }
    }

    /// <summary>Reads and checks them; reads no weight.</summary>
    /// <param name="path">the folder, the root folder of a model in the hub's cache, or a GGUF file</param>
    /// <param name="options">a chat template or a scaling of positions in place of the folder's, and who is warned</param>
    public static ModelFolder Open(string path, HeadInferOptions options)
    {
        var folder = GgufFile.IsNamed(path) ? GgufModel.Open(path, options) : OpenFolder(path, options);
        if (options.MaxContextTokens > folder.Config.Rope.Longest)
        {
            throw new UnsupportedModelException($"'{path}': beyond {folder.Config.Rope.Longest} tokens the model's positions are scaled by the length of the text (rope type dynamic), which is not supported. Take no more for HeadInferOptions.MaxContextTokens, or set HeadInferOptions.RopeScaling.");
        }

        return folder with { Config = folder.Config.Within(options.MaxContextTokens ?? folder.Config.MaxPositions) };
    }

    private static ModelFolder OpenFolder(string path, HeadInferOptions options)
    {
        path = Locate(path);
        var config = ModelConfigReader.Load(path, options.RopeScaling, options.Warning);
        if (!Text.Tokenizer.IsIn(path))
        {
            FolderContents.RefuseTokenizer(path);
        }

        var given = Text.ChatTemplate.Named(options.ChatTemplate);
        var tokenizer = Text.Tokenizer.IsIn(path) ? Text.Tokenizer.Load(path, given) : null;
        RefuseStranger(tokenizer, config, path);
        var (defaults, end) = GenerationDefaults.Read(System.IO.Path.Combine(path, "generation_config.json"), config, options.Warning);
        var (chat, endOfTurn, fault) = Chat(ChatTemplateFiles.Read(path, given), tokenizer, options);
        return new ModelFolder(path, config, tokenizer, chat, defaults, [.. (end.Length > 0 ? end : config.EndTokens).Union(endOfTurn)]) { ChatFault = fault };
    }

    /// <summary>Reads the configuration alone.</summary>
    /// <param name="path">the folder, the root folder of a model in the hub's cache, or a GGUF file</param>
    /// <param name="scaling">scaling of rotary embeddings in place of the model's; null takes that</param>
    /// <param name="warn">told of what is not followed</param>
    public static ModelConfig Configure(string path, RopeScaling? scaling, Action<string>? warn)
    {
        if (!GgufFile.IsNamed(path))
        {
            return ModelConfigReader.Load(Locate(path), scaling, warn);
        }

        using var checkpoint = GgufCheckpoint.Open(path);
        return GgufArchitecture.Configure(checkpoint, scaling, warn);
    }

    /// <summary>The chat template, and the token that ends its turns: published configurations forget it, and the template never does.</summary>
    /// <remarks>A model whose own template cannot be used answers no chats, and does all else. One that the caller names must be one.</remarks>
    public static (ChatTemplate? Chat, int[] EndOfTurn, ChatTemplateException? Fault) Chat(ChatTemplateFiles files, Tokenizer? tokenizer, HeadInferOptions options)
    {
        try
        {
            var chat = Text.ChatTemplate.Of(files, tokenizer);
            return (chat, tokenizer is not null && chat?.EndOfTurn(tokenizer) is { } token ? [token] : [], null);
        }
        catch (ChatTemplateException e) when (options.ChatTemplate is null)
        {
            return (null, [], e);
        }
    }

    /// <summary>Refuses a tokenizer of another model.</summary>
    /// <exception cref="CheckpointException">It has tokens that the model does not have.</exception>
    public static void RefuseStranger(Tokenizer? tokenizer, ModelConfig config, string path)
    {
        // Tokens of pictures may stand beyond: no text becomes one, and a prompt that names one is refused.
        if (tokenizer is not null && Enumerable.Range(config.VocabularySize, Math.Max(0, tokenizer.VocabularySize - config.VocabularySize)).Any(id => !tokenizer.IsSpecial(id)))
        {
            throw new CheckpointException($"'{path}': the tokenizer has {tokenizer.VocabularySize} tokens and the model {config.VocabularySize}; they do not belong together.");
        }
    }

    /// <summary>The folder that has the files: the hub's cache has a model's in <c>snapshots</c>, and names the newest in <c>refs/main</c>.</summary>
    /// <exception cref="CheckpointException">Which snapshot is meant cannot be told.</exception>
    public static string Locate(string path)
    {
        var snapshots = System.IO.Path.Combine(path, "snapshots");
        if (!Directory.Exists(snapshots) || File.Exists(System.IO.Path.Combine(path, "config.json")))
        {
            return path;
        }

        var main = System.IO.Path.Combine(path, "refs", "main");
        try
        {
            var named = File.Exists(main) ? ModelFile.ReadText(main).Trim() : null;
            var there = Directory.GetDirectories(snapshots).Select(d => System.IO.Path.GetFileName(d)).Order(StringComparer.Ordinal).ToList();
            return named is not null && there.Contains(named) ? System.IO.Path.Combine(snapshots, named)
                : named is null && there is [var only] ? System.IO.Path.Combine(snapshots, only)
                : throw new CheckpointException($"'{path}' is a model of the hub's cache, and {(named is null ? "has no refs/main" : $"refs/main names the snapshot '{named}', which is not there")}. Name one of its snapshots ({string.Join(", ", there)}), or download the model again.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"'{path}' cannot be read: {e.Message}", e);
        }
    }
}
