namespace HeadInfer.Tool.Serving;

/// <summary>What a browser sees of the server. It needs no key: it says nothing that a caller without one may not know.</summary>
internal static class Page
{
    /// <summary>Paths of the page, which are answered without a key.</summary>
    public static bool IsPage(PathString path) => path == "/";

    /// <param name="app">gets the routes</param>
    public static void Map(WebApplication app) => app.MapGet("/", () => Results.Text($"headinfer {Ollama.Version}: {Server.Routes}\n"));
}
