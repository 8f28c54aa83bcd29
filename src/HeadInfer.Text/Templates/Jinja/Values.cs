using System.Numerics;
using System.Runtime.CompilerServices;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>A variable that nobody set. It prints as nothing and is false.</summary>
internal sealed record Undefined(string Name);

/// <summary>What values are in templates: none, booleans, numbers, text, sequences, dictionaries, objects with members.</summary>
/// <remarks>Data only: nothing here reaches a member of a .NET object.</remarks>
internal static class Values
{
    public static string Kind(object? value) => value switch
    {
        null => "none",
        bool => "a boolean",
        long or BigInteger => "a whole number",
        double => "a float",
        TemplateText => "a string",
        JinjaTuple => "a tuple",
        JinjaRange => "a range",
        JinjaSequence => "a list",
        JinjaDict => "a dictionary",
        JinjaNamespace => "a namespace",
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
        JinjaSequence sequence => sequence.Count > 0,
        JinjaDict dict => dict.Items.Count > 0,
        _ => true,
    };

    /// <summary>A value as it is printed into the output.</summary>
    public static TemplateText Print(object? value, WorkBudget budget) => value switch
    {
        TemplateText text => text,
        Undefined => TemplateText.Empty,
        null or bool or long or double or BigInteger => TemplateText.Trusted(Represent(value, budget)),
        _ => TemplateText.Data(Represent(value, budget)),
    };

    /// <summary>A value as Python's <c>repr</c> writes it.</summary>
    public static string Represent(object? value, WorkBudget budget) => Representation.Of(value, budget);

    /// <summary>A value made of .NET data: JSON, dictionaries, lists, strings, numbers. Its text is not trusted.</summary>
    public static object? From(object? value) => value switch
    {
        null or bool or long or double or BigInteger or TemplateText or JinjaDict or JinjaSequence or JinjaObject => value,
        List<object?> list => new JinjaList(list.Select(From)),
        string text => TemplateText.Data(text),
        int number => (long)number,
        float number => (double)number,
        JsonDocument json => From(json.RootElement),
        JsonElement json => JsonValues.From(json),
        System.Text.Json.Nodes.JsonNode node => JsonValues.From(JsonSerializer.SerializeToElement(node)),
        IEnumerable<KeyValuePair<string, object?>> pairs => Dict(pairs.Select(p => (p.Key, From(p.Value)))),
        System.Collections.IEnumerable items => new JinjaList(items.Cast<object?>().Select(From)),
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
    public static JinjaSequence Items(object? value, Position at, WorkBudget budget)
    {
        switch (value)
        {
            case JinjaSequence sequence:
                return sequence;
            case JinjaDict dict:
                budget.HoldItems(dict.Items.Count);
                return new JinjaList(dict.Items.Select(i => i.Key));
            case TemplateText text:
                return new JinjaCharacters(text, budget);
            case Undefined:
                return new JinjaTuple();
            default:
                throw at.Error($"{Kind(value)} cannot be gone over.");
        }
    }

    /// <summary>How much a rendering is given: characters of text, and items of lists and dictionaries.</summary>
    public static (long Characters, long Items) Size(object? value) => value switch
    {
        _ when !RuntimeHelpers.TryEnsureSufficientExecutionStack() => throw new ChatTemplateException("What a chat template is given is nested too deep."),
        TemplateText text => (text.Length, 0),
        JinjaSequence and not JinjaRange => Sum(((JinjaSequence)value).Select(Size)),
        JinjaDict dict => Sum(dict.Items.SelectMany(i => new[] { Size(i.Key), Size(i.Value) })),
        _ => (0, 0),
    };

    private static (long Characters, long Items) Sum(IEnumerable<(long Characters, long Items)> sizes) =>
        sizes.Aggregate((Characters: 0L, Items: 0L), (sum, size) => (sum.Characters + size.Characters, sum.Items + size.Items + 1));
}
