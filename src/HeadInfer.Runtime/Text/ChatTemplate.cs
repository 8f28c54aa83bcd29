using System.Text.Json;
using HeadInfer.Runtime.Text;
using HeadInfer.Runtime.Text.Jinja;

namespace HeadInfer.Runtime;

/// <summary>Writes a conversation as the text a model was trained on: the Jinja template of its folder.</summary>
/// <remarks>What comes from messages is marked as data, so that a document can never close its turn.</remarks>
public sealed class ChatTemplate
{
    private readonly Block _template;
    private readonly TimeProvider _clock;
    private readonly IReadOnlyDictionary<string, object?> _specialTokens;

    internal ChatTemplate(string source, IReadOnlyDictionary<string, object?> specialTokens, TimeProvider clock) =>
        (Source, _template, _specialTokens, _clock) = (source, Parser.Parse(source), specialTokens, clock);

    /// <summary>The template itself.</summary>
    public string Source { get; }

    /// <summary>The conversation's tokens, ready for the model to answer.</summary>
    /// <param name="turns">the messages, oldest first</param>
    /// <param name="tokenizer">the model's tokenizer</param>
    /// <param name="tools">functions that the model may call; null or none leaves them out</param>
    /// <param name="variables">what else the template knows, such as <c>enable_thinking</c>: texts, numbers and booleans</param>
    /// <exception cref="ChatTemplateException">The template refuses the conversation, or uses what is not supported.</exception>
    public IReadOnlyList<int> Encode(IEnumerable<ChatTurn> turns, Tokenizer tokenizer, IReadOnlyCollection<ChatTool>? tools = null, IReadOnlyDictionary<string, object?>? variables = null)
    {
        ArgumentNullException.ThrowIfNull(turns);
        ArgumentNullException.ThrowIfNull(tokenizer);
        return tokenizer.Encode(RenderData(ChatData.Of(turns, tools, variables)));
    }

    /// <summary>The conversation's text, ready for the model to answer.</summary>
    /// <param name="turns">the messages, oldest first</param>
    /// <param name="tools">functions that the model may call; null or none leaves them out</param>
    /// <param name="variables">what else the template knows, such as <c>enable_thinking</c>: texts, numbers and booleans</param>
    /// <exception cref="ChatTemplateException">The template refuses the conversation, or uses what is not supported.</exception>
    public string Render(IEnumerable<ChatTurn> turns, IReadOnlyCollection<ChatTool>? tools = null, IReadOnlyDictionary<string, object?>? variables = null)
    {
        ArgumentNullException.ThrowIfNull(turns);
        return RenderData(ChatData.Of(turns, tools, variables)).Text;
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

    private static string? Content(JsonElement token) => token.ValueKind switch
    {
        JsonValueKind.String => token.GetString(),
        JsonValueKind.Object when token.TryGetProperty("content", out var content) => content.GetString(),
        _ => null,
    };
}
