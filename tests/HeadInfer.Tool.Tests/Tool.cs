using System.Diagnostics;
using System.Reflection;
using System.Text;

// One model in memory at a time: the machine that runs the tests may be small.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace HeadInfer.Tool.Tests;

/// <summary>The tool as a process of its own.</summary>
internal static class Tool
{
    /// <summary>A program that gives another one a terminal, where there is one.</summary>
    public const string Terminal = "/usr/bin/script";

    private static readonly string Host = Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet";

    /// <summary>The folder of the repository.</summary>
    public static string Root { get; } = Metadata("Root");

    /// <summary>Runs the tool to its end.</summary>
    public static Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments) => RunAsync("", [], arguments);

    /// <param name="input">its standard input</param>
    /// <param name="environment">variables that are set</param>
    /// <param name="arguments">the command line</param>
    public static async Task<(int Code, string Output, string Error)> RunAsync(string input, Dictionary<string, string> environment, params string[] arguments)
    {
        using var process = Start(environment, arguments);
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(5));
        await process.WaitForExitAsync(limit.Token);
        return (process.ExitCode, (await output).ReplaceLineEndings("\n"), (await error).ReplaceLineEndings("\n"));
    }

    /// <summary>Types to it at a terminal, until it says something.</summary>
    /// <returns>what it said by then</returns>
    public static async Task<string> TypeAsync(string input, string awaited, params string[] arguments)
    {
        using var process = StartProgram([], Terminal, "-qec", string.Join(' ', ((string[])[Host, Metadata("Tool"), .. arguments]).Select(a => $"'{a}'")), "/dev/null");
        try
        {
            await process.StandardInput.WriteAsync(input);
            await process.StandardInput.FlushAsync();
            using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(5));
            var said = "";
            while (!said.Contains(awaited, StringComparison.Ordinal) && await process.StandardOutput.ReadLineAsync(limit.Token) is { } line)
            {
                said += line + "\n";
            }

            return said;
        }
        finally
        {
            process.Kill(entireProcessTree: true);
        }
    }

    public static Process Start(Dictionary<string, string> environment, params string[] arguments) => StartProgram(environment, Host, [Metadata("Tool"), .. arguments]);

    private static Process StartProgram(Dictionary<string, string> environment, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardInputEncoding = new UTF8Encoding(false),
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
            WorkingDirectory = Root,
        };
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }

    private static string Metadata(string key) => typeof(Tool).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == key).Value!;
}
