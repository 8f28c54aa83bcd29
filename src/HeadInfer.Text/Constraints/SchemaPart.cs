namespace HeadInfer.Text.Constraints;

/// <summary>A JSON value of a schema. Equal values of one schema are one object, so that comparing them, and sharing them between copies, costs nothing.</summary>
/// <remarks>Two numbers are one however they are written. Objects whose properties come in another order are two: see <see cref="SchemaParts.Value"/>.</remarks>
internal sealed class SchemaPart
{
    private const int LongestInMessage = 100;

    private readonly string[] _names;
    private readonly Dictionary<string, SchemaPart>? _byName;

    internal SchemaPart(JsonValueKind kind, string text, string[] names, SchemaPart[] items)
    {
        (Kind, Text, _names, Items) = (kind, text, names, items);
        if (names.Length > 8)
        {
            _byName = new Dictionary<string, SchemaPart>(names.Length, StringComparer.Ordinal);
            for (var i = 0; i < names.Length; i++)
            {
                _byName.Add(names[i], items[i]);
            }
        }
    }

    public JsonValueKind Kind { get; }

    /// <summary>A string's characters; a number as it was written.</summary>
    public string Text { get; }

    /// <summary>An array's items, or the values of an object's properties.</summary>
    public IReadOnlyList<SchemaPart> Items { get; }

    public IReadOnlyList<string> Names => _names;

    public bool IsObject => Kind == JsonValueKind.Object;

    public bool IsArray => Kind == JsonValueKind.Array;

    public bool IsString => Kind == JsonValueKind.String;

    public bool IsNumber => Kind == JsonValueKind.Number;

    public bool IsFalse => Kind == JsonValueKind.False;

    public bool IsTrue => Kind == JsonValueKind.True;

    public IEnumerable<(string Name, SchemaPart Value)> Properties => _names.Zip(Items);

    /// <summary>A property; null if there is none.</summary>
    public SchemaPart? this[string name]
    {
        get
        {
            if (_byName is not null)
            {
                return _byName.GetValueOrDefault(name);
            }

            var at = Array.IndexOf(_names, name);
            return at < 0 ? null : Items[at];
        }
    }

    public bool Has(string name) => this[name] is not null;

    public byte[] Json() => Encoding.UTF8.GetBytes(Write(new StringBuilder(), int.MaxValue).ToString());

    /// <summary>The value as messages show it: not all of a large one.</summary>
    public override string ToString()
    {
        var text = Write(new StringBuilder(), LongestInMessage).ToString();
        return text.Length > LongestInMessage ? $"{text[..LongestInMessage]}..." : text;
    }

    private StringBuilder Write(StringBuilder into, int most)
    {
        switch (Kind)
        {
            case JsonValueKind.Object or JsonValueKind.Array:
                into.Append(IsObject ? '{' : '[');
                for (var i = 0; i < Items.Count && into.Length <= most; i++)
                {
                    into.Append(i > 0 ? "," : "");
                    if (IsObject)
                    {
                        into.Append(Encoding.UTF8.GetString(JsonText.Quote(_names[i]))).Append(':');
                    }

                    Items[i].Write(into, most);
                }

                return into.Append(IsObject ? '}' : ']');
            case JsonValueKind.String:
                return into.Append(Encoding.UTF8.GetString(JsonText.Quote(Text)));
            default:
                return into.Append(Text);
        }
    }
}

/// <summary>Makes the values of one schema, each once.</summary>
internal sealed class SchemaParts
{
    private readonly WorkBudget _budget;
    private readonly Dictionary<SchemaPart, SchemaPart> _known = new(new ByContent());
    private readonly Dictionary<string, SchemaPart> _texts = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SchemaPart> _numbers = new(StringComparer.Ordinal);
    private readonly Dictionary<SchemaPart, SchemaPart> _values = new(ReferenceEqualityComparer.Instance);

    public SchemaParts(WorkBudget budget)
    {
        _budget = budget;
        Empty = Object([]);
    }

    public SchemaPart True { get; } = new(JsonValueKind.True, "true", [], []);

    public SchemaPart False { get; } = new(JsonValueKind.False, "false", [], []);

    public SchemaPart Null { get; } = new(JsonValueKind.Null, "null", [], []);

    /// <summary>An object without properties: the schema that asks for nothing.</summary>
    public SchemaPart Empty { get; }

    public SchemaPart Text(string text) => One(_texts, text, JsonValueKind.String, text);

    public SchemaPart Texts(IEnumerable<string> texts) => Array(texts.Select(Text));

    public SchemaPart Number(string text) => One(_numbers, Scaled.Parse(text)?.Canonical() ?? text, JsonValueKind.Number, text);

    public SchemaPart Number(long number) => Number(number.ToString(System.Globalization.CultureInfo.InvariantCulture));

    public SchemaPart Array(IEnumerable<SchemaPart> items) => One(new SchemaPart(JsonValueKind.Array, "", [], [.. items]));

    /// <summary>An object of properties that are each there once.</summary>
    public SchemaPart Object(IReadOnlyCollection<(string Name, SchemaPart Value)> properties) =>
        One(new SchemaPart(JsonValueKind.Object, "", [.. properties.Select(p => p.Name)], [.. properties.Select(p => p.Value)]));

    public SchemaPart Object(string name, SchemaPart value) => Object([(name, value)]);

    public SchemaPart Without(SchemaPart schema, params ReadOnlySpan<string> keywords)
    {
        var left = new List<(string Name, SchemaPart Value)>(schema.Names.Count);
        foreach (var property in schema.Properties)
        {
            if (!keywords.Contains(property.Name))
            {
                left.Add(property);
            }
        }

        return left.Count == schema.Names.Count ? schema : Object(left);
    }

    public SchemaPart With(SchemaPart schema, string keyword, SchemaPart value) =>
        schema.Has(keyword) ? Object([.. schema.Properties.Select(p => p.Name == keyword ? (keyword, value) : p)]) : Object([.. schema.Properties, (keyword, value)]);

    /// <summary>The same for all equal JSON values, in whatever order their properties are.</summary>
    public SchemaPart Value(SchemaPart part)
    {
        if (part.Items.Count == 0)
        {
            return part;
        }

        if (!_values.TryGetValue(part, out var value))
        {
            _budget.Spend(2 * part.Items.Count);
            _values[part] = value = part.IsArray ? Array(part.Items.Select(Value)) : Object([.. part.Properties.OrderBy(p => p.Name, StringComparer.Ordinal).Select(p => (p.Name, Value(p.Value)))]);
        }

        return value;
    }

    private SchemaPart One(SchemaPart part)
    {
        _budget.Spend(1 + part.Items.Count);
        if (_known.TryGetValue(part, out var known))
        {
            return known;
        }

        _budget.Hold(200 + (part.Items.Count * 8) + (part.Names.Count * (part.Names.Count > 8 ? 56 : 8)));
        _known.Add(part, part);
        return part;
    }

    private SchemaPart One(Dictionary<string, SchemaPart> all, string key, JsonValueKind kind, string text)
    {
        _budget.Spend(1 + (text.Length >> 6));
        if (!all.TryGetValue(key, out var part))
        {
            _budget.Hold(200 + (2 * text.Length));
            all.Add(key, part = new SchemaPart(kind, text, [], []));
        }

        return part;
    }

    /// <summary>By kind and names, and by which values they hold: these are each there once already.</summary>
    private sealed class ByContent : IEqualityComparer<SchemaPart>
    {
        public bool Equals(SchemaPart? a, SchemaPart? b) => a!.Kind == b!.Kind && a.Names.SequenceEqual(b.Names, StringComparer.Ordinal) && a.Items.SequenceEqual(b.Items, ReferenceEqualityComparer.Instance);

        public int GetHashCode(SchemaPart part)
        {
            var hash = new HashCode();
            hash.Add(part.Kind);
            foreach (var name in part.Names)
            {
                hash.Add(name, StringComparer.Ordinal);
            }

            foreach (var item in part.Items)
            {
                hash.Add(System.Runtime.CompilerServices.RuntimeHelpers.GetHashCode(item));
            }

            return hash.ToHashCode();
        }
    }
}
