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

    /// <summary>Cancels work amid it.</summary>
    /// <param name="seconds">what it took when it was not cancelled</param>
    /// <param name="work">the work, done anew</param>
    /// <returns>seconds from the cancellation to its end; 0 if it is too short to be cancelled</returns>
    public static double Cancel(double seconds, Action<CancellationToken> work)
    {
        if (seconds < 0.1)
        {
            return 0;
        }

        var after = TimeSpan.FromSeconds(seconds / 4);
        using var source = new CancellationTokenSource(after);
        var clock = System.Diagnostics.Stopwatch.StartNew();
        try
        {
            work(source.Token);
        }
        catch (Exception e) when (e is OperationCanceledException or HeadInferException or ArgumentException)
        {
        }

        return Math.Max(0, (clock.Elapsed - after).TotalSeconds);
    }

    /// <summary>The result of work that ended with an exception: refused if a caller can act on it.</summary>
    /// <param name="measured">its time and memory</param>
    /// <param name="error">the exception</param>
    /// <param name="again">does the work once more, to be cancelled; null where that is not tried</param>
    public static CaseResult Ended(Measured measured, Exception error, Action<CancellationToken>? again = null)
    {
        measured.Stop();
        var typed = error is HeadInferException or ArgumentException or NotSupportedException or System.Text.Json.JsonException;
        return new CaseResult(typed ? "refused" : "FAIL", measured.Seconds, measured.MiB, 0, again is null ? 0 : Cancel(measured.Seconds, again), $"{error.GetType().Name}: {error.Message}");
    }
}
