using System.Security.Cryptography;
using Microsoft.Net.Http.Headers;

namespace HeadInfer.Tool.Serving;

/// <summary>What a browser sees of the server: files of this assembly. They need no key, since they say nothing that a caller without one may not know.</summary>
internal static class Page
{
    // Everything comes from this server and nothing stands inline, so neither a document nor an answer can become a script.
    private const string Policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

    private static readonly Dictionary<string, PageFile> Files = new(StringComparer.Ordinal)
    {
        ["/"] = PageFile.Read("index.html", "text/html; charset=utf-8"),
        ["/page/page.css"] = PageFile.Read("page.css", "text/css; charset=utf-8"),
        ["/page/page.js"] = PageFile.Read("page.js", "text/javascript; charset=utf-8"),
        ["/page/server.js"] = PageFile.Read("server.js", "text/javascript; charset=utf-8"),
        ["/page/files.js"] = PageFile.Read("files.js", "text/javascript; charset=utf-8"),
        ["/page/views.js"] = PageFile.Read("views.js", "text/javascript; charset=utf-8"),
        ["/page/icon.png"] = PageFile.Read("icon.png", "image/png"),
    };

    /// <summary>Where the files are found.</summary>
    public static IReadOnlyCollection<string> Paths => Files.Keys;

    /// <summary>Whether a path is the page's; only those are answered without a key.</summary>
    public static bool IsPage(PathString path) => path.Value is { } value && Files.ContainsKey(value);

    /// <param name="app">gets the routes</param>
    public static void Map(WebApplication app)
    {
        foreach (var (path, file) in Files)
        {
            app.MapMethods(path, Ollama.GetOrHead, (HttpContext context) =>
            {
                var headers = context.Response.Headers;
                (headers.ContentSecurityPolicy, headers.XContentTypeOptions, headers["Referrer-Policy"]) = (Policy, "nosniff", "no-referrer");
                headers.CacheControl = "no-cache"; // a newer tool has newer files; the tag says whether they are
                return Results.Bytes(file.Bytes, file.Type, entityTag: file.Tag);
            });
        }
    }

    private sealed record PageFile(byte[] Bytes, string Type, EntityTagHeaderValue Tag)
    {
        public static PageFile Read(string name, string type)
        {
            using var resource = typeof(Page).Assembly.GetManifestResourceStream("Page/" + name)!;
            var bytes = new byte[resource.Length];
            resource.ReadExactly(bytes);
            return new PageFile(bytes, type, new EntityTagHeaderValue($"\"{Convert.ToHexStringLower(SHA256.HashData(bytes))}\""));
        }
    }
}
