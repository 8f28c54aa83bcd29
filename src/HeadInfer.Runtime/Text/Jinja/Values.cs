using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;

namespace HeadInfer.Runtime.Text.Jinja;

/// <summary>A variable that nobody set. It prints as nothing and is false.</summary>
internal sealed record Undefined(string Name);

/// <summary>A dictionary of a template; keeps the order of its keys.</summary>
internal sealed class JinjaDict
{
    private readonly Dictionary<string, int> _index = new(StringComparer.Ordinal);
    private readonly List<KeyValuePair<string, object?>> _items = [];

    /// <summary>Whether attributes may be set: <c>namespace(...)</c>.</summary>
    public bool IsNamespace { get; init; }

    public IReadOnlyList<KeyValuePair<string, object?>> Items => _items;

    public bool TryGet(string key, out object? value)
    {
        var found = _index.TryGetValue(key, out var at);
        value = found ? _items[at].Value : null;
        return found;
    }

    public void Set(string key, object? value)
    {
        if (_index.TryGetValue(key, out var at))
        {
            _items[at] = new(key, value);
        }
        else
        {
            _index[key] = _items.Count;
            _items.Add(new(key, value));
        }
    }
}

/// <summary>Something that can be called.</summary>
internal delegate object? JinjaFunction(CallArguments arguments);

/// <summary>The values of a call's arguments.</summary>
internal sealed record CallArguments(IReadOnlyList<object?> Positional, IReadOnlyDictionary<string, object?> Named, Position At)
{
    public int Count => Positional.Count;

    /// <summary>An argument by its place or its name.</summary>
    public object? Get(int place, string name, object? fallback = null) =>
        place < Positional.Count ? Positional[place] : Named.TryGetValue(name, out var value) ? value : fallback;

    public string Text(int place, string name, string? fallback = null) => Get(place, name) switch
    {
        TemplateText text => text.Text,
        null when fallback is not null => fallback,
        var other => throw At.Error($"'{name}' must be a string, not {Values.Kind(other)}."),
    };

    public long Int(int place, string name, long fallback) => Get(place, name, fallback) switch
    {
        long number => number,
        bool flag => flag ? 1 : 0,
        var other => throw At.Error($"'{name}' must be a whole number, not {Values.Kind(other)}."),
    };

    /// <summary>The same call without its first argument.</summary>
    public CallArguments Rest() => this with { Positional = [.. Positional.Skip(1)] };
}

/// <summary>What values are in templates: none, booleans, whole numbers, floats, text, lists, dictionaries, functions.</summary>
/// <remarks>Data only: nothing here reaches a member of a .NET object.</remarks>
internal static class Values
{
    private const int MaxRepresentation = 1 << 26;

    public static string Kind(object? value) => value switch
    {
        null => "none",
        bool => "a boolean",
        long => "a whole number",
        double => "a float",
        TemplateText => "a string",
        List<object?> => "a list",
        JinjaDict => "a dictionary",
        Undefined undefined => $"the undefined '{undefined.Name}'",
        _ => "a function",
    };

    public static bool IsTrue(object? value) => value switch
    {
        null or Undefined => false,
        bool flag => flag,
        long number => number != 0,
        double number => number != 0,
        TemplateText text => text.Length > 0,
        List<object?> list => list.Count > 0,
        JinjaDict dict => dict.Items.Count > 0 || dict.IsNamespace,
        _ => true,
    };

    public static bool AreEqual(object? a, object? b) => (a, b) switch
    {
        _ when ReferenceEquals(a, b) => true, // none equals none, and a value that holds itself equals itself
        _ when !RuntimeHelpers.TryEnsureSufficientExecutionStack() => throw new ChatTemplateException("Values that a chat template compares are nested too deep."),
        (TemplateText x, TemplateText y) => x.Text == y.Text,
        (List<object?> x, List<object?> y) => x.Count == y.Count && x.Zip(y).All(p => AreEqual(p.First, p.Second)),
        (JinjaDict x, JinjaDict y) => x.Items.Count == y.Items.Count && x.Items.All(i => y.TryGet(i.Key, out var other) && AreEqual(i.Value, other)),
        (Undefined, Undefined) => true,
        _ when Number(a) is { } x && Number(b) is { } y => x == y,
        _ => false,
    };

    public static double? Number(object? value) => value switch
    {
        long number => number,
        double number => number,
        bool flag => flag ? 1 : 0,
        _ => null,
    };

    /// <summary>A value as it is printed into the output.</summary>
    public static TemplateText Print(object? value) => value switch
    {
        TemplateText text => text,
        Undefined => TemplateText.Empty,
        null => TemplateText.Trusted("None"),
        bool or long or double => TemplateText.Trusted(Represent(value)),
        _ => TemplateText.Data(Represent(value)),
    };

    /// <summary>A value as Python's <c>repr</c> writes it.</summary>
    public static string Represent(object? value)
    {
        var text = new StringBuilder();
        Represent(value, text, 0);
        return text.ToString();
    }

    /// <summary>A value made of .NET data: JSON, dictionaries, lists, strings, numbers. Its text is not trusted.</summary>
    public static object? From(object? value) => value switch
    {
        null or bool or long or double or TemplateText or JinjaDict or List<object?> or JinjaFunction => value,
        string text => TemplateText.Data(text),
        int number => (long)number,
        float number => (double)number,
        JsonDocument json => From(json.RootElement),
        JsonElement json => FromJson(json),
        System.Text.Json.Nodes.JsonNode node => FromJson(JsonSerializer.SerializeToElement(node)),
        IEnumerable<KeyValuePair<string, object?>> pairs => Dict(pairs.Select(p => (p.Key, From(p.Value)))),
        System.Collections.IEnumerable items => items.Cast<object?>().Select(From).ToList(),
        _ => throw new ChatTemplateException($"A chat template cannot be given a value of type {value.GetType().Name}."),
    };

    public static JinjaDict Dict(IEnumerable<(string Key, object? Value)> items)
    {
        var dict = new JinjaDict();
        foreach (var (key, value) in items)
        {
            dict.Set(key, value);
        }

        return dict;
    }

    /// <summary>What a loop goes over.</summary>
    public static IReadOnlyList<object?> Items(object? value, Position at) => value switch
    {
        List<object?> list => list,
        JinjaDict dict => [.. dict.Items.Select(i => (object?)TemplateText.Data(i.Key))],
        TemplateText text => [.. Enumerable.Range(0, text.Length).Select(i => (object?)text.Substring(i, 1))],
        Undefined => [],
        _ => throw at.Error($"{Kind(value)} cannot be gone over."),
    };

    private static object? FromJson(JsonElement json) => json.ValueKind switch
    {
        JsonValueKind.String => TemplateText.Data(json.GetString()!),
        JsonValueKind.Number => json.TryGetInt64(out var whole) ? (object)whole : json.GetDouble(),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Array => json.EnumerateArray().Select(FromJson).ToList(),
        JsonValueKind.Object => Dict(json.EnumerateObject().Select(p => (p.Name, FromJson(p.Value)))),
        _ => null,
    };

    private static void Represent(object? value, StringBuilder text, int depth)
    {
        if (depth > 100 || text.Length > MaxRepresentation)
        {
            throw new ChatTemplateException("A value that a chat template prints is nested too deep or too large.");
        }

        switch (value)
        {
            case null:
                text.Append("None");
                break;
            case bool flag:
                text.Append(flag ? "True" : "False");
                break;
            case double number:
                text.Append(Float(number));
                break;
            case TemplateText inner:
                var quote = inner.Text.Contains('\'') && !inner.Text.Contains('"') ? '"' : '\'';
                text.Append(quote).Append(inner.Text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal).Replace("\t", "\\t", StringComparison.Ordinal).Replace("\r", "\\r", StringComparison.Ordinal).Replace(quote.ToString(), "\\" + quote, StringComparison.Ordinal)).Append(quote);
                break;
            case List<object?> list:
                Join(text.Append('['), list, item => Represent(item, text, depth + 1));
                text.Append(']');
                break;
            case JinjaDict dict:
                Join(text.Append('{'), dict.Items, item =>
                {
                    Represent(TemplateText.Data(item.Key), text, depth + 1);
                    text.Append(": ");
                    Represent(item.Value, text, depth + 1);
                });
                text.Append('}');
                break;
            default:
                text.Append(Convert.ToString(value is Undefined ? "Undefined" : value, CultureInfo.InvariantCulture));
                break;
        }
    }

    /// <summary>A float as Python writes it.</summary>
    public static string Float(double number)
    {
        if (!double.IsFinite(number))
        {
            return double.IsNaN(number) ? "nan" : number > 0 ? "inf" : "-inf";
        }

        var plain = Math.Abs(number) is 0 or (>= 1e-4 and < 1e16);
        var text = number.ToString(plain ? "0.0################" : "R", CultureInfo.InvariantCulture);
        return plain && double.Parse(text, CultureInfo.InvariantCulture) != number ? number.ToString("R", CultureInfo.InvariantCulture) : text.Replace("E", "e", StringComparison.Ordinal);
    }

    private static void Join<T>(StringBuilder text, IReadOnlyList<T> items, Action<T> append)
    {
        for (var i = 0; i < items.Count; i++)
        {
            if (i > 0)
            {
                text.Append(", ");
            }

            append(items[i]);
        }
    }
}
