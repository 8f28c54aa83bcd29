using System.Text.Json;
using HeadInfer.Runtime;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;
using FunctionCallContent = Microsoft.Extensions.AI.FunctionCallContent;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>Calls of which the limit cut something off, or which cannot be read: nobody makes them.</summary>
public sealed class CutCallTests(DemoModel demo) : IClassFixture<DemoModel>
{
    [Theory]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"path\": \"a\"")]
    [InlineData(ToolCallFormat.QwenCoder, "<tool_call>\n<function=f>\n<parameter=path>\na\n</parameter>\n<parameter=wh")]
    [InlineData(ToolCallFormat.QwenCoder, "<tool_call>\n<function=f>\n<parameter=path>\na\n</parameter>\n")]
    [InlineData(ToolCallFormat.QwenCoder, "<function=f>\n<parameter=path>\na\n</parameter>\n")]
    [InlineData(ToolCallFormat.Seed, "<seed:tool_call>\n<function=f>\n<parameter=path>a</parameter>\n")]
    [InlineData(ToolCallFormat.Glm, "<tool_call>f")]
    [InlineData(ToolCallFormat.Glm, "<tool_call>f\n<arg_key>path</arg_key>\n<arg_value>a</arg_value>\n")]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>call:f")]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>call:f{path:<|\"|>a<|\"|>,")]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"f\", \"parameters\": {\"path\": \"a\"")]
    [InlineData(ToolCallFormat.MistralNames, "[TOOL_CALLS]f[ARGS]{\"path\": \"a\"")]
    [InlineData(ToolCallFormat.DeepSeekNames, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"path\": \"a\"")]
    [InlineData(ToolCallFormat.MistralNames, "[TOOL_CALLS]f[ARGS]")]
    [InlineData(ToolCallFormat.DeepSeekNames, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>")]
    [InlineData(ToolCallFormat.Harmony, "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"path\": \"a\"")]
    public async Task A_call_that_the_limit_cut_off_is_never_made(ToolCallFormat format, string answer)
    {
        foreach (var streaming in (bool[])[false, true])
        {
            var engine = new ScriptedEngine(demo.Model, answer) { Reason = Runtime.FinishReason.Length };
            using var inner = new HeadInferChatClient(engine, new HeadInferChatClientOptions { ToolCallFormat = format });
            using var client = inner.AsBuilder().UseFunctionInvocation().Build();
            var made = 0;
            var options = new ChatOptions { Tools = [AIFunctionFactory.Create((string path = "", string what = "") => ++made, "f")] };
            var response = streaming ? await client.GetStreamingResponseAsync("Go", options).ToChatResponseAsync() : await client.GetResponseAsync("Go", options);
            Assert.Equal(ChatFinishReason.Length, response.FinishReason);
            Assert.All(response.Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>(), c => Assert.NotNull(c.Exception));
            Assert.Single(engine.Prompts);
            Assert.Equal(0, made);
        }
    }

    [Fact]
    public async Task A_whole_call_before_one_that_was_cut_is_made()
    {
        var engine = new ScriptedEngine(demo.Model, "<tool_call>f\n<arg_key>path</arg_key>\n<arg_value>a</arg_value>\n</tool_call>\n<tool_call>f\n", "Done.") { Reason = Runtime.FinishReason.Length };
        using var inner = new HeadInferChatClient(engine, new HeadInferChatClientOptions { ToolCallFormat = ToolCallFormat.Glm });
        using var client = inner.AsBuilder().UseFunctionInvocation().Build();
        List<string> paths = [];
        await client.GetResponseAsync("Go", new ChatOptions { Tools = [AIFunctionFactory.Create((string path = "") => paths.Add(path), "f")] });
        Assert.Equal(["a"], paths);
    }

    [Theory]
    [InlineData(false, "\"oops\"", 0)]
    [InlineData(true, "\"oops\"", 0)]
    [InlineData(false, "{}", 1)]
    [InlineData(true, "{}", 1)]
    public async Task A_call_whose_arguments_cannot_be_read_is_never_made(bool kernels, string arguments, int times)
    {
        var function = kernels ? "p_f" : "f";
        var engine = new ScriptedEngine(demo.Model, $"<tool_call>\n{{\"name\": \"{function}\", \"arguments\": {arguments}}}\n</tool_call>", "Done.");
        var made = 0;
        if (kernels)
        {
            var kernel = new Kernel();
            kernel.Plugins.AddFromFunctions("p", [KernelFunctionFactory.CreateFromMethod((string path = "") => ++made, "f")]);
            using var client = new HeadInferChatClient(engine).AsBuilder().UseKernelFunctionInvocation().Build();
            var settings = new HeadInferPromptExecutionSettings { FunctionChoiceBehavior = FunctionChoiceBehavior.Auto() };
            await client.AsChatCompletionService().GetChatMessageContentsAsync(new ChatHistory("Go", AuthorRole.User), settings, kernel);
        }
        else
        {
            using var client = new HeadInferChatClient(engine).AsBuilder().UseFunctionInvocation().Build();
            await client.GetResponseAsync("Go", new ChatOptions { Tools = [AIFunctionFactory.Create((string path = "") => ++made, "f")] });
        }

        Assert.Contains($"\"name\": \"{function}\"", engine.Prompts[0], StringComparison.Ordinal);
        Assert.Equal(times, made);
    }

    [Fact]
    public async Task A_limit_makes_no_arguments_up()
    {
        using var client = new HeadInferChatClient(demo.Model);
        var weather = AIFunctionFactory.Create((string city) => "17 degrees", "get_weather", "Gets the weather of a city");
        var whole = 0;
        for (var limit = 12; limit <= 44; limit += 2)
        {
            var options = new ChatOptions { Tools = [weather], ToolMode = ChatToolMode.RequireAny, MaxOutputTokens = limit };
            var response = await client.GetResponseAsync("What is the weather in Johannesburg?", options);
            var call = Assert.Single(response.Messages[0].Contents.OfType<FunctionCallContent>());
            Assert.Equal(call.Exception is null ? ChatFinishReason.ToolCalls : ChatFinishReason.Length, response.FinishReason);
            Assert.Equal((call.Exception is not null, call.Exception is null ? "Johannesburg" : null), (call.InformationalOnly, call.Arguments?["city"]!.ToString()));
            whole += call.Exception is null ? 1 : 0;
        }

        Assert.InRange(whole, 5, 16); // where it fits in tokens, though not at a token to each byte
    }

    [Fact]
    public async Task A_call_that_fits_is_made_and_one_that_does_not_is_cut_off()
    {
        using var client = new HeadInferChatClient(demo.Model);
        var weather = AIFunctionFactory.Create((string city, bool include_the_humidity, bool include_the_wind_speed) => "17 degrees", "get_weather", "Gets the weather of a city");
        var needed = (int)(await client.GetResponseAsync("What is the weather in Oslo?", new ChatOptions { Tools = [weather], MaxOutputTokens = 500 })).Usage!.OutputTokenCount!;
        Assert.InRange(needed, 30, 200);
        foreach (var limit in (int[])[needed / 2, needed - 8, needed, needed + 10, 2 * needed])
        {
            var response = await client.GetResponseAsync("What is the weather in Oslo?", new ChatOptions { Tools = [weather], MaxOutputTokens = limit });
            var call = Assert.Single(response.Messages[0].Contents.OfType<FunctionCallContent>());
            Assert.Equal(call.Exception is null ? (3, ChatFinishReason.ToolCalls) : (0, ChatFinishReason.Length), (call.Arguments?.Count ?? 0, response.FinishReason));
            Assert.Equal(limit >= needed, call.Exception is null);
        }
    }

    [Fact]
    public async Task Json_that_a_limit_leaves_no_room_for_is_not_made_a_call()
    {
        // Beside a long answer a call would be what fits.
        var engine = new ScriptedEngine(demo.Model, "x");
        using var client = new HeadInferChatClient(engine);
        var schema = JsonDocument.Parse("""{"type":"string","minLength":200}""").RootElement;
        await client.GetResponseAsync("Go", new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "f")], ResponseFormat = ChatResponseFormat.ForJsonSchema(schema) });
        var logits = new float[demo.Model.Tokenizer.VocabularySize];
        engine.Options[0].Constraint!.Begin(Text.Constraints.TokenTrie.Of(demo.Model.Tokenizer)).Mask(logits, 50, []);
        Assert.All("\"<", c => Assert.Contains(Enumerable.Range(0, logits.Length), id => logits[id] == 0 && demo.Model.Tokenizer.Bytes(id).Span is [var first, ..] && first == c));
    }

    [Theory]
    [InlineData(false, "")]
    [InlineData(true, "")]
    [InlineData(false, "\n")]
    [InlineData(true, "\n")]
    public async Task Semantic_Kernel_is_shown_the_text_of_a_call_that_was_cut_off(bool streaming, string between)
    {
        var engine = new ScriptedEngine(demo.Model, $"I look.\n<tool_call>{between}{{\"name\": \"p-f\", \"arguments\": {{\"path\": \"a\"") { Reason = Runtime.FinishReason.Length };
        await using var provider = new ServiceCollection().AddSingleton<IChatClient>(new HeadInferChatClient(engine)).AddChatCompletion(null).BuildServiceProvider();
        var (kernel, history, made) = (new Kernel(provider), new ChatHistory("Go", AuthorRole.User), 0);
        kernel.Plugins.AddFromFunctions("p", [KernelFunctionFactory.CreateFromMethod((string path = "") => ++made, "f")]);
        var settings = new HeadInferPromptExecutionSettings { FunctionChoiceBehavior = FunctionChoiceBehavior.Auto(autoInvoke: false) };
        var chat = kernel.GetRequiredService<IChatCompletionService>();
        string? text;
        if (streaming)
        {
            var updates = await chat.GetStreamingChatMessageContentsAsync(history, settings, kernel).ToListAsync();
            text = string.Concat(updates.Select(u => u.Content));
            Assert.DoesNotContain(updates.SelectMany(u => u.Items), i => i is StreamingFunctionCallUpdateContent);
        }
        else
        {
            var message = await chat.GetChatMessageContentAsync(history, settings, kernel);
            text = string.Concat(message.Items.OfType<Microsoft.SemanticKernel.TextContent>().Select(t => t.Text));
            Assert.Empty(Microsoft.SemanticKernel.FunctionCallContent.GetFunctionCalls(message));
        }

        Assert.StartsWith("I look.\n{\"name\": \"p-f\"", text, StringComparison.Ordinal);
        Assert.Equal(0, made);
    }
}
