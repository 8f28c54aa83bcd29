using HeadInfer.Text.Templates;
using HeadInfer.Text.Templates.Jinja;

namespace HeadInfer.Text;

/// <summary>Writes a conversation as the text a model was trained on: the Jinja template of its folder.</summary>
/// <remarks>What comes from messages is marked as data, so that a document can never close its turn.</remarks>
public sealed class ChatTemplate
{
    /// <summary>ChatML, for models that have its tokens and come without a template.</summary>
    internal const string ChatMl = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    private const int MostShown = 60; // characters of a text that is no template

    private readonly Block _template;
    private readonly Block? _forTools;
    private readonly TimeProvider _clock;
    private readonly IReadOnlyDictionary<string, object?> _specialTokens;
    private readonly Lazy<ConversationShape> _shape, _shapeForTools;

    internal ChatTemplate(string source, IReadOnlyDictionary<string, object?> specialTokens, TimeProvider clock, string? forTools = null)
    {
        (Source, _template, _specialTokens, _clock) = (forTools is null ? source : source + "\n" + forTools, Parser.Parse(source), specialTokens, clock);
        _forTools = forTools is null ? null : Parser.Parse(forTools);
        _shape = new(() => new TemplateProbe((data, spent) => RenderData(data, spent: spent).Text).Find());
        _shapeForTools = _forTools is null ? _shape : new(() => new TemplateProbe((data, spent) => RenderData(data, withTools: true, spent: spent).Text).Find());
    }

    /// <summary>The template itself; where there is another for conversations with tools, that after it.</summary>
    public string Source { get; }

    /// <summary>What the template does not take as it stands, and what is done about it; found by rendering small conversations when first asked for.</summary>
    public IReadOnlyList<string> Limitations => [.. _shape.Value.Notes.Union(_shapeForTools.Value.Notes)];

    /// <summary>Whether the template takes calls of functions in an assistant's message.</summary>
    /// <param name="withTools">whether functions are offered</param>
    internal bool TakesCalls(bool withTools) => (withTools ? _shapeForTools : _shape).Value.NoCalls is null;

    /// <summary>Whether the template has a variable that makes it write a conversation otherwise with one value than with another.</summary>
    /// <param name="variable">its name</param>
    /// <param name="value">the one; null for true</param>
    /// <param name="other">the other; null for false</param>
    internal bool HasSwitch(string variable, object? value = null, object? other = null)
    {
        string? With(object value)
        {
            try
            {
                return Render([new("user", "asked")], variables: new Dictionary<string, object?>(StringComparer.Ordinal) { [variable] = value });
            }
            catch (ChatTemplateException)
            {
                return null; // a conversation that matters is told
            }
        }

        return Source.Contains(variable, StringComparison.Ordinal) && With(value ?? true) is { } on && With(other ?? false) is { } off && on != off;
    }

    /// <summary>The conversation's tokens, ready for the model to answer.</summary>
    /// <param name="turns">the messages, oldest first</param>
    /// <param name="tokenizer">the model's tokenizer</param>
    /// <param name="tools">functions that the model may call; null or none leaves them out</param>
    /// <param name="variables">what else the template knows, such as <c>enable_thinking</c>: texts, numbers and booleans</param>
    /// <param name="cancellationToken">ends the rendering and the encoding</param>
    /// <exception cref="ChatTemplateException">The template refuses the conversation, does too much for its size, or uses what is not supported.</exception>
    /// <exception cref="OperationCanceledException">The caller has cancelled.</exception>
    public IReadOnlyList<int> Encode(IEnumerable<ChatTurn> turns, Tokenizer tokenizer, IReadOnlyCollection<ChatTool>? tools = null, IReadOnlyDictionary<string, object?>? variables = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(turns);
        ArgumentNullException.ThrowIfNull(tokenizer);
        return tokenizer.Encode(RenderTurns(turns, tools, variables, cancellationToken), cancellationToken: cancellationToken);
    }

    /// <summary>The conversation's text, ready for the model to answer.</summary>
    /// <param name="turns">the messages, oldest first</param>
    /// <param name="tools">functions that the model may call; null or none leaves them out</param>
    /// <param name="variables">what else the template knows, such as <c>enable_thinking</c>: texts, numbers and booleans</param>
    /// <param name="cancellationToken">ends the rendering</param>
    /// <exception cref="ChatTemplateException">The template refuses the conversation, does too much for its size, or uses what is not supported.</exception>
    /// <exception cref="OperationCanceledException">The caller has cancelled.</exception>
    public string Render(IEnumerable<ChatTurn> turns, IReadOnlyCollection<ChatTool>? tools = null, IReadOnlyDictionary<string, object?>? variables = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(turns);
        return RenderTurns(turns, tools, variables, cancellationToken).Text;
    }

    internal TemplateText RenderTurns(IEnumerable<ChatTurn> turns, IReadOnlyCollection<ChatTool>? tools, IReadOnlyDictionary<string, object?>? variables, CancellationToken cancellationToken)
    {
        var withTools = tools is { Count: > 0 };
        return RenderData(ChatData.Of(turns, tools, variables, (withTools ? _shapeForTools : _shape).Value), withTools, cancellationToken: cancellationToken);
    }

    internal TemplateText RenderData(IEnumerable<KeyValuePair<string, object?>> data, bool withTools = false, Action<long>? spent = null, CancellationToken cancellationToken = default) =>
        Interpreter.Render(withTools && _forTools is not null ? _forTools : _template, _specialTokens.Concat(data), _clock, spent, cancellationToken);

    /// <summary>The token with which the template ends an assistant's turn; null if it ends it with none.</summary>
    /// <exception cref="ChatTemplateException">The template does too much even for so short a conversation.</exception>
    internal int? EndOfTurn(Tokenizer tokenizer) => After("said", tokenizer, new("user", "asked"), new("assistant", "said"))
        ?? After("said", tokenizer, new("user", "asked"), new("assistant", "said"), new("user", "next")); // some leave the last turn open

    private int? After(string said, Tokenizer tokenizer, params ChatTurn[] turns)
    {
        try
        {
            var text = RenderData(ChatData.Of(turns, null, null, answer: false));
            var from = text.Text.LastIndexOf(said, StringComparison.Ordinal) + said.Length;
            if (from < said.Length)
            {
                return null;
            }

            var to = text.Text.IndexOf("next", from, StringComparison.Ordinal) is >= 0 and var next ? next : text.Length;
            return tokenizer.FirstMarker(text.Substring(from, to - from));
        }
        catch (ChatTemplateException e) when (!e.IsTooMuch)
        {
            return null; // it does not like such a conversation, and will say so to one that matters
        }
    }

    /// <summary>Makes the template of what a model has of it; null if it has none.</summary>
    /// <param name="tokenizer">where ChatML's tokens are looked for if there is no template; null for nowhere</param>
    /// <exception cref="ChatTemplateException">It is not Jinja.</exception>
    internal static ChatTemplate? Of(ChatTemplateFiles files, Tokenizer? tokenizer)
    {
        var source = files.Default ?? files.ForTools ?? (tokenizer?.AddedToken("<|im_start|>") is not null && tokenizer.AddedToken("<|im_end|>") is not null ? ChatMl : null);
        return source is null ? null : new ChatTemplate(Jinja(source), files.SpecialTokens, TimeProvider.System, files.Default is null || files.ForTools is null ? null : Jinja(files.ForTools));
    }

    /// <summary>The template that a text is, or names: llama.cpp knows some by names, and its converter has written these where a template belongs.</summary>
    internal static string? Named(string? text) => text == "chatml" ? ChatMl : text;

    // Of the other names, such as mistral-v7, the templates are not here.
    private static string Jinja(string source) => string.IsNullOrWhiteSpace(source) || source.Contains("{{", StringComparison.Ordinal) || source.Contains("{%", StringComparison.Ordinal)
        ? source
        : throw new ChatTemplateException($"The chat template is '{(source.Length > MostShown ? source[..MostShown] + "..." : source)}', which is no Jinja: it would write the same whatever is said.");
}
