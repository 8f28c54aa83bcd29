using System.Text.Json;

namespace HeadInfer.Runtime.Text;

/// <summary>The chat template of a model folder, in whichever of its files it is.</summary>
/// <param name="Default">the template; null if there is none</param>
/// <param name="ForTools">another for conversations with tools; null if there is none</param>
/// <param name="SpecialTokens">what templates call <c>bos_token</c> and the like</param>
internal sealed record ChatTemplateFiles(string? Default, string? ForTools, IReadOnlyDictionary<string, object?> SpecialTokens)
{
    private const string Config = "tokenizer_config.json";

    private static readonly string[] Names = ["bos_token", "eos_token", "unk_token", "pad_token"];

    /// <summary>Reads them: files of its own come before the tokenizer's configuration.</summary>
    /// <exception cref="ChatTemplateException">A file is not what it should be.</exception>
    public static ChatTemplateFiles Read(string folder)
    {
        var special = new Dictionary<string, object?>(StringComparer.Ordinal);
        var (template, forTools) = ((string?)null, (string?)null);
        if (Json(folder, "special_tokens_map.json") is { } map)
        {
            AddSpecial(map, special);
        }

        if (Json(folder, Config) is { } config)
        {
            AddSpecial(config, special);
            if (config.TryGetProperty("chat_template", out var given))
            {
                (template, forTools) = Templates(folder, given);
            }
        }

        if (Json(folder, "chat_template.json") is { } own && own.ValueKind == JsonValueKind.Object && own.TryGetProperty("chat_template", out var inner))
        {
            (template, forTools) = Templates(folder, inner);
        }

        return new ChatTemplateFiles(Text(folder, "chat_template.jinja") ?? template, Text(folder, "additional_chat_templates", "tool_use.jinja") ?? forTools, special);
    }

    /// <summary>All text in which a folder's templates may be, whether they can be read or not.</summary>
    public static string AllText(string folder)
    {
        try
        {
            var files = Read(folder);
            return files.Default + files.ForTools;
        }
        catch (ChatTemplateException)
        {
            return ""; // said when the template itself is loaded
        }
    }

    private static (string? Default, string? ForTools) Templates(string folder, JsonElement given)
    {
        if (given.ValueKind is JsonValueKind.String or JsonValueKind.Null)
        {
            return (given.GetString(), null);
        }

        string? Named(string name) => given.EnumerateArray().Where(t => TokenizerParts.Text(t, "name") == name).Select(t => TokenizerParts.Text(t, "template")).FirstOrDefault();
        return given.ValueKind == JsonValueKind.Array && given.EnumerateArray().All(t => t.ValueKind == JsonValueKind.Object)
            ? (Named("default"), Named("tool_use"))
            : throw new ChatTemplateException($"'{folder}': chat_template is neither a text nor a list of named templates.");
    }

    private static void AddSpecial(JsonElement json, Dictionary<string, object?> special)
    {
        foreach (var name in Names)
        {
            if (json.TryGetProperty(name, out var token) && Content(token) is { } content)
            {
                special[name] = TemplateText.Trusted(content);
            }
        }
    }

    private static string? Content(JsonElement token) => token.ValueKind switch
    {
        JsonValueKind.String => token.GetString(),
        JsonValueKind.Object => TokenizerParts.Text(token, "content"),
        _ => null,
    };

    private static JsonElement? Json(string folder, string name)
    {
        var file = Path.Combine(folder, name);
        if (!File.Exists(file))
        {
            return null;
        }

        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(file));
            return json.RootElement.ValueKind == JsonValueKind.Object ? json.RootElement.Clone() : throw new JsonException("it is no object");
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new ChatTemplateException($"'{file}' cannot be read: {e.Message}", e);
        }
    }

    private static string? Text(params string[] path) => Path.Combine(path) is var file && File.Exists(file) ? File.ReadAllText(file) : null;
}
