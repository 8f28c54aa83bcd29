using System.Diagnostics;
using System.Globalization;

namespace HeadInfer.Hostile;

/// <summary>Runs a case in a process of its own, and judges it.</summary>
internal static class CaseProcess
{
    private const double MaxSeconds = 2, MaxMiB = 256, MaxSecondsPerToken = 0.25;

    // Start-up, 30 tokens, and a second run that is cancelled are within it.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public static async Task<string> RunAsync(string file)
    {
        var name = $"{Path.GetFileName(Path.GetDirectoryName(file))}/{Path.GetFileName(file)}";
        using var process = Process.Start(new ProcessStartInfo("dotnet", [typeof(CaseProcess).Assembly.Location, "--case", file]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var (output, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        using var patience = new CancellationTokenSource(Patience);
        try
        {
            await process.WaitForExitAsync(patience.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            return $"FAIL {name} {Patience.TotalSeconds} ? still at it";
        }

        if (process.ExitCode != 0)
        {
            return $"FAIL {name} ? ? the process ended with {process.ExitCode}: {FirstLine(await errors)}";
        }

        var result = CaseResult.FromJson((await output).Split('\n').Last(line => line.StartsWith("{\"Outcome\"", StringComparison.Ordinal))); // the server logs there too
        var wrong = result.Outcome == "FAIL" ? ""
            : result.Seconds > MaxSeconds ? $"more than {MaxSeconds} s; "
            : result.MiB > MaxMiB ? $"more than {MaxMiB} MiB; "
            : result.SecondsPerToken > MaxSecondsPerToken ? $"{result.SecondsPerToken:F2} s a token; "
            : result.SecondsToCancel > 0.5 ? $"{result.SecondsToCancel:F1} s until cancelled; "
            : null;
        return string.Create(CultureInfo.InvariantCulture, $"{(wrong is null ? result.Outcome : "FAIL")} {name} {result.Seconds:F3} {result.MiB:F0} {wrong}{FirstLine(result.Message)}");
    }

    private static string FirstLine(string text) => text.Split('\n')[0] is { Length: > 160 } line ? line[..160] + "..." : text.Split('\n')[0];
}
