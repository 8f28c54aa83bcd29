using System.Text.Json;
using HeadInfer.Runtime.Text;
using HeadInfer.Runtime.Text.Jinja;

namespace HeadInfer.Runtime;

/// <summary>A message of a conversation.</summary>
/// <param name="Role">Who speaks: <c>system</c>, <c>user</c>, <c>assistant</c>, <c>tool</c>.</param>
/// <param name="Content">What is said.</param>
public sealed record ChatTurn(string Role, string Content);

/// <summary>Writes a conversation as the text a model was trained on: the Jinja template of its folder.</summary>
/// <remarks>What comes from messages is marked as data, so that a document can never close its turn.</remarks>
public sealed class ChatTemplate
{
    private readonly Block _template;
    private readonly TimeProvider _clock;
    private readonly IReadOnlyDictionary<string, object?> _specialTokens;

    internal ChatTemplate(string source, IReadOnlyDictionary<string, object?> specialTokens, TimeProvider clock) =>
        (_template, _specialTokens, _clock) = (Parser.Parse(source), specialTokens, clock);

    /// <summary>The conversation's tokens, ready for the model to answer.</summary>
    /// <param name="turns">the messages, oldest first</param>
    /// <param name="tokenizer">the model's tokenizer</param>
    /// <exception cref="ChatTemplateException">The template refuses the conversation, or uses what is not supported.</exception>
    public IReadOnlyList<int> Encode(IEnumerable<ChatTurn> turns, Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(turns);
        ArgumentNullException.ThrowIfNull(tokenizer);
        return tokenizer.Encode(RenderData(Messages(turns)));
    }

    /// <summary>The conversation's text, ready for the model to answer.</summary>
    /// <exception cref="ChatTemplateException">The template refuses the conversation, or uses what is not supported.</exception>
    public string Render(IEnumerable<ChatTurn> turns)
    {
        ArgumentNullException.ThrowIfNull(turns);
        return RenderData(Messages(turns)).Text;
    }

    internal TemplateText RenderData(IEnumerable<KeyValuePair<string, object?>> data) =>
        Interpreter.Render(_template, _specialTokens.Concat(data), _clock);

    /// <summary>Reads the template of a model folder: <c>chat_template.jinja</c>, else <c>tokenizer_config.json</c>; null if it has none.</summary>
    /// <exception cref="ChatTemplateException">It is not Jinja.</exception>
    internal static ChatTemplate? Load(string folder, TimeProvider? clock = null)
    {
        var (own, config) = (Path.Combine(folder, "chat_template.jinja"), Path.Combine(folder, "tokenizer_config.json"));
        var special = new Dictionary<string, object?>(StringComparer.Ordinal);
        string? source = null;
        if (File.Exists(config))
        {
            try
            {
                using var json = JsonDocument.Parse(File.ReadAllBytes(config));
                source = json.RootElement.TryGetProperty("chat_template", out var template) && template.ValueKind == JsonValueKind.String ? template.GetString() : null;
                foreach (var name in (string[])["bos_token", "eos_token", "unk_token", "pad_token"])
                {
                    if (json.RootElement.TryGetProperty(name, out var token) && Content(token) is { } content)
                    {
                        special[name] = TemplateText.Trusted(content);
                    }
                }
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException or IOException or UnauthorizedAccessException)
            {
                throw new ChatTemplateException($"'{config}' is not a tokenizer configuration: {e.Message}", e);
            }
        }

        source = File.Exists(own) ? File.ReadAllText(own) : source;
        return source is null ? null : new ChatTemplate(source, special, clock ?? TimeProvider.System);
    }

    private static Dictionary<string, object?> Messages(IEnumerable<ChatTurn> turns) => new(StringComparer.Ordinal)
    {
        ["messages"] = turns.Select(t => (object?)Values.Dict([("role", Role(t.Role)), ("content", TemplateText.Data(t.Content))])).ToList(),
        ["add_generation_prompt"] = true,
    };

    // Templates build special tokens of roles, such as "<|" + role + "|>". A word cannot forge one by itself.
    private static TemplateText Role(string role) =>
        role.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-') ? TemplateText.Trusted(role) : TemplateText.Data(role);

    private static string? Content(JsonElement token) => token.ValueKind switch
    {
        JsonValueKind.String => token.GetString(),
        JsonValueKind.Object when token.TryGetProperty("content", out var content) => content.GetString(),
        _ => null,
    };
}
