namespace HeadInfer.Text.Constraints;

/// <summary>A schema as it was given, and what its references name.</summary>
internal sealed class SchemaDocument
{
    private const int MaxDepth = 500;

    private static readonly HashSet<string> Maps = new(StringComparer.Ordinal) { "properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies" };

    private static readonly HashSet<string> Schemas = new(StringComparer.Ordinal)
    {
        "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "items", "prefixItems", "additionalItems", "contains", "additionalProperties", "propertyNames", "unevaluatedItems",
        "unevaluatedProperties",
    };

    private readonly WorkBudget _budget;
    private readonly Dictionary<string, SchemaPart> _named = new(StringComparer.Ordinal); // resources, and their anchors after a '#'
    private readonly Dictionary<string, List<string>> _dynamic = new(StringComparer.Ordinal); // [anchor] where it is named

    /// <param name="parts">makes its parts</param>
    /// <param name="budget">counts the work</param>
    /// <exception cref="ArgumentException">It is nested too deep, or has half a surrogate pair.</exception>
    public SchemaDocument(JsonElement schema, SchemaParts parts, WorkBudget budget)
    {
        (Parts, _budget) = (parts, budget);
        try
        {
            Root = Read(schema, Meaning.Schema, "", 0);
        }
        catch (InvalidOperationException e)
        {
            throw new ArgumentException("The JSON schema has a text with half a surrogate pair, which cannot be written.", e);
        }

        _named.TryAdd("", Root);
    }

    private enum Meaning
    {
        Schema,

        /// <summary>Schemas by name.</summary>
        Map,

        /// <summary>Something that references may name, though it is no schema by itself.</summary>
        Other,

        /// <summary>Values as they stand.</summary>
        Literal,
    }

    public SchemaPart Root { get; }

    public SchemaParts Parts { get; }

    /// <summary>What a reference names; null if that is nothing in the schema.</summary>
    public SchemaPart? Find(string reference)
    {
        var (resource, fragment) = Split(reference);
        if (fragment.Length > 0 && fragment[0] != '/')
        {
            return _named.GetValueOrDefault($"{resource}#{fragment}");
        }

        var at = _named.GetValueOrDefault(resource);
        foreach (var step in fragment.Split('/').Skip(1).Select(s => s.Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal)))
        {
            _budget.Spend();
            at = at?.Kind switch
            {
                JsonValueKind.Object => at[step],
                JsonValueKind.Array when int.TryParse(step, out var i) && i >= 0 && i < at.Items.Count => at.Items[i],
                _ => null,
            };
        }

        return at;
    }

    /// <summary>What a dynamic reference names where the schema is read from its root on; null if it depends on the way there.</summary>
    public SchemaPart? FindDynamic(string reference)
    {
        var (resource, anchor) = Split(reference);
        return !_dynamic.TryGetValue(anchor, out var places) || !places.Contains(resource) ? Find(reference)
            : places.Contains(RootName) ? Find($"{RootName}#{anchor}")
            : places.Count == 1 ? Find(reference) : null;
    }

    private string RootName { get; set; } = "";

    private static (string Resource, string Fragment) Split(string reference)
    {
        var hash = reference.IndexOf('#', StringComparison.Ordinal);
        return hash < 0 ? (reference, "") : (reference[..hash], Uri.UnescapeDataString(reference[(hash + 1)..]));
    }

    // Of several properties of one name the last one counts, as everywhere in .NET.
    private SchemaPart Read(JsonElement element, Meaning meaning, string resource, int depth)
    {
        if (depth > MaxDepth)
        {
            throw new ArgumentException($"The JSON schema is nested too deep: more than {MaxDepth} objects and arrays within each other.");
        }

        _budget.Spend();
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                return Object(element, meaning, resource, depth);
            case JsonValueKind.Array:
                return Parts.Array(element.EnumerateArray().Select(item => Read(item, meaning, resource, depth + 1)).ToList());
            case JsonValueKind.String:
                return Parts.Text(element.GetString()!);
            case JsonValueKind.Number:
                return Parts.Number(element.GetRawText());
            default:
                return element.ValueKind switch { JsonValueKind.True => Parts.True, JsonValueKind.False => Parts.False, _ => Parts.Null };
        }
    }

    private SchemaPart Object(JsonElement element, Meaning meaning, string resource, int depth)
    {
        var isRoot = depth == 0;
        if (meaning == Meaning.Schema && Word(element, "$id") is { } id && !id.StartsWith('#'))
        {
            resource = Split(Absolute(id, resource)).Resource;
            RootName = isRoot ? resource : RootName;
        }

        var properties = new Dictionary<string, SchemaPart>(StringComparer.Ordinal);
        foreach (var property in element.EnumerateObject())
        {
            var name = property.Name;
            var within = meaning switch
            {
                Meaning.Map => Meaning.Schema,
                Meaning.Schema when Maps.Contains(name) => Meaning.Map,
                Meaning.Schema when Schemas.Contains(name) => Meaning.Schema,
                Meaning.Schema when name is "enum" or "const" or "default" or "examples" or "example" => Meaning.Literal,
                Meaning.Schema => Meaning.Other,
                _ => meaning,
            };
            properties[name] = meaning is Meaning.Schema or Meaning.Other && name is "$ref" or "$dynamicRef" && property.Value.ValueKind == JsonValueKind.String
                ? Parts.Text(Absolute(property.Value.GetString()!, resource))
                : Read(property.Value, within, resource, depth + 1);
        }

        var part = Parts.Object([.. properties.Select(p => (p.Key, p.Value))]);
        if (meaning == Meaning.Schema)
        {
            Name(element, part, resource);
        }

        return part;
    }

    private void Name(JsonElement element, SchemaPart part, string resource)
    {
        if (Word(element, "$id") is { } id)
        {
            _named.TryAdd(id.StartsWith('#') ? resource + id : resource, part);
        }

        foreach (var keyword in (string[])["$anchor", "$dynamicAnchor"])
        {
            if (Word(element, keyword) is { } anchor)
            {
                _named.TryAdd($"{resource}#{anchor}", part);
                if (keyword == "$dynamicAnchor")
                {
                    (_dynamic.TryGetValue(anchor, out var places) ? places : _dynamic[anchor] = []).Add(resource);
                }
            }
        }
    }

    private static string? Word(JsonElement element, string keyword) => element.TryGetProperty(keyword, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static string Absolute(string reference, string resource) =>
        reference.StartsWith('#') ? resource + reference
        : resource.Length == 0 || Uri.TryCreate(reference, UriKind.Absolute, out _) && !reference.StartsWith('/') ? reference
        : Uri.TryCreate(resource, UriKind.Absolute, out var from) && Uri.TryCreate(from, reference, out var whole) ? whole.AbsoluteUri : reference;
}
