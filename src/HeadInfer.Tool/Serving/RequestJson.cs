using System.Net;
using System.Text.Unicode;
using Microsoft.Net.Http.Headers;

namespace HeadInfer.Tool.Serving;

/// <summary>JSON from outside. What it gives out has only whole characters, one value a name, and is not deep.</summary>
internal static class RequestJson
{
    private const int MaxDepth = 64;

    /// <exception cref="RefusedException">The body is not JSON in UTF-8.</exception>
    public static async Task<JsonElement> ReadAsync(HttpRequest request, CancellationToken cancellationToken)
    {
        var isJson = MediaTypeHeaderValue.TryParse(request.ContentType, out var type) && (type.MediaType.Equals("application/json", StringComparison.OrdinalIgnoreCase) || type.Suffix.Equals("json", StringComparison.OrdinalIgnoreCase));
        if (!isJson && !MayBeUntyped(request))
        {
            throw new RefusedException("The request must be application/json.", status: HttpStatusCode.UnsupportedMediaType);
        }

        if (HeaderUtilities.RemoveQuotes(type?.Charset ?? default) is { Length: > 0 } charset && !charset.Equals("utf-8", StringComparison.OrdinalIgnoreCase) && !charset.Equals("utf8", StringComparison.OrdinalIgnoreCase) && !charset.Equals("us-ascii", StringComparison.OrdinalIgnoreCase))
        {
            throw new RefusedException("The request must be in UTF-8, as its Content-Type should say.", status: HttpStatusCode.UnsupportedMediaType);
        }

        if (request.Headers.ContentEncoding.Any(e => !string.Equals(e, "identity", StringComparison.OrdinalIgnoreCase)))
        {
            throw new RefusedException("The request must not be compressed; leave out Content-Encoding.", status: HttpStatusCode.UnsupportedMediaType);
        }

        using var body = new MemoryStream();
        await request.Body.CopyToAsync(body, cancellationToken);
        return Parse(body.GetBuffer().AsSpan(0, (int)body.Length));
    }

    /// <exception cref="RefusedException">The text is not such JSON; the message says where.</exception>
    public static JsonElement Parse(ReadOnlySpan<byte> text)
    {
        text = text.StartsWith("\uFEFF"u8) ? text["\uFEFF"u8.Length..] : text;
        if (!Utf8.IsValid(text))
        {
            throw new RefusedException("The request is not UTF-8.");
        }

        try
        {
            Check(text);
        }
        catch (JsonException e)
        {
            throw new RefusedException($"The request is not JSON: look at line {e.LineNumber + 1}, byte {e.BytePositionInLine + 1}.");
        }

        return JsonElement.Parse(text);
    }

    // Ollama's documentation has curl send JSON as what a form would. A page of another origin may send that unasked too, but a
    // browser then says whence it comes.
    private static bool MayBeUntyped(HttpRequest request) =>
        request.Path.StartsWithSegments("/api", StringComparison.Ordinal) && !request.Headers.ContainsKey(HeaderNames.Origin) && !request.Headers.ContainsKey("Sec-Fetch-Site");

    private static void Check(ReadOnlySpan<byte> text)
    {
        var reader = new Utf8JsonReader(text, new JsonReaderOptions { MaxDepth = MaxDepth + 1 });
        var names = new Stack<HashSet<string>>(); // of the objects that are open
        while (reader.Read())
        {
            switch (reader.TokenType)
            {
                case JsonTokenType.StartObject or JsonTokenType.StartArray when reader.CurrentDepth >= MaxDepth:
                    throw new RefusedException($"The request is nested more than {MaxDepth} deep, at byte {reader.TokenStartIndex}.");
                case JsonTokenType.StartObject:
                    names.Push(new HashSet<string>(StringComparer.Ordinal));
                    break;
                case JsonTokenType.EndObject:
                    names.Pop();
                    break;
                case JsonTokenType.PropertyName when Text(ref reader) is var name && !names.Peek().Add(name):
                    throw new RefusedException($"The request has '{Fields.Short(name)}' twice in one object, at byte {reader.TokenStartIndex}.");
                case JsonTokenType.String when reader.ValueIsEscaped:
                    Text(ref reader);
                    break;
            }
        }
    }

    private static string Text(ref Utf8JsonReader reader)
    {
        try
        {
            return reader.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new RefusedException($"The request has half a surrogate pair (\\ud800 to \\udfff), which is no character, in the text at byte {reader.TokenStartIndex}.");
        }
    }
}
