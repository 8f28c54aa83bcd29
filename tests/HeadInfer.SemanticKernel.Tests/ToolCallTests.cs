using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.SemanticKernel.ToolCalls;
using HeadInfer.Text;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;
using FunctionCallContent = Microsoft.Extensions.AI.FunctionCallContent;

namespace HeadInfer.SemanticKernel.Tests;

public sealed class ToolCallTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private static readonly AIFunction Order = AIFunctionFactory.Create(
        ([Description("what")] string item, long count, bool? wrapped, [MaxLength(4)] double[] sizes, Address to) => $"{count} {item} {wrapped} {sizes.Length} {to.City}", "place_order", "Places an order");

    private static readonly AIFunction Now = AIFunctionFactory.Create(() => "12:00", "now", "Tells the time");

    private static readonly ChatTool[] Tools = [.. ((AIFunction[])[Order, Now]).Select(f => new ChatTool(f.Name, f.Description, f.JsonSchema))];

    public static TheoryData<ToolCallFormat> Formats() => [.. Enum.GetValues<ToolCallFormat>()];

    [Theory]
    [MemberData(nameof(Formats))]
    public void What_a_format_allows_it_reads_and_the_function_takes(ToolCallFormat chosen)
    {
        var format = ToolCallFormats.Of("", chosen);
        var constraint = format.Constrain(Tools, 2, new SchemaForms(NullLogger.Instance));
        var (random, names, end) = (new Random(1), new HashSet<string>(), demo.Model.Tokenizer.AddedToken("<|im_end|>")!.Value);
        for (var i = 0; i < 20; i++)
        {
            var text = new Text.Constraints.ConstrainedText(Grammar(constraint), Text.Constraints.TokenTrie.Of(demo.Model.Tokenizer));
            var bytes = new List<byte>();
            for (var left = 600; left > 0 && !text.IsComplete; left--)
            {
                var logits = Enumerable.Range(0, demo.Model.Tokenizer.VocabularySize).Select(_ => random.NextSingle()).ToArray();
                text.Mask(logits, left, [end]);
                var token = Array.IndexOf(logits, logits.Max());
                if (token == end)
                {
                    break;
                }

                text.Advance(token);
                bytes.AddRange(demo.Model.Tokenizer.Bytes(token).ToArray());
            }

            var answer = System.Text.Encoding.UTF8.GetString([.. bytes]);
            var scanner = new ToolCallScanner(format, Tools);
            var parts = scanner.Append(answer).ToList();
            parts.AddRange(scanner.End());
            var calls = parts.Select(p => p.Call).OfType<ParsedCall>().ToList();
            Assert.True(calls.Count is 1 or 2, answer);
            Assert.All(calls, call =>
            {
                Assert.True(call.Error is null, answer + call.Error);
                names.Add(call.Name);
                var function = call.Name == "now" ? Now : Order;
                Assert.NotNull(function.InvokeAsync(new AIFunctionArguments(call.Arguments!)).AsTask().GetAwaiter().GetResult());
            });
            Assert.DoesNotContain(parts, p => p.Text.Trim().Length > 0);
        }

        Assert.Equal(["now", "place_order"], names.Order());
    }

    [Theory]
    [InlineData("<tool_call>\n<function=place_order>\n<parameter=item>\na <b>\nc\n</parameter>\n<parameter=count>\n3\n</parameter>\n</function>\n</tool_call>", ToolCallFormat.QwenCoder)]
    [InlineData("<seed:tool_call>\n<function=place_order>\n<parameter=item>a <b>\nc</parameter>\n<parameter=count>3</parameter>\n</function>\n</seed:tool_call>", ToolCallFormat.Seed)]
    [InlineData("<tool_call>place_order\n<arg_key>item</arg_key>\n<arg_value>a <b>\nc</arg_value>\n<arg_key>count</arg_key>\n<arg_value>3</arg_value>\n</tool_call>", ToolCallFormat.Glm)]
    [InlineData("[TOOL_CALLS]place_order[CALL_ID]123[ARGS]{\"item\": \"a <b>\\nc\", \"count\": 3}", ToolCallFormat.MistralNames)]
    [InlineData("[TOOL_CALLS] [{\"name\": \"place_order\", \"arguments\": {\"item\": \"a <b>\\nc\", \"count\": 3}}]", ToolCallFormat.Mistral)]
    [InlineData("{\"name\": \"place_order\", \"parameters\": {\"item\": \"a <b>\\nc\", \"count\": 3}}", ToolCallFormat.Llama)]
    [InlineData("<|tool_call>call:place_order{item:<|\"|>a <b>\nc<|\"|>,count:3}<tool_call|>", ToolCallFormat.Gemma)]
    [InlineData("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>place_order\n```json\n{\"item\": \"a <b>\\nc\", \"count\": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", ToolCallFormat.DeepSeek)]
    [InlineData("\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>place_order\n```json\n{\"item\": \"a <b>\\nc\", \"count\": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", ToolCallFormat.DeepSeek)]
    [InlineData("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>place_order<｜tool▁sep｜>{\"item\": \"a <b>\\nc\", \"count\": 3}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", ToolCallFormat.DeepSeekNames)]
    [InlineData("<|tool_call|>[{\"name\": \"place_order\", \"arguments\": {\"item\": \"a <b>\\nc\", \"count\": 3}}]", ToolCallFormat.Granite)]
    [InlineData("<TOOLCALL>[{\"name\": \"place_order\", \"arguments\": {\"item\": \"a <b>\\nc\", \"count\": 3}}]</TOOLCALL>", ToolCallFormat.Nemotron)]
    [InlineData("<|tool_call_start|>[place_order(item=\"a <b>\\nc\", count=3)]<|tool_call_end|>", ToolCallFormat.Python)]
    [InlineData("<|tool_call_start|>place_order(count=3, item='a <b>\nc')<|tool_call_end|>", ToolCallFormat.Python)]
    [InlineData("<|tool_call|>[{\"type\": \"function\", \"function\": {\"name\": \"place_order\", \"arguments\": {\"item\": \"a <b>\\nc\", \"count\": 3}}}]<|/tool_call|>", ToolCallFormat.Phi)]
    [InlineData("<|channel|>commentary to=functions.place_order <|constrain|>json<|message|>{\"item\": \"a <b>\\nc\", \"count\": 3}<|call|>", ToolCallFormat.Harmony)]
    [InlineData("<|python_tag|>{\n  \"type\": \"function\", \"name\": \"place_order\", \"parameters\": {\"item\": \"a <b>\\nc\", \"count\": 3}}", ToolCallFormat.Llama)]
    [InlineData("<tool_call>\n{\"name\": \"place_order\", \"arguments\": \"{\\\"item\\\": \\\"a <b>\\\\nc\\\", \\\"count\\\": 3}\"}\n</tool_call>", ToolCallFormat.Hermes)]
    public async Task A_call_is_read_as_published_models_write_it(string answer, ToolCallFormat format)
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, answer) { Piece = 2 }, new HeadInferChatClientOptions { ToolCallFormat = format });
        var response = await client.GetResponseAsync("Go", new ChatOptions { Tools = [Order, Now] });
        var call = Assert.Single(response.Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Null(call.Exception);
        Assert.Equal(("place_order", "a <b>\nc", 3), (call.Name, call.Arguments!["item"]!.ToString(), ((JsonElement)call.Arguments["count"]!).GetInt32()));
        Assert.Equal("", response.Text);
    }

    [Theory]
    [InlineData("{%- if tools %}[TOOL_CALLS]{% endif %}", ToolCallFormat.Mistral)]
    [InlineData("[TOOL_CALLS]{{ name }}[ARGS]", ToolCallFormat.MistralNames)]
    [InlineData("<tool_call>\n<function={{ name }}>", ToolCallFormat.QwenCoder)]
    [InlineData("{%- set begin = '<seed:tool_call>' -%}{{ begin + '\n<function=' + name + '>\n' }}", ToolCallFormat.Seed)]
    [InlineData("<tool_call>{{ name }}<arg_key>", ToolCallFormat.Glm)]
    [InlineData("<tool_call>{\"name\"", ToolCallFormat.Hermes)]
    [InlineData("<|start|>assistant<|channel|>final<|message|>", ToolCallFormat.Harmony)]
    [InlineData("<｜tool▁call▁begin｜>{{ type }}<｜tool▁sep｜>{{ name }}\n```json", ToolCallFormat.DeepSeek)]
    [InlineData("<｜tool▁call▁begin｜>{{ name }}<｜tool▁sep｜>", ToolCallFormat.DeepSeekNames)]
    [InlineData("<|start_of_role|>assistant<|end_of_role|><|tool_call|>", ToolCallFormat.Granite)]
    [InlineData("<AVAILABLE_TOOLS></AVAILABLE_TOOLS><TOOLCALL>[]</TOOLCALL>", ToolCallFormat.Nemotron)]
    [InlineData("List of tools: <|tool_list_start|>[{{ tools }}]<|tool_list_end|>", ToolCallFormat.Python)]
    [InlineData("{%- set ns.system_prompt = ns.system_prompt + \"List of tools: [\" -%}", ToolCallFormat.Python)]
    [InlineData("<|system|><|tool|>{{ tools }}<|/tool|><|end|>", ToolCallFormat.Phi)]
    [InlineData("<|turn>model\n<|tool_call>call:{{ name }}{", ToolCallFormat.Gemma)]
    [InlineData("{\"name\": function name, \"parameters\": dictionary}", ToolCallFormat.Llama)]
    public void The_template_shows_the_format(string template, ToolCallFormat expected)
    {
        var (wanted, found) = (ToolCallFormats.Of("", expected), ToolCallFormats.Of(template));
        Assert.IsType(wanted.GetType(), found);
        Assert.Equal(wanted.Markers, found.Markers);
    }

    [Fact]
    public void A_format_that_is_not_read_is_not_guessed() => Assert.False(ToolCallFormats.IsSaid("<|START_ACTION|>[{\"tool_name\": name, \"parameters\": {}}]<|END_ACTION|>", chosen: null));

    [Fact]
    public async Task An_end_within_an_argument_is_none()
    {
        const string text = "a </tool_call> b [TOOL_CALLS] c";
        foreach (var (format, answer) in ((ToolCallFormat, string)[])[
            (ToolCallFormat.Hermes, $"<tool_call>\n{{\"name\": \"place_order\", \"arguments\": {{\"item\": \"{text}\"}}}}\n</tool_call>\nthen"),
            (ToolCallFormat.Gemma, $"<|tool_call>call:place_order{{item:<|\"|>{text.Replace("</tool_call>", "<tool_call|>", StringComparison.Ordinal)}<|\"|>}}<tool_call|>then"),
            (ToolCallFormat.DeepSeekNames, $"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>place_order<｜tool▁sep｜>{{\"item\": \"{text.Replace("</tool_call>", "<｜tool▁call▁end｜><｜tool▁calls▁end｜>", StringComparison.Ordinal)}\"}}<｜tool▁call▁end｜><｜tool▁calls▁end｜>then"),
            (ToolCallFormat.Phi, $"<|tool_call|>[{{\"name\": \"place_order\", \"arguments\": {{\"item\": \"{text.Replace("</tool_call>", "<|/tool_call|>", StringComparison.Ordinal)}\"}}}}]<|/tool_call|>then"),
            (ToolCallFormat.MistralNames, $"then[TOOL_CALLS]place_order[ARGS]{{\"item\": \"{text}\"}}")])
        {
            using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, answer), new HeadInferChatClientOptions { ToolCallFormat = format });
            var response = await client.GetResponseAsync("Go", new ChatOptions { Tools = [Order] });
            Assert.Equal(text, Assert.Single(response.Messages[0].Contents.OfType<FunctionCallContent>()).Arguments!["item"]!.ToString()!
                .Replace("<tool_call|>", "</tool_call>", StringComparison.Ordinal).Replace("<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "</tool_call>", StringComparison.Ordinal).Replace("<|/tool_call|>", "</tool_call>", StringComparison.Ordinal));
            Assert.Equal("then", response.Text.Trim());
        }
    }

    [Fact]
    public async Task Several_calls_of_Llama_are_read_and_digits_stay_text_where_text_is_asked_for()
    {
        using var llama = new HeadInferChatClient(new ScriptedEngine(demo.Model, "{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"now\", \"parameters\": {}} I hope."), new HeadInferChatClientOptions { ToolCallFormat = ToolCallFormat.Llama });
        Assert.Equal(["now", "now"], (await llama.GetResponseAsync("Go", new ChatOptions { Tools = [Now] })).Messages[0].Contents.OfType<FunctionCallContent>().Select(c => c.Name));
        var note = AIFunctionFactory.Create((string? text, string? other) => $"{text ?? "nothing"} {other ?? "nothing"}", "note");
        using var coder = new HeadInferChatClient(new ScriptedEngine(demo.Model, "<tool_call>\n<function=note>\n<parameter=text>\n12345\n</parameter>\n<parameter=other>\nnull\n</parameter>\n</function>\n</tool_call>"), new HeadInferChatClientOptions { ToolCallFormat = ToolCallFormat.QwenCoder });
        var call = Assert.Single((await coder.GetResponseAsync("Go", new ChatOptions { Tools = [note] })).Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Equal("12345 nothing", (await note.InvokeAsync(new AIFunctionArguments(call.Arguments!)))!.ToString());
    }

    [Fact]
    public async Task Llamas_json_that_calls_nothing_is_text()
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, "{\"name\": \"Ruth\", \"age\": 17}"), new HeadInferChatClientOptions { ToolCallFormat = ToolCallFormat.Llama });
        Assert.Equal("{\"name\": \"Ruth\", \"age\": 17}", (await client.GetResponseAsync("Go", new ChatOptions { Tools = [Now] })).Text);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public async Task A_required_call_is_made_whatever_the_model_thinks_of_it(float temperature)
    {
        using var client = new HeadInferChatClient(demo.Model);
        var options = new ChatOptions { Tools = [Order, Now], ToolMode = ChatToolMode.RequireAny, Temperature = temperature, Seed = 5, AllowMultipleToolCalls = false };
        var any = await client.GetResponseAsync("Hello", options);
        var call = Assert.Single(any.Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Null(call.Exception);
        Assert.Equal(ChatFinishReason.ToolCalls, any.FinishReason);
        Assert.Equal("", any.Text);
        options.ToolMode = ChatToolMode.RequireSpecific("place_order");
        var specific = Assert.Single((await client.GetResponseAsync("Hello", options)).Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Equal("place_order", specific.Name);
        Assert.NotNull(await Order.InvokeAsync(new AIFunctionArguments(specific.Arguments!)));
    }

    [Fact]
    public async Task A_call_of_what_is_not_there_cannot_be_required()
    {
        using var client = new HeadInferChatClient(demo.Model);
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync("Hello", new ChatOptions { ToolMode = ChatToolMode.RequireAny }));
        var error = await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync("Hello", new ChatOptions { ToolMode = ChatToolMode.RequireSpecific("later"), Tools = [Now] }));
        Assert.Contains("'later'", error.Message, StringComparison.Ordinal);
        Assert.NotEmpty((await client.GetResponseAsync("Hello", new ChatOptions { ToolMode = ChatToolMode.None, Tools = [Now] })).Text);
    }

    [Fact]
    public async Task A_kernel_requires_a_call_too()
    {
        var kernel = Kernel.CreateBuilder().AddHeadInferChatCompletion(demo.Model).Build();
        var called = new List<string>();
        kernel.Plugins.AddFromFunctions("clock", [KernelFunctionFactory.CreateFromMethod(
            (string city) =>
            {
                called.Add(city);
                return "12:00";
            },
            "get_time",
            "Gets the time in a city")]);
        var settings = new HeadInferPromptExecutionSettings { FunctionChoiceBehavior = FunctionChoiceBehavior.Required() };
        await kernel.GetRequiredService<IChatCompletionService>().GetChatMessageContentsAsync(new ChatHistory("Hello", AuthorRole.User), settings, kernel);
        Assert.NotEmpty(called);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("true")]
    [InlineData("""{"type":"object"}""")]
    [InlineData("""{"type":"object","properties":{"a":{"$ref":"#/nowhere"},"b":{"type":["string","null"],"x":[null]},"c":false}}""")]
    [InlineData("""{"$defs":{"n":{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}}}},"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"required":["n"]}""")]
    [InlineData("""{"type":"object","properties":{"größe \"x\"":{"enum":[]}},"title":"T","examples":[1],"not":{"type":"null"}}""")]
    public async Task Odd_schemas_of_tools_never_throw(string schema)
    {
        using var client = new HeadInferChatClient(demo.Model);
        var tool = AIFunctionFactory.CreateDeclaration("odd", "An odd one", JsonDocument.Parse(schema).RootElement);
        await client.GetResponseAsync("Hello", new ChatOptions { Tools = [tool], MaxOutputTokens = 40 });
        var required = await client.GetResponseAsync("Hello", new ChatOptions { Tools = [tool], MaxOutputTokens = 500, ToolMode = ChatToolMode.RequireAny, AllowMultipleToolCalls = false });
        var call = Assert.Single(required.Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Equal(required.FinishReason == ChatFinishReason.Length, call.Exception is not null); // whole, or cut off: a form without an end may reach the limit
    }

    [Fact]
    public async Task A_special_token_that_begins_a_call_is_read()
    {
        var engine = new ScriptedEngine(demo.Model, "x");
        using var client = new HeadInferChatClient(engine, new HeadInferChatClientOptions { ToolCallFormat = ToolCallFormat.Mistral });
        await client.GetResponseAsync("Go", new ChatOptions { Tools = [Now] });
        Assert.Contains("[TOOL_CALLS]", Assert.Single(engine.Options).ShownTokens);

        // The demo model's own special token stands for a marker; after what it says of itself it ends the turn.
        const string Said = "<|im_start|>user\nThanks<|im_end|>\n<|im_start|>assistant\nYou are welcome.";
        using var session = demo.Model.CreateSession();
        var end = demo.Model.Tokenizer.AddedToken("<|im_end|>")!.Value;
        var options = new GenerationOptions { Constraint = OutputConstraint.Sequence(OutputConstraint.Marker("<|im_end|>"), OutputConstraint.Text("[1]")), StopTokens = [0], ShownTokens = ["<|im_end|>"] };
        var steps = await session.GenerateAsync(demo.Model.Tokenizer.Encode(Said), options).ToListAsync();
        Assert.Equal("<|im_end|>[1]", string.Concat(steps.Select(s => s.Text)));
        Assert.Contains(end, steps.Select(s => s.TokenId));
    }

    private static Text.Constraints.Node Grammar(OutputConstraint constraint) => constraint.Measured();

    private sealed record Address(string City, string? Street);
}
