using System.Diagnostics;
using System.Reflection;

// One model in memory at a time: the machine that runs the tests may be small.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace HeadInfer.Samples.Tests;

/// <summary>What samples say to a mistake. What they say else is in <see cref="ReadmeTests"/>.</summary>
public sealed class SampleTests
{
    private static readonly string Place = typeof(SampleTests).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == "Samples").Value!;

    [Fact]
    public async Task ChatServer_says_what_it_takes()
    {
        var (code, output, _) = await RunAsync("ChatServer", "--help");
        Assert.Equal((0, true), (code, output.StartsWith("usage: ChatServer", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("no-such-folder", "CodebaseAgent", "--folder", "no-such-folder")]
    [InlineData("no-such-model", "CodebaseAgent", "--model", "no-such-model")]
    [InlineData("no-such-model", "ChatServer", "--model", "no-such-model")]
    [InlineData("--api-key", "ChatServer", "--urls", "http://0.0.0.0:8080")]
    [InlineData("--api-key", "ChatServer", "--urls", "http://loopback:8080")]
    [InlineData("--urls", "ChatServer", "--urls", "http://192.0.2.1:8080", "--api-key", "k")]
    [InlineData("'--Kestrel:Endpoints:Open:Url'", "ChatServer", "--Kestrel:Endpoints:Open:Url", "http://0.0.0.0:8081")]
    [InlineData("--max-context must be", "ChatServer", "--max-context", "0")]
    [InlineData("--max-request-bytes", "ChatServer", "--max-request-bytes", "many")]
    public async Task A_mistake_is_named(string part, string sample, params string[] arguments)
    {
        var (code, _, error) = await RunAsync(sample, arguments);
        Assert.Equal(1, code);
        Assert.Contains(part, error, StringComparison.Ordinal);
        Assert.DoesNotContain("(Parameter", error, StringComparison.Ordinal);
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
