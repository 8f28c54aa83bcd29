using HeadInfer.Runtime;
using HeadInfer.Text;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>What is read once, with a real model; and why, where it is read again.</summary>
public sealed class CacheMissTests(DemoModel demo) : IClassFixture<DemoModel>, IAsyncLifetime
{
    private const string Document = "The access code for the old harbor is amber-4821. The access code for the silver tower is 7305926.";

    private static readonly AIFunction Weather = AIFunctionFactory.Create((string city) => "17 degrees", "get_weather", "Gets the weather of a city");

    private readonly LogRecords _logs = new();
    private readonly Day _day = new();
    private HeadInferChatClient _client = null!;
    private ILoggerFactory _factory = null!;

    public async ValueTask InitializeAsync()
    {
        await ForgetAsync();
        _factory = LoggerFactory.Create(b => b.SetMinimumLevel(LogLevel.Debug).AddProvider(_logs));
        _client = new HeadInferChatClient(demo.Model, new HeadInferChatClientOptions(), _factory);
    }

    public ValueTask DisposeAsync()
    {
        _client.Dispose();
        _factory.Dispose();
        _logs.Dispose();
        return default;
    }

    [Fact]
    public async Task A_loop_of_calls_reads_only_what_is_new()
    {
        // The model's own words, forced into other spaces than the template's.
        var odd = OutputConstraint.Sequence(OutputConstraint.Marker("<tool_call>"), OutputConstraint.Text("\n{\"name\":\"get_weather\",  \"arguments\" : {\"city\" : \"Oslo\"}}\n"), OutputConstraint.Marker("</tool_call>"));
        List<ChatMessage> messages = [new(ChatRole.User, "What is the weather in Oslo?")];
        var known = 0L;
        for (var i = 0; i < 6; i++)
        {
            var options = new ChatOptions { Tools = [Weather], RawRepresentationFactory = i % 2 == 0 ? _ => new GenerationOptions { Constraint = odd } : null, MaxOutputTokens = i % 2 == 0 ? null : 12 };
            var response = await _client.GetResponseAsync(messages, options);
            var (usage, call) = (response.Usage!, response.Messages[0].Contents.OfType<FunctionCallContent>().FirstOrDefault());
            Assert.Equal(known, usage.CachedInputTokenCount);
            Assert.True(i == 0 || usage.InputTokenCount > known);

            // A constraint's last token ends the answer, and is of it; nobody has read it yet. Neither is what ends an answer, nor where a limit does.
            known = usage.InputTokenCount!.Value + usage.OutputTokenCount!.Value - 1;
            messages.AddRange(response.Messages);
            messages.Add(call is null ? new(ChatRole.User, "What is the weather in Oslo?") : new(ChatRole.Tool, [new FunctionResultContent(call.CallId, "17 degrees")]));
            Assert.Equal(i % 2 == 0, call is not null);
        }

        Assert.DoesNotContain(_logs.All, l => l.Id is 18 or 19);
    }

    [Theory]
    [InlineData(24, true)]
    [InlineData(30, true)]
    [InlineData(30, false)]
    public async Task A_required_call_that_just_fits_a_limit_is_not_read_again(int limit, bool several)
    {
        var options = new ChatOptions { Tools = [Weather], ToolMode = ChatToolMode.RequireAny, AllowMultipleToolCalls = several, MaxOutputTokens = limit, Temperature = 2, Seed = 1 };
        List<ChatMessage> messages = [new(ChatRole.User, "What is the weather in Oslo?")];
        var response = await _client.GetResponseAsync(messages, options);
        var call = response.Messages[0].Contents.OfType<FunctionCallContent>().Single();
        Assert.Equal("Oslo", call.Arguments!["city"]!.ToString());
        messages.AddRange([.. response.Messages, new(ChatRole.Tool, [new FunctionResultContent(call.CallId, "17 degrees")])]);
        var next = await AskAsync(messages, new ChatOptions { Tools = [Weather], MaxOutputTokens = 2 });
        Assert.Equal(response.Usage!.InputTokenCount + response.Usage.OutputTokenCount - 1, next.Usage!.CachedInputTokenCount); // nobody has computed the last one
    }

    [Theory]
    [InlineData("system_prompt", null)]
    [InlineData("tools", null)]
    [InlineData("message", 3)]
    [InlineData("message", 2)]
    [InlineData("forgotten", null)]
    [InlineData(null, null)]
    public async Task What_changed_in_a_conversation_that_was_answered_is_told(string? cause, int? message)
    {
        List<ChatMessage> messages = [new(ChatRole.System, "Be brief. It is Monday."), new(ChatRole.User, Document + "\n\nWhat is the access code for the old harbor?")];
        messages.AddRange((await AskAsync(messages)).Messages);
        messages.Add(new ChatMessage(ChatRole.User, "What is the access code for the silver tower?"));
        messages.AddRange((await AskAsync(messages)).Messages);
        messages.Add(new ChatMessage(ChatRole.User, "What is the access code for the old harbor?"));
        var (before, options) = (messages.ToList(), new ChatOptions());
        switch (cause)
        {
            case "system_prompt":
                messages[0] = new ChatMessage(ChatRole.System, "Be brief. It is Tuesday, and it rains.");
                break;
            case "tools":
                options.Tools = [Weather];
                break;
            case "message":
                messages[message!.Value] = new ChatMessage(messages[message.Value].Role, "It is Tuesday, and it rains.");
                break;
            case "forgotten":
                await ForgetAsync();
                break;
        }

        var response = await AskAsync(messages, options);
        var lines = _logs.All.Where(l => l.Id == 19).ToList();
        var properties = Last(response);
        if (cause is null)
        {
            Assert.Empty(lines);
            Assert.DoesNotContain(properties, p => p.Key.StartsWith("cache_miss", StringComparison.Ordinal));
            return;
        }

        Assert.Equal((cause, message), (properties["cache_miss_cause"], (int?)properties["cache_miss_message"]));
        var (first, words, line) = ((int)properties["cache_miss_token"]!, (string)properties["cache_miss_text"]!, Assert.Single(lines));
        Assert.Equal(cause == "forgotten" ? 0 : Tokens(before, null).AsSpan().CommonPrefixLength(Tokens(messages, options)), first);
        Assert.Equal(response.Usage!.CachedInputTokenCount, first);
        Assert.Contains(cause switch { "tools" => "Tools", "forgotten" => "Be brief", _ => "Tuesday" }, words, StringComparison.Ordinal);
        Assert.Equal(cause != "forgotten", !words.Contains("Monday", StringComparison.Ordinal) || cause == "tools");
        Assert.Equal(LogLevel.Information, line.Level);
        Assert.Contains(words, line.Text, StringComparison.Ordinal);
        Assert.Contains((string)properties["cache_miss_reason"]!, line.Text, StringComparison.Ordinal);
        Assert.Equal(cause == "forgotten", line.Text.Contains("HeadInferOptions.HostMemory", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_date_that_the_template_writes_is_told()
    {
        const string source = "<|im_start|>system\nIt is {{ strftime_now('%A') }}.<|im_end|>\n{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";
        using var client = new HeadInferChatClient(new OtherTemplate(new ModelEngine(demo.Model, "demo", NullLogger.Instance), new ChatTemplate(source, new Dictionary<string, object?>(), _day)), loggerFactory: _factory);
        List<ChatMessage> messages = [new(ChatRole.User, Document + "\n\nWhat is the access code for the old harbor?")];
        messages.AddRange((await client.GetResponseAsync(messages)).Messages);
        messages.Add(new ChatMessage(ChatRole.User, "What is the access code for the silver tower?"));
        _day.Now = _day.Now.AddDays(1);
        var properties = Last(await client.GetResponseAsync(messages));
        Assert.Equal("template", properties["cache_miss_cause"]);
        Assert.Contains("Friday", (string)properties["cache_miss_text"]!, StringComparison.Ordinal);
        Assert.Contains(_logs.All, l => l is { Id: 19, Level: LogLevel.Information } && l.Text.Contains("Friday", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Conversations_that_merely_part_are_no_line_and_nothing_of_the_other_is_told()
    {
        await AskAsync([new(ChatRole.System, "Be brief."), new(ChatRole.User, "A secret is amber-4821.")]);
        var parted = Last(await AskAsync([new(ChatRole.System, "Be brief."), new(ChatRole.User, "What is a harbor?")]));
        Assert.DoesNotContain(parted, p => p.Key.StartsWith("cache_miss", StringComparison.Ordinal));
        var system = Last(await AskAsync([new(ChatRole.System, "Be long."), new(ChatRole.User, "What is a harbor?")]));
        Assert.Equal("system_prompt", system["cache_miss_cause"]);
        var tools = Last(await AskAsync([new(ChatRole.System, "Be brief."), new(ChatRole.User, "What is a harbor?")], new ChatOptions { Tools = [Weather] }));
        Assert.Equal("tools", tools["cache_miss_cause"]);
        var lines = _logs.All.Where(l => l.Id == 19).ToList();
        Assert.Equal([LogLevel.Debug, LogLevel.Debug, LogLevel.Debug], lines.Select(l => l.Level));
        Assert.DoesNotContain(lines, l => l.Text.Contains("amber", StringComparison.Ordinal) || l.Text.Contains("secret", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Callers_with_other_keys_share_nothing_and_are_told_nothing()
    {
        List<ChatMessage> messages = [new(ChatRole.User, Document + "\n\nWhat is the access code for the old harbor?")];
        Task<ChatResponse> Ask(string? key) => AskAsync(messages, key is null ? new ChatOptions() : new ChatOptions().WithCacheKey(key));
        var first = await Ask("one");
        Assert.Equal((0, first.Usage!.InputTokenCount - 1), ((await Ask("two")).Usage!.CachedInputTokenCount, (await Ask("one")).Usage!.CachedInputTokenCount));
        Assert.Equal(0, (await Ask(null)).Usage!.CachedInputTokenCount);
        messages.AddRange([.. first.Messages, new(ChatRole.User, "And the silver tower?")]);
        messages.Insert(0, new(ChatRole.System, "Be brief."));
        Assert.Equal("system_prompt", Last(await Ask("one"))["cache_miss_cause"]);
        Assert.DoesNotContain(Last(await Ask("three")), p => p.Key.StartsWith("cache_miss", StringComparison.Ordinal));
        var settings = new HeadInferPromptExecutionSettings { CacheKey = "four", MaxTokens = 2 };
        var service = new HeadInferTextGenerationService(demo.Model);
        var usages = new List<long?>();
        for (var i = 0; i < 2; i++)
        {
            usages.Add(((UsageDetails)(await service.GetTextContentsAsync(Document, settings))[0].Metadata!["Usage"]!).CachedInputTokenCount);
        }

        Assert.Equal(0, usages[0]);
        Assert.True(usages[1] > 0);
    }

    private static AdditionalPropertiesDictionary Last(ChatResponse response) => response.Messages[^1].AdditionalProperties!;

    private Task<ChatResponse> AskAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null) => _client.GetResponseAsync(messages, options);

    // As the template writes a conversation, which is also how the demo model writes its answers.
    private int[] Tokens(IReadOnlyList<ChatMessage> messages, ChatOptions? options) =>
        [.. demo.Model.ChatTemplate!.Encode(ChatRequest.Conversation(messages, null, null).Turns, demo.Model.Tokenizer, ChatRequest.Tools(options))];

    // A session gives its blocks back soon after its answer.
    private async Task ForgetAsync()
    {
        while (demo.Model.Memory.HostCache > default(ByteSize))
        {
            await Task.Delay(1);
        }

        demo.Model.ClearCache();
        Assert.Equal(default, demo.Model.Memory.KeptCache);
    }

    private sealed class Day : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = new(2025, 7, 10, 12, 0, 0, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => Now;
    }

    private sealed class OtherTemplate(ModelEngine engine, ChatTemplate template) : IChatEngine, IDisposable
    {
        public string ModelId => engine.ModelId;

        public Tokenizer Tokenizer => engine.Tokenizer;

        public ChatTemplate Template => template;

        public IReadOnlyList<int> EndTokens => engine.EndTokens;

        public GenerationOptions Defaults => engine.Defaults;

        public object? GetService(Type type) => engine.GetService(type);

        public IAsyncEnumerable<GenerationStep> GenerateAsync(IReadOnlyList<int> prompt, GenerationOptions options, string key, Action<int, bool> reused, Action<int, int> drafted, IProgress<PrefillProgress>? progress, CancellationToken cancellationToken) =>
            engine.GenerateAsync(prompt, options, key, reused, drafted, progress, cancellationToken);

        public void Dispose() => engine.Dispose();
    }
}
