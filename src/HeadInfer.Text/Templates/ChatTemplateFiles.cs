using HeadInfer.Text.Tokenizers;

namespace HeadInfer.Text.Templates;

/// <summary>The chat template of a model folder, in whichever of its files it is.</summary>
/// <param name="Default">the template; null if there is none</param>
/// <param name="ForTools">another for conversations with tools; null if there is none</param>
/// <param name="SpecialTokens">what templates call <c>bos_token</c> and the like</param>
internal sealed record ChatTemplateFiles(string? Default, string? ForTools, IReadOnlyDictionary<string, object?> SpecialTokens)
{
    private const string Config = "tokenizer_config.json";

    /// <summary>All text that the templates may write; ChatML's where there are none.</summary>
    public string Text => (Default ?? ForTools ?? ChatTemplate.ChatMl) + ForTools + string.Concat(SpecialTokens.Values.OfType<TemplateText>());

    /// <summary>Reads them: files of its own come before the tokenizer's configuration.</summary>
    /// <param name="folder">the model's</param>
    /// <param name="given">a template in place of the folder's, which are not looked at then; null for those</param>
    /// <exception cref="ChatTemplateException">A file is not what it should be.</exception>
    public static ChatTemplateFiles Read(string folder, string? given = null)
    {
        try
        {
            return ReadAll(folder, given);
        }
        catch (Exception e) when (e is InvalidOperationException or IOException or UnauthorizedAccessException)
        {
            throw new ChatTemplateException($"'{folder}': its chat template cannot be read: {e.Message}", e);
        }
    }

    /// <summary>All text that a folder's templates may write; ChatML's where they are none, or cannot be read.</summary>
    public static string AllText(string folder)
    {
        try
        {
            return Read(folder).Text;
        }
        catch (ChatTemplateException)
        {
            return ChatTemplate.ChatMl; // said when the template itself is loaded
        }
    }

    private static ChatTemplateFiles ReadAll(string folder, string? given)
    {
        var special = new Dictionary<string, object?>(StringComparer.Ordinal);
        var (template, forTools) = ((string?)null, (string?)null);
        if (Tokenizer.IsTekken(folder)) // no file beside it need say what templates call its tokens
        {
            foreach (var (name, content) in TekkenFile.NamedTokens)
            {
                special[name] = TemplateText.Trusted(content);
            }
        }

        if (Json(folder, "special_tokens_map.json") is { } map)
        {
            AddSpecial(map, special);
        }

        if (Json(folder, Config) is { } config)
        {
            AddSpecial(config, special);
            if (given is null && config.TryGetProperty("chat_template", out var within))
            {
                (template, forTools) = Templates(folder, within);
            }
        }

        if (given is not null)
        {
            return new ChatTemplateFiles(given, null, special);
        }

        if (Json(folder, "chat_template.json") is { } own && own.TryGetProperty("chat_template", out var inner) && inner.ValueKind != JsonValueKind.Null)
        {
            (template, forTools) = Templates(folder, inner);
        }

        if (FileText(folder, "chat_template.jinja") is { } file)
        {
            (template, forTools) = (file, FileText(folder, "additional_chat_templates", "tool_use.jinja"));
        }

        return new ChatTemplateFiles(template, forTools, special);
    }

    private static (string? Default, string? ForTools) Templates(string folder, JsonElement given)
    {
        if (given.ValueKind is JsonValueKind.String or JsonValueKind.Null)
        {
            return (ChatTemplate.Named(given.GetString()), null);
        }

        string? Named(string name) => given.EnumerateArray().Where(t => TokenizerParts.Text(t, "name") == name).Select(t => TokenizerParts.Text(t, "template")).FirstOrDefault();
        return given.ValueKind == JsonValueKind.Array && given.EnumerateArray().All(t => t.ValueKind == JsonValueKind.Object)
            ? (Named("default"), Named("tool_use"))
            : throw new ChatTemplateException($"'{folder}': chat_template is neither a text nor a list of named templates.");
    }

    private static void AddSpecial(JsonElement json, Dictionary<string, object?> special)
    {
        foreach (var property in json.EnumerateObject())
        {
            if (property.Name.EndsWith("_token", StringComparison.Ordinal) && Content(property.Value) is { } content)
            {
                special[property.Name] = TemplateText.Trusted(content);
            }
            else if (property.Name == "additional_special_tokens" && property.Value.ValueKind == JsonValueKind.Array)
            {
                special[property.Name] = property.Value.EnumerateArray().Select(Content).OfType<string>().Select(t => (object?)TemplateText.Trusted(t)).ToList();
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
            using var json = JsonDocument.Parse(ModelFile.Read(file));
            return json.RootElement.ValueKind == JsonValueKind.Object ? json.RootElement.Clone() : throw new JsonException("it is no object");
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new ChatTemplateException($"'{file}' cannot be read: {e.Message}", e);
        }
    }

    private static string? FileText(params string[] path)
    {
        var file = Path.Combine(path);
        try
        {
            return File.Exists(file) ? ModelFile.ReadText(file) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ChatTemplateException($"'{file}' cannot be read: {e.Message}", e);
        }
    }
}
