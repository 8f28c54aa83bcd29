using System.Diagnostics;
using System.Text.Json;
using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>The server under clients of other makers.</summary>
public sealed class ClientTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Microsoft_extensions_call_functions_through_it(bool stream)
    {
        await using var server = await ScriptedClient.ServeAsync((messages, _, _) => Weather(messages));
        using var client = server.Client().AsIChatClient().AsBuilder().UseFunctionInvocation().Build();
        var options = new ChatOptions { Tools = [AIFunctionFactory.Create((string city) => $"17 degrees in {city}", "get_weather")] };
        var response = stream
            ? await client.GetStreamingResponseAsync("What is the weather?", options).ToChatResponseAsync()
            : await client.GetResponseAsync("What is the weather?", options);
        Assert.Equal("It is 17 degrees in Oslo.", response.Text);
        Assert.Equal(2, response.Usage!.CachedInputTokenCount); // of two requests
    }

    [Fact]
    public async Task Node_reads_all_of_it()
    {
        var folder = Directory.CreateTempSubdirectory("headinfer-node-");
        try
        {
            foreach (var file in Directory.GetFiles(Path.Combine(Tool.Root, "tests", "HeadInfer.Tool.Tests", "node")))
            {
                File.Copy(file, Path.Combine(folder.FullName, Path.GetFileName(file)));
            }

            Assert.SkipWhen(await RunAsync(folder.FullName, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts") is not { Code: 0 }, "node, or npm's package openai, cannot be had here.");
            await using var server = await ScriptedClient.ServeAsync((messages, _, _) =>
                messages[0].Text == "Fail" ? ScriptedClient.Answer(new TextContent("Hel")).ToAsyncEnumerable().Select((update, i) => i == 0 ? update : throw new MemoryBudgetException("Shorten it."))
                : messages[0].Text == "Hello" ? ScriptedClient.Answer(new TextContent("Hel"), new TextContent("lo")).ToAsyncEnumerable() : Weather(messages));
            var (code, output, error) = (await RunAsync(folder.FullName, "node", "client.mjs", new Uri(server.Address, "/v1").ToString()))!.Value;
            Assert.True(code == 0, error);
            Assert.Equal(
                """{"call":{"name":"get_weather","arguments":"{\"city\":\"Oslo\"}"},"text":"","cached":1,"response":"Hello","streamed":"Hello","gathered":"Hello","failure":"Shorten it.","refusal":{"status":400,"param":"n"},"models":["scripted"]}""", output.Trim());
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static IAsyncEnumerable<ChatResponseUpdate> Weather(IReadOnlyList<ChatMessage> messages) => ScriptedClient.Answer(
        messages[^1].Contents[0] is FunctionResultContent result ? new TextContent($"It is {ScriptedClient.Text(result)}.") : new FunctionCallContent("c1", "get_weather", new Dictionary<string, object?> { ["city"] = "Oslo" })).ToAsyncEnumerable();

    // Null where there is no such program, or it takes too long.
    private static async Task<(int Code, string Output, string Error)?> RunAsync(string folder, string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true })!;
            var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
            using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
            try
            {
                await process.WaitForExitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                process.Kill(entireProcessTree: true);
                return null;
            }

            return (process.ExitCode, await output, await error);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
