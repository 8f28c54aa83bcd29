using HeadInfer.Runtime;
using Microsoft.Agents.AI;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>The Agent Framework over the client, which it takes as it is.</summary>
public sealed class AgentTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private const string Document = "The access code for the old harbor is amber-4821. The access code for the silver tower is 7305926.";

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
}
