using System.Globalization;

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
            if (text[at] == '\\' && at + 1 < text.Length)
            {
                at = Escape(text, at + 1, json);
                continue;
            }

            json.Append(text[at] switch { '"' => "\\\"", < ' ' and var c => $"\\u{(int)c:x4}", var c => c.ToString() });
        }

        json.Append('"');
        return at + 1;
    }

    // What stands behind a backslash, as JSON; its last place. A backslash that begins nothing stands for itself, as in Python.
    private static int Escape(string text, int at, StringBuilder json)
    {
        if (text[at] is 'x' or 'U' && (text[at] == 'x' ? 2 : 8) is var digits && at + digits < text.Length
            && uint.TryParse(text.AsSpan(at + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var point) && Rune.IsValid(point))
        {
            foreach (var unit in new Rune(point).ToString())
            {
                json.Append(CultureInfo.InvariantCulture, $"\\u{(int)unit:x4}");
            }

            return at + digits;
        }

        json.Append(text[at] switch
        {
            '\'' => "'",
            '\n' => "",
            'a' => "\\u0007",
            'v' => "\\u000b",
            '0' => "\\u0000",
            '"' or '\\' or 'b' or 'f' or 'n' or 'r' or 't' or 'u' => "\\" + text[at],
            < ' ' and var c => $"\\\\\\u{(int)c:x4}",
            var c => "\\\\" + c,
        });
        return at;
    }
}
