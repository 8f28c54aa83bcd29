using HeadInfer.Runtime;
using HeadInfer.Text;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Caching.Distributed;
using Microsoft.Extensions.Caching.Memory;
using Microsoft.Extensions.Options;

namespace HeadInfer.SemanticKernel.Tests;

public sealed class ConversationTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private const string Document = "The access code for the old harbor is amber-4821. The access code for the silver tower is 7305926.";

    [Fact]
    public async Task A_conversation_goes_on_by_its_id()
    {
        using var client = new HeadInferChatClient(demo.Model, new HeadInferChatClientOptions { Conversations = 2 });
        var first = await client.GetResponseAsync(Document + "\n\nWhat is the access code for the old harbor?");
        Assert.NotNull(first.ConversationId);
        var second = await client.GetResponseAsync("What is the access code for the silver tower?", new ChatOptions { ConversationId = first.ConversationId });
        Assert.Equal("The access code for the silver tower is 7305926.", second.Text);
        Assert.Equal(first.ConversationId, second.ConversationId);
        Assert.True(second.Usage!.CachedInputTokenCount >= first.Usage!.InputTokenCount);

        // Two others make it make room.
        await client.GetResponseAsync("Hello");
        await client.GetResponseAsync("Hello");
        var error = await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync("And?", new ChatOptions { ConversationId = first.ConversationId }));
        Assert.Contains(first.ConversationId!, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_two_requests_that_continue_a_conversation_at_once_the_later_is_refused()
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, "one", "two", "three", "four"), new HeadInferChatClientOptions { Conversations = 1 });
        var options = new ChatOptions { ConversationId = (await client.GetResponseAsync("Hello")).ConversationId };
        await using var slow = client.GetStreamingResponseAsync("A", options).GetAsyncEnumerator();
        Assert.True(await slow.MoveNextAsync());
        await client.GetResponseAsync("B", options);
        var error = await Assert.ThrowsAsync<InvalidOperationException>(async () =>
        {
            while (await slow.MoveNextAsync())
            {
            }
        });
        Assert.Contains(options.ConversationId!, error.Message, StringComparison.Ordinal);
        Assert.Equal("four", (await client.GetResponseAsync("C", options)).Text);
    }

    [Fact]
    public async Task A_conversation_whose_answer_is_cancelled_stays_as_it_was()
    {
        using var client = new HeadInferChatClient(demo.Model, new HeadInferChatClientOptions { Conversations = 1 });
        var first = await client.GetResponseAsync(Document + "\n\nWhat is the access code for the old harbor?");
        var options = new ChatOptions { ConversationId = first.ConversationId };
        await foreach (var update in client.GetStreamingResponseAsync("Quote something.", options))
        {
            break;
        }

        Assert.Equal("The access code for the silver tower is 7305926.", (await client.GetResponseAsync("What is the access code for the silver tower?", options)).Text);
    }

    [Fact]
    public async Task Functions_are_invoked_within_a_conversation()
    {
        using var inner = new HeadInferChatClient(demo.Model, new HeadInferChatClientOptions { Conversations = 1 });
        using var client = inner.AsBuilder().UseFunctionInvocation().Build();
        var cities = new List<string>();
        var tool = AIFunctionFactory.Create(
            (string city) =>
            {
                cities.Add(city);
                return "17 degrees";
            },
            "get_weather",
            "Gets the weather of a city");
        var response = await client.GetResponseAsync("What is the weather in Oslo?", new ChatOptions { Tools = [tool] });
        Assert.Equal(["Oslo"], cities);
        Assert.NotEmpty(response.Text);
        Assert.NotNull(response.ConversationId);
    }

    [Fact]
    public async Task Reading_tells_its_progress()
    {
        var (own, general) = (new Seen(), new Seen());
        using var client = new HeadInferChatClient(demo.Model, new HeadInferChatClientOptions { Progress = general });
        await client.GetResponseAsync(Document, new ChatOptions().WithPrefillProgress(own));
        Assert.Equal(1, own.All[^1].Fraction);
        Assert.Empty(general.All);
        await client.GetResponseAsync("Hello");
        Assert.Equal(1, general.All[^1].Fraction);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_cache_answers_for_it(bool streaming)
    {
        using var inner = new HeadInferChatClient(new ScriptedEngine(demo.Model, "The answer.", "Another."));
        using var client = inner.AsBuilder().UseDistributedCache(new MemoryDistributedCache(Options.Create(new MemoryDistributedCacheOptions()))).Build();
        async Task<string> Ask(string question) => streaming
            ? string.Concat(await client.GetStreamingResponseAsync(question).Select(u => u.Text).ToListAsync())
            : (await client.GetResponseAsync(question)).Text;
        Assert.Equal("The answer.", await Ask("Go"));
        Assert.Equal("The answer.", await Ask("Go"));
        Assert.Equal("Another.", await Ask("Stop"));
    }

    [Fact]
    public async Task A_callers_key_is_part_of_a_caches_key()
    {
        var engine = new ScriptedEngine(demo.Model, "The answer.", "Another.", "A third.");
        using var inner = new HeadInferChatClient(engine);
        using var client = inner.AsBuilder().UseDistributedCache(new MemoryDistributedCache(Options.Create(new MemoryDistributedCacheOptions()))).UseFunctionInvocation().Build();
        async Task<string> Ask(string? key) => (await client.GetResponseAsync("Go", key is null ? new ChatOptions() : new ChatOptions().WithCacheKey(key))).Text;
        Assert.Equal(["The answer.", "Another.", "The answer.", "Another.", "A third."], [await Ask("one"), await Ask("two"), await Ask("one"), await Ask("two"), await Ask(null)]);
        Assert.Equal(["one", "two", ""], engine.Keys);
        var wrong = new ChatOptions { AdditionalProperties = new AdditionalPropertiesDictionary { ["cache_key"] = 7 } };
        Assert.Contains("cache_key", (await Assert.ThrowsAsync<ArgumentException>(() => inner.GetResponseAsync("Go", wrong))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Who_is_told_of_the_reading_is_no_part_of_a_caches_key(bool own)
    {
        var engine = new ScriptedEngine(demo.Model, "The answer.", "Another.");
        using var inner = new HeadInferChatClient(engine);
        using var client = inner.AsBuilder().UseDistributedCache(new MemoryDistributedCache(Options.Create(new MemoryDistributedCacheOptions()))).UseFunctionInvocation().Build();
        ChatOptions Ask() => new() { Temperature = 0.5f, RawRepresentationFactory = own ? _ => new GenerationOptions { MaxTokens = 77 } : null };

        // The first cannot be serialised at all, and the others differ.
        Assert.Equal("The answer.", (await client.GetResponseAsync("Go", Ask().WithPrefillProgress(new Endless()))).Text);
        Assert.Equal("The answer.", (await client.GetResponseAsync("Go", Ask().WithPrefillProgress(new Seen()).WithPrefillProgress(new Seen()))).Text);
        Assert.Equal("The answer.", (await client.GetResponseAsync("Go", Ask())).Text);
        Assert.Equal(own ? 77 : new GenerationOptions().MaxTokens, Assert.Single(engine.Options).MaxTokens);
    }

    [Fact]
    public async Task The_reading_is_told_below_a_cache_and_beside_other_clients()
    {
        using var inner = new HeadInferChatClient(demo.Model);
        using var client = inner.AsBuilder().UseDistributedCache(new MemoryDistributedCache(Options.Create(new MemoryDistributedCacheOptions()))).UseFunctionInvocation().Build();
        var (first, last) = (new Seen(), new Seen());
        var options = new ChatOptions().WithPrefillProgress(first).WithPrefillProgress(last);
        await client.GetResponseAsync(Document, options);
        Assert.Empty(first.All);
        Assert.Equal(1, last.All[^1].Fraction);
        Assert.Null(options.AdditionalProperties);
        Assert.Null(options.RawRepresentationFactory!(client)); // a client of another kind sees nothing of it
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task A_stream_enumerated_twice_is_two_answers(int conversations)
    {
        var engine = new ScriptedEngine(demo.Model, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>", "<think>Hm.</think>Second.", "Third.");
        using var client = new HeadInferChatClient(engine, new HeadInferChatClientOptions { Conversations = conversations });
        var stream = client.GetStreamingResponseAsync("Go", new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "f")] });
        var answers = new List<ChatResponse>();
        for (var i = 0; i < 3; i++)
        {
            answers.Add(await stream.ToChatResponseAsync());
        }

        Assert.IsType<FunctionCallContent>(Assert.Single(answers[0].Messages[0].Contents));
        Assert.Equal(["", "Second.", "Third."], answers.Select(a => a.Text));
        Assert.Equal(3, answers.Select(a => a.ResponseId).Distinct().Count());
        Assert.Equal(3, answers.Select(a => a.Messages[0].MessageId).Distinct().Count());
        Assert.Equal(conversations == 0 ? 1 : 3, answers.Select(a => a.ConversationId).Distinct().Count());
        Assert.Equal([ChatFinishReason.ToolCalls, ChatFinishReason.Stop, ChatFinishReason.Stop], answers.Select(a => a.FinishReason));
    }

    [Fact]
    public async Task The_runtimes_own_options_are_taken_under_the_typed_ones()
    {
        var engine = new ScriptedEngine(demo.Model, "x", "y");
        using var client = new HeadInferChatClient(engine);
        var given = new GenerationOptions { MaxTokens = 9, StopTokens = [4], Sampling = new SamplingOptions { MinP = 0.1, Temperature = 0.9 } };
        await client.GetResponseAsync("Go", new ChatOptions { RawRepresentationFactory = _ => given, Temperature = 0.5f, AdditionalProperties = new AdditionalPropertiesDictionary { ["repetition_penalty"] = 1.5 } });
        var options = engine.Options[0];
        Assert.Equal((9, 0.1, 0.5, 1.5), (options.MaxTokens, options.Sampling.MinP, options.Sampling.Temperature, options.Sampling.RepetitionPenalty));
        Assert.Equal([4], options.StopTokens);
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync("Go", new ChatOptions { AdditionalProperties = new AdditionalPropertiesDictionary { ["min_p"] = "some" } }));
    }

    [Fact]
    public async Task How_much_to_think_is_told_to_a_template_that_asks()
    {
        var template = new ChatTemplate("{{ messages[0].content }} thinking={{ enable_thinking }}", new Dictionary<string, object?>(), TimeProvider.System);
        var engine = new ScriptedEngine(demo.Model, "x", "y") { Template = template };
        using var client = new HeadInferChatClient(engine);
        await client.GetResponseAsync("Go", new ChatOptions { Reasoning = new ReasoningOptions { Effort = ReasoningEffort.None } });
        await client.GetResponseAsync("Go", new ChatOptions { Reasoning = new ReasoningOptions { Effort = ReasoningEffort.High } });
        Assert.Equal(["Go thinking=False", "Go thinking=True"], engine.Prompts);
    }

    /// <summary>Cannot be serialised: it holds itself.</summary>
    private sealed class Endless : IProgress<PrefillProgress>
    {
        public Endless Next => this;

        public void Report(PrefillProgress value)
        {
        }
    }

    private sealed class Seen : IProgress<PrefillProgress>
    {
        public List<PrefillProgress> All { get; } = [];

        public void Report(PrefillProgress value) => All.Add(value);
    }
}
