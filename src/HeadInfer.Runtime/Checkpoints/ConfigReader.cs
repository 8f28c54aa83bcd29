using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads fields of a JSON object and names the field in every error.</summary>
internal readonly struct ConfigReader(JsonElement json, string path)
{
    public string Path => path;

    /// <summary>Whether the field is there, even as null.</summary>
    public bool Mentions(string name) => json.TryGetProperty(name, out _);

    /// <summary>Whether the field is there and not null.</summary>
    public bool Has(string name) => json.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null;

    public ConfigReader? Object(string name) =>
        !Has(name) ? null
        : json.GetProperty(name) is { ValueKind: JsonValueKind.Object } inner ? new ConfigReader(inner, path)
        : throw Invalid(name, "an object");

    /// <summary>A whole number within limits.</summary>
    public int Int(string name, int? fallback = null, int least = 1, int most = 1 << 30)
    {
        if (!Has(name))
        {
            return fallback ?? throw new CheckpointException($"'{path}' lacks '{name}'.");
        }

        return json.GetProperty(name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt32(out var number) && number >= least && number <= most
            ? number
            : throw Invalid(name, $"a whole number from {least} to {most}");
    }

    public int? OptionalInt(string name) => Has(name) ? Int(name) : null;

    /// <summary>A finite positive number.</summary>
    public double Positive(string name, double? fallback = null)
    {
        if (!Has(name))
        {
            return fallback ?? throw new CheckpointException($"'{path}' lacks '{name}'.");
        }

        return json.GetProperty(name) is { ValueKind: JsonValueKind.Number } value && value.GetDouble() is > 0 and < double.PositiveInfinity and var number
            ? number
            : throw Invalid(name, "a positive number");
    }

    /// <summary>A number, whatever its sign.</summary>
    public double Number(string name) =>
        json.GetProperty(name) is { ValueKind: JsonValueKind.Number } value ? value.GetDouble() : throw Invalid(name, "a number");

    public double? OptionalPositive(string name) => Has(name) ? Positive(name) : null;

    public bool Bool(string name, bool fallback)
    {
        if (!Has(name))
        {
            return fallback;
        }

        return json.GetProperty(name).ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Invalid(name, "true or false"),
        };
    }

    public string? Text(string name) =>
        !Has(name) ? null : json.GetProperty(name) is { ValueKind: JsonValueKind.String } value ? value.GetString() : throw Invalid(name, "a string");

    public string[] Texts(string name) => Has(name) && json.GetProperty(name) is { ValueKind: JsonValueKind.Array } list
        ? [.. list.EnumerateArray().Select(e => e.ToString())]
        : [];

    /// <summary>One whole number or a list of them, as token ids are written.</summary>
    public int[] Ints(string name)
    {
        if (!Has(name))
        {
            return [];
        }

        var value = json.GetProperty(name);
        var items = value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().ToArray() : [value];
        var field = this;
        return [.. items.Select(e => e.ValueKind == JsonValueKind.Number && e.TryGetInt32(out var id) ? id : throw field.Invalid(name, "a token id or a list of them"))];
    }

    public CheckpointException Invalid(string name, string expected) =>
        new($"'{path}': '{name}' is {(json.TryGetProperty(name, out var value) ? value.GetRawText() : "missing")}; expected {expected}.");
}
