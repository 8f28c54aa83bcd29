using System.ComponentModel;
using HeadInfer.Runtime;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;
using TorchSharp;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>The client below function invocation, and the messages it takes. Scripted where the demo model is too small to call.</summary>
public sealed class FunctionInvocationTests(DemoModel demo) : IClassFixture<DemoModel>
{
    public static TheoryData<string, Delegate, string, string> Functions() => new()
    {
        { "no parameters", () => "42", "{}", "42" },
        { "parameters", (int a, int b) => a + b, "{\"a\": 3, \"b\": 4}", "7" },
        { "an optional parameter left out", (string name, int age = 5) => $"{name} {age}", "{\"name\": \"Ruth\"}", "Ruth 5" },
        { "an optional parameter given", (string name, int age = 5) => $"{name} {age}", "{\"name\": \"Ruth\", \"age\": 6}", "Ruth 6" },
        { "a nested parameter", (Trip trip) => $"{trip.From.City}-{trip.To.City}", "{\"trip\": {\"from\": {\"city\": \"Oslo\"}, \"to\": {\"city\": \"Bergen\"}}}", "Oslo-Bergen" },
        { "an array", (int[] values) => values.Sum(), "{\"values\": [1, 2, 3]}", "6" },
    };

    [Theory]
    [MemberData(nameof(Functions), DisableDiscoveryEnumeration = true)]
    public async Task A_function_is_invoked_with(string what, Delegate function, string arguments, string result)
    {
        foreach (var streaming in (bool[])[false, true])
        {
            var engine = new ScriptedEngine(demo.Model, $"<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>", "Done with " + what);
            using var client = new HeadInferChatClient(engine).AsBuilder().UseFunctionInvocation().Build();
            var options = new ChatOptions { Tools = [AIFunctionFactory.Create(function, "f")] };
            var text = streaming
                ? string.Concat(await client.GetStreamingResponseAsync("Go", options).Select(u => u.Text).ToListAsync())
                : (await client.GetResponseAsync("Go", options)).Text;
            Assert.Equal("Done with " + what, text);
            Assert.Contains($"<tool_response>\n{result}\n</tool_response>", engine.Prompts[1], StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Calls_in_one_answer_are_all_invoked(bool concurrent)
    {
        var engine = new ScriptedEngine(demo.Model, string.Join("\n", Enumerable.Range(1, 3).Select(i => $"<tool_call>\n{{\"name\": \"square\", \"arguments\": {{\"n\": {i}}}}}\n</tool_call>")), "Done.");
        using var client = new HeadInferChatClient(engine).AsBuilder().UseFunctionInvocation(configure: c => c.AllowConcurrentInvocation = concurrent).Build();
        Assert.Equal("Done.", (await client.GetResponseAsync("Go", new ChatOptions { Tools = [AIFunctionFactory.Create((int n) => n * n, "square")] })).Text);
        Assert.All((int[])[1, 4, 9], n => Assert.Contains($"<tool_response>\n{n}\n</tool_response>", engine.Prompts[1], StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_call_that_cannot_be_read_is_told_to_the_model()
    {
        var engine = new ScriptedEngine(demo.Model, "<tool_call>\n{\"name\": \"f\", \"arguments\": {oops}}\n</tool_call>", "Sorry.");
        using var client = new HeadInferChatClient(engine).AsBuilder().UseFunctionInvocation().Build();
        Assert.Equal("Sorry.", (await client.GetResponseAsync("Go", new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "f")] })).Text);
    }

    [Fact]
    public async Task The_demo_models_reply_uses_the_result()
    {
        foreach (var streaming in (bool[])[false, true])
        {
            var asked = new List<string>();
            var builder = Kernel.CreateBuilder().AddHeadInferChatCompletion(demo.Model);
            builder.Plugins.AddFromFunctions("weather", [KernelFunctionFactory.CreateFromMethod(
                ([Description("Name of the city")] string city) =>
                {
                    asked.Add(city);
                    return "17 degrees";
                },
                "get_weather",
                "Gets the weather of a city")]);
            builder.Plugins.AddFromFunctions("clock", [KernelFunctionFactory.CreateFromMethod(() => "12:00", "get_time", "Gets the time")]);
            var kernel = builder.Build();
            var chat = kernel.GetRequiredService<IChatCompletionService>();
            var settings = new HeadInferPromptExecutionSettings { FunctionChoiceBehavior = FunctionChoiceBehavior.Auto() };
            var history = new ChatHistory("What is the weather in Oslo?", AuthorRole.User);
            var answer = streaming
                ? string.Concat(await chat.GetStreamingChatMessageContentsAsync(history, settings, kernel).Select(c => c.Content).ToListAsync())
                : (await chat.GetChatMessageContentAsync(history, settings, kernel)).Content!;
            Assert.Equal(["Oslo"], asked);
            Assert.Contains("17 degrees", answer, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Messages_may_be_many_or_empty()
    {
        using var client = new HeadInferChatClient(demo.Model);
        Assert.NotEmpty((await client.GetResponseAsync(
            [new ChatMessage(ChatRole.System, "Be brief."), new ChatMessage(ChatRole.User, "The access code for the old harbor is amber-4821."), new ChatMessage(ChatRole.Assistant, "I have read it."), new ChatMessage(ChatRole.User, "Hello")])).Text);
        Assert.NotNull(await client.GetResponseAsync([new ChatMessage(ChatRole.User, "Hello"), new ChatMessage(ChatRole.Assistant, []), new ChatMessage(ChatRole.User, "")]));
        Assert.NotNull(await client.GetResponseAsync([new ChatMessage(ChatRole.User, (string?)null)]));
    }

    [Fact]
    public async Task A_disposed_container_leaves_no_native_byte()
    {
        var before = torch.Tensor.TotalCount;
        HeadInferModel model;
        await using (var provider = new ServiceCollection().AddHeadInferChatCompletion(DemoModel.Path).AddHeadInferTextGeneration(DemoModel.Path).BuildServiceProvider())
        {
            model = provider.GetRequiredService<HeadInferModel>();
            Assert.NotEmpty((await provider.GetRequiredService<IChatCompletionService>().GetChatMessageContentAsync("Hello")).Content!);
            Assert.NotEmpty(await provider.GetRequiredService<Microsoft.SemanticKernel.TextGeneration.ITextGenerationService>().GetTextContentsAsync("In the beginning", new HeadInferPromptExecutionSettings { MaxTokens = 8 }));
            Assert.True(model.Memory.KeptCache > ByteSize.Zero);
            Assert.True(torch.Tensor.TotalCount > before);
        }

        Assert.Equal(before, torch.Tensor.TotalCount);
        Assert.Equal(ByteSize.Zero, model.Memory.HostCache);
    }

    internal sealed record Trip(Stop From, Stop To);

    internal sealed record Stop(string City);
}
