namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Values as Python prints them, which is how some templates show models their own arguments: <c>{'a': [True, None]}</c>.</summary>
internal static class PythonLiteral
{
    /// <summary>The value as JSON; null if the text is no such value.</summary>
    public static JsonElement? Read(string text)
    {
        var json = new StringBuilder();
        for (var at = 0; at < text.Length;)
        {
            if (text[at] is '\'' or '"')
            {
                at = String(text, at, json);
            }
            else if (char.IsAsciiLetter(text[at]))
            {
                var from = at;
                while (at < text.Length && char.IsAsciiLetterOrDigit(text[at]))
                {
                    at++;
                }

                json.Append(text[from..at] switch { "True" => "true", "False" => "false", "None" => "null", var other => other });
            }
            else
            {
                json.Append(text[at++]);
            }
        }

        return Json(json.ToString());
    }

    /// <summary>The value of JSON text; null if it is none.</summary>
    public static JsonElement? Json(string text)
    {
        try
        {
            using var json = JsonDocument.Parse(text);
            return json.RootElement.Clone();
        }
        catch (JsonException)
        {
            return null;
        }
    }

    // A text in either kind of quotes, as JSON; the place after it.
    private static int String(string text, int at, StringBuilder json)
    {
        var quote = text[at];
        json.Append('"');
        for (at++; at < text.Length && text[at] != quote; at++)
        {
            var escaped = text[at] == '\\' && at + 1 < text.Length;
            json.Append((escaped, escaped ? text[at + 1] : text[at]) switch
            {
                (true, '\'') => "'",
                (true, var c) => "\\" + c,
                (false, '"') => "\\\"",
                (false, < ' ' and var c) => $"\\u{(int)c:x4}",
                (_, var c) => c.ToString(),
            });
            at += escaped ? 1 : 0;
        }

        json.Append('"');
        return at + 1;
    }
}
