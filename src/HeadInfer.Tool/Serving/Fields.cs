namespace HeadInfer.Tool.Serving;

/// <summary>The fields of an object of the wire. What has a wrong type or value is refused by its name; null is as good as left out.</summary>
internal readonly struct Fields
{
    private readonly JsonElement _object;
    private readonly string _path; // with the dot

    /// <param name="value">the object</param>
    /// <param name="name">its own name; empty for the request</param>
    /// <exception cref="RefusedException">It is no object.</exception>
    public Fields(JsonElement value, string name)
    {
        _object = value.ValueKind == JsonValueKind.Object ? value : throw new RefusedException($"{(name.Length > 0 ? name : "The request")} must be an object, and is {Kind(value)}.", name);
        _path = name.Length > 0 ? name + "." : "";
    }

    public IEnumerable<JsonProperty> All => _object.EnumerateObject();

    /// <summary>What a caller sent, short enough for a message.</summary>
    public static string Short(string text) => text.Length <= 60 ? text : text[..(char.IsHighSurrogate(text[59]) ? 59 : 60)] + "...";

    public JsonElement? Get(string name) => _object.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    public RefusedException Wrong(string name, string why) => new($"{_path}{name} {why}", _path + name);

    public string? Text(string name) => Get(name) is not { } value ? null
        : value.ValueKind == JsonValueKind.String ? value.GetString() : throw Must(name, "a text", value);

    /// <summary>A text that must be there, and not be empty.</summary>
    public string NeededText(string name) => Text(name) is { Length: > 0 } text ? text : throw Wrong(name, "is missing.");

    public bool? Flag(string name) => Get(name) is not { } value ? null
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Must(name, "true or false", value);

    public float? Number(string name, float least, float most)
    {
        if (Get(name) is not { } value)
        {
            return null;
        }

        var number = value.ValueKind == JsonValueKind.Number ? (float)value.GetDouble() : float.NaN;
        return number >= least && number <= most ? number : throw Must(name, string.Create(CultureInfo.InvariantCulture, $"a number from {least} to {most}"), value);
    }

    public long? Whole(string name, long least, long most)
    {
        if (Get(name) is not { } value)
        {
            return null;
        }

        // Some clients write 5.0 for 5.
        var whole = value.ValueKind == JsonValueKind.Number && (value.TryGetInt64(out var number) || (value.TryGetDecimal(out var other) && decimal.IsInteger(other) && long.TryParse(other.ToString("F0", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture, out number))) ? number : (long?)null;
        return whole >= least && whole <= most ? whole : throw Must(name, string.Create(CultureInfo.InvariantCulture, $"a whole number from {least} to {most}"), value);
    }

    public Fields? Object(string name) => Get(name) is { } value ? new Fields(value, _path + name) : null;

    public IEnumerable<Fields>? Objects(string name)
    {
        if (Get(name) is not { } value)
        {
            return null;
        }

        var path = _path + name;
        return value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().Select((item, i) => new Fields(item, $"{path}[{i}]")) : throw Must(name, "a list", value);
    }

    public RefusedException Must(string name, string what, JsonElement value) => Wrong(name, $"must be {what}, and is {Kind(value)}.");

    private static string Kind(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => $"the text '{Short(value.GetString()!)}'",
        _ => Short(value.GetRawText()),
    };
}
