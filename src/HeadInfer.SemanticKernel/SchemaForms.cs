using System.Collections.Concurrent;
using System.Text.Json.Nodes;

namespace HeadInfer.SemanticKernel;

/// <summary>Forms of JSON schemas, made once for each schema. Safe for concurrent use.</summary>
/// <param name="logger">told what of a schema is not enforced</param>
internal sealed partial class SchemaForms(ILogger logger)
{
    // Applications use a few schemas over and over; one that makes new ones all the time must not fill memory.
    private const int Most = 128;

    private readonly ConcurrentDictionary<string, OutputConstraint> _forms = new(StringComparer.Ordinal);
    private readonly ILogger _logger = logger;
    private readonly CancellationToken _cancellation;

    private SchemaForms(SchemaForms forms, CancellationToken cancellationToken)
        : this(forms._logger) => (_forms, Any, _cancellation) = (forms._forms, forms.Any, cancellationToken);

    /// <summary>JSON of any content.</summary>
    public OutputConstraint Any { get; } = OutputConstraint.Json();

    private static readonly JsonElement AnyObject = JsonDocument.Parse("""{"type":"object"}""").RootElement;

    /// <summary>The same forms for one request: those that are not made yet are given up when it is cancelled.</summary>
    public SchemaForms Under(CancellationToken cancellationToken) => new(this, cancellationToken);

    /// <exception cref="ArgumentException">Nothing satisfies the schema, or it is too large.</exception>
    /// <exception cref="OperationCanceledException">The request was cancelled.</exception>
    public OutputConstraint Of(JsonElement schema)
    {
        var text = schema.ValueKind == JsonValueKind.Undefined ? "true" : schema.GetRawText();
        return Kept(text, () => Make(text));
    }

    /// <summary>The arguments of a function, which are always an object.</summary>
    public OutputConstraint Arguments(ChatTool tool) => Kept("arguments " + (tool.Parameters.ValueKind == JsonValueKind.Undefined ? "" : tool.Parameters.GetRawText()), () =>
    {
        var schema = tool.Parameters.ValueKind == JsonValueKind.Object ? JsonObject.Create(tool.Parameters)! : [];
        if (!((string[])["type", "$ref", "anyOf", "oneOf", "allOf"]).Any(schema.ContainsKey))
        {
            schema["type"] = "object";
        }

        return Of(JsonSerializer.SerializeToElement(schema));
    });

    /// <summary>As <see cref="Arguments"/>, but made only when the model calls the function.</summary>
    public OutputConstraint ArgumentsLater(ChatTool tool) => Later(tool, () => Arguments(tool), Of(AnyObject));

    /// <summary>A form of a function's call that is made only when the model calls it. What cannot be made is told, and the other form stands for it.</summary>
    /// <param name="tool">the function</param>
    /// <param name="make">makes the form</param>
    /// <param name="other">stands for it</param>
    public OutputConstraint Later(ChatTool tool, Func<OutputConstraint> make, OutputConstraint other) => OutputConstraint.Defer(() =>
    {
        try
        {
            return make();
        }
        catch (ArgumentException e)
        {
            Ignored($"the parameters of '{tool.Name}': {e.Message}");
            return other;
        }
    });

    /// <summary>A form that is made once for its key, and kept with all that is found out about it.</summary>
    public OutputConstraint Kept(string key, Func<OutputConstraint> make)
    {
        if (_forms.Count >= Most)
        {
            _forms.Clear();
        }

        return _forms.GetOrAdd(key, _ => make()); // what fails, or is given up, is not kept
    }

    /// <summary>Tells of something that is not enforced.</summary>
    public void Ignored(string what) => LogIgnored(_logger, what);

    /// <summary>A part of a schema that may refer to the definitions of the whole.</summary>
    public OutputConstraint Of(JsonElement part, JsonElement whole)
    {
        if (part.ValueKind != JsonValueKind.Object || whole.ValueKind != JsonValueKind.Object)
        {
            return Of(part);
        }

        var schema = JsonObject.Create(part)!;
        foreach (var name in (string[])["$defs", "definitions"])
        {
            if (!schema.ContainsKey(name) && whole.TryGetProperty(name, out var definitions))
            {
                schema[name] = JsonNode.Parse(definitions.GetRawText());
            }
        }

        return Of(JsonSerializer.SerializeToElement(schema));
    }

    private OutputConstraint Make(string text)
    {
        try
        {
            using var json = JsonDocument.Parse(text);
            return OutputConstraint.JsonSchema(json.RootElement, ignored => LogIgnored(_logger, ignored), _cancellation);
        }
        catch (InvalidOperationException e)
        {
            throw new ArgumentException("The JSON schema has a text with half a surrogate pair, which cannot be written.", e);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Not enforced in the model's output, of its JSON schema: {Ignored}")]
    private static partial void LogIgnored(ILogger logger, string ignored);
}
