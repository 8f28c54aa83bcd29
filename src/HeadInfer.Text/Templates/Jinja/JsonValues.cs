using System.Numerics;
using System.Runtime.CompilerServices;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Reads JSON as values of templates. Its text is not trusted.</summary>
internal static class JsonValues
{
    public static object? From(JsonElement json)
    {
        try
        {
            return Read(json);
        }
        catch (InvalidOperationException)
        {
            // "\ud800" alone is JSON, and .NET does not read it. Tokenizers make U+FFFD of it.
            using var mended = JsonDocument.Parse(WithoutLoneSurrogates(json.GetRawText()), new JsonDocumentOptions { MaxDepth = int.MaxValue });
            return Read(mended.RootElement);
        }
    }

    /// <summary>JSON in which every escaped half of a character is U+FFFD.</summary>
    public static string WithoutLoneSurrogates(string json)
    {
        var text = new StringBuilder(json);
        for (var i = 0; i + 1 < json.Length; i++)
        {
            if (json[i] != '\\')
            {
                continue;
            }

            if (Escaped(json, i) is not { } first || !char.IsSurrogate(first))
            {
                i++; // what is escaped is not the beginning of another escape
            }
            else if (char.IsHighSurrogate(first) && Escaped(json, i + 6) is { } second && char.IsLowSurrogate(second))
            {
                i += 11;
            }
            else
            {
                text[i + 2] = text[i + 3] = text[i + 4] = 'f';
                text[i + 5] = 'd';
                i += 5;
            }
        }

        return text.ToString();
    }

    private static char? Escaped(string json, int at) =>
        at + 6 <= json.Length && json[at] == '\\' && json[at + 1] == 'u' && ushort.TryParse(json.AsSpan(at + 2, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code) ? (char)code : null;

    private static object? Read(JsonElement json) => json.ValueKind switch
    {
        _ when !RuntimeHelpers.TryEnsureSufficientExecutionStack() => throw new ChatTemplateException("JSON that a chat template is given is nested too deep."),
        JsonValueKind.String => TemplateText.Data(json.GetString()!),
        JsonValueKind.Number => Number(json),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Array => new JinjaList(json.EnumerateArray().Select(Read)),
        JsonValueKind.Object => Values.Dict(json.EnumerateObject().Select(p => (p.Name, Read(p.Value)))),
        _ => null,
    };

    private static object Number(JsonElement json)
    {
        if (json.TryGetInt64(out var whole))
        {
            return whole;
        }

        var digits = json.GetRawText();
        return digits.Length <= Numbers.MaxDigits && BigInteger.TryParse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var huge) ? huge : json.GetDouble();
    }
}
