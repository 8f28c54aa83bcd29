using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Says what a folder is that cannot be loaded as it stands, and what would help.</summary>
internal static class FolderContents
{
    private const string Adapter = "adapter_config.json";

    // Of tiktoken, of the first Qwen, and of Hunyuan.
    private static readonly string[] OtherTokenizers = ["tiktoken.model", "qwen.tiktoken", "hy.tiktoken"];

    /// <summary>Refuses an adapter: alone it is no model, and beside a model it would have to be applied.</summary>
    /// <exception cref="UnsupportedModelException">There is one.</exception>
    public static void RefuseAdapter(string folder)
    {
        var path = Path.Combine(folder, Adapter);
        if (File.Exists(path))
        {
            throw new UnsupportedModelException(
                $"'{folder}' has an adapter ({Adapter}{BaseModel(path)}), and adapters are not applied. Merge it into the model it was made for and save that (in peft: merge_and_unload, save_pretrained), or take the file away to load the folder's model without it.");
        }
    }

    /// <summary>Refuses a folder, which has no tokenizer that is read, if it has another.</summary>
    /// <exception cref="UnsupportedModelException">It has.</exception>
    public static void RefuseTokenizer(string folder)
    {
        if (OtherTokenizers.FirstOrDefault(name => File.Exists(Path.Combine(folder, name))) is { } other)
        {
            throw new UnsupportedModelException(
                $"'{folder}' has its tokenizer in '{other}', which is not read. Put tokenizer.json and tokenizer_config.json beside it: copies of the model in transformers' layout have them. Or take a GGUF file of the model, which has its tokenizer within.");
        }
    }

    /// <summary>A folder without config.json.</summary>
    public static CheckpointException NoConfig(string folder) => new(Hint(folder) is { } hint
        ? $"'{folder}' is not a model folder: it has no config.json. {hint}"
        : $"'{folder}' is not a model folder: it has no config.json.");

    /// <summary>A folder without weights that are read.</summary>
    public static CheckpointException NoWeights(string folder) =>
        new($"'{folder}' has no weights: expected {SafetensorsCheckpoint.SingleFile}, or shards with {SafetensorsCheckpoint.IndexFile}.{(Hint(folder) is { } hint ? " " + hint : "")}");

    /// <summary>What a path is that is no folder.</summary>
    public static CheckpointException NoFolder(string path) => new(
        File.Exists(path) ? $"'{path}' is a file. Name the model folder that it lies in, or a file that ends in {GgufFile.Extension}."
        : $"There is no model folder '{path}'{(Path.IsPathRooted(path) ? "" : $", which from here is '{Path.GetFullPath(path)}'")}.");

    private static string? Hint(string folder)
    {
        var names = Directory.EnumerateFiles(folder).Select(e => Path.GetFileName(e)).Order(StringComparer.Ordinal).ToList();
        string? With(params string[] endings) => names.Find(n => endings.Any(e => n.EndsWith(e, StringComparison.OrdinalIgnoreCase)));
        return With("consolidated.safetensors", "params.json") is { } native ? $"'{native}' is of the layout that the authors publish beside the other: take the files that transformers reads (config.json, model.safetensors)."
            : With(".safetensors") is { } other ? $"'{other}' is there: shards need {SafetensorsCheckpoint.IndexFile} beside them, and a single file the name {SafetensorsCheckpoint.SingleFile}."
            : With(".gguf") is { } gguf ? $"'{gguf}' is there: a GGUF file is a model by itself, so name the file in place of the folder."
            : With(".bin", ".pt", ".pth", ".ckpt") is { } pickle ? $"'{pickle}' is there: PyTorch's own format can run code when it is read, and so is not. Take the model's safetensors, or write them (in transformers: save_pretrained)."
            : With(".h5", ".msgpack", ".onnx") is { } foreign ? $"'{foreign}' is there, which is not read. Take the model's safetensors."
            : Directory.EnumerateDirectories(folder, "models--*").Any() ? "It seems to be a cache of the hub: name the folder of one model in it."
            : null;
    }

    private static string BaseModel(string path)
    {
        try
        {
            using var json = ConfigReader.Parse(path);
            return new ConfigReader(json.RootElement, path).Text("base_model_name_or_path") is { } name ? $", for '{name}'" : "";
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException or InvalidOperationException)
        {
            throw new CheckpointException($"'{path}' cannot be read: {e.Message}", e);
        }
    }
}
