using System.Text.Json.Nodes;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Values as Gemma writes them: like JSON, with keys without quotes, and texts as they are between <c>&lt;|"|&gt;</c>.</summary>
internal static class GemmaText
{
    public const string Quote = "<|\"|>";

    private const int MaxDepth = 128;

    /// <summary>A value as Gemma writes it.</summary>
    public static string Write(JsonNode? value) => value switch
    {
        null => "null",
        JsonObject o => "{" + string.Join(',', o.OrderBy(p => p.Key, StringComparer.OrdinalIgnoreCase).Select(p => p.Key + ":" + Write(p.Value))) + "}",
        JsonArray a => "[" + string.Join(',', a.Select(Write)) + "]",
        JsonValue v when v.GetValueKind() == JsonValueKind.String => Quote + v.GetValue<string>() + Quote,
        _ => value.ToJsonString(),
    };

    /// <summary>The text as JSON; null if it is no whole value.</summary>
    public static string? ToJson(string text)
    {
        var (json, at) = (new StringBuilder(), 0);
        return Value(text, ref at, json, 0) && string.IsNullOrWhiteSpace(text[at..]) ? json.ToString() : null;
    }

    private static bool Value(string text, ref int at, StringBuilder json, int depth)
    {
        Space(text, ref at);
        if (at >= text.Length || depth > MaxDepth)
        {
            return false;
        }

        return text[at] switch
        {
            '{' => Items(text, ref at, json, depth, '}'),
            '[' => Items(text, ref at, json, depth, ']'),
            _ => Quoted(text, ref at, json) ?? Word(text, ref at, json),
        };
    }

    // What stands in brackets.
    private static bool Items(string text, ref int at, StringBuilder json, int depth, char close)
    {
        json.Append(text[at++]);
        for (var isFirst = true; ; isFirst = false)
        {
            Space(text, ref at);
            if (at < text.Length && text[at] == close)
            {
                json.Append(text[at++]);
                return true;
            }

            if (!isFirst && !Take(text, ref at, ',', json))
            {
                return false;
            }

            Space(text, ref at);
            if (!isFirst && at < text.Length && text[at] == close)
            {
                json.Length--; // a comma behind the last one
                continue;
            }

            if ((close == '}' && !(Key(text, ref at, json) && Take(text, ref at, ':', json))) || !Value(text, ref at, json, depth + 1))
            {
                return false;
            }
        }
    }

    private static bool Key(string text, ref int at, StringBuilder json)
    {
        if (Quoted(text, ref at, json) is { } quoted)
        {
            return quoted;
        }

        var end = text.IndexOf(':', at);
        if (end < 0)
        {
            return false;
        }

        json.Append(JsonSerializer.Serialize(text[at..end].Trim()));
        at = end;
        return true;
    }

    // A text in Gemma's quotes, or in JSON's, which it uses now and then; null if there are none.
    private static bool? Quoted(string text, ref int at, StringBuilder json)
    {
        if (text.AsSpan(at).StartsWith(Quote))
        {
            var end = text.IndexOf(Quote, at + Quote.Length, StringComparison.Ordinal);
            if (end < 0)
            {
                return false;
            }

            json.Append(JsonSerializer.Serialize(text[(at + Quote.Length)..end]));
            at = end + Quote.Length;
            return true;
        }

        if (at >= text.Length || text[at] != '"')
        {
            return null;
        }

        var from = at;
        for (at++; at < text.Length && text[at] != '"'; at++)
        {
            at += text[at] == '\\' ? 1 : 0;
        }

        if (at >= text.Length)
        {
            return false;
        }

        json.Append(text, from, ++at - from);
        return true;
    }

    // A number, a word of JSON's or Python's; anything else is text that lacks its quotes.
    private static bool Word(string text, ref int at, StringBuilder json)
    {
        var end = text.AsSpan(at).IndexOfAny(",}]");
        var word = (end < 0 ? text[at..] : text.Substring(at, end)).Trim();
        at = end < 0 ? text.Length : at + end;
        word = word switch { "True" => "true", "False" => "false", "None" => "null", _ => word };
        json.Append(PythonLiteral.Json(word) is { } ? word : JsonSerializer.Serialize(word));
        return word.Length > 0;
    }

    private static bool Take(string text, ref int at, char wanted, StringBuilder json)
    {
        Space(text, ref at);
        if (at >= text.Length || text[at] != wanted)
        {
            return false;
        }

        json.Append(text[at++]);
        return true;
    }

    private static void Space(string text, ref int at)
    {
        while (at < text.Length && char.IsWhiteSpace(text[at]))
        {
            at++;
        }
    }
}
