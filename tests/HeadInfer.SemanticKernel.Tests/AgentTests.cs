using System.ComponentModel.DataAnnotations;
using HeadInfer.Runtime;
using Microsoft.Agents.AI;
using Microsoft.Agents.AI.Workflows;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>The Agent Framework over the client, which it takes as it is.</summary>
public sealed class AgentTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private const string Document = "The access code for the old harbor is amber-4821. The access code for the silver tower is 7305926.";

    private const string Log =
        "The storm took two lanterns from the pier. The access code for the old harbor is amber-4821. Nobody had written it down before.\n\n" +
        "On Tuesday the mason came to see the wall. The access code for the silver tower is 7305926. The tower was closed for the winter.";

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task A_session_goes_on_and_reads_only_what_is_new(int conversations)
    {
        using var client = new HeadInferChatClient(demo.Model, new HeadInferChatClientOptions { Conversations = conversations });
        var agent = new ChatClientAgent(client);
        var session = await agent.CreateSessionAsync();
        var first = await agent.RunAsync(Document + "\n\nWhat is the access code for the old harbor?", session);
        var second = await agent.RunAsync("What is the access code for the silver tower?", session);
        Assert.Equal("The access code for the old harbor is amber-4821.", first.Text);
        Assert.Equal("The access code for the silver tower is 7305926.", second.Text);
        Assert.True(second.Usage!.CachedInputTokenCount >= first.Usage!.InputTokenCount);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_agent_calls_its_tools_and_streams(bool streaming)
    {
        var cities = new List<string>();
        var tool = AIFunctionFactory.Create(
            (string city) =>
            {
                cities.Add(city);
                return "17 degrees";
            },
            "get_weather",
            "Gets the weather of a city");
        using var client = new HeadInferChatClient(demo.Model);
        var agent = new ChatClientAgent(client, tools: [tool]);
        var text = streaming
            ? string.Concat(await agent.RunStreamingAsync("What is the weather in Oslo?").Select(u => u.Text).ToListAsync())
            : (await agent.RunAsync("What is the weather in Oslo?")).Text;
        Assert.Equal(["Oslo"], cities);
        Assert.NotEmpty(text);
    }

    [Fact]
    public async Task An_agents_options_and_those_of_a_run_both_arrive()
    {
        var engine = new ScriptedEngine(demo.Model, "The answer.");
        using var client = new HeadInferChatClient(engine);
        var agent = new ChatClientAgent(client, new ChatClientAgentOptions { ChatOptions = new ChatOptions { Instructions = "Be brief.", RawRepresentationFactory = _ => new GenerationOptions { MaxTokens = 33 } } });
        var response = await agent.RunAsync("Go", options: new ChatClientAgentRunOptions(new ChatOptions { Temperature = 0.5f }.WithPrefillProgress(new Progress<PrefillProgress>())));
        Assert.Equal("The answer.", response.Text);
        Assert.Contains("Be brief.", Assert.Single(engine.Prompts), StringComparison.Ordinal);
        Assert.Equal(0.5, engine.Options[0].Sampling.Temperature, 1e-6);
    }

    [Fact]
    public async Task Two_agents_over_one_document_read_it_once()
    {
        var document = string.Join(" ", Enumerable.Range(1, 40).Select(i => $"On day {i} the clerk counted {i * 7} boats.")) + " " + Document;
        demo.Model.ClearCache();
        using var client = new HeadInferChatClient(demo.Model);
        var clerk = new ChatClientAgent(client, new ChatClientAgentOptions { Name = "clerk", ChatOptions = new ChatOptions { Instructions = document, ToolMode = ChatToolMode.RequireAny } });
        var reader = new ChatClientAgent(client, new ChatClientAgentOptions { Name = "reader", Description = "Answers from the document", ChatOptions = new ChatOptions { Instructions = document } });
        var workflow = AgentWorkflowBuilder.CreateHandoffBuilderWith(clerk).WithHandoff(clerk, reader).Build();

        var updates = new List<AgentResponseUpdate>();
        await using (var run = await InProcessExecution.RunStreamingAsync(workflow, new List<ChatMessage> { new(ChatRole.User, "What is the access code for the old harbor?") }))
        {
            await run.TrySendMessageAsync(new TurnToken(emitEvents: true));
            await foreach (var happened in run.WatchStreamAsync())
            {
                Assert.IsNotType<ExecutorFailedEvent>(happened);
                updates.AddRange(happened is AgentResponseUpdateEvent { Update: var update } ? [update] : []);
            }
        }

        List<T> Of<T>(string author) => [.. updates.Where(u => u.AuthorName == author).SelectMany(u => u.Contents).OfType<T>()];
        Assert.StartsWith("handoff_to_", Assert.Single(Of<FunctionCallContent>("clerk")).Name, StringComparison.Ordinal);
        Assert.Equal("The access code for the old harbor is amber-4821.", string.Concat(Of<TextContent>("reader").Select(t => t.Text)));
        var (length, first, second) = (demo.Model.Tokenizer.Encode(document).Count, Assert.Single(Of<UsageContent>("clerk")).Details, Assert.Single(Of<UsageContent>("reader")).Details);
        Assert.Equal(0, first.CachedInputTokenCount);
        Assert.True(second.CachedInputTokenCount >= length && second.InputTokenCount - second.CachedInputTokenCount < 100, $"The document has {length} tokens; of {second.InputTokenCount} {second.CachedInputTokenCount} were known.");
    }

    [Fact]
    public async Task An_agents_result_has_a_type()
    {
        using var client = new HeadInferChatClient(demo.Model);
        var agent = new ChatClientAgent(client);
        var session = await agent.CreateSessionAsync();
        var found = await agent.RunAsync<Finding>(Log + "\n\nWhat is the access code for the old harbor?", session);
        Assert.Equal("The access code for the old harbor is amber-4821.", found.Result.Sentence);
        var more = await agent.RunAsync<Finding>("What is the access code for the silver tower?", session);
        Assert.Equal("The access code for the silver tower is 7305926.", more.Result.Sentence);
        Assert.True(more.Usage!.CachedInputTokenCount >= found.Usage!.InputTokenCount);
    }

    private sealed record Finding([property: RegularExpression(@"^The access code for the [a-z ]+ is [a-z0-9-]+\.$")] string Sentence);
}
