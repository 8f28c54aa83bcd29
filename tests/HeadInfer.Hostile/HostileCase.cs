using HeadInfer.Runtime;

namespace HeadInfer.Hostile;

/// <summary>One hostile input, given to the part of the library that it is meant for.</summary>
internal static class HostileCase
{
    /// <summary>The cases of a folder.</summary>
    public static IEnumerable<string> Files(string folder) =>
        ((string[])["schemas/*.json", "templates/*.jinja", "requests/*.json"])
        .Select(pattern => (Folder: Path.Combine(folder, Path.GetDirectoryName(pattern)!), Files: Path.GetFileName(pattern)))
        .Where(kind => Directory.Exists(kind.Folder))
        .SelectMany(kind => Directory.GetFiles(kind.Folder, kind.Files).Order(StringComparer.Ordinal));

    /// <summary>Runs a case of the kind that its folder names.</summary>
    public static Task<CaseResult> RunAsync(string file) => Path.GetFileName(Path.GetDirectoryName(Path.GetFullPath(file))) switch
    {
        "schemas" => SchemaCase.RunAsync(file),
        "templates" => TemplateCase.RunAsync(file),
        "requests" => RequestCase.RunAsync(file),
        var other => throw new ArgumentException($"'{file}' is in the folder '{other}'; cases are in schemas, templates or requests."),
    };

    /// <summary>The model that cases run with.</summary>
    public static string DemoModel => Path.Combine(AppContext.BaseDirectory, "models", "headinfer-demo");

    /// <summary>The result of work that ended with an exception: refused if a caller can act on it.</summary>
    public static CaseResult Ended(Measured measured, Exception error)
    {
        measured.Stop();
        var typed = error is HeadInferException or ArgumentException or NotSupportedException or System.Text.Json.JsonException;
        return new CaseResult(typed ? "refused" : "FAIL", measured.Seconds, measured.MiB, 0, 0, $"{error.GetType().Name}: {error.Message}");
    }
}
