using System.Text.RegularExpressions;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Tool.Commands;

/// <summary>Finds the model that a command line names. Nothing is downloaded.</summary>
internal static partial class ModelPlace
{
    /// <summary>What a command's argument takes.</summary>
    public const string Meaning = "a model folder, a GGUF file, or a model of the local hub cache by its name: org/name, or org/name/FILE.gguf";

    /// <param name="name">a path, or a name in the hub's cache</param>
    /// <returns>a path</returns>
    /// <exception cref="CheckpointException">There is no such path, nor such a name in the cache.</exception>
    public static string Find(string name)
    {
        if (Path.Exists(name) || HubName().Match(name) is not { Success: true } match)
        {
            return name; // what it is not is said by whoever loads it
        }

        var cache = Cache();
        var folder = Path.Combine(cache, $"models--{match.Groups["org"].Value}--{match.Groups["name"].Value}");
        if (!Directory.Exists(folder))
        {
            throw new CheckpointException($"There is no path '{name}', and no model of that name in the hub's cache ('{cache}', as HF_HUB_CACHE or HF_HOME name it). Nothing is downloaded here: get it first, such as by 'hf download {match.Groups["org"].Value}/{match.Groups["name"].Value}'.");
        }

        var snapshot = ModelFolder.Locate(folder);
        if (match.Groups["file"] is { Success: true } file)
        {
            var path = Path.Combine(snapshot, file.Value);
            return File.Exists(path) ? path : throw new CheckpointException($"The hub's cache has '{match.Groups["org"].Value}/{match.Groups["name"].Value}', and in it no '{file.Value}'. There are {string.Join(", ", Files(snapshot))}.");
        }

        return !File.Exists(Path.Combine(snapshot, "config.json")) && Files(snapshot) is { Count: > 0 } files && files.All(f => f.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase))
            ? files is [var only] ? Path.Combine(snapshot, only) : throw new CheckpointException($"'{name}' has several GGUF files. Name one of them: {string.Join(", ", files.Select(f => $"{name}/{f}"))}.")
            : snapshot;
    }

    /// <summary>The hub's cache, where its own library keeps it.</summary>
    public static string Cache()
    {
        static string? Named(string variable) => Environment.GetEnvironmentVariable(variable) is { Length: > 0 } value ? value : null;
        var home = Named("HF_HOME") ?? Path.Combine(Named("XDG_CACHE_HOME") ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache"), "huggingface");
        return Named("HF_HUB_CACHE") ?? Path.Combine(home, "hub");
    }

    // Without those that say what a repository is.
    private static List<string> Files(string folder) =>
        [.. Directory.EnumerateFiles(folder).Select(f => Path.GetFileName(f)).Where(f => !f.StartsWith('.') && !f.EndsWith(".md", StringComparison.OrdinalIgnoreCase) && !f.StartsWith("LICENSE", StringComparison.OrdinalIgnoreCase)).Order(StringComparer.Ordinal)];

    [GeneratedRegex(@"^(?<org>[\w.-]+)/(?<name>[\w.-]+)(/(?<file>[\w.-]+\.gguf))?$", RegexOptions.ExplicitCapture | RegexOptions.IgnoreCase)]
    private static partial Regex HubName();
}
