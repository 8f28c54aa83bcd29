using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads fields of a JSON object and names the field in every error.</summary>
internal sealed class ConfigReader
{
    private readonly Dictionary<string, JsonElement> _fields;
    private readonly Action<string>? _warn;

    /// <param name="json">an object; the last of several fields of one name counts</param>
    /// <param name="warn">told of what is not followed</param>
    /// <exception cref="CheckpointException">It is no object.</exception>
    public ConfigReader(JsonElement json, string path, Action<string>? warn = null)
    {
        (Path, _warn, _fields) = (path, warn, new(StringComparer.Ordinal));
        if (json.ValueKind != JsonValueKind.Object)
        {
            throw new CheckpointException($"'{path}' is not a JSON object.");
        }

        foreach (var field in json.EnumerateObject())
        {
            _fields[field.Name] = field.Value;
        }
    }

    private ConfigReader(Dictionary<string, JsonElement> fields, string path, Action<string>? warn) => (_fields, Path, _warn) = (fields, path, warn);

    public string Path { get; }

    /// <summary>Names of all fields that are not null.</summary>
    public IEnumerable<string> Names => _fields.Keys.Where(Has);

    /// <summary>Reads a file of JSON as Python writes it, which has NaN and the infinities too: they become texts, so that whoever asks for the number names it.</summary>
    /// <exception cref="JsonException">It is not JSON.</exception>
    public static JsonDocument Parse(string path)
    {
        var bytes = ModelFile.Read(path);
        return JsonDocument.Parse(bytes.Span.IndexOf("NaN"u8) < 0 && bytes.Span.IndexOf("Infinity"u8) < 0 ? bytes : QuoteNonFinite(bytes.Span));
    }

    /// <summary>Tells the caller that something is not followed.</summary>
    public void Warn(string what) => _warn?.Invoke($"'{Path}': {what}");

    /// <summary>Whether the field is there, even as null.</summary>
    public bool Mentions(string name) => _fields.ContainsKey(name);

    /// <summary>Whether the field is there and not null.</summary>
    public bool Has(string name) => _fields.TryGetValue(name, out var value) && value.ValueKind != JsonValueKind.Null;

    public bool IsObject(string name) => _fields.TryGetValue(name, out var value) && value.ValueKind == JsonValueKind.Object;

    public bool IsNumber(string name) => _fields.TryGetValue(name, out var value) && value.ValueKind == JsonValueKind.Number;

    public bool IsText(string name) => _fields.TryGetValue(name, out var value) && value.ValueKind == JsonValueKind.String;

    /// <summary>The field's JSON, shortened if it is long.</summary>
    public string Raw(string name) => Shortened(_fields[name].GetRawText());

    public ConfigReader? Object(string name) =>
        !Has(name) ? null
        : IsObject(name) ? new ConfigReader(_fields[name], Path, _warn)
        : throw Invalid(name, "an object");

    /// <summary>The fields of this object and another's.</summary>
    /// <param name="other">the other object</param>
    /// <param name="disagree">makes the exception for a field that both have with different values; null takes the other's</param>
    public ConfigReader With(ConfigReader other, Func<string, string, string, Exception?> disagree)
    {
        var all = new Dictionary<string, JsonElement>(_fields, StringComparer.Ordinal);
        foreach (var name in other.Names)
        {
            if (Has(name) && !AreEqual(_fields[name], other._fields[name]) && disagree(name, Raw(name), other.Raw(name)) is { } error)
            {
                throw error;
            }

            all[name] = other._fields[name];
        }

        return new ConfigReader(all, Path, _warn);
    }

    /// <summary>Some of the fields of this object, under the same or other names.</summary>
    public ConfigReader Only(params ReadOnlySpan<(string Name, string As)> names)
    {
        var some = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
        foreach (var (name, shown) in names)
        {
            if (Has(name))
            {
                some[shown] = _fields[name];
            }
        }

        return new ConfigReader(some, Path, _warn);
    }

    /// <summary>This object with texts of its own.</summary>
    public ConfigReader As(params ReadOnlySpan<(string Name, string Text)> texts)
    {
        var all = new Dictionary<string, JsonElement>(_fields, StringComparer.Ordinal);
        foreach (var (name, text) in texts)
        {
            all[name] = JsonSerializer.SerializeToElement(text);
        }

        return new ConfigReader(all, Path, _warn);
    }

    /// <summary>This object, with numbers in place of what it does not mention.</summary>
    public ConfigReader Over(params ReadOnlySpan<(string Name, int Value)> defaults)
    {
        var all = new Dictionary<string, JsonElement>(_fields, StringComparer.Ordinal);
        foreach (var (name, value) in defaults)
        {
            all.TryAdd(name, JsonSerializer.SerializeToElement(value));
        }

        return new ConfigReader(all, Path, _warn);
    }

    /// <summary>This object with a field of its own.</summary>
    public ConfigReader With(string name, string json)
    {
        var all = new Dictionary<string, JsonElement>(_fields, StringComparer.Ordinal) { [name] = JsonSerializer.Deserialize<JsonElement>(json) };
        return new ConfigReader(all, Path, _warn);
    }

    /// <summary>This object, with a number in place of a list of nothing else.</summary>
    public ConfigReader Single(params ReadOnlySpan<string> names)
    {
        var all = new Dictionary<string, JsonElement>(_fields, StringComparer.Ordinal);
        foreach (var name in names)
        {
            if (Has(name) && Ints(name).Distinct().ToList() is [var only])
            {
                all[name] = JsonSerializer.SerializeToElement(only);
            }
        }

        return new ConfigReader(all, Path, _warn);
    }

    /// <summary>This object without a field.</summary>
    public ConfigReader Without(string name) => new(_fields.Where(f => f.Key != name).ToDictionary(StringComparer.Ordinal), Path, _warn);

    /// <summary>A whole number within limits; Python also writes 64 as 64.0.</summary>
    public int Int(string name, int? fallback = null, int least = 1, int most = 1 << 30)
    {
        if (!Has(name))
        {
            return fallback ?? throw new CheckpointException($"'{Path}' lacks '{name}'.");
        }

        return Whole(_fields[name]) is { } number && number >= least && number <= most ? number : throw Invalid(name, $"a whole number from {least} to {most}");
    }

    public int? OptionalInt(string name) => Has(name) ? Int(name) : null;

    /// <summary>A finite positive number.</summary>
    public double Positive(string name, double? fallback = null)
    {
        if (!Has(name))
        {
            return fallback ?? throw new CheckpointException($"'{Path}' lacks '{name}'.");
        }

        return _fields[name] is { ValueKind: JsonValueKind.Number } value && value.GetDouble() is > 0 and < double.PositiveInfinity and var number
            ? number
            : throw Invalid(name, "a positive number");
    }

    /// <summary>A number, whatever its sign.</summary>
    public double Number(string name) =>
        _fields[name] is { ValueKind: JsonValueKind.Number } value ? value.GetDouble() : throw Invalid(name, "a number");

    public double? OptionalPositive(string name) => Has(name) ? Positive(name) : null;

    /// <summary>A list of finite positive numbers; null if the field is none.</summary>
    public float[]? PositiveList(string name) =>
        Has(name) && _fields[name] is { ValueKind: JsonValueKind.Array } list && list.EnumerateArray().All(e => e.ValueKind == JsonValueKind.Number && (float)e.GetDouble() is > 0 and < float.PositiveInfinity)
            ? [.. list.EnumerateArray().Select(e => (float)e.GetDouble())]
            : null;

    /// <summary>The least and the most that a number may be, neither below zero; infinite as Python or transformers writes it. Null if the field is not there.</summary>
    public (double Least, double Most)? Range(string name)
    {
        static double Of(JsonElement value) => value.ValueKind switch
        {
            JsonValueKind.Number => value.GetDouble(),
            JsonValueKind.String when value.GetString() == "Infinity" => double.PositiveInfinity,
            JsonValueKind.Object when value.TryGetProperty("__float__", out var inner) => Of(inner),
            _ => double.NaN,
        };

        return !Has(name) ? null
            : _fields[name] is { ValueKind: JsonValueKind.Array } list && list.GetArrayLength() == 2 && (Of(list[0]), Of(list[1])) is var (least, most) && least >= 0 && least <= most ? (least, most)
            : throw Invalid(name, "two numbers, the second no less than the first");
    }

    public bool Bool(string name, bool fallback)
    {
        if (!Has(name))
        {
            return fallback;
        }

        return _fields[name].ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Invalid(name, "true or false"),
        };
    }

    public string? Text(string name) =>
        !Has(name) ? null : _fields[name] is { ValueKind: JsonValueKind.String } value ? value.GetString() : throw Invalid(name, "a text");

    /// <summary>A list of texts; none if the field is not there.</summary>
    public string[] Texts(string name) =>
        !Has(name) ? []
        : _fields[name] is { ValueKind: JsonValueKind.Array } list && list.EnumerateArray().All(e => e.ValueKind == JsonValueKind.String) ? [.. list.EnumerateArray().Select(e => e.GetString()!)]
        : throw Invalid(name, "a list of texts");

    /// <summary>One whole number or a list of them, as token ids are written.</summary>
    public int[] Ints(string name)
    {
        if (!Has(name))
        {
            return [];
        }

        var value = _fields[name];
        var items = value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().ToArray() : [value];
        return [.. items.Select(e => Whole(e) ?? throw Invalid(name, "a token id or a list of them"))];
    }

    public CheckpointException Invalid(string name, string expected) =>
        new($"'{Path}': '{name}' is {(_fields.TryGetValue(name, out var value) ? Shortened(value.GetRawText()) : "missing")}; expected {expected}.");

    private static string Shortened(string json) => json.Length <= 200 ? json : json[..200] + "...";

    private static int? Whole(JsonElement value) =>
        value.ValueKind != JsonValueKind.Number ? null
        : value.TryGetInt32(out var number) ? number
        : value.TryGetDouble(out var real) && double.IsInteger(real) && Math.Abs(real) <= int.MaxValue ? (int)real
        : null;

    private static bool AreEqual(JsonElement a, JsonElement b) =>
        a.ValueKind == JsonValueKind.Number && b.ValueKind == JsonValueKind.Number ? a.GetDouble() == b.GetDouble() : JsonElement.DeepEquals(a, b);

    private static byte[] QuoteNonFinite(ReadOnlySpan<byte> json)
    {
        using var quoted = new MemoryStream(json.Length + 64);
        var inText = false;
        for (var at = 0; at < json.Length; at++)
        {
            var rest = json[at..];
            var length = inText ? 0 : rest.StartsWith("NaN"u8) ? 3 : rest.StartsWith("Infinity"u8) ? 8 : rest.StartsWith("-Infinity"u8) ? 9 : 0;
            if (length > 0)
            {
                quoted.WriteByte((byte)'"');
                quoted.Write(rest[..length]);
                quoted.WriteByte((byte)'"');
                at += length - 1;
                continue;
            }

            quoted.WriteByte(json[at]);
            if (inText && json[at] == '\\' && at + 1 < json.Length)
            {
                quoted.WriteByte(json[++at]);
            }
            else if (json[at] == '"')
            {
                inText = !inText;
            }
        }

        return quoted.ToArray();
    }
}
