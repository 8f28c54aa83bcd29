using System.Diagnostics;
using System.Reflection;

// One model in memory at a time: the machine that runs the tests may be small.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace HeadInfer.Samples.Tests;

/// <summary>What samples say to a mistake. What they say else is in <see cref="ReadmeTests"/>.</summary>
public sealed class SampleTests
{
    private static readonly string Place = typeof(SampleTests).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == "Samples").Value!;

    [Theory]
    [InlineData("no-such-folder", "CodebaseAgent", "--folder", "no-such-folder")]
    [InlineData("no-such-model", "CodebaseAgent", "--model", "no-such-model")]
    [InlineData("--folder DIR", "CodebaseAgent", "--help")]
    [InlineData("--folder DIR", "CodebaseAgent", "--folder")]
    public async Task A_mistake_is_named(string part, string sample, params string[] arguments)
    {
        var (code, _, error) = await RunAsync(sample, arguments);
        Assert.Equal(1, code);
        Assert.Contains(part, error, StringComparison.Ordinal);
        Assert.DoesNotContain("(Parameter", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_folder_that_is_too_long_is_told_with_a_way_out()
    {
        var folder = Directory.CreateTempSubdirectory("headinfer-sample-");
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "long.txt"), string.Concat(Enumerable.Repeat("It came to pass. ", 40_000)));
            var (code, _, error) = await RunAsync("CodebaseAgent", "--folder", folder.FullName, "What came to pass?");
            Assert.Equal(1, code);
            Assert.Contains("--folder", error, StringComparison.Ordinal);
            Assert.Contains("--model", error, StringComparison.Ordinal);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static async Task<(int Code, string Output, string Error)> RunAsync(string sample, params string[] arguments)
    {
        using var process = new Process
        {
            StartInfo = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet", [Place.Replace("{0}", sample, StringComparison.Ordinal), .. arguments])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            },
        };
        process.Start();
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(5));
        await process.WaitForExitAsync(limit.Token);
        return (process.ExitCode, (await output).ReplaceLineEndings("\n"), await error);
    }
}
