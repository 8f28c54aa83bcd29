using System.ComponentModel;
using System.Text.Json;
using HeadInfer.Text;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;

namespace HeadInfer.SemanticKernel.Tests;

public sealed class StructuredOutputTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private const string Question = "The access code for the old harbor is amber-4821. Ruth is 17 years old.\n\nWhat is the access code for the old harbor?";

    [Fact]
    public async Task Every_kind_of_value_comes_as_its_type()
    {
        using var client = new HeadInferChatClient(demo.Model);
        Assert.NotNull((await client.GetResponseAsync<Person>(Question)).Result.Name);
        Assert.NotNull((await client.GetResponseAsync<Person[]>(Question, new ChatOptions { MaxOutputTokens = 200 })).Result);
        Assert.IsType<int>((await client.GetResponseAsync<int>("The access code for the silver tower is 7305926.\n\nWhat is the access code for the silver tower?")).Result);
        Assert.NotNull((await client.GetResponseAsync<string>(Question)).Result);
        Assert.IsType<bool>((await client.GetResponseAsync<bool>(Question)).Result);
        Assert.True(Enum.IsDefined((await client.GetResponseAsync<Mood>(Question)).Result));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1.5)]
    public async Task Json_without_a_schema_is_an_object_or_an_array(float temperature)
    {
        using var client = new HeadInferChatClient(demo.Model);
        var response = await client.GetResponseAsync(Question, new ChatOptions { ResponseFormat = ChatResponseFormat.Json, Temperature = temperature, Seed = 3, MaxOutputTokens = 80 });
        using var json = JsonDocument.Parse(response.Text);
        Assert.True(json.RootElement.ValueKind is JsonValueKind.Object or JsonValueKind.Array);
    }

    [Fact]
    public async Task The_limit_of_tokens_shortens_the_output_and_leaves_it_whole()
    {
        using var client = new HeadInferChatClient(demo.Model);
        var options = new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema<Person>(), MaxOutputTokens = 40, Temperature = 2, Seed = 1 };
        var response = await client.GetResponseAsync(Question, options);
        Assert.NotNull(JsonSerializer.Deserialize<Person>(response.Text, AIJsonUtilities.DefaultOptions));
        Assert.True(response.Usage!.OutputTokenCount <= 40);
        Assert.Equal(ChatFinishReason.Length, response.FinishReason);
    }

    [Fact]
    public async Task Json_that_the_limit_did_not_touch_ends_by_itself()
    {
        using var client = new HeadInferChatClient(demo.Model);
        var schema = JsonDocument.Parse("""{"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"]}""").RootElement;
        var options = new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(schema), MaxOutputTokens = 400 };
        var free = await client.GetResponseAsync(Question, options);
        Assert.Equal(ChatFinishReason.Stop, free.FinishReason);
        for (var more = 0; more < 12; more += 4)
        {
            options.MaxOutputTokens = (int)free.Usage!.OutputTokenCount! + more;
            var response = await client.GetResponseAsync(Question, options);
            Assert.True(response.FinishReason == ChatFinishReason.Length || (response.FinishReason == ChatFinishReason.Stop && response.Text == free.Text), response.Text);
        }

        options.MaxOutputTokens = free.Text.Length + 1; // where a letter may be a token nothing is touched
        var untouched = await client.GetResponseAsync(Question, options);
        Assert.Equal((free.Text, ChatFinishReason.Stop), (untouched.Text, untouched.FinishReason));
    }

    [Fact]
    public async Task Without_a_limit_an_answer_is_as_long_as_there_is_room_for()
    {
        var schema = JsonDocument.Parse("""{"type":"string","minLength":2500,"maxLength":2500}""").RootElement;
        using var client = new HeadInferChatClient(demo.Model);
        var response = await client.GetResponseAsync(Question, new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(schema) });
        Assert.Equal(2500, JsonSerializer.Deserialize<string>(response.Text)!.Length);
        Assert.True(response.Usage!.OutputTokenCount > 512);
        var text = await new HeadInferTextGenerationService(demo.Model).GetTextContentsAsync(Question, new HeadInferPromptExecutionSettings { ResponseFormat = schema });
        Assert.Equal(2500, JsonSerializer.Deserialize<string>(text[0].Text!)!.Length);
    }

    [Theory]
    [InlineData("""{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"integer"}}}""", "7", "\"a\"")]
    [InlineData("""{"type":"integer"}""", "7", "\"a\"")]
    [InlineData("""{"type":"json_object"}""", "{\"a\":1}", "7")]
    [InlineData("""{"type":"text"}""", null, null)]
    public async Task General_settings_may_have_it_as_OpenAI_writes_it(string format, string? right, string? wrong)
    {
        var engine = new ScriptedEngine(demo.Model, "7");
        var settings = new PromptExecutionSettings { ExtensionData = new Dictionary<string, object> { ["response_format"] = JsonElement.Parse(format) } };
        await new HeadInferChatClient(engine).AsChatCompletionService().GetChatMessageContentsAsync(new ChatHistory("Go", AuthorRole.User), settings);
        var constraint = Assert.Single(engine.Options).Constraint;
        Assert.Equal(right is null, constraint is null);
        Assert.True(right is null || (Allows(constraint!, right) && !Allows(constraint!, wrong!)));
    }

    [Fact]
    public async Task With_functions_the_answer_is_a_call_or_the_json()
    {
        using var inner = new HeadInferChatClient(demo.Model);
        using var client = inner.AsBuilder().UseFunctionInvocation(configure: c => c.MaximumIterationsPerRequest = 3).Build();
        var called = 0;
        var tool = AIFunctionFactory.Create(([Description("Name of the city")] string city) => $"{++called} degrees in {city}", "get_weather", "Gets the weather of a city");
        var response = await client.GetResponseAsync<Person>("What is the weather in Oslo?", new ChatOptions { Tools = [tool] });
        Assert.NotNull(response.Result.Name);
        Assert.True(called > 0);
    }

    [Fact]
    public async Task Semantic_kernels_settings_ask_for_it_too()
    {
        var kernel = Kernel.CreateBuilder().AddHeadInferChatCompletion(demo.Model).Build();
        foreach (var format in (object[])[typeof(Person), AIJsonUtilities.CreateJsonSchema(typeof(Person)), ChatResponseFormat.ForJsonSchema<Person>()])
        {
            var settings = new HeadInferPromptExecutionSettings { ResponseFormat = format };
            Assert.NotNull(JsonSerializer.Deserialize<Person>((await kernel.InvokePromptAsync<string>(Question, new KernelArguments(settings)))!, AIJsonUtilities.DefaultOptions)!.Name);
        }

        var json = await kernel.InvokePromptAsync<string>(Question, new KernelArguments(new HeadInferPromptExecutionSettings { ResponseFormat = "json_object", MaxTokens = 60 }));
        JsonDocument.Parse(json!).Dispose();
        Assert.Throws<ArgumentException>(() => new HeadInferPromptExecutionSettings { ResponseFormat = "yaml" });
        Assert.Throws<ArgumentException>(() => new HeadInferPromptExecutionSettings { ReasoningEffort = "enormous" });
        Assert.Throws<ArgumentException>(() => new HeadInferPromptExecutionSettings { ReasoningEffort = "17" });
        Assert.All(Enum.GetNames<ReasoningEffort>(), n => Assert.Contains(n, Assert.Throws<ArgumentException>(() => new HeadInferPromptExecutionSettings { ReasoningEffort = "x" }).Message, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Thoughts_come_before_the_json_where_the_model_thinks()
    {
        // A template that opens the thoughts, and a model that would go on with anything.
        var template = new ChatTemplate("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n<think>\n{# </think> #}", new Dictionary<string, object?>(), TimeProvider.System);
        var engine = new ScriptedEngine(demo.Model, "hm, </think>\n{\"name\":\"Ruth\"}") { Template = template };
        using var client = new HeadInferChatClient(engine);
        var response = await client.GetResponseAsync(Question, new ChatOptions { ResponseFormat = ChatResponseFormat.Json });
        Assert.Equal("{\"name\":\"Ruth\"}", response.Text);
        var constraint = Assert.Single(engine.Options).Constraint!;
        Assert.True(Allows(constraint, "well {\n</think>\n\n{\"a\":1}"));
        Assert.False(Allows(constraint, "{\"a\":1}"));
    }

    [Fact]
    public async Task What_a_schema_asks_in_vain_is_logged_and_never_thrown()
    {
        using var logs = new LogLines();
        using var client = new HeadInferChatClient(demo.Model, new HeadInferChatClientOptions(), logs);
        var schema = JsonDocument.Parse("""{"type":"array","items":{"type":"string","pattern":"(?!x)","maxLength":4},"maxItems":2}""").RootElement;
        var options = new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(schema) };
        JsonDocument.Parse((await client.GetResponseAsync(Question, options)).Text).Dispose();
        await client.GetResponseAsync(Question, options);
        Assert.Contains("(?!x)", Assert.Single(logs.Lines, l => l.Contains("JSON schema", StringComparison.Ordinal)), StringComparison.Ordinal);
        var impossible = new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(JsonDocument.Parse("""{"type":"integer","minimum":3,"maximum":1}""").RootElement) };
        Assert.Contains("Nothing satisfies", (await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync(Question, impossible))).Message, StringComparison.Ordinal);
    }

    internal static bool Allows(OutputConstraint constraint, string text)
    {
        var frames = constraint.Enter();
        foreach (var value in System.Text.Encoding.UTF8.GetBytes(text))
        {
            var next = new Text.Constraints.FrameSet();
            frames.Step(value, next);
            frames = next;
        }

        return frames.CanEnd;
    }

    private sealed record Person(string Name, [property: Description("years")] long Age, Mood Mood, string[] Tags);

    private enum Mood
    {
        Glad,
        Sad,
    }

    private sealed class LogLines : ILoggerFactory, ILogger
    {
        public List<string> Lines { get; } = [];

        public void AddProvider(ILoggerProvider provider)
        {
        }

        public ILogger CreateLogger(string categoryName) => this;

        public void Dispose()
        {
        }

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) => Lines.Add(formatter(state, exception));
    }
}
